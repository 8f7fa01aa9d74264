//! What is saved, as it is written.

use std::{
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::Saved;
use crate::{
    model::{
        AppPort, Asked, Association, Destination, HeaderName, Hostname, LoadBalancing, Policy,
        PortRange, Process, Protocol, Refusal, Route, Transport, Weight, Workload,
    },
    proto::state::{self, destination, load_balancing::Kind},
};

impl Saved {
    pub(super) fn to_wire(&self, foundation: &str, now: SystemTime) -> state::State {
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        let policies = self.policies.iter().flatten();
        state::State {
            foundation: foundation.to_owned(),
            written_at: since
                .as_ref()
                .map(Duration::as_millis)
                .map_or(0, |millis| u64::try_from(millis).unwrap_or(u64::MAX)),
            routes: self.routes_to_wire(false),
            tcp_routes: self.routes_to_wire(true),
            processes: self.processes.iter().map(process_to_wire).collect(),
            associations: self.associations.iter().map(association_to_wire).collect(),
            policies: policies.map(policy_to_wire).collect(),
            has_policies: self.policies.is_some(),
            workloads: self.instances.iter().map(workload_to_wire).collect(),
        }
    }

    fn routes_to_wire(&self, are_tcp: bool) -> Vec<state::Route> {
        let routes = self.routes.iter();
        let routes = routes.filter(|route| route.is_tcp() == are_tcp);
        routes.map(|route| route_to_wire(route)).collect()
    }

    /// `None` where anything of it is none of ours: then nothing of it is to be trusted.
    pub(super) fn from_wire(state: state::State) -> Option<Self> {
        let policies: Option<Vec<_>> = state.policies.iter().map(policy).collect();
        let policies = policies?;
        Some(Self {
            routes: state
                .routes
                .into_iter()
                .chain(state.tcp_routes)
                .map(|sent| route(sent).map(Arc::new))
                .collect::<Option<_>>()?,
            processes: state.processes.iter().map(process).collect(),
            associations: state.associations.iter().map(association).collect(),
            policies: state.has_policies.then_some(policies),
            instances: state.workloads.iter().map(workload).collect(),
        })
    }
}

fn route_to_wire(route: &Route) -> state::Route {
    let refused = match route.refused {
        None => state::Refusal::NotRefused,
        Some(Refusal::RoutePolicies) => state::Refusal::RoutePolicies,
        Some(Refusal::RouteService) => state::Refusal::RouteService,
    };
    state::Route {
        guid: route.guid.to_string(),
        host: route.host.to_string(),
        path: route.path.to_string(),
        internal: route.internal,
        vip: route.vip.map_or(0, u32::from),
        created_at: route.created_at,
        load_balancing: route
            .load_balancing
            .as_deref()
            .and_then(load_balancing_to_wire),
        refused: refused.into(),
        settings: route.annotations(),
        destinations: route.destinations.iter().map(destination_to_wire).collect(),
    }
}

fn route(sent: state::Route) -> Option<Route> {
    let refused = match state::Refusal::try_from(sent.refused).ok()? {
        state::Refusal::NotRefused => None,
        state::Refusal::RoutePolicies => Some(Refusal::RoutePolicies),
        state::Refusal::RouteService => Some(Refusal::RouteService),
    };
    let load_balancing = match sent.load_balancing {
        Some(sent) => Some(Box::new(load_balancing(sent)?)),
        None => None,
    };
    let host = Hostname::parse_any(&sent.host).ok()?;
    let is_tcp = host.port().is_some();
    let destinations = sent.destinations.iter();
    let destinations: Option<_> = destinations.map(|sent| destination(sent, is_tcp)).collect();
    let mut route = Route {
        guid: sent.guid.as_str().into(),
        host,
        path: sent.path.into(),
        internal: sent.internal,
        vip: (sent.vip != 0).then(|| Ipv4Addr::from(sent.vip)),
        created_at: sent.created_at,
        load_balancing,
        settings: None,
        refused,
        destinations: destinations?,
    };
    // What another build took and this one does not is left out alone: Cloud Controller will say what is wrong with it.
    let settings = sent.settings.iter();
    route.ask(Asked::parse(
        settings.map(|(name, text)| (&**name, &**text)),
    ));
    Some(route)
}

/// A cookie is among what owners ask for.
fn load_balancing_to_wire(load_balancing: &LoadBalancing) -> Option<state::LoadBalancing> {
    let kind = match load_balancing {
        LoadBalancing::RoundRobin => Kind::RoundRobin(true),
        LoadBalancing::LeastConnection => Kind::LeastConnection(true),
        LoadBalancing::Hash(header) => Kind::HashHeader(header.to_string()),
        LoadBalancing::Cookie(_) => return None,
    };
    Some(state::LoadBalancing { kind: Some(kind) })
}

fn load_balancing(sent: state::LoadBalancing) -> Option<LoadBalancing> {
    Some(match sent.kind? {
        Kind::RoundRobin(_) => LoadBalancing::RoundRobin,
        Kind::LeastConnection(_) => LoadBalancing::LeastConnection,
        Kind::HashHeader(header) => LoadBalancing::Hash(HeaderName::parse(&header).ok()?),
    })
}

fn destination_to_wire(destination: &Destination) -> state::Destination {
    let weight = match destination.weight {
        Weight::Instances => None,
        Weight::Fixed(weight) => Some(destination::Weight::Fixed(weight)),
        Weight::Running(weight) => Some(destination::Weight::Running(weight)),
    };
    state::Destination {
        app: destination.workload.app.to_string(),
        process_type: destination.workload.process_type.to_string(),
        port: match destination.port {
            AppPort::Main => 0,
            AppPort::Number(number) => number.into(),
        },
        http2: destination.protocol == Protocol::Http2,
        weight,
    }
}

fn destination(sent: &state::Destination, is_tcp: bool) -> Option<Destination> {
    Some(Destination {
        workload: Workload {
            app: sent.app.as_str().into(),
            process_type: sent.process_type.as_str().into(),
        },
        port: match sent.port {
            0 => AppPort::Main,
            number => AppPort::Number(u16::try_from(number).ok()?),
        },
        weight: match sent.weight {
            None => Weight::Instances,
            Some(destination::Weight::Fixed(weight)) => Weight::Fixed(weight),
            Some(destination::Weight::Running(weight)) => Weight::Running(weight),
        },
        protocol: match sent.http2 {
            _ if is_tcp => Protocol::Tcp,
            true => Protocol::Http2,
            false => Protocol::Http1,
        },
    })
}

fn process_to_wire(process: &Process) -> state::Process {
    state::Process {
        guid: process.guid.to_string(),
        app: process.workload.app.to_string(),
        process_type: process.workload.process_type.to_string(),
    }
}

fn process(sent: &state::Process) -> Process {
    Process {
        guid: sent.guid.as_str().into(),
        workload: Workload {
            app: sent.app.as_str().into(),
            process_type: sent.process_type.as_str().into(),
        },
    }
}

fn association_to_wire(association: &Association) -> state::Association {
    let processes = association.diego_processes.iter();
    state::Association {
        process: association.process.to_string(),
        diego_processes: processes.map(ToString::to_string).collect(),
    }
}

fn association(sent: &state::Association) -> Association {
    let processes = sent.diego_processes.iter();
    Association {
        process: sent.process.as_str().into(),
        diego_processes: processes.map(|guid| guid.as_str().into()).collect(),
    }
}

fn policy_to_wire(policy: &Policy) -> state::Policy {
    state::Policy {
        source: policy.source.to_string(),
        destination: policy.destination.to_string(),
        udp: policy.transport == Transport::Udp,
        first_port: policy.ports.first().into(),
        last_port: policy.ports.last().into(),
    }
}

fn policy(sent: &state::Policy) -> Option<Policy> {
    let port = |number| u16::try_from(number).ok();
    Some(Policy {
        source: sent.source.as_str().into(),
        destination: sent.destination.as_str().into(),
        transport: if sent.udp {
            Transport::Udp
        } else {
            Transport::Tcp
        },
        ports: PortRange::new(port(sent.first_port)?, port(sent.last_port)?)?,
    })
}

fn workload_to_wire((workload, instances): &(Workload, u32)) -> state::Workload {
    state::Workload {
        app: workload.app.to_string(),
        process_type: workload.process_type.to_string(),
        instances: *instances,
    }
}

fn workload(sent: &state::Workload) -> (Workload, u32) {
    let workload = Workload {
        app: sent.app.as_str().into(),
        process_type: sent.process_type.as_str().into(),
    };
    (workload, sent.instances)
}
