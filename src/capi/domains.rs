//! The domains of the mesh: guids and kinds from Cloud Controller, of those that the patterns of the configuration match.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{
    client::Client,
    domain_pattern::DomainPattern,
    error::Error,
    keyset::Keyset,
    list::{List, MAX_GUIDS, filter},
    wire::{self, DomainKind},
};
use crate::{
    feed::Dropped,
    model::{DomainGuid, Hostname},
};

const PATH: &str = "/v3/domains";
/// How many names go into one URL: each has at most 253 characters.
const MAX_NAMES: usize = 25;
/// With more domains than this a filter would leave little room for other guids in the URL.
const MAX_FILTERED: usize = 60;
/// Why a configured domain is left out that Cloud Controller does not have.
pub(super) const MISSING: &str = "missing_domain";
/// Domains outside the mesh that are remembered as such; beyond, they are looked up again.
const MAX_OUTSIDE: usize = 10_000;

/// A domain of the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Domain {
    pub(super) name: Hostname,
    pub(super) internal: bool,
}

/// What is known of a domain.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known<'a> {
    Mesh(&'a Domain),
    Outside,
    Unknown,
}

/// The domains of the mesh as last read.
#[derive(Debug)]
pub(super) struct Domains {
    patterns: Vec<DomainPattern>,
    page_size: u32,
    mesh: BTreeMap<DomainGuid, Domain>,
    outside: HashSet<DomainGuid>,
}

impl Domains {
    pub(super) fn new(patterns: Vec<DomainPattern>, page_size: u32) -> Self {
        Self {
            patterns,
            page_size,
            mesh: BTreeMap::new(),
            outside: HashSet::new(),
        }
    }

    /// Reads them all anew. What cannot be served is returned by name.
    pub(super) async fn resolve(&mut self, client: &mut Client) -> Result<Vec<Dropped>, Error> {
        let mut found = Found::default();
        for names in self.exact_names().chunks(MAX_NAMES) {
            let names = vec![filter("names", names.iter().map(|name| name.as_str()))];
            self.read(client, names, &mut found).await?;
        }
        if self.has_suffixes() {
            self.read(client, Vec::new(), &mut found).await?;
        }
        for name in self.exact_names() {
            if !found.names.contains(name) {
                found.dropped.push(Dropped {
                    name: name.to_string(),
                    reason: MISSING,
                    detail: "cloud controller has no such domain".to_owned(),
                });
            }
        }
        self.mesh = found.mesh;
        self.outside.clear();
        Ok(found.dropped)
    }

    /// Looks up domains that turned up in between.
    pub(super) async fn look_up(
        &mut self,
        client: &mut Client,
        guids: &BTreeSet<DomainGuid>,
    ) -> Result<Vec<Dropped>, Error> {
        let guids: Vec<_> = guids.iter().collect();
        let mut found = Found::default();
        for guids in guids.chunks(MAX_GUIDS) {
            self.read(client, vec![filter("guids", guids)], &mut found)
                .await?;
        }
        self.mesh.append(&mut found.mesh);
        if self.outside.len() + found.outside.len() > MAX_OUTSIDE {
            self.outside.clear();
        }
        self.outside.extend(found.outside);
        Ok(found.dropped)
    }

    pub(super) fn get(&self, guid: &DomainGuid) -> Known<'_> {
        match self.mesh.get(guid) {
            Some(domain) => Known::Mesh(domain),
            None if self.outside.contains(guid) => Known::Outside,
            None => Known::Unknown,
        }
    }

    /// The guids of the mesh's domains.
    pub(super) fn guids(&self) -> impl Iterator<Item = &DomainGuid> {
        self.mesh.keys()
    }

    /// A filter for lists of routes, where the domains of the mesh can only change by the configuration; and how
    /// many guids fit into the URL beside it.
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
                Ok(domain) => found.add(domain, &self.patterns),
                Err(dropped) => found.dropped.push(dropped),
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
#[derive(Default)]
struct Found {
    mesh: BTreeMap<DomainGuid, Domain>,
    outside: BTreeSet<DomainGuid>,
    names: BTreeSet<Hostname>,
    dropped: Vec<Dropped>,
}

impl Found {
    fn add(&mut self, domain: wire::Domain, patterns: &[DomainPattern]) {
        let wire::Domain { guid, name, kind } = domain;
        let is_mesh = patterns.iter().any(|pattern| pattern.matches(&name));
        self.names.insert(name.clone());
        let internal = match kind {
            DomainKind::Tcp => {
                if patterns.contains(&DomainPattern::Exact(name.clone())) {
                    self.dropped.push(Dropped {
                        name: name.to_string(),
                        reason: "tcp_domain",
                        detail: "the mesh serves http routes only".to_owned(),
                    });
                }
                self.outside.insert(guid);
                return;
            }
            DomainKind::Http => false,
            DomainKind::Internal => true,
        };
        if is_mesh {
            self.mesh.insert(guid, Domain { name, internal });
        } else {
            self.outside.insert(guid);
        }
    }
}
