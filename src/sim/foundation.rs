//! Foundations of any size, the same for the same size: for load tests and benchmarks.

use std::{net::IpAddr, sync::Arc};

use smallvec::smallvec;

use crate::model::{
    AppGuid, AppPort, Destination, Hostname, Instance, InstanceGuid, Policy, PortMapping,
    PortRange, ProcessType, Protocol, Route, RouteGuid, Transport, Weight, Workload,
};

/// A UUID that is the `n`th of a kind.
pub fn guid(kind: u16, n: usize) -> String {
    format!("{n:08x}-{kind:04x}-4000-8000-{n:012x}")
}

/// The app of the `n`th route.
pub fn app(n: usize) -> AppGuid {
    guid(1, n).as_str().into()
}

fn workload(n: usize) -> Workload {
    Workload {
        app: app(n),
        process_type: ProcessType::Web,
    }
}

/// The `n`th route: a hostname of its own to an app of its own.
pub fn route(n: usize) -> Route {
    Route {
        guid: RouteGuid::from(guid(2, n).as_str()),
        host: Hostname::parse(&format!("app-{n:06}.apps.example.com")).expect("a valid hostname"),
        path: "".into(),
        internal: false,
        vip: None,
        created_at: 1_500_000_000 + i64::try_from(n).expect("few routes"),
        load_balancing: None,
        settings: None,
        refused: None,
        destinations: smallvec![Destination {
            workload: workload(n),
            port: AppPort::Number(8080),
            weight: Weight::Instances,
            protocol: Protocol::Http1,
        }],
    }
}

/// The `n`th route, if it is of an internal domain.
pub fn internal_route(n: usize) -> Route {
    Route {
        host: Hostname::parse(&format!("app-{n:06}.apps.internal")).expect("a valid hostname"),
        internal: true,
        ..route(n)
    }
}

/// How many policies each app of [`policies`] has.
pub const POLICIES_PER_APP: usize = 10;

/// Policies between the apps of so many routes: each may connect to the next ones.
pub fn policies(apps: usize) -> Vec<Policy> {
    let of_app = |n| {
        (1..=POLICIES_PER_APP).map(move |step| Policy {
            source: app(n),
            destination: app((n + step) % apps),
            transport: Transport::Tcp,
            ports: PortRange::new(8080, 8080).expect("a port"),
        })
    };
    (0..apps).flat_map(of_app).collect()
}

/// The `index`th instance, of eight at most, of the `n`th route's app, on a cell of its own; `port` is its port there.
pub fn instance(n: usize, index: usize, port: u16) -> Arc<Instance> {
    let place = u32::try_from(8 * n + index).expect("few instances");
    Arc::new(Instance {
        guid: InstanceGuid::from(
            guid(3 + u16::try_from(index).expect("few instances"), n).as_str(),
        ),
        process: format!("{}-{}", guid(1, n), guid(2, n)).as_str().into(),
        workload: Some(workload(n)),
        routable: true,
        since: 0,
        host_address: IpAddr::from((0x0a00_0001 + place).to_be_bytes()),
        container_address: Some(IpAddr::from((0x0a80_0001 + place).to_be_bytes())),
        prefers_container: false,
        zone: None,
        ports: smallvec![PortMapping::plain(8080, port)],
    })
}
