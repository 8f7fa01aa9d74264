//! Hostnames that are no domain names. No Istio takes them for hosts, so a proxy sends their requests to the wildcard
//! above them, and has to be told there where they go.

use std::collections::BTreeMap;

use super::{HostView, RouteTable, changes::Changes, fall_backs::labels};
use crate::model::Hostname;

/// The external hostnames that are no domain names.
#[derive(Debug, Default)]
pub(super) struct Nameless {
    /// By their labels from the right, so that what is below a wildcard is a range.
    by_labels: BTreeMap<String, Hostname>,
}

impl Nameless {
    /// Takes in whether there is such a hostname.
    pub(super) fn set(&mut self, host: &Hostname, is_there: bool) {
        if host.is_domain_name() {
            return;
        }
        let labels = labels(host.as_str());
        if is_there {
            self.by_labels.insert(labels, host.clone());
        } else {
            self.by_labels.remove(&labels);
        }
    }

    fn below(&self, wildcard: &Hostname) -> impl Iterator<Item = &Hostname> + use<'_> {
        let labels = labels(wildcard.as_str());
        let domain = labels.strip_suffix('*').unwrap_or(&labels).to_owned();
        let from_there = self.by_labels.range(domain.clone()..);
        let names = from_there.take_while(move |(name, _)| name.starts_with(&domain));
        names.map(|(_, host)| host)
    }
}

impl RouteTable {
    /// The wildcard at which a proxy looks for a hostname that is no domain name.
    fn front_of(&self, host: &Hostname) -> Option<HostView<'_>> {
        let mut wider = self.wider(host);
        wider.find(|wider| wider.name.is_domain_name())
    }

    /// What follows for wildcards from the nameless hostnames below them that are looked up otherwise; and for these,
    /// from the `wildcards` that have come or gone.
    pub(super) fn touch_fronts(&self, wildcards: &[Hostname], changes: &mut Changes) {
        for wildcard in wildcards.iter().filter(|host| host.is_domain_name()) {
            let mut below = self.nameless.below(wildcard).peekable();
            if below.peek().is_none() {
                continue;
            }
            match self.front_of(wildcard) {
                Some(wider) => changes.touch_lookup(wider.name),
                None => below.for_each(|host| self.touch_whole(host, changes)),
            }
        }
        let looked_up = changes.hosts().filter(|(_, touched)| touched.lookup);
        let nameless = looked_up.filter(|(host, _)| !host.is_domain_name());
        let fronts = nameless.filter_map(|(host, _)| self.front_of(host));
        for front in fronts.map(|front| front.name).collect::<Vec<_>>() {
            changes.touch_lookup(front);
        }
    }

    fn touch_whole(&self, name: &Hostname, changes: &mut Changes) {
        let touched = changes.of(name);
        (touched.routes, touched.lookup) = (true, true);
        for pool in self.host(name).iter().flat_map(|host| host.pools()) {
            changes.touch_service(name, &pool.key().into());
        }
    }
}

impl<'a> HostView<'a> {
    /// Of a hostname that is no domain name, the wildcard whose proxy configuration has to tell of it.
    pub fn front(self) -> Option<HostView<'a>> {
        if self.name.is_domain_name() {
            return None;
        }
        self.table.front_of(self.name)
    }

    /// Of a wildcard, the hostnames of which it has to tell, the more specific before those that cover them.
    pub fn behind(self) -> Vec<HostView<'a>> {
        if !self.name.is_wildcard() || !self.name.is_domain_name() {
            return Vec::new();
        }
        let below = self.table.nameless.below(self.name);
        let views = below.filter_map(|host| self.table.host(host));
        let is_own =
            |host: &HostView<'_>| host.front().is_some_and(|front| front.name == self.name);
        let mut behind: Vec<_> = views.filter(is_own).collect();
        behind.sort_by_key(|host| {
            let labels = host.name.as_str().split('.').count();
            (host.name.is_wildcard(), std::cmp::Reverse(labels))
        });
        behind
    }
}
