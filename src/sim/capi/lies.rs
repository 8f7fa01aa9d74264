//! Lists that are well-formed and wrong.

use serde_json::{Value, json};

/// A way to be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Only so many of the rows, of as many as are counted, and whether there is to be a next page.
    Rows(usize, bool),
    /// The page is its own next page.
    ItselfNext,
    /// More are counted than there are.
    Total(u64),
    /// No route has a destination.
    NoDestinations,
    /// Every host has a blank in it.
    BlankHosts,
    /// Every path lacks its slash.
    PathsWithoutSlash,
    /// Every route has a port, as those of TCP have.
    Ports,
    /// Every route is of TCP.
    Tcp,
    /// Every destination has a protocol that nobody knows.
    DestinationProtocols,
    /// Every domain is internal.
    Internal,
    /// Nothing of any row but its guid.
    Guids,
    /// Not even that.
    Nothing,
}

/// The answer with the lie in it.
pub(super) fn tell(lie: Lie, mut body: Value) -> Value {
    match lie {
        Lie::Rows(count, has_next) => {
            if let Some(rows) = body["resources"].as_array_mut() {
                rows.truncate(count);
            }
            let href = "https://api.example.com/v3/routes?page=2&per_page=5000";
            let next = has_next.then(|| json!({"href": href}));
            body["pagination"]["next"] = next.unwrap_or_default();
        }
        Lie::ItselfNext => body["pagination"]["next"] = body["pagination"]["first"].clone(),
        Lie::Total(total) => body["pagination"]["total_results"] = total.into(),
        lie => {
            let rows = body["resources"].as_array_mut();
            rows.into_iter().flatten().for_each(|row| spoil(lie, row));
        }
    }
    body
}

fn spoil(lie: Lie, row: &mut Value) {
    match lie {
        Lie::Internal => row["internal"] = json!(true),
        Lie::NoDestinations => row["destinations"] = json!([]),
        Lie::BlankHosts => row["host"] = "a b".into(),
        Lie::PathsWithoutSlash => row["path"] = "a".into(),
        Lie::Ports => row["port"] = 443.into(),
        Lie::Tcp => row["protocol"] = "tcp".into(),
        Lie::DestinationProtocols => {
            let destinations = row["destinations"].as_array_mut();
            for destination in destinations.into_iter().flatten() {
                destination["protocol"] = "quic".into();
            }
        }
        Lie::Guids => *row = json!({"guid": row["guid"]}),
        Lie::Rows(..) | Lie::ItselfNext | Lie::Total(_) | Lie::Nothing => {
            *row = json!({"name": row["guid"]});
        }
    }
}
