//! The wildcards that tell of hostnames that are no domain names.

use super::{
    changes::Changes,
    host::{Facts, HostView},
};
use crate::model::Hostname;

impl Facts {
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

    pub(super) fn touch_whole(&self, name: &Hostname, changes: &mut Changes) {
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
        self.facts.front_of(self.name)
    }

    /// Of a wildcard, the hostnames of which it has to tell, the more specific before those that cover them.
    pub fn behind(self) -> Vec<HostView<'a>> {
        if !self.name.is_wildcard() || !self.name.is_domain_name() {
            return Vec::new();
        }
        let below = self.facts.nameless.below(self.name);
        let views = below.filter_map(|host| self.facts.host(host));
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
