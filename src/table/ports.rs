//! The ports of TCP routes. A proxy listens at a port for one of them, while TCP domains of two router groups may each have
//! it.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::Hostname;

/// Who wants each port.
#[derive(Debug, Default)]
pub(super) struct Ports(BTreeMap<u16, BTreeSet<Hostname>>);

impl Ports {
    pub(super) fn of(&self, port: u16) -> impl Iterator<Item = &Hostname> {
        self.0.get(&port).into_iter().flatten()
    }

    pub(super) fn set(&mut self, host: &Hostname, port: u16, is_there: bool) {
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
