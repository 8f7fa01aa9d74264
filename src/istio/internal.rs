//! Internal hostnames: a service each, in the mesh, with the containers' own addresses.
//!
//! Apps reach them by name, and so a service has the hostname itself. Most have nothing to tell apart. Where requests
//! are divided by weight, port or path, subsets of the endpoints do it: a service of another name would have to be in
//! every Sidecar too.

mod ports;
mod subsets;

use std::collections::{BTreeMap, BTreeSet, HashSet};

pub(super) use self::subsets::{APP, web_name};
use self::{ports::Ports, subsets::Subsets};
use super::{
    Elsewhere, Era, Eras, InternalTls, MAX_NAMED, Options, Requests,
    destination_rule::{load_balancer, to_apps},
    http_routes::to,
    matches::{has_case, matches},
    refused,
    service_entry::{for_eras, unreachable},
    settings,
    shares::percentages,
    validate::{Invalid, domain, full_name},
};
use crate::{
    model::{AppPort, Destination, LoadBalancing, Protocol, Route, Workload},
    proto::istio::networking::v1alpha3::{
        ClientTlsSettings, DestinationRule, HttpRoute, HttpRouteDestination, ServiceEntry,
        TrafficPolicy, VirtualService, WorkloadEntry,
        client_tls_settings::TlSmode,
        service_entry::{Location, Resolution},
    },
    table::{Endpoint, HostView, Pool, Which},
};

/// The destinations of the routes that are served: of no other is there a subset or an endpoint.
fn destinations(host: HostView<'_>) -> impl Iterator<Item = &Destination> {
    let routes = host.pools().flat_map(|pool| pool.routes());
    routes.flat_map(|route| &route.destinations)
}

/// Where the requests go, if that is not to all endpoints alike, and what their owner asks for beside that.
pub(super) fn virtual_service(
    host: HostView<'_>,
    defaults: &Requests,
) -> Eras<Option<VirtualService>> {
    let is_asked = || host.pools().any(|pool| pool.settings().is_some());
    let is_said = !defaults.is_empty() || host.is_divided() || is_asked();
    if !is_said || destinations(host).next().is_none() {
        return Eras::Same(None);
    }
    let (ports, subsets) = (Ports::of(host), Subsets::of(host));
    let of = |era| {
        let http = host
            .pools()
            .flat_map(|pool| http_routes(&pool, &ports, &subsets, era, defaults));
        Some(VirtualService {
            tcp: Vec::new(),
            hosts: vec![host.name.to_string()],
            // Without a gateway, it is for the sidecars of the mesh.
            gateways: Vec::new(),
            http: http.collect(),
        })
    };
    if host.pools().any(|pool| has_case(&pool.key())) {
        Eras::new(of(Era::Classic), of(Era::Xds))
    } else {
        Eras::Same(of(Era::Classic))
    }
}

/// Those of a path; none where it leads nowhere.
fn http_routes(
    pool: &Pool<'_>,
    ports: &Ports,
    subsets: &Subsets<'_>,
    era: Era,
    defaults: &Requests,
) -> Vec<HttpRoute> {
    let matches = matches(&pool.key(), era);
    if let Some(refusal) = pool.refused() {
        return vec![refused::answer(matches, refusal.status())];
    }
    let route = if pool.host().is_divided() {
        divided(pool, ports, subsets)
    } else {
        whole(pool.host(), ports)
    };
    if route.is_empty() {
        return Vec::new();
    }
    let route = HttpRoute {
        r#match: matches,
        route,
        ..HttpRoute::default()
    };
    settings::asked_for(route, pool, era, defaults, Elsewhere::default())
}

fn divided(pool: &Pool<'_>, ports: &Ports, subsets: &Subsets<'_>) -> Vec<HttpRouteDestination> {
    let targets = pool.by_target();
    let shares: Vec<_> = targets.iter().map(|target| target.share).collect();
    let host = pool.host().name;
    let destinations =
        std::iter::zip(targets, percentages(&shares)).filter_map(|(part, percentage)| {
            let Which::To(target) = part.which else {
                return None;
            };
            let number = ports.number(target.port, target.protocol);
            let subset = subsets.name(&target.workload, target.port);
            (percentage > 0).then(|| to(host.to_string(), subset, number, percentage))
        });
    destinations.collect()
}

/// The whole service: no subset, so that what is asked for comes and goes by itself, and no scale is seen here.
fn whole(host: HostView<'_>, ports: &Ports) -> Vec<HttpRouteDestination> {
    let first = destinations(host).next();
    let first = first.map(|first| ports.number(first.port, first.protocol));
    let first = first.map(|number| to(host.name.to_string(), String::new(), number, 100));
    first.into_iter().collect()
}

/// The subsets that the VirtualService names, and how an instance is picked.
///
/// Where nothing is encrypted an istiod is told so: by default it makes the proxies wait for certificates of workloads, as
/// long as a service of the mesh has no word on that.
pub(super) fn destination_rule(
    host: HostView<'_>,
    tls: Option<&InternalTls>,
) -> Eras<Option<DestinationRule>> {
    if destinations(host).next().is_none() {
        return Eras::Same(None);
    }
    let subsets = if host.is_divided() {
        Subsets::of(host).subsets()
    } else {
        Vec::new()
    };
    let choice = choice(host);
    let tls = tls.filter(|_| host.has_internal_tls());
    let tls = tls.map(|tls| to_apps(host.name, tls));
    let rule = |era| {
        let policy = TrafficPolicy {
            load_balancer: choice.map(|(_, choice)| load_balancer(choice, era)),
            tls: tls.clone().or_else(|| (era == Era::Xds).then(disable)),
            ..TrafficPolicy::default()
        };
        let policy = Some(policy).filter(|policy| *policy != TrafficPolicy::default());
        (policy.is_some() || !subsets.is_empty()).then(|| DestinationRule {
            host: host.name.to_string(),
            traffic_policy: policy,
            subsets: subsets.clone(),
        })
    };
    Eras::new(rule(Era::Classic), rule(Era::Xds))
}

/// How an instance is picked, as one service has one way of it: that of the longest path for which any is chosen. A cookie,
/// which all clients of the hostname would be given, is for the owner of its oldest route to choose.
fn choice(host: HostView<'_>) -> Option<(&Route, &LoadBalancing)> {
    let mut choices = host.pools().filter_map(|pool| pool.load_balancing());
    let first = choices.next()?;
    if !is_cookie(&first) {
        return Some(first);
    }
    let oldest = oldest(host)?;
    let of_oldest = oldest.load_balancing.as_deref();
    let of_oldest = of_oldest.map(|choice| (oldest, choice));
    let other = || choices.find(|choice| !is_cookie(choice));
    of_oldest.filter(is_cookie).or_else(other)
}

fn is_cookie((_, choice): &(&Route, &LoadBalancing)) -> bool {
    matches!(choice, LoadBalancing::Cookie(_))
}

/// The oldest route that leads to something.
fn oldest(host: HostView<'_>) -> Option<&Route> {
    let mapped = host.pools().flat_map(|pool| pool.mapped());
    mapped.min_by_key(|route| (route.created_at, &route.guid))
}

/// Routes whose owners' choices do not count.
pub(super) fn overruled(host: HostView<'_>) -> impl Iterator<Item = Invalid> {
    let choice = choice(host);
    let counts = choice.map_or_else(
        || "the oldest route of the hostname asks for nothing".to_owned(),
        |(route, choice)| format!("route {} has {choice}", route.guid),
    );
    let choice = choice.map(|(_, choice)| choice);
    let routes = host.pools().flat_map(|pool| pool.routes());
    let overruled = routes.filter_map(move |route| {
        let other = route.load_balancing.as_deref()?;
        (Some(other) != choice).then(|| Invalid {
            rule: "options",
            detail: format!("route {} asks for {other} where {counts}", route.guid),
        })
    });
    overruled.take(MAX_NAMED)
}

fn disable() -> ClientTlsSettings {
    ClientTlsSettings {
        mode: TlSmode::Disable.into(),
        ..ClientTlsSettings::default()
    }
}

/// The virtual address, the ports and the endpoints. `None` where nobody can be reached, but for `keep_empty`.
pub(super) fn service_entry(host: HostView<'_>, options: &Options) -> Eras<Option<ServiceEntry>> {
    let (ports, subsets) = (Ports::of(host), Subsets::of(host));
    if ports.is_empty() {
        return Eras::Same(None);
    }
    let is_tls = host.has_internal_tls();
    let mut workloads: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for to in destinations(host) {
        let used = workloads.entry(&to.workload).or_default();
        used.insert((to.port, to.protocol));
    }
    let endpoints = workloads.iter().flat_map(|(workload, used)| {
        let (ports, subsets) = (&ports, &subsets);
        let instances = host.instances(workload);
        instances.filter_map(move |instance| {
            let reach = |port| host.reach_inside(instance, port, is_tls).ok();
            let endpoint = endpoint(used, ports, subsets, workload, reach)?;
            Some(WorkloadEntry {
                locality: options.defaults.locality(instance),
                ..endpoint
            })
        })
    });
    let mut endpoints: Vec<_> = endpoints.collect();
    if !host.is_divided() {
        // An instance of two processes is two endpoints only to subsets.
        let mut seen = HashSet::new();
        endpoints.retain(|endpoint| seen.insert(endpoint.address.clone()));
    }
    let entry = ServiceEntry {
        export_to: Vec::new(),
        hosts: vec![host.name.to_string()],
        addresses: host.vip().iter().map(ToString::to_string).collect(),
        ports: ports.service_ports(),
        location: Location::MeshInternal.into(),
        resolution: Resolution::Static.into(),
        endpoints,
    };
    for_eras(entry, options.keep_empty)
}

/// Pilot knows a proxy by the labels of the endpoint that has its address, so they are there without subsets too.
fn endpoint(
    used: &BTreeSet<(AppPort, Protocol)>,
    ports: &Ports,
    subsets: &Subsets<'_>,
    workload: &Workload,
    reach: impl Fn(AppPort) -> Option<Endpoint>,
) -> Option<WorkloadEntry> {
    let mut address = None;
    let mut serving = BTreeMap::new();
    let mut reached = BTreeSet::new();
    for (port, protocol) in used {
        if let Some(Endpoint { at, .. }) = reach(*port) {
            address = Some(at.ip().to_string());
            serving.insert(ports.name(*port, *protocol), at.port().into());
            reached.insert(*port);
        }
    }
    Some(WorkloadEntry {
        address: address?,
        labels: subsets.labels(workload, reached),
        ports: serving,
        locality: String::new(),
    })
}

/// What is wrong with the hostname although it is served.
pub(super) fn remarks(host: HostView<'_>) -> Vec<Invalid> {
    if host.lacks_vip() {
        let detail = "no virtual address is left in VIPCIDR".to_owned();
        return vec![Invalid {
            rule: "vip",
            detail,
        }];
    }
    let in_plaintext = host.without_internal_tls().count();
    let in_plaintext = (in_plaintext > 0).then(|| Invalid {
        rule: "plaintext",
        detail: format!(
            "{in_plaintext} instances have no port for TLS from other apps, so that all are reached in plaintext"
        ),
    });
    unreachable(host.pools())
        .into_iter()
        .chain(in_plaintext)
        .chain(in_no_sidecar(host))
        .collect()
}

/// A Sidecar names its hosts with a dot. What is no domain name at all is reported by its ServiceEntry.
fn in_no_sidecar(host: HostView<'_>) -> Option<Invalid> {
    domain(host.name.as_str()).ok()?;
    let Invalid { rule, detail } = full_name(host.name.as_str()).err()?;
    let detail = format!("{detail}: no Sidecar can name it, so no app with a proxy reaches it");
    Some(Invalid { rule, detail })
}
