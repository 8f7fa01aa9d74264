//! What a client holds, as a table for a person.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use prost::Message;

use crate::{
    istio::{self, GATEWAY, Kind, OF_HOSTS},
    model::Hostname,
    proto::istio::{
        mcp::v1alpha1::Resource,
        networking::v1alpha3::{
            DestinationRule, HttpRoute, ServiceEntry, VirtualService, client_tls_settings::TlSmode,
        },
    },
    sim::{
        cloud_foundry::INTERNAL_DOMAIN,
        sink::{Replica, State},
    },
    snapshot::Form,
};

/// Who holds it, and so how it is named.
#[derive(Debug, Clone, Copy)]
pub(super) enum Client {
    Pilot,
    Istiod,
}

/// The version of the networking types that today's istiod asks for.
pub(super) const VERSION: &str = "v1";

/// What a client holds.
#[derive(Clone, Copy)]
pub(super) struct Held<'a> {
    pub(super) state: &'a State,
    pub(super) client: Client,
}

/// A service with its share of the requests, and its endpoints.
type Shared = (String, i32, Vec<String>);

impl<'a> Held<'a> {
    /// The resources of a kind.
    fn replica(self, kind: Kind) -> Option<&'a Replica> {
        let collection = match self.client {
            Client::Pilot => kind.collection().to_owned(),
            Client::Istiod => format!("networking.istio.io/{VERSION}/{}", kind.as_str()),
        };
        self.state.collections.get(&collection)
    }

    fn get(self, kind: Kind, name: &str) -> Option<&'a Resource> {
        let form = match self.client {
            Client::Pilot => Form::Mcp,
            Client::Istiod => Form::Ads,
        };
        self.replica(kind)?.resources.get(&*form.name(name))
    }

    /// Every endpoint of a service, by the name of its ServiceEntry.
    fn endpoints(self, entry: &str) -> Vec<String> {
        let entry: ServiceEntry = body(self.get(Kind::ServiceEntry, entry));
        let endpoints = entry.endpoints.iter().flat_map(|endpoint| {
            let ports = endpoint.ports.values();
            ports.map(|port| format!("{}:{port}", endpoint.address))
        });
        endpoints.collect()
    }

    /// How the instances of a service are reached, and what is verified of them.
    fn verification(self, service: &str) -> String {
        let rule: DestinationRule = body(self.get(Kind::DestinationRule, service));
        let Some(tls) = rule.traffic_policy.and_then(|policy| policy.tls) else {
            return "in plaintext".to_owned();
        };
        // Of a service without instances it is its own name.
        let names = tls.subject_alt_names.iter();
        let guids = names.filter(|name| *name != service).count();
        let presented = match tls.mode() {
            TlSmode::Mutual => "with a certificate of the ingress",
            TlSmode::Simple | TlSmode::Disable => "without a certificate of the ingress",
        };
        format!("over TLS, {presented}; verified: the CA, and the guid ({guids} allowed)")
    }

    fn shared(self, route: &HttpRoute) -> Vec<Shared> {
        let shared = route.route.iter().map(|to| {
            let service = to.destination.clone().unwrap_or_default().host;
            let endpoints = self.endpoints(&service);
            (service, to.weight, endpoints)
        });
        shared.collect()
    }

    /// The services that take the requests for a route.
    fn services(self, host: &Hostname, path: &str) -> Vec<Shared> {
        if is_internal(host) {
            let endpoints = self.endpoints(&Kind::ServiceEntry.name(host, true));
            return vec![(host.to_string(), 100, endpoints)];
        }
        let whole = istio::service(host, path);
        let service = self.get(
            Kind::VirtualService,
            &Kind::VirtualService.name(host, false),
        );
        let service: VirtualService = body(service);
        let routes = service.http.iter().map(|route| self.shared(route));
        let is_own = |(name, ..): &Shared| istio::is_of(name, &whole);
        let mut own = routes.filter(|shared| shared.iter().all(is_own));
        own.next().unwrap_or_default()
    }

    /// Where the requests for every hostname go, whatever resources say so. Costs as much as there is.
    pub(super) fn effect(self) -> BTreeMap<String, Vec<Vec<Shared>>> {
        let mut effect = BTreeMap::new();
        let services = self.replica(Kind::VirtualService);
        for resource in services.iter().flat_map(|held| held.resources.values()) {
            let service: VirtualService = body(Some(resource));
            let routes = service.http.iter().map(|route| self.shared(route));
            effect.insert(service.hosts.concat(), routes.collect());
        }
        effect
    }
}

fn body<M: Message + Default>(resource: Option<&Resource>) -> M {
    let body = resource.and_then(|resource| resource.body.as_ref());
    body.and_then(|body| M::decode(body.value.as_slice()).ok())
        .unwrap_or_default()
}

fn is_internal(host: &Hostname) -> bool {
    host.as_str().ends_with(INTERNAL_DOMAIN)
}

/// Whether the Pilot holds the gateway, and so many resources of each kind.
pub(super) fn is_complete(state: &State, expected: [usize; 3]) -> bool {
    let count = |kind: Kind| state.names(kind.collection()).map(|names| names.len());
    count(Kind::Gateway) == Some(1) && OF_HOSTS.map(count) == expected.map(Some)
}

/// Every endpoint of a route, as the Pilot holds them.
pub(super) fn endpoints(state: &State, host: &Hostname, path: &str) -> Vec<String> {
    let held = Held {
        state,
        client: Client::Pilot,
    };
    let services = held.services(host, path).into_iter();
    services.flat_map(|(.., endpoints)| endpoints).collect()
}

/// Routes, each with what it is there for, and their services with endpoints; `withheld` says why a hostname is not served.
pub(super) fn render(
    state: &State,
    routes: impl IntoIterator<Item = (Hostname, &'static str, &'static str)>,
    withheld: impl Fn(&Hostname) -> Option<String>,
) -> Result<String, fmt::Error> {
    let held = Held {
        state,
        client: Client::Pilot,
    };
    let mut text = String::new();
    for (host, path, remark) in routes {
        writeln!(text, "{host}{path}  ({remark})")?;
        let service = Kind::VirtualService.name(&host, false);
        if held.get(Kind::VirtualService, &service).is_some() {
            writeln!(text, "         VirtualService {service}")?;
        }
        if let Some(reason) = withheld(&host) {
            writeln!(text, "         not served: {reason}")?;
            continue;
        }
        let mut shared = held.services(&host, path);
        shared.sort_by_key(|(_, weight, _)| Reverse(*weight));
        for (service, weight, endpoints) in shared {
            let endpoints = if endpoints.is_empty() {
                "no instance".to_owned()
            } else {
                endpoints.join("  ")
            };
            writeln!(text, "  {weight:>3} %  service {service}")?;
            writeln!(text, "         {endpoints}")?;
            writeln!(text, "         {}", held.verification(&service))?;
        }
    }
    let gateways = state.names(Kind::Gateway.collection());
    if gateways.unwrap_or_default().contains(&GATEWAY) {
        writeln!(text, "all external routes\n         Gateway {GATEWAY}")?;
    }
    Ok(text)
}
