//! The ports of TCP routes. A proxy listens at a port for one of them, while TCP domains of two router groups may each have
//! it.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    changes::Changes,
    host::{Facts, HostView},
};
use crate::model::Hostname;

/// Who wants each port.
#[derive(Debug, Default)]
pub(super) struct Ports(BTreeMap<u16, BTreeSet<Hostname>>);

impl Ports {
    fn of(&self, port: u16) -> impl Iterator<Item = &Hostname> {
        self.0.get(&port).into_iter().flatten()
    }

    fn set(&mut self, host: &Hostname, port: u16, is_there: bool) {
        let hosts = self.0.entry(port).or_default();
        if is_there {
            hosts.insert(host.clone());
        } else {
            hosts.remove(host);
        }
        if hosts.is_empty() {
            self.0.remove(&port);
        }
    }
}

impl Facts {
    /// What follows from routes at a port for those of other domains at the same port: they may have it now.
    pub(super) fn touch_rivals(&mut self, changes: &mut Changes) {
        let routed = changes.routed();
        let tcp = routed.filter_map(|host| Some((host.clone(), host.port()?)));
        for (host, port) in tcp.collect::<Vec<_>>() {
            self.ports.set(&host, port, self.host(&host).is_some());
            for rival in self.ports.of(port).filter(|rival| **rival != host) {
                self.touch_whole(rival, changes);
            }
        }
    }
}

impl<'a> HostView<'a> {
    /// Of a port of a TCP domain that several domains have, the one that has it in the mesh if it is not this: the oldest,
    /// also while it leads nowhere. Its clients are not to be another tenant's while it is mapped to nothing.
    pub fn rival(self) -> Option<HostView<'a>> {
        let hosts = self.facts.ports.of(self.name.port()?);
        let views = hosts.filter_map(|host| self.facts.host(host));
        let holder = views.min_by_key(|host| (host.created_at(), host.name))?;
        (holder.name != self.name).then_some(holder)
    }
}
