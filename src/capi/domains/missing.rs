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

impl Domains {
    /// Whether Cloud Controller lacks one that is configured by its name.
    pub(super) fn lacks_any(&self, found: &Found) -> bool {
        let exact = self.exact_names();
        exact.iter().any(|name| !found.names.contains(*name))
    }

    /// Looks at one page of all domains for the sake of those that are missing: the others are not asked for otherwise.
    /// What is not told by that is not told.
    pub(super) async fn look_around(&self, client: &mut Client, found: &mut Found) {
        let keyset = Keyset::new("created_at", self.page_size, None);
        let mut list = List::new(PATH, Vec::new(), keyset);
        let (mut around, mut budget) = (Found::default(), client.budget());
        let each = |raw: &_| {
            if let Ok(domain) = wire::domain(raw) {
                around.add(domain, &self.patterns, self.kind);
            }
        };
        match list.next(client, &mut budget, each).await {
            Ok(_) => found.beside.append(&mut around.beside),
            Err(error) => debug!(%error, "the domains beside those of the mesh are not known"),
        }
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
        let slips = comparable.map(|tail| distance(tail, meant)).min()?;
        (slips <= SLIP && is_near(slips, meant)).then_some(slips)
    };
    let near = beside.iter().filter_map(|name| Some((slips(name)?, name)));
    near.min().map(|(_, name)| name)
}
