//! Where instances run: addresses of loopback, each of which one has at a time.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use copilot::model::{AppPort, PortMapping};

use crate::instances::{Credentials, Endpoint, Protocol};

/// The first port of a cell that leads to containers, as rep gives them out.
const FIRST_PORT: u16 = 61_000;
/// How many a container gets.
const PORTS: u16 = 16;
/// How many containers a cell has.
const CONTAINERS: u32 = 250;

/// How many places were given, of all stages: they share the addresses.
static GIVEN: AtomicU32 = AtomicU32::new(0);

/// A container's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The address of its cell.
    pub cell: IpAddr,
    /// Its own.
    pub container: IpAddr,
    /// The first of the cell's ports that lead to it.
    pub port: u16,
}

impl Place {
    /// The container ports of an app, and the cell's ports that lead to them.
    pub(super) fn mappings(&self, ports: &[(u16, Protocol)]) -> Vec<(u16, u16)> {
        let containers = ports.iter().map(|(port, _)| *port);
        containers.zip(self.port..).collect()
    }

    /// How an app is reached here: from elsewhere at the cell's ports, and by other containers at its own, or over TLS at
    /// the one port that its proxy has for them.
    pub(super) fn endpoints(
        &self,
        ports: &[(u16, Protocol)],
        from_outside: &FromOutside,
        for_apps: Option<&Credentials>,
    ) -> Vec<Endpoint> {
        let mappings = self.mappings(ports).into_iter().zip(ports);
        let endpoints = mappings.flat_map(|((port, host), (_, protocol))| {
            let endpoint = |address: IpAddr, at, tls| Endpoint {
                port,
                protocol: *protocol,
                address: (address, at).into(),
                tls,
            };
            let outer = match from_outside {
                FromOutside::Plain => Some(endpoint(self.cell, host, None)),
                FromOutside::Tls(proxy) => Some(endpoint(self.cell, host, Some(proxy.clone()))),
                FromOutside::No => None,
            };
            let proxy = for_apps.filter(|_| port == AppPort::DEFAULT);
            let proxy = proxy
                .map(|tls| endpoint(self.container, PortMapping::INTERNAL_TLS, Some(tls.clone())));
            let own = endpoint(self.container, port, None);
            outer.into_iter().chain([own]).chain(proxy)
        });
        endpoints.collect()
    }
}

/// What takes requests at the ports of a cell.
#[derive(Debug)]
pub(super) enum FromOutside {
    /// The app.
    Plain,
    /// The proxy in its container.
    Tls(Credentials),
    /// Nothing that is started with the instance.
    No,
}

/// All places. Clones are handles to the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Arc<Mutex<Given>>);

#[derive(Debug, Default)]
struct Given {
    free: Vec<Place>,
    reuse: bool,
}

impl Places {
    /// Whether a place that was given back is the next to be given; otherwise it never is again.
    pub(super) fn reuse(&self, reuse: bool) {
        self.lock().reuse = reuse;
    }

    pub(super) fn take(&self) -> Place {
        let mut given = self.lock();
        if given.reuse
            && let Some(place) = given.free.pop()
        {
            return place;
        }
        let n = GIVEN.fetch_add(1, Relaxed);
        let [_, _, high, low] = (n / CONTAINERS).to_be_bytes();
        let [_, own_high, own_mid, own_low] = n.to_be_bytes();
        let slot = u16::try_from(n % CONTAINERS).expect("fewer than a cell has");
        Place {
            cell: Ipv4Addr::new(127, 10, high, low).into(),
            // Ranges of their own, so that no container has a cell's address.
            container: Ipv4Addr::new(127, 128 | own_high, own_mid, own_low).into(),
            port: FIRST_PORT + slot * PORTS,
        }
    }

    pub(super) fn give_back(&self, place: Place) {
        self.lock().free.push(place);
    }

    fn lock(&self) -> MutexGuard<'_, Given> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
