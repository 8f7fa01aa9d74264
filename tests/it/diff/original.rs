//! A server of the shape that the Go Copilot gives a foundation: a service for each hostname, and a subset for each app.

use std::collections::BTreeMap;

use copilot::{
    istio::{Kind, undivided},
    model::Hostname,
    proto::istio::networking::v1alpha3::{
        Destination, DestinationRule, Gateway, HttpMatchRequest, HttpRoute, HttpRouteDestination,
        IstioEgressListener, Port, PortSelector, Server, ServiceEntry, ServicePort, Sidecar,
        StringMatch, Subset, VirtualService, WorkloadEntry, WorkloadSelector,
        service_entry::{Location, Resolution},
        string_match::MatchType,
    },
    sim::{cloud_foundry::App, sink::State},
    snapshot::{Collection, Encoded},
    tls,
};
use prost::{Message as _, Name};

use super::{Daemon, Shop, mcp};
use crate::mcp::harness::Harness;

const SHOP: &str = "shop.apps.example.com";
const PAIR: &str = "pair.apps.example.com";
const DATABASE: &str = "database.apps.internal";

/// The server, and what it serves.
pub struct Original {
    harness: Harness,
    collections: BTreeMap<&'static str, Collection>,
}

/// An app behind a hostname: with its share, the port of its containers, and where it is.
struct Backend<'a> {
    app: &'a App,
    weight: i32,
    endpoints: Vec<WorkloadEntry>,
}

impl Original {
    /// The same foundation, with the addresses that a daemon has found.
    pub async fn of(shop: &Shop, state: &State) -> Self {
        let harness = Harness::start().await;
        let mut original = Self {
            harness,
            collections: BTreeMap::new(),
        };
        original.gateway();
        original.sidecar("cloudfoundry-default-sidecar", None, "~/*");
        let source = shop.web.guid.to_string();
        original.sidecar(&source, Some(&source), &format!("internal/{DATABASE}"));

        let named = |host: &str, key: &str| {
            entry(state, &undivided(&Hostname::parse(host).unwrap(), key)[0])
        };
        let backend = |app, weight, entry: &ServiceEntry, n: Option<usize>| Backend {
            app,
            weight,
            endpoints: match n {
                None => entry.endpoints.clone(),
                Some(n) => vec![entry.endpoints[n].clone()],
            },
        };
        let cart = named(SHOP, "/cart");
        let whole = backend(&shop.web, 100, &named(SHOP, ""), None);
        let below = backend(&shop.cart, 100, &cart, None);
        original.hostname("", SHOP, &[("/Cart", vec![below]), ("", vec![whole])], &[]);
        let pair = named(PAIR, "");
        let is_cart = |endpoint: &WorkloadEntry| {
            endpoint.ports == cart.endpoints[0].ports
                && endpoint.address == cart.endpoints[0].address
        };
        let first = pair.endpoints.iter().position(is_cart).unwrap();
        let two = vec![
            backend(&shop.cart, 50, &pair, Some(first)),
            backend(&shop.database, 50, &pair, Some(1 - first)),
        ];
        original.hostname("", PAIR, &[("", two)], &[]);
        let internal = entry(
            state,
            &format!("internal/copilot-service-entry-for-{DATABASE}"),
        );
        let all = vec![backend(&shop.database, 100, &internal, None)];
        original.hostname("internal/", DATABASE, &[("", all)], &internal.addresses);
        original
    }

    /// What differs from what a daemon of the same foundation serves.
    pub async fn diff(&self, shop: &Shop, daemon: &Daemon) -> (String, i32) {
        self.harness.publish_collections(&self.collections);
        let identity = self.harness.pki.issue("pilot", &["pilot"]).unwrap();
        let tls::Identity { cert, key } = identity;
        let folder = shop.foundation.folder();
        let text = |path: &std::path::Path| path.display().to_string();
        let a = format!("localhost:{}", self.harness.address.port());
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_copilot"));
        command.args(["diff", &a, &mcp(daemon), "--settle", "0"]);
        command.args(["--ca", &text(self.harness.pki.ca())]);
        command.args(["--cert", &text(&cert), "--key", &text(&key)]);
        command.args(["--ca-b", &text(shop.foundation.pki.ca())]);
        command.args(["--cert-b", &text(&folder.join("pilot.crt"))]);
        command.args(["--key-b", &text(&folder.join("pilot.key"))]);
        super::run(command).await
    }

    /// F-17: one of three apps is stopped, and the others' weights no longer sum to 100.
    pub fn weigh_one_of_three_that_is_stopped(&mut self) {
        let collection = Kind::VirtualService.collection();
        self.change(
            collection,
            &format!("copilot-service-for-{PAIR}"),
            |service: &mut VirtualService| {
                for to in &mut service.http[0].route {
                    to.weight = 34;
                }
            },
        );
    }

    /// F-27: sources share the slice of their destination's hosts, and each adds the prefix.
    pub fn alias_the_hosts_of_sidecars(&mut self) {
        let names: Vec<_> = self.collections[Kind::Sidecar.collection()]
            .iter()
            .map(|sidecar| sidecar.name.to_owned())
            .collect();
        for name in names
            .iter()
            .filter(|name| !name.starts_with("cloudfoundry"))
        {
            self.change(Kind::Sidecar.collection(), name, |sidecar: &mut Sidecar| {
                sidecar.egress[0].hosts[0].insert_str(0, "internal/");
            });
        }
    }

    fn change<M: prost::Message + Name + Default>(
        &mut self,
        collection: &'static str,
        name: &str,
        change: impl FnOnce(&mut M),
    ) {
        let body = self.collections[collection]
            .get(name)
            .unwrap()
            .decode()
            .body
            .unwrap();
        let mut message = M::decode(&*body.value).unwrap();
        change(&mut message);
        self.add(collection, name, &message);
    }

    fn add<M: prost::Message + Name>(&mut self, collection: &'static str, name: &str, body: &M) {
        let before = self.collections.entry(collection).or_default();
        let resource = Encoded::new(name, 0, body);
        *before = before.edited(BTreeMap::from([(name.into(), Some(resource))]));
    }

    fn gateway(&mut self) {
        let body = Gateway {
            servers: vec![Server {
                port: Some(Port {
                    number: 80,
                    protocol: "http".to_owned(),
                    name: "http".to_owned(),
                }),
                hosts: vec!["*".to_owned()],
                tls: None,
            }],
            ..Gateway::default()
        };
        self.add(Kind::Gateway.collection(), "cloudfoundry-ingress", &body);
    }

    fn sidecar(&mut self, name: &str, source: Option<&str>, host: &str) {
        let body = Sidecar {
            workload_selector: source.map(|source| WorkloadSelector {
                labels: labels(source),
            }),
            egress: vec![IstioEgressListener {
                hosts: vec![host.to_owned()],
            }],
        };
        self.add(Kind::Sidecar.collection(), name, &body);
    }

    fn hostname(
        &mut self,
        namespace: &str,
        host: &str,
        paths: &[(&str, Vec<Backend<'_>>)],
        addresses: &[String],
    ) {
        let name = |what: &str| format!("{namespace}copilot-{what}-for-{host}");
        let gateways = if namespace.is_empty() {
            vec!["cloudfoundry-ingress".to_owned()]
        } else {
            Vec::new()
        };
        let service = VirtualService {
            tcp: Vec::new(),
            hosts: vec![host.to_owned()],
            gateways,
            http: paths
                .iter()
                .map(|(path, to)| http_route(host, path, to))
                .collect(),
        };
        self.add(
            Kind::VirtualService.collection(),
            &name("service"),
            &service,
        );
        let backends = || paths.iter().flat_map(|(_, backends)| backends);
        let subset = |backend: &Backend<'_>| Subset {
            name: backend.app.guid.to_string(),
            labels: labels(&backend.app.guid.to_string()),
        };
        let rule = DestinationRule {
            host: host.to_owned(),
            traffic_policy: None,
            subsets: backends().map(subset).collect(),
        };
        self.add(Kind::DestinationRule.collection(), &name("rule"), &rule);
        let endpoints = backends().flat_map(|backend| {
            backend.endpoints.iter().map(|endpoint| WorkloadEntry {
                address: endpoint.address.clone(),
                ports: BTreeMap::from([(
                    "http".to_owned(),
                    *endpoint.ports.values().next().unwrap(),
                )]),
                labels: labels(&backend.app.guid.to_string()),
                ..WorkloadEntry::default()
            })
        });
        let entry = ServiceEntry {
            export_to: Vec::new(),
            hosts: vec![host.to_owned()],
            addresses: addresses.to_vec(),
            ports: vec![ServicePort {
                number: 8080,
                protocol: "http".to_owned(),
                name: "http".to_owned(),
            }],
            location: Location::MeshInternal.into(),
            resolution: Resolution::Static.into(),
            endpoints: endpoints.collect(),
        };
        self.add(
            Kind::ServiceEntry.collection(),
            &name("service-entry"),
            &entry,
        );
    }
}

fn labels(app: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("cfapp".to_owned(), app.to_owned())])
}

fn http_route(host: &str, path: &str, backends: &[Backend<'_>]) -> HttpRoute {
    let uri = (!path.is_empty()).then(|| HttpMatchRequest {
        uri: Some(StringMatch {
            match_type: Some(MatchType::Prefix(path.to_owned())),
        }),
        ..HttpMatchRequest::default()
    });
    let to = |backend: &Backend<'_>| HttpRouteDestination {
        destination: Some(Destination {
            host: host.to_owned(),
            subset: backend.app.guid.to_string(),
            port: Some(PortSelector { number: 8080 }),
        }),
        weight: backend.weight,
    };
    HttpRoute {
        r#match: uri.into_iter().collect(),
        route: backends.iter().map(to).collect(),
        ..HttpRoute::default()
    }
}

/// A service as a Pilot of a daemon holds it.
fn entry(state: &State, name: &str) -> ServiceEntry {
    let held = &state.collections[Kind::ServiceEntry.collection()].resources;
    let held = held
        .get(name)
        .unwrap_or_else(|| panic!("{name} is not in {:?}", held.keys()));
    ServiceEntry::decode(&*held.body.as_ref().unwrap().value).unwrap()
}
