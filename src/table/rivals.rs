//! The TCP routes that want the same port.

use super::{
    changes::Changes,
    host::{Facts, HostView},
};

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
