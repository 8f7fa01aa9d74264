//! The domains of the mesh: their guids, kinds and restrictions, as Cloud Controller has them.

mod missing;
#[cfg(test)]
mod tests;
mod unmatched;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Duration,
};

use tokio::time::Instant;

pub(super) use self::{missing::MISSING, unmatched::Unmatched};
use super::{
    domain_pattern::DomainPattern,
    doubt::Doubt,
    error::Error,
    http::{Client, Keyset, List, MAX_GUIDS, filter},
    wire::{self, AnnotationPrefix, DomainKind, KnownDomain, MeshDomain},
};
use crate::{
    feed::{Dropped, Drops},
    model::{DomainGuid, Hostname},
};

const PATH: &str = "/v3/domains";

/// How many names go into one URL: each has at most 253 characters.
const MAX_NAMES: usize = 25;
/// With more domains than this a filter would leave little room for other guids in the URL.
const MAX_FILTERED: usize = 60;
/// Domains outside the mesh that are remembered as such; beyond, they are looked up again.
const MAX_OUTSIDE: usize = 10_000;

/// Of which routes the domains are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RouteKind {
    /// Those that have names, internal ones too.
    Http,
    /// Those that have ports.
    Tcp,
}

/// What reads of the domains changed for the routes that are known, by the names of the domains.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct DomainChanges {
    /// They enforce route policies from now on.
    pub(super) enforced: BTreeSet<Hostname>,
    /// New, or made anew under their name, or they enforce route policies no longer: what is known of their routes
    /// may not be so any more.
    pub(super) stale: BTreeSet<Hostname>,
    /// Whether one that enforced them does not say so any more, and is not believed yet.
    pub(super) is_doubted: bool,
}

/// A domain that enforces route policies.
#[derive(Debug)]
struct Enforced {
    guid: DomainGuid,
    /// Since when it does not say so any more.
    doubted: Option<Instant>,
}

/// The kind of a domain.
#[derive(Debug)]
struct Known {
    kind: DomainKind,
    /// Since when it says that it is of another one.
    doubted: Option<Instant>,
}

/// The domains of the mesh as last read.
#[derive(Debug)]
pub(super) struct Domains {
    patterns: Vec<DomainPattern>,
    kind: RouteKind,
    /// Which annotations of their routes are for the mesh.
    annotations: AnnotationPrefix,
    page_size: u32,
    confirm_after: Duration,
    mesh: BTreeMap<DomainGuid, MeshDomain>,
    /// Of domains that are or were of it.
    kinds: BTreeMap<DomainGuid, Known>,
    outside: HashSet<DomainGuid>,
    /// Also those that are gone: whatever is still known of their routes is restricted.
    enforced: BTreeMap<Hostname, Enforced>,
    changes: DomainChanges,
    /// The names that were missing when others were last looked at for their sake, and those others.
    around: Option<(Vec<Hostname>, Vec<Hostname>)>,
}

impl Domains {
    pub(super) fn new(
        patterns: Vec<DomainPattern>,
        kind: RouteKind,
        annotations: AnnotationPrefix,
        page_size: u32,
        confirm_after: Duration,
    ) -> Self {
        Self {
            patterns,
            kind,
            annotations,
            page_size,
            confirm_after,
            mesh: BTreeMap::new(),
            kinds: BTreeMap::new(),
            outside: HashSet::new(),
            enforced: BTreeMap::new(),
            changes: DomainChanges::default(),
            around: None,
        }
    }

    /// Which annotations of their routes are for the mesh.
    pub(super) fn annotations(&self) -> &AnnotationPrefix {
        &self.annotations
    }

    /// Reads them all anew. What cannot be served is returned by name.
    pub(super) async fn resolve(&mut self, client: &mut Client) -> Result<Drops, Error> {
        let mut found = Found::default();
        for names in self.exact_names().chunks(MAX_NAMES) {
            let names = vec![filter("names", names.iter().map(|name| name.as_str()))];
            self.read(client, names, &mut found).await?;
        }
        if self.has_suffixes() {
            self.read(client, Vec::new(), &mut found).await?;
        } else {
            self.look_around(client, &mut found).await;
        }
        Ok(self.replace(found, Instant::now()))
    }

    /// These are all of them.
    fn replace(&mut self, mut found: Found, now: Instant) -> Drops {
        let before = std::mem::take(&mut self.mesh);
        for domain in std::mem::take(&mut found.mesh) {
            let is_new = !before.contains_key(&domain.guid);
            self.admit(domain, is_new, now);
        }
        for (guid, domain) in before {
            // What says nothing that can be read is no less there.
            if found.unreadable.contains(&guid) {
                found.names.insert(domain.name.clone());
                self.mesh.insert(guid, domain);
            }
        }
        if self.kinds.len() > self.mesh.len() + MAX_OUTSIDE {
            self.kinds.retain(|guid, _| self.mesh.contains_key(guid));
        }
        for (name, enforced) in &mut self.enforced {
            if !found.names.contains(name) {
                enforced.doubted = None;
            }
        }
        self.outside.clear();
        // The first, so that they are named however much else is left out.
        let mut dropped: Drops = self.missing(&found).collect();
        dropped.append(found.dropped);
        dropped
    }

    /// Looks up domains that turned up in between.
    pub(super) async fn look_up(
        &mut self,
        client: &mut Client,
        guids: &BTreeSet<DomainGuid>,
    ) -> Result<Drops, Error> {
        let guids: Vec<_> = guids.iter().collect();
        let mut found = Found::default();
        for guids in guids.chunks(MAX_GUIDS) {
            self.read(client, vec![filter("guids", guids)], &mut found)
                .await?;
        }
        let now = Instant::now();
        for domain in found.mesh {
            // A name has one domain at a time: the one that it had before is gone.
            self.mesh
                .retain(|guid, known| known.name != domain.name || *guid == domain.guid);
            let is_new = !self.mesh.contains_key(&domain.guid);
            self.admit(domain, is_new, now);
        }
        if self.outside.len() + found.outside.len() > MAX_OUTSIDE {
            self.outside.clear();
        }
        self.outside.extend(found.outside);
        Ok(found.dropped)
    }

    /// Takes in a domain of the mesh. Cloud Controller never changes whether one enforces route policies, so the same
    /// one without it is believed only when it says so again after a while.
    fn admit(&mut self, domain: wire::Domain, is_new: bool, now: Instant) {
        let wire::Domain {
            guid,
            name,
            kind,
            enforced,
        } = domain;
        let known = self.enforced.get_mut(&name);
        if enforced {
            let doubted = None;
            let guid = guid.clone();
            let before = self
                .enforced
                .insert(name.clone(), Enforced { guid, doubted });
            if before.is_none() {
                self.changes.enforced.insert(name.clone());
            }
        } else if let Some(known) = known {
            let is_another = known.guid != guid;
            let doubted = known.doubted.replace(known.doubted.unwrap_or(now));
            let is_confirmed =
                doubted.is_some_and(|since| now.duration_since(since) >= self.confirm_after);
            if is_another || is_confirmed {
                self.enforced.remove(&name);
                self.changes.stale.insert(name.clone());
            } else {
                self.changes.is_doubted |= doubted.is_none();
            }
        }
        if is_new {
            self.changes.stale.insert(name.clone());
        }
        let kind = self.kind_of(&guid, kind, now);
        self.mesh.insert(guid, MeshDomain { name, kind });
    }

    /// Nor does Cloud Controller change whether a domain is internal: one that says nothing of that is of the kind that was
    /// known, also if a read did not have it meanwhile, and one of another kind is when it says so again after a while.
    fn kind_of(&mut self, guid: &DomainGuid, said: Option<DomainKind>, now: Instant) -> DomainKind {
        let Some(known) = self.kinds.get_mut(guid) else {
            if let Some(kind) = said {
                let doubted = None;
                self.kinds.insert(guid.clone(), Known { kind, doubted });
            }
            return said.unwrap_or(DomainKind::Http);
        };
        match said {
            Some(said) if said != known.kind => {
                let since = *known.doubted.get_or_insert(now);
                if now.duration_since(since) >= self.confirm_after {
                    (known.kind, known.doubted) = (said, None);
                }
            }
            Some(_) => known.doubted = None,
            None => {}
        }
        known.kind
    }

    /// What changed since the last call.
    pub(super) fn take_changes(&mut self) -> DomainChanges {
        std::mem::take(&mut self.changes)
    }

    /// Whether only callers that a route policy names may reach the routes of a domain.
    pub(super) fn is_enforced(&self, name: &Hostname) -> bool {
        self.enforced.contains_key(name)
    }

    /// The domains of which it is in doubt whether they still enforce route policies.
    pub(super) fn doubt(&self) -> Option<Doubt> {
        let doubted = |(_, enforced): &(&Hostname, &Enforced)| enforced.doubted.is_some();
        let mut names = self.enforced.iter().filter(doubted);
        let (name, _) = names.next()?;
        Some(Doubt::Opened {
            domain: name.to_string(),
            others: names.count(),
        })
    }

    pub(super) fn get(&self, guid: &DomainGuid) -> KnownDomain<'_> {
        match self.mesh.get(guid) {
            Some(domain) => KnownDomain::Mesh(domain),
            None if self.outside.contains(guid) => KnownDomain::Outside,
            None => KnownDomain::Unknown,
        }
    }

    /// The guids of the mesh's domains.
    pub(super) fn guids(&self) -> impl Iterator<Item = &DomainGuid> {
        self.mesh.keys()
    }

    /// A filter for lists of routes, where the domains of the mesh can only change by the configuration or by being
    /// made anew; and how many guids fit into the URL beside it.
    ///
    /// Asking for http domains only also spares Cloud Controller the Routing API, without which it answers 500.
    pub(super) fn filter(&self) -> (Option<(String, String)>, usize) {
        let all_found = self.exact_names().len() <= self.mesh.len();
        let is_closed = !self.has_suffixes() && all_found;
        if !is_closed || self.mesh.is_empty() || self.mesh.len() > MAX_FILTERED {
            return (None, MAX_GUIDS);
        }
        let filter = filter("domain_guids", self.guids());
        (Some(filter), MAX_GUIDS - self.mesh.len())
    }

    async fn read(
        &self,
        client: &mut Client,
        filter: Vec<(String, String)>,
        found: &mut Found,
    ) -> Result<(), Error> {
        let keyset = Keyset::new("created_at", self.page_size, None);
        List::new(PATH, filter, keyset)
            .read(client, |raw| match wire::domain(raw) {
                Ok(domain) => found.add(domain, &self.patterns, self.kind),
                Err(dropped) => {
                    found
                        .unreadable
                        .insert(DomainGuid::from(dropped.name.as_str()));
                    found.dropped.push(dropped);
                }
            })
            .await
    }

    fn has_suffixes(&self) -> bool {
        self.patterns
            .iter()
            .any(|pattern| matches!(pattern, DomainPattern::Suffix(_)))
    }

    fn exact_names(&self) -> Vec<&Hostname> {
        self.patterns
            .iter()
            .filter_map(|pattern| match pattern {
                DomainPattern::Exact(name) => Some(name),
                DomainPattern::Suffix(_) => None,
            })
            .collect()
    }
}

/// What a read of domains yields.
#[derive(Debug, Default)]
struct Found {
    mesh: Vec<wire::Domain>,
    outside: HashSet<DomainGuid>,
    unreadable: BTreeSet<DomainGuid>,
    names: BTreeSet<Hostname>,
    /// Of domains outside that could be of the mesh.
    beside: Vec<Hostname>,
    dropped: Drops,
}

impl Found {
    fn add(&mut self, domain: wire::Domain, patterns: &[DomainPattern], wanted: RouteKind) {
        let name = &domain.name;
        self.names.insert(name.clone());
        let is_tcp = domain.kind == Some(DomainKind::Tcp);
        if is_tcp != (wanted == RouteKind::Tcp) {
            if patterns.contains(&DomainPattern::Exact(name.clone())) {
                let (reason, detail) = if is_tcp {
                    (
                        "tcp_domain",
                        "it is for TCP routes: its place is TCPRoutes.Domains",
                    )
                } else {
                    (
                        "http_domain",
                        "it is not for TCP routes: its place is MeshDomains",
                    )
                };
                self.dropped.push(Dropped {
                    name: name.to_string(),
                    reason,
                    detail: detail.to_owned(),
                });
            }
            self.outside.insert(domain.guid);
        } else if patterns.iter().any(|pattern| pattern.matches(name)) {
            self.mesh.push(domain);
        } else {
            self.beside.push(domain.name);
            self.outside.insert(domain.guid);
        }
    }
}
