//! As a real gorouter answered, recorded for ten foundations.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use copilot::sim::capi::{Destination, DomainKind, RouteSpec};
use serde::Deserialize;

use super::{WEB, host};
use crate::{
    client::Ask,
    expect::{Answerer, expect},
    scenario::{Run, Tally},
};

/// The domain of all that was recorded: here each foundation has one of its own.
const RECORDED: &str = "example.com";

/// A foundation, and the requests to it.
#[derive(Deserialize)]
struct Recorded {
    seed: u64,
    apps: BTreeMap<String, RecordedApp>,
    routes: Vec<RecordedRoute>,
    /// Host header, target, app, status.
    requests: Vec<(String, String, Option<String>, u16)>,
}

#[derive(Deserialize)]
struct RecordedApp {
    instances: u32,
    running: bool,
}

#[derive(Deserialize)]
struct RecordedRoute {
    host: String,
    domain: String,
    path: String,
    app: String,
}

pub(super) async fn as_recorded(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    let all = include_str!("../../../fixtures/gorouter/lookup.json");
    let all: Vec<Recorded> = serde_json::from_str(all)?;
    let mut wanted = Vec::new();
    for recorded in all {
        recorded.start(run).await?;
        wanted.extend(recorded.wanted()?);
    }
    let client = run.mesh.ingress.client();
    expect(&client, tally, 1, &wanted).await;
    // More than a row can tell apart.
    let answered = std::mem::take(&mut tally.answers).into_values().sum();
    tally
        .answers
        .insert("as the gorouter did".to_owned(), answered);
    Ok(())
}

impl Recorded {
    async fn start(&self, run: &mut Run<'_>) -> Result<()> {
        let stage = &mut run.mesh.stage;
        let mut guids = BTreeMap::new();
        for (name, recorded) in &self.apps {
            let instances = if recorded.running {
                recorded.instances
            } else {
                0
            };
            let app = stage.push(&self.app(name), instances, WEB).await?;
            guids.insert(name, app.guid.clone());
            run.apps.push(app);
        }
        let mut controller = stage.foundation.capi.state();
        let mut domains = BTreeMap::new();
        for route in &self.routes {
            let name = self.name(&route.domain)?;
            let domain = domains
                .entry(&route.domain)
                .or_insert_with(|| controller.add_domain(&name, DomainKind::Http));
            let to = Destination::web(&guids[&route.app]);
            let spec = RouteSpec::new(domain, &route.host).path(&route.path).to(to);
            controller.create_route(spec);
        }
        Ok(())
    }

    fn wanted(&self) -> Result<Vec<(Ask, Answerer)>> {
        let wanted = self.requests.iter().map(|(host, target, app, _)| {
            // What is compared is the app: where there is none, an ingress has statuses of its own.
            let answerer = match app {
                Some(app) => self.app(app).as_str().into(),
                None => Answerer::nobody(),
            };
            Ok((Ask::get(&self.name(host)?, target), answerer))
        });
        wanted.collect()
    }

    fn app(&self, name: &str) -> String {
        format!("{name} of {}", self.seed)
    }

    /// A name of the foundation, with a port or without, below its own domain.
    fn name(&self, recorded: &str) -> Result<String> {
        let parts = recorded.split_once(RECORDED);
        let (before, after) = parts.with_context(|| format!("{recorded} is of another domain"))?;
        Ok(format!(
            "{before}{}{after}",
            host(&format!("gorouter-{}", self.seed))
        ))
    }
}
