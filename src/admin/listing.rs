//! The routes and instances that there are.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::SystemTime,
};

use axum::{
    extract::{Query, State},
    http::StatusCode,
    response::Response,
};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Semaphore, oneshot},
    task::spawn_blocking,
};

use super::{
    Sources,
    page::{Columns, Refusal, Wants, ago, timestamp},
};
use crate::{
    explain::{Everything, Part, Question, from_nanos},
    model::{Instance, Route, Workload},
};

/// Lines that are shown if nobody asks for more: a person reads no more.
const LIMIT: usize = 1000;
/// The most that are shown, whoever asks.
const MOST: usize = 10_000;

/// Each looks at all routes and instances, so few are made at a time; the others wait.
static AT_ONCE: Semaphore = Semaphore::const_new(2);

/// What to show.
#[derive(Debug, Deserialize)]
pub(super) struct Filter {
    /// A part of the hostname.
    host: Option<Part>,
    /// The beginning of the app's guid.
    app: Option<String>,
    /// The cell's address.
    cell: Option<String>,
    limit: Option<usize>,
}

/// Some of many.
#[derive(Debug, Serialize)]
struct Listing<T> {
    of: usize,
    shown: Vec<T>,
}

/// A route.
#[derive(Debug, Serialize)]
struct RouteLine {
    url: String,
    guid: String,
    internal: bool,
    refused: bool,
    /// Where it leads: app, process type, port.
    destinations: Vec<String>,
    /// How many instances its destinations have that run and are ready, where the BBS says whose they are. Whether each is
    /// reached is another question.
    running: usize,
}

/// An instance.
#[derive(Debug, Serialize)]
struct InstanceLine {
    guid: String,
    app: String,
    process_type: String,
    cell: String,
    ports: Vec<u16>,
    routable: bool,
    #[serde(serialize_with = "timestamp")]
    since: SystemTime,
}

impl Filter {
    fn takes_host(&self, host: &str) -> bool {
        let wanted = self.host.as_ref();
        wanted.is_none_or(|wanted| wanted.is_in(host))
    }

    fn takes_app(&self, app: &str) -> bool {
        let wanted = self.app.as_ref();
        wanted.is_none_or(|wanted| app.starts_with(wanted.as_str()))
    }

    /// Whose instances are behind the hostname, if one was asked for.
    fn workloads<'r>(&self, routes: &'r [Arc<Route>]) -> Option<BTreeSet<&'r Workload>> {
        self.host.as_ref()?;
        let routes = routes.iter();
        let wanted = routes.filter(|route| self.takes_host(route.host.as_str()));
        let destinations = wanted.flat_map(|route| &route.destinations);
        Some(destinations.map(|to| &to.workload).collect())
    }

    /// As many as are to be shown of what is there, in order, as lines.
    fn listing<T, L>(&self, of: &[T], line: impl FnMut(&T) -> L) -> Listing<L> {
        let limit = self.limit.unwrap_or(LIMIT).min(MOST);
        Listing {
            of: of.len(),
            shown: of.iter().take(limit).map(line).collect(),
        }
    }
}

/// Makes a listing beside the threads that serve.
pub(super) async fn list<T: Send + 'static>(
    sources: &Sources,
    make: impl FnOnce(Everything) -> T + Send + 'static,
) -> Result<T, Refusal> {
    let failed = |_| {
        let said = "the listing has failed\n".to_owned();
        (StatusCode::INTERNAL_SERVER_ERROR, said)
    };
    let permit = AT_ONCE.acquire().await.expect("it is never closed");
    let everything = sources.everything().await?;
    let listing = spawn_blocking(move || {
        // Whoever asked may be gone, and the work goes on.
        let _permit = permit;
        make(everything)
    });
    listing.await.map_err(failed)
}

impl Sources {
    async fn everything(&self) -> Result<Everything, Refusal> {
        let (reply, told) = oneshot::channel();
        self.ask(Question::Everything(reply), told).await
    }

    /// Asks the owner of the table.
    pub(super) async fn ask<T>(
        &self,
        question: Question,
        told: oneshot::Receiver<T>,
    ) -> Result<T, Refusal> {
        let gone = || {
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "shutting down\n".to_owned(),
            )
        };
        let sent = self.questions.send(question).await;
        sent.map_err(|_| gone())?;
        told.await.map_err(|_| gone())
    }
}

pub(super) async fn routes(
    State(sources): State<Arc<Sources>>,
    Query(filter): Query<Filter>,
    wants: Wants,
) -> Result<Response, Refusal> {
    list(&sources, move |Everything { routes, instances }| {
        let mut running: BTreeMap<&Workload, usize> = BTreeMap::new();
        let routable = instances.iter().filter(|instance| instance.routable);
        for workload in routable.filter_map(|instance| instance.workload.as_ref()) {
            *running.entry(workload).or_default() += 1;
        }
        let is_wanted = |route: &&Arc<Route>| {
            let mut apps = route.destinations.iter();
            let has_app = apps.any(|to| filter.takes_app(&to.workload.app.to_string()));
            filter.takes_host(route.host.as_str()) && (has_app || filter.app.is_none())
        };
        let mut wanted: Vec<_> = routes.iter().filter(is_wanted).collect();
        wanted.sort_unstable_by_key(|route| (&route.host, &route.path));
        wants.page(&filter.listing(&wanted, |route| RouteLine::new(route, &running)))
    })
    .await
}

pub(super) async fn instances(
    State(sources): State<Arc<Sources>>,
    Query(filter): Query<Filter>,
    wants: Wants,
) -> Result<Response, Refusal> {
    list(&sources, move |Everything { routes, instances }| {
        let of_host = filter.workloads(&routes);
        let mut wanted: Vec<_> = instances
            .iter()
            .map(|instance| (app(instance), instance))
            .filter(|(app, instance)| {
                let cell = filter.cell.as_ref();
                let workload = instance.workload.as_ref();
                let is_of = |wanted: &BTreeSet<_>| workload.is_some_and(|own| wanted.contains(own));
                filter.takes_app(app)
                    && of_host.as_ref().is_none_or(is_of)
                    && cell.is_none_or(|cell| instance.host_address.to_string() == *cell)
            })
            .collect();
        wanted.sort_unstable_by(|(a, one), (b, other)| (a, &one.guid).cmp(&(b, &other.guid)));
        wants.page(&filter.listing(&wanted, |(app, instance)| InstanceLine::new(app, instance)))
    })
    .await
}

/// Whose an instance is, as far as that is known.
fn app(instance: &Instance) -> String {
    match &instance.workload {
        Some(workload) => workload.app.to_string(),
        None => instance.process.capi_process().to_string(),
    }
}

impl RouteLine {
    fn new(route: &Route, running: &BTreeMap<&Workload, usize>) -> Self {
        let workloads = route.destinations.chunk_by(|a, b| a.workload == b.workload);
        let instances = workloads.filter_map(|same| running.get(&same[0].workload));
        let destinations = route.destinations.iter();
        let destinations = destinations.map(|to| {
            let Workload { app, process_type } = &to.workload;
            format!("{app} {process_type}:{}", to.port.number())
        });
        Self {
            url: format!("{}{}", route.host, route.path),
            guid: route.guid.to_string(),
            internal: route.internal,
            refused: route.refused.is_some(),
            destinations: destinations.collect(),
            running: instances.sum(),
        }
    }
}

impl InstanceLine {
    fn new(app: &str, instance: &Instance) -> Self {
        let workload = instance.workload.as_ref();
        Self {
            guid: instance.guid.to_string(),
            app: app.to_owned(),
            process_type: workload
                .map_or_else(String::new, |workload| workload.process_type.to_string()),
            cell: instance.host_address.to_string(),
            ports: instance.ports.iter().map(|port| port.container).collect(),
            routable: instance.routable,
            since: from_nanos(instance.since),
        }
    }
}

impl<T> Listing<T> {
    fn rest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = self.of - self.shown.len();
        if rest > 0 {
            writeln!(f, "and {rest} more: see --help for what to choose by")?;
        }
        Ok(())
    }
}

impl fmt::Display for Listing<RouteLine> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut columns = Columns::new(&["ROUTE", "RUNNING", "SORT", "GUID", "DESTINATIONS"]);
        for line in &self.shown {
            let sort = match (line.refused, line.internal) {
                (true, _) => "refused",
                (false, true) => "internal",
                (false, false) => "external",
            };
            let to = line.destinations.join(", ");
            columns.row([&line.url, &line.running, &sort, &line.guid, &to]);
        }
        write!(f, "{columns}")?;
        self.rest(f)
    }
}

impl fmt::Display for Listing<InstanceLine> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["APP", "TYPE", "INSTANCE", "CELL", "PORTS", "STATE", "SINCE"];
        let mut columns = Columns::new(&head);
        for line in &self.shown {
            let ports: Vec<_> = line.ports.iter().map(ToString::to_string).collect();
            let (ports, since) = (ports.join(","), ago(line.since));
            let state = if line.routable { "running" } else { "withheld" };
            columns.row([
                &line.app,
                &line.process_type,
                &line.guid,
                &line.cell,
                &ports,
                &state,
                &since,
            ]);
        }
        write!(f, "{columns}")?;
        self.rest(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_no_longer_than_its_ceiling_whoever_asks() {
        let filter = Filter {
            host: None,
            app: None,
            cell: None,
            limit: Some(usize::MAX),
        };
        let listing = filter.listing(&[(); 20_000], |()| ());
        assert_eq!((listing.of, listing.shown.len()), (20_000, 10_000));
    }
}
