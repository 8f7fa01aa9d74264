//! Configured domains that Cloud Controller does not have, and what was probably meant by them.

use tracing::debug;

use super::{DomainPattern, Domains, Found, Keyset, List, PATH};
use crate::{
    capi::{http::Client, wire},
    feed::Dropped,
    model::Hostname,
    near::{distance, is_near, tails},
};

/// Why a configured domain is left out that Cloud Controller does not have.
pub(crate) const MISSING: &str = "missing_domain";
/// Why a pattern is told that no domain matches, where one nearly does.
const UNMATCHED: &str = "unmatched_pattern";
/// What differs by one slip, such as two letters in the wrong order. Domains of one foundation may well differ by three.
const SLIP: usize = 2;
/// A label of so many letters may well be another that differs by a slip: `eu` and `us`.
const SHORT: usize = 3;

impl Domains {
    /// Looks at one page of all domains for the sake of those that are missing, once for these: the others are not asked for
    /// otherwise. What is not told by that is not told, and nothing is asked in vain of whoever has little to spare.
    pub(super) async fn look_around(&mut self, client: &mut Client, found: &mut Found) {
        let missing = self.exact_names().into_iter();
        let missing: Vec<_> = missing
            .filter(|name| !found.names.contains(*name))
            .cloned()
            .collect();
        let is_new = self
            .around
            .as_ref()
            .is_none_or(|(known, _)| *known != missing);
        if !missing.is_empty() && is_new && client.slowdown() <= 1 {
            let beside = self.beside(client).await;
            self.around = Some((missing, beside));
        }
        let beside = self.around.as_ref().map(|(_, beside)| beside.clone());
        found.beside.extend(beside.unwrap_or_default());
    }

    async fn beside(&self, client: &mut Client) -> Vec<Hostname> {
        let keyset = Keyset::new("created_at", self.page_size, None);
        let mut list = List::new(PATH, Vec::new(), keyset);
        let (mut around, mut budget) = (Found::default(), client.budget());
        let each = |raw: &_| {
            if let Ok(domain) = wire::domain(raw) {
                around.add(domain, &self.patterns, self.kind);
            }
        };
        if let Err(error) = list.next(client, &mut budget, each).await {
            debug!(%error, "the domains beside those of the mesh are not known");
        }
        around.beside
    }

    /// What the foundation lacks of what is configured. A suffix may be waiting for its first domain.
    pub(super) fn missing(&self, found: &Found) -> impl Iterator<Item = Dropped> {
        self.patterns.iter().filter_map(|pattern| {
            let is_found = found.names.iter().any(|name| pattern.matches(name));
            if is_found {
                return None;
            }
            let near = nearest(pattern, &found.beside);
            let near = near.map(|near| format!("{near}, which is nearly it"));
            let (reason, detail) = match (pattern, near) {
                (DomainPattern::Exact(_), None) => {
                    (MISSING, "cloud controller has no such domain".to_owned())
                }
                (DomainPattern::Exact(_), Some(near)) => (
                    MISSING,
                    format!("cloud controller has no such domain; it has {near}"),
                ),
                (DomainPattern::Suffix(_), near) => (
                    UNMATCHED,
                    format!("cloud controller has no domain below it; it has {}", near?),
                ),
            };
            Some(Dropped {
                name: pattern.to_string(),
                reason,
                detail,
            })
        })
    }
}

/// Which of the domains was probably meant by a pattern that has none.
fn nearest<'a>(pattern: &DomainPattern, beside: &'a [Hostname]) -> Option<&'a Hostname> {
    let meant = pattern.domain().as_str();
    let slips = |name: &Hostname| {
        let tails = tails(name.as_str()).take(match pattern {
            DomainPattern::Exact(_) => 1,
            DomainPattern::Suffix(_) => usize::MAX,
        });
        // Others are not worth a comparison of each of their letters.
        let comparable = tails.filter(|tail| tail.len().abs_diff(meant.len()) <= SLIP);
        let comparable = comparable.filter(|tail| !is_another(tail, meant));
        let slips = comparable.map(|tail| distance(tail, meant)).min()?;
        (slips <= SLIP && is_near(slips, meant)).then_some(slips)
    };
    let near = beside.iter().filter_map(|name| Some((slips(name)?, name)));
    near.min().map(|(_, name)| name)
}

/// Whether names differ as those of neighbours do: in a short label, or in a number.
fn is_another(one: &str, other: &str) -> bool {
    let without_digits =
        |label: &str| -> String { label.chars().filter(|c| !c.is_ascii_digit()).collect() };
    let are_as_many = one.split('.').count() == other.split('.').count();
    let mut labels = one.split('.').zip(other.split('.'));
    are_as_many
        && labels.any(|(one, other)| {
            let is_short = one.len().max(other.len()) <= SHORT;
            one != other && (is_short || without_digits(one) == without_digits(other))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_is_no_slip() {
        for (one, other, expected) in [
            ("eu.example.com", "us.example.com", true),
            ("prod-1.example.com", "prod-2.example.com", true),
            ("bleu.example.com", "blue.example.com", false),
            ("example.com", "app.example.com", false),
        ] {
            assert_eq!(is_another(one, other), expected, "{one} {other}");
        }
    }
}
