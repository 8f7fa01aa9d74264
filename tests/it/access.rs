//! What Cloud Foundry guards in its own router, as every sink sees it: answered in its place, and reached by nobody.

use std::{collections::BTreeMap, time::Duration};

use copilot::{
    istio::{Kind, OF_HOSTS},
    model::{AppGuid, DomainGuid, Hostname, RouteGuid},
    proto,
    sim::{
        bbs::CellPorts,
        capi::{Destination, DomainKind, RouteSpec},
        cloud_foundry::{App, CloudFoundry, DOMAIN},
        istiod::{self, Istiod},
        sink::{self, Answer, Options, Sink, State},
    },
    tls,
};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use crate::mesh::{Daemon, LONG, collections, holds, with};

/// A foundation, its daemon, and a sink of each sort: full states and deltas, of either protocol.
struct Scene {
    foundation: CloudFoundry,
    app: App,
    config: Value,
    daemon: Daemon,
    pilots: [Sink; 2],
    istiods: [Istiod; 2],
}

/// A route of the foundation's domain.
fn name(host: &str) -> String {
    format!("{host}.{DOMAIN}")
}

/// Changes are seen by what tells of them, and never by a full read.
fn config(foundation: &CloudFoundry) -> Value {
    with(
        foundation.config(),
        &[
            ("/CAPI/TailInterval", json!("50ms")),
            ("/ListenAddressForXDS", json!("127.0.0.1:0")),
        ],
    )
}

impl Scene {
    async fn start(mut foundation: CloudFoundry) -> Self {
        let app = foundation.push(2);
        let config = config(&foundation);
        Self::resume(foundation, app, config).await
    }

    /// With a fresh daemon and sinks that hold nothing.
    async fn resume(foundation: CloudFoundry, app: App, config: Value) -> Self {
        let daemon = Daemon::start(config.clone()).await;
        let full = foundation.connect_pilot(daemon.mcp, collections());
        let full = full.await.unwrap();
        let channel = istiod::connect(daemon.xds.unwrap()).await.unwrap();
        let types = istiod::types("v1");
        let resume = State::default();
        Self {
            pilots: [full, deltas(&foundation, &daemon).await],
            istiods: [
                Istiod::open(&channel, &types).await.unwrap(),
                Istiod::open_delta(&channel, &types, resume).await.unwrap(),
            ],
            foundation,
            app,
            config,
            daemon,
        }
    }

    fn map(&self, host: &str, path: &str) -> RouteGuid {
        let route = self.foundation.create_route(host, path);
        self.foundation.map(&route, &self.app, None);
        route
    }

    /// Waits until every sink holds what is expected.
    async fn hold(&self, expected: impl Fn(&Held) -> bool) {
        for sink in &self.pilots {
            holds(sink, |state| expected(&Held::of_pilot(state))).await;
        }
        for sink in &self.istiods {
            let mut state = sink.state();
            let held = state.wait_for(|state| expected(&Held::of_istiod(state)));
            timeout(LONG, held)
                .await
                .expect("the istiod follows")
                .unwrap();
        }
    }

    /// Fails the test, when the watch is ended, if any sink was ever told of a service or an endpoint of the hostname.
    fn watch(&self, host: &str) -> Vec<JoinHandle<()>> {
        self.watch_for(host, Held::has_service)
    }

    /// The same, for anything about the hostname.
    fn watch_for(&self, host: &str, forbidden: fn(&Held, &str) -> bool) -> Vec<JoinHandle<()>> {
        let pilots = self.pilots.iter().map(|sink| {
            let host = host.to_owned();
            let is_seen = move |state: &State| forbidden(&Held::of_pilot(state), &host);
            tokio::spawn(never(sink.state(), is_seen))
        });
        let istiods = self.istiods.iter().map(|sink| {
            let host = host.to_owned();
            let is_seen = move |state: &State| forbidden(&Held::of_istiod(state), &host);
            tokio::spawn(never(sink.state(), is_seen))
        });
        pilots.chain(istiods).collect()
    }
}

async fn deltas(foundation: &CloudFoundry, daemon: &Daemon) -> Sink {
    let file = |name: &str| foundation.folder().join(name);
    let pilot = tls::Identity {
        cert: file("pilot.crt"),
        key: file("pilot.key"),
    };
    let client = tls::client(foundation.pki.ca(), Some(&pilot)).unwrap();
    let channel = sink::connect(daemon.mcp, client).await.unwrap();
    let options = Options {
        collections: collections(),
        incremental: true,
        ..Options::default()
    };
    Sink::open(&channel, options, |_| Answer::Ack)
        .await
        .unwrap()
}

async fn never<S: Clone>(mut states: watch::Receiver<S>, forbidden: impl Fn(&S) -> bool) {
    loop {
        let state = states.borrow_and_update().clone();
        assert!(!forbidden(&state));
        drop(state);
        if states.changed().await.is_err() {
            return;
        }
    }
}

async fn end(watches: Vec<JoinHandle<()>>) {
    // Each has seen what its sink was told last.
    tokio::task::yield_now().await;
    for watch in watches {
        assert!(!watch.is_finished(), "a sink was told of what is withheld");
        watch.abort();
    }
}

/// An empty one whose cells have plain ports: services have the names that routes give them.
async fn foundation() -> CloudFoundry {
    let mut foundation = CloudFoundry::start().await.unwrap();
    foundation.cell_ports = CellPorts::Plain;
    foundation
}

/// The service of a hostname's route without a path.
fn service(host: &str) -> String {
    Kind::ServiceEntry.name(&Hostname::parse(host).unwrap(), false)
}

/// The path that is matched, in lower case: Pilots are told it as a pattern such as `/[aA](/.*)?`.
fn path(uri: &Value) -> String {
    let pattern = uri["regex"].as_str().or(uri["exact"].as_str());
    let letters = pattern.unwrap_or_default().replace("(/.*)?", "");
    let classes = letters.split('[');
    classes
        .map(|part| match part.split_once(']') {
            Some((class, rest)) => format!("{}{rest}", &class[..1]),
            None => part.to_owned(),
        })
        .collect()
}

/// What a sink holds: resources of each kind as JSON, by their names without a namespace.
struct Held(BTreeMap<Kind, BTreeMap<String, Value>>);

impl Held {
    fn of_pilot(state: &State) -> Self {
        Self::new(|kind| {
            let held = state.collections.get(kind.collection());
            let resources = held.map(|held| held.resources.clone());
            resources.unwrap_or_default()
        })
    }

    fn of_istiod(state: &State) -> Self {
        Self::new(|kind| {
            let kind = kind.as_str();
            let held = state
                .collections
                .get(&format!("networking.istio.io/v1/{kind}"));
            let resources = held.map(|held| held.resources.clone());
            resources.unwrap_or_default()
        })
    }

    fn new(
        resources: impl Fn(Kind) -> BTreeMap<String, proto::istio::mcp::v1alpha1::Resource>,
    ) -> Self {
        let of_kind = |kind: Kind| {
            let resources = resources(kind).into_iter();
            let resources = resources.map(|(name, resource)| {
                let name = name.rsplit('/').next().unwrap_or_default().to_owned();
                let body = proto::any_to_json(resource.body.as_ref().unwrap()).unwrap();
                (name, body)
            });
            (kind, resources.collect())
        };
        Self(OF_HOSTS.map(of_kind).into())
    }

    fn get(&self, kind: Kind, host: &str) -> Option<&Value> {
        let name = kind.name(&Hostname::parse(host).unwrap(), false);
        self.0[&kind].get(&name)
    }

    /// Anything by which the hostname's instances can be reached.
    fn has_service(&self, host: &str) -> bool {
        let service = service(host);
        // Those of its paths, and of parts of its requests, have labels in front.
        let is_of_host = |name: &String| {
            let front = name.strip_suffix(&service);
            front.is_some_and(|front| front.is_empty() || front.ends_with('.'))
        };
        let kinds = [Kind::ServiceEntry, Kind::DestinationRule];
        kinds
            .iter()
            .any(|kind| self.0[kind].keys().any(&is_of_host))
    }

    fn endpoints(&self, host: &str) -> usize {
        let entry = self.get(Kind::ServiceEntry, host);
        let endpoints = entry.and_then(|entry| entry["endpoints"].as_array());
        endpoints.map_or(0, Vec::len)
    }

    /// For each place in the hostname's lookup: its path, and the status that it answers or the hostname it leads to.
    fn places(&self, host: &str) -> Vec<(String, String)> {
        let service = self.get(Kind::VirtualService, host);
        let http = service.and_then(|service| service["http"].as_array());
        let place = |route: &Value| {
            let path = path(&route["match"][0]["uri"]);
            let status = &route["fault"]["abort"]["httpStatus"];
            let to = &route["route"][0]["destination"]["host"];
            let answer = match status.as_u64() {
                Some(status) => status.to_string(),
                None => to.as_str().unwrap_or_default().to_owned(),
            };
            (path, answer)
        };
        http.into_iter().flatten().map(place).collect()
    }

    fn is_served(&self, host: &str) -> bool {
        let to = (String::new(), service(host));
        self.places(host) == [to] && self.endpoints(host) == 2
    }

    /// Told that it is withheld, and still able to reach it.
    fn is_refused_and_served(&self, host: &str) -> bool {
        let mut places = self.places(host).into_iter();
        places.any(|(_, answer)| answer == "502" || answer == "403") && self.has_service(host)
    }

    fn is_withheld(&self, host: &str, status: &str) -> bool {
        let everything = (String::new(), status.to_owned());
        self.places(host) == [everything] && !self.has_service(host)
    }
}

#[tokio::test]
async fn a2_a_route_that_is_bound_is_withdrawn_from_every_sink_and_comes_back_when_it_is_unbound() {
    let mut scene = Scene::start(foundation().await).await;
    let (shop, beside) = (name("shop"), name("beside"));
    let route = scene.map("shop", "");
    scene.map("beside", "");
    scene
        .hold(|held| held.is_served(&shop) && held.is_served(&beside))
        .await;

    let watches = scene.watch_for(&shop, Held::is_refused_and_served);
    scene.foundation.bind(&route, &scene.app);
    scene
        .hold(|held| held.is_withheld(&shop, "502") && held.is_served(&beside))
        .await;
    end(watches).await;
    let rejected = |page: &Value| {
        let resources = page["resources"].as_array().unwrap();
        resources.iter().any(|it| {
            let detail = it["detail"].as_str().unwrap();
            it["rule"] == "route-service"
                && it["host"] == shop
                && detail.contains(&route.to_string())
                && detail.contains("CAPI.ServeBoundRoutes")
        })
    };
    scene.daemon.shows("/debug/rejected", rejected).await;

    // Instances come and go, and with them nothing of the route.
    let watches = scene.watch(&name("shop"));
    scene.foundation.scale(&mut scene.app, 4);
    scene.hold(|held| held.endpoints(&beside) == 4).await;
    scene.foundation.scale(&mut scene.app, 2);
    scene.hold(|held| held.endpoints(&beside) == 2).await;
    end(watches).await;

    scene.foundation.unbind(&route, &scene.app);
    scene.hold(|held| held.is_served(&shop)).await;
    scene
        .daemon
        .shows("/debug/rejected", |page| !rejected(page))
        .await;
    scene.daemon.end().await;
}

#[tokio::test]
async fn a2_a_daemon_that_starts_never_serves_what_is_bound() {
    let mut foundation = foundation().await;
    let app = foundation.push(2);
    let route = foundation.create_route("shop", "");
    foundation.map(&route, &app, None);
    foundation.bind(&route, &app);
    let config = config(&foundation);
    let scene = Scene::resume(foundation, app, config).await;
    let watches = scene.watch(&name("shop"));
    scene
        .hold(|held| held.is_withheld(&name("shop"), "502"))
        .await;
    end(watches).await;
    scene.daemon.end().await;
}

#[tokio::test]
async fn a4_a_path_that_is_bound_goes_neither_to_the_same_app_nor_to_a_shorter_path() {
    let scene = Scene::start(foundation().await).await;
    let shop = name("shop");
    scene.map("shop", "");
    let admin = scene.map("shop", "/admin");
    scene.foundation.bind(&admin, &scene.app);
    let place = |path: &str, answer: &str| (path.to_owned(), answer.to_owned());
    let expected = [place("/admin", "502"), place("", &service(&shop))];
    scene
        .hold(|held| held.places(&shop) == expected && held.endpoints(&shop) == 2)
        .await;

    // The other way round: what is above it is bound.
    let scene = Scene::start(foundation().await).await;
    let above = scene.map("shop", "");
    scene.map("shop", "/public");
    scene.foundation.bind(&above, &scene.app);
    let public = format!("public.cf--path.{}", service(&shop));
    let expected = [place("/public", &public), place("", "502")];
    scene
        .hold(|held| {
            let entries = &held.0[&Kind::ServiceEntry];
            let is_alone = entries.keys().eq([&public]);
            held.places(&shop) == expected && is_alone
        })
        .await;
}

#[tokio::test]
async fn a1_an_enforced_hostname_under_an_open_wildcard_answers_403() {
    let foundation = foundation().await;
    let mut scene_config = config(&foundation);
    let secure = name("secure");
    scene_config["MeshDomains"] = json!([DOMAIN, format!("*.{DOMAIN}"), "apps.internal"]);
    let mut foundation = foundation;
    let app = foundation.push(2);
    let open = foundation.create_route("*", "");
    foundation.map(&open, &app, None);
    let add = |host: &str| {
        let mut state = foundation.capi.state();
        let domain = state.add_enforced_domain(&secure);
        let spec = RouteSpec::new(&domain, host).to(Destination::web(&app.guid));
        state.create_route(spec)
    };
    add("");
    let daemon = Daemon::start(scene_config).await;
    let pilot = foundation
        .connect_pilot(daemon.mcp, collections())
        .await
        .unwrap();
    let wildcard = name("*");
    holds(&pilot, |state| {
        let held = Held::of_pilot(state);
        held.is_withheld(&secure, "403") && held.is_served(&wildcard)
    })
    .await;
    daemon.end().await;
}

#[tokio::test]
async fn a2_a_bound_hostname_that_istio_refuses_is_not_the_wildcards() {
    let scene = Scene::start(foundation().await).await;
    let (wildcard, host) = (name("*"), name("under_score"));
    scene.map("*", "");
    scene.hold(|held| held.is_served(&wildcard)).await;
    let to = |service: String| (String::new(), service);
    let (open, own) = (to(service(&wildcard)), to(service(&host)));

    let route = scene.map("under_score", "");
    let served = [own, open.clone()];
    scene
        .hold(|held| held.places(&wildcard) == served && held.endpoints(&host) == 2)
        .await;
    scene.foundation.bind(&route, &scene.app);
    let withheld = [to("502".to_owned()), open];
    scene
        .hold(|held| held.places(&wildcard) == withheld && !held.has_service(&host))
        .await;
    scene.foundation.unbind(&route, &scene.app);
    scene
        .hold(|held| held.places(&wildcard) == served && held.endpoints(&host) == 2)
        .await;
    scene.daemon.end().await;
}

/// A domain that comes and goes, beside that of the foundation.
const AGAIN: &str = "again.example.com";

/// Adds it, with a route to the app.
fn add_again(foundation: &CloudFoundry, app: &AppGuid, enforced: bool) -> DomainGuid {
    let mut state = foundation.capi.state();
    let domain = if enforced {
        state.add_enforced_domain(AGAIN)
    } else {
        state.add_domain(AGAIN, DomainKind::Http)
    };
    state.create_route(RouteSpec::new(&domain, "shop").to(Destination::web(app)));
    domain
}

/// Both domains are the mesh's, and every sink holds the route in the second, which is open.
async fn open_again() -> (Scene, DomainGuid) {
    let mut foundation = foundation().await;
    let mut config = config(&foundation);
    config["MeshDomains"] = json!([DOMAIN, AGAIN]);
    let app = foundation.push(2);
    let domain = add_again(&foundation, &app.guid, false);
    let scene = Scene::resume(foundation, app, config).await;
    scene.map("beside", "");
    let shop = format!("shop.{AGAIN}");
    scene
        .hold(|held| held.is_served(&shop) && held.is_served(&name("beside")))
        .await;
    (scene, domain)
}

impl Scene {
    /// The domain is deleted, and made anew.
    fn make_anew(&self, domain: &DomainGuid, enforced: bool) -> DomainGuid {
        self.foundation.capi.state().advance(1);
        self.foundation.capi.state().delete_domain(domain);
        add_again(&self.foundation, &self.app.guid, enforced)
    }
}

#[tokio::test]
async fn a1_a_domain_that_is_made_anew_with_enforcement_is_withdrawn_without_a_full_read() {
    let (mut scene, first) = open_again().await;
    let shop = format!("shop.{AGAIN}");
    let watches = scene.watch_for(&shop, Held::is_refused_and_served);
    let second = scene.make_anew(&first, true);
    scene.hold(|held| held.is_withheld(&shop, "403")).await;
    end(watches).await;

    let watches = scene.watch(&shop);
    scene.foundation.scale(&mut scene.app, 4);
    scene
        .hold(|held| held.endpoints(&name("beside")) == 4)
        .await;
    scene.foundation.scale(&mut scene.app, 2);
    scene.hold(|held| held.is_served(&name("beside"))).await;
    end(watches).await;

    scene.make_anew(&second, false);
    scene.hold(|held| held.is_served(&shop)).await;
    scene.daemon.end().await;
}

#[tokio::test]
async fn a1_a_domain_that_was_enforced_while_cloud_controller_was_down_is_withdrawn_afterwards() {
    let (scene, first) = open_again().await;
    let shop = format!("shop.{AGAIN}");
    scene.foundation.capi.stop().await;
    scene.daemon.reports("capi_tail", "connect").await;
    let watches = scene.watch_for(&shop, Held::is_refused_and_served);
    scene.make_anew(&first, true);
    scene.foundation.capi.resume().await.unwrap();
    scene.hold(|held| held.is_withheld(&shop, "403")).await;
    end(watches).await;
    scene.daemon.end().await;
}

#[tokio::test]
async fn a1_a_daemon_that_starts_never_serves_what_is_enforced_be_cloud_controller_there_or_not() {
    let (mut scene, first) = open_again().await;
    let shop = format!("shop.{AGAIN}");
    scene.make_anew(&first, true);
    for is_down in [false, true] {
        let Scene {
            foundation,
            app,
            config,
            daemon,
            ..
        } = scene;
        daemon.end().await;
        if is_down {
            foundation.capi.stop().await;
        }
        scene = Scene::resume(foundation, app, config).await;
        let watches = scene.watch(&shop);
        if is_down {
            scene.daemon.reports("capi_routes", "connect").await;
            scene.foundation.capi.resume().await.unwrap();
        }
        scene
            .hold(|held| held.is_withheld(&shop, "403") && held.is_served(&name("beside")))
            .await;
        end(watches).await;
    }
    scene.daemon.end().await;
}

#[tokio::test]
async fn bound_routes_are_served_where_the_operator_says_so() {
    let mut foundation = foundation().await;
    let app = foundation.push(2);
    let route = foundation.create_route("shop", "");
    foundation.map(&route, &app, None);
    foundation.bind(&route, &app);
    let daemon = Daemon::start(with(
        config(&foundation),
        &[("/CAPI/ServeBoundRoutes", json!(true))],
    ))
    .await;
    let pilot = foundation
        .connect_pilot(daemon.mcp, collections())
        .await
        .unwrap();
    holds(&pilot, |state| {
        Held::of_pilot(state).is_served(&name("shop"))
    })
    .await;
    daemon.end().await;
}

#[tokio::test]
async fn a3_cloud_controller_goes_down_and_what_is_withheld_stays_so() {
    let mut scene = Scene::start(foundation().await).await;
    let route = scene.map("shop", "");
    scene.map("beside", "");
    scene.foundation.bind(&route, &scene.app);
    let (shop, beside) = (name("shop"), name("beside"));
    scene
        .hold(|held| held.is_withheld(&shop, "502") && held.is_served(&beside))
        .await;
    let watches = scene.watch(&name("shop"));
    scene.foundation.capi.stop().await;
    scene.daemon.reports("capi_tail", "connect").await;
    scene.foundation.scale(&mut scene.app, 3);
    scene.hold(|held| held.endpoints(&beside) == 3).await;
    scene.foundation.capi.resume().await.unwrap();
    timeout(Duration::from_secs(30), scene.daemon.recovers("capi_tail"))
        .await
        .unwrap();
    end(watches).await;
}
