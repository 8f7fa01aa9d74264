//! Where requests go through a whole daemon, case by case: a foundation, what is polled from it over real sockets, and
//! what a Pilot and an istiod then hold.

mod tables;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use copilot::{
    model::{LoadBalancing, Protocol},
    sim::{
        bbs::InstanceSpec,
        capi::{Destination, DomainKind, RouteSpec},
        cloud_foundry::{App, CloudFoundry},
        istiod::{self, Istiod},
        sink::State,
    },
};
use serde_json::{Value, json};
use tokio::{sync::watch, time::timeout};

use super::{
    envoy::{Answer, Envoy, Target},
    reader::{Config, Reader},
    verdict,
};
use crate::mesh::{Daemon, collections, with};

/// One case. In its names `$` stands for a domain of its own.
#[derive(Default)]
struct Case {
    name: &'static str,
    apps: Vec<(&'static str, u32)>,
    routes: Vec<CaseRoute>,
    asks: Vec<Ask>,
}

struct CaseRoute {
    /// `host.$/path`.
    url: &'static str,
    to: Vec<(&'static str, Option<u32>, Protocol)>,
    options: Value,
}

struct Ask {
    host: &'static str,
    target: &'static str,
    /// App, of a hundred requests, and what is spoken to it; empty where nobody answers.
    right: Vec<(&'static str, f64, &'static str)>,
    choice: Option<LoadBalancing>,
}

fn case(name: &'static str) -> Case {
    Case {
        name,
        ..Case::default()
    }
}

impl Case {
    /// An app with so many instances.
    fn app(mut self, name: &'static str, instances: u32) -> Self {
        self.apps.push((name, instances));
        self
    }

    fn route(self, url: &'static str, app: &'static str) -> Self {
        self.shared(url, &[(app, None, Protocol::Http1)])
    }

    fn shared(mut self, url: &'static str, to: &[(&'static str, Option<u32>, Protocol)]) -> Self {
        self.routes.push(CaseRoute {
            url,
            to: to.into(),
            options: json!({}),
        });
        self
    }

    /// Of the last route.
    fn options(mut self, options: Value) -> Self {
        self.routes.last_mut().unwrap().options = options;
        self
    }

    fn asks(mut self, host: &'static str, target: &'static str, app: &'static str) -> Self {
        self.asks.push(Ask {
            host,
            target,
            right: vec![(app, 100.0, "http")],
            choice: None,
        });
        self
    }

    fn asks_in_vain(mut self, host: &'static str, target: &'static str) -> Self {
        self.asks.push(Ask {
            host,
            target,
            right: vec![],
            choice: None,
        });
        self
    }

    fn shares(
        mut self,
        host: &'static str,
        target: &'static str,
        right: &[(&'static str, f64, &'static str)],
    ) -> Self {
        self.asks.push(Ask {
            host,
            target,
            right: right.into(),
            choice: None,
        });
        self
    }

    /// Of the last request.
    fn picked(mut self, choice: LoadBalancing) -> Self {
        self.asks.last_mut().unwrap().choice = Some(choice);
        self
    }
}

/// A foundation with every case in a domain of its own, and who is at which cell.
struct Stage {
    foundation: CloudFoundry,
    domains: BTreeSet<String>,
    /// Case and app; each app has a cell of its own.
    cells: BTreeMap<IpAddr, (&'static str, &'static str)>,
}

impl Stage {
    async fn of(cases: &[Case]) -> Self {
        let foundation = CloudFoundry::start().await.unwrap();
        let mut stage = Self {
            foundation,
            domains: BTreeSet::new(),
            cells: BTreeMap::new(),
        };
        for case in cases {
            stage.add(case);
        }
        stage
    }

    fn add(&mut self, case: &Case) {
        let pushed = case.apps.iter();
        let pushed = pushed.map(|(name, count)| (*name, self.push(case.name, name, *count)));
        let apps: BTreeMap<&str, App> = pushed.collect();
        let mut domains = BTreeMap::new();
        for route in &case.routes {
            let url = case.url(route.url);
            let (name, path) = url.split_at(url.find('/').unwrap_or(url.len()));
            let (host, domain) = name.split_once('.').unwrap();
            self.domains.insert(domain.to_owned());
            let mut state = self.foundation.capi.state();
            let guid = domains
                .entry(domain.to_owned())
                .or_insert_with(|| state.add_domain(domain, DomainKind::Http));
            let mut spec = RouteSpec::new(guid, host).path(path);
            spec.options = Some(route.options.clone());
            for (app, weight, protocol) in &route.to {
                spec = spec.to(Destination {
                    weight: *weight,
                    protocol: *protocol,
                    ..Destination::web(&apps[app].guid)
                });
            }
            state.create_route(spec);
        }
    }

    fn push(&mut self, case: &'static str, name: &'static str, instances: u32) -> App {
        let app = self.foundation.push(0);
        self.foundation.bbs.scale(&app.process, instances);
        let n = u8::try_from(self.cells.len()).unwrap();
        let cell = IpAddr::from([10, 1, n, 1]);
        self.cells.insert(cell, (case, name));
        for (index, host) in (0..instances).zip(61_000..) {
            let container = [10, 255, n, u8::try_from(index).unwrap()].into();
            let spec = InstanceSpec::new(cell, container, vec![(8080, host)]);
            self.foundation
                .bbs
                .start_instance(&app.process, index, &spec);
        }
        app
    }

    /// What of a case goes wrong through an Envoy.
    fn wrong(&self, case: &Case, envoy: &Envoy, reader: Reader) -> Vec<String> {
        let asked = case.asks.iter().filter_map(|ask| {
            let targets = match envoy.ask(&case.url(ask.host), ask.target) {
                Answer::Shared(targets) => &targets[..],
                Answer::Status(_) => &[],
            };
            let wrong = !self.is_right(case, ask, targets, reader);
            wrong.then(|| {
                let Ask {
                    host,
                    target,
                    right,
                    ..
                } = ask;
                format!(
                    "{} {reader:?} {host}{target}: {targets:?} instead of {right:?}",
                    case.name
                )
            })
        });
        asked.collect()
    }

    fn is_right(&self, case: &Case, ask: &Ask, targets: &[Target], reader: Reader) -> bool {
        let mut shares: BTreeMap<(&str, &str), f64> = BTreeMap::new();
        for target in targets {
            if let Some(at) = target.endpoint {
                let (of_case, app) = self.cells[&IpAddr::from(*at.ip())];
                assert_eq!(of_case, case.name, "an app of another case");
                *shares.entry((app, &target.protocol)).or_default() += target.share;
            }
        }
        let near = |(app, share, spoken): &(&str, f64, &str)| {
            let got = shares.get(&(*app, *spoken));
            got.is_some_and(|got| (got - share).abs() < 1e-9)
        };
        let policy = ask
            .choice
            .as_ref()
            .map(|choice| verdict::policy(choice, reader));
        let clusters: BTreeSet<_> = targets.iter().map(|target| &target.cluster).collect();
        shares.len() == ask.right.len()
            && ask.right.iter().all(near)
            && targets.iter().all(|target| target.policy == policy)
            && (policy.is_none() || clusters.len() == 1)
    }
}

impl Case {
    fn url(&self, pattern: &str) -> String {
        pattern.replace('$', &format!("{}.example.com", self.name))
    }
}

/// Reads until every case is right, or for a while.
async fn settled(
    mut held: watch::Receiver<State>,
    stage: &Stage,
    cases: &[Case],
    readers: &[Reader],
) -> Vec<String> {
    let mut wrong = Vec::new();
    let right = held.wait_for(|state| {
        wrong.clear();
        for reader in readers {
            let envoy = Envoy::of_sent(Config::of_sink(state, *reader), *reader);
            wrong.extend(
                cases
                    .iter()
                    .flat_map(|case| stage.wrong(case, &envoy, *reader)),
            );
        }
        wrong.is_empty()
    });
    // What is wrong after that is said by the caller.
    drop(timeout(Duration::from_secs(10), right).await);
    wrong
}

async fn every_case_is_right_for_a_pilot_and_an_istiod(cases: &[Case]) {
    let stage = Stage::of(cases).await;
    let foundation = &stage.foundation;
    let config = with(
        foundation.config(),
        &[
            ("/ListenAddressForXDS", json!("127.0.0.1:0")),
            ("/MeshDomains", json!(stage.domains)),
        ],
    );
    let daemon = Daemon::start(config).await;
    daemon.ready().await;
    let pilot = foundation
        .connect_pilot(daemon.mcp, collections())
        .await
        .unwrap();
    let channel = istiod::connect(daemon.xds.unwrap()).await.unwrap();
    let istiod = Istiod::open(&channel, &istiod::types("v1")).await.unwrap();
    let (pilots, istiods) = Reader::ALL.split_at(Reader::ALL.len() - 1);
    let (by_pilots, by_istiods) = tokio::join!(
        settled(pilot.state(), &stage, cases, pilots),
        settled(istiod.state(), &stage, cases, istiods),
    );
    let wrong: Vec<_> = by_pilots.into_iter().chain(by_istiods).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn hostnames_and_paths_lead_where_the_gorouter_goes() {
    every_case_is_right_for_a_pilot_and_an_istiod(&tables::lookups()).await;
}

#[tokio::test]
async fn apps_of_one_route_have_their_shares_and_their_protocols() {
    every_case_is_right_for_a_pilot_and_an_istiod(&tables::shares()).await;
}
