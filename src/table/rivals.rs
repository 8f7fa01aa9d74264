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

/// Why nothing is served at a port of a TCP domain.
#[derive(Debug, Clone, Copy)]
pub enum Unserved<'a> {
    /// It is no port of the ingress.
    Outside(u16),
    /// Another domain has it: the one whose route is the oldest, also while that leads nowhere. Its clients are not to be
    /// another tenant's while it is mapped to nothing.
    Taken(u16, HostView<'a>),
}

impl<'a> HostView<'a> {
    /// Why a port of a TCP domain is not served, if it is not.
    pub fn unserved(self) -> Option<Unserved<'a>> {
        let (port, ports) = (self.name.port()?, &self.facts.ports);
        if !ports.of_ingress.contains(&port) {
            return Some(Unserved::Outside(port));
        }
        let views = ports.of(port).filter_map(|host| self.facts.host(host));
        let holder = views.min_by_key(|host| (host.created_at(), host.name))?;
        (holder.name != self.name).then_some(Unserved::Taken(port, holder))
    }
}
