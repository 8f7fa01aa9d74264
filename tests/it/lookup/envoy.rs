//! Where a request goes through an Envoy that has its configuration from a reader: the ingress, and the one beside an
//! app for internal hostnames.
//!
//! After `buildGatewayHTTPRouteConfig` and `route.go` of Istio 1.1.17 and of today's, and Envoy's own rules: the virtual
//! host with the most specific domain, the first route of it that matches, the weighted clusters of that, and of a
//! cluster each endpoint alike. Paths are taken as they come (`pathNormalization: NONE`). Not told apart is the port in
//! a Host header: today's Envoys ignore it, while Pilots up to 1.8 write the listener's own into the domains.

mod clusters;
mod path;
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddrV4,
    rc::Rc,
};

use copilot::snapshot::Snapshot;
use regex::Regex;

use self::{
    clusters::{Clusters, Service, services},
    path::{Path, authority},
};
use super::{
    messages::{HttpMatchRequest, HttpRoute, LbPolicy},
    reader::{Config, Reader},
};

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The proxy answers by itself.
    Status(u16),
    /// Endpoints answer.
    Shared(Vec<Target>),
}

/// An endpoint that answers a part of the requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// `None`: the cluster is not there or has no endpoint, and the proxy answers 503.
    pub endpoint: Option<SocketAddrV4>,
    /// Whether that is because there is no such service.
    pub is_missing: bool,
    /// Of a hundred requests.
    pub share: f64,
    /// The service, with its subset where it is one.
    pub cluster: String,
    /// As the service's port says.
    pub protocol: String,
    /// How an endpoint is picked, where that is said.
    pub policy: Option<LbPolicy>,
}

/// The proxies with their configuration.
#[derive(Debug)]
pub struct Envoy {
    exact: HashMap<String, Vec<Route>>,
    /// By what follows the star, with the dot.
    suffixes: HashMap<String, Vec<Route>>,
    /// Of the services of the mesh, by name and port.
    within: HashMap<(String, u32), Vec<Route>>,
    /// Every service.
    pub services: BTreeMap<String, Service>,
    /// What the reader was sent and discarded, and why.
    pub discarded: Vec<String>,
}

#[derive(Debug, Clone)]
struct Route {
    /// Of the Host headers, if not for all.
    authority: Option<Rc<Regex>>,
    path: Path,
    answer: Rc<Answer>,
}

impl Route {
    fn is_catch_all(&self) -> bool {
        self.authority.is_none() && self.path.is_catch_all()
    }
}

impl Envoy {
    /// The proxies of a reader of a snapshot.
    pub fn of_snapshot(snapshot: &Snapshot, reader: Reader) -> Self {
        Self::of_sent(Config::sent(snapshot, reader), reader)
    }

    /// The proxies of a reader that is sent so much.
    pub fn of_sent(sent: Config, reader: Reader) -> Self {
        Self::new(sent.taken_in_by(reader), reader)
    }

    fn new(config: Config, reader: Reader) -> Self {
        let services = services(&config, reader);
        let clusters = Clusters {
            services: &services,
            rules: &config.rules,
        };
        let (mut exact, mut suffixes) = (HashMap::new(), HashMap::new());
        for (host, routes) in ingress(&config, &clusters, reader) {
            match host.strip_prefix('*') {
                Some(suffix) => suffixes.insert(suffix.to_owned(), routes),
                None => exact.insert(host, routes),
            };
        }
        Self {
            exact,
            suffixes,
            within: within(&config, &clusters, reader),
            services,
            discarded: config.discarded,
        }
    }

    /// What becomes of a request, by its Host header and its target.
    pub fn ask(&self, host: &str, target: &str) -> &Answer {
        let (path, _) = target.split_once('?').unwrap_or((target, ""));
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        first(self.virtual_host(&name.to_ascii_lowercase()), host, path)
    }

    /// What becomes of an app's request to an internal hostname. Whether its Sidecar lets it know that is another matter.
    pub fn ask_within(&self, host: &str, port: u32) -> &Answer {
        first(self.within.get(&(host.to_owned(), port)), host, "/")
    }

    /// All that can become of requests through the ingress.
    pub fn answers(&self) -> impl Iterator<Item = &Answer> {
        let hosts = self.exact.values().chain(self.suffixes.values());
        hosts.flatten().map(|route| &*route.answer)
    }

    /// Exact domains before wildcards, and of those the longest.
    fn virtual_host(&self, host: &str) -> Option<&Vec<Route>> {
        // A star stands for one character at least.
        let suffixes = (1..host.len()).filter_map(|at| host.get(at..));
        let wildcards = suffixes.filter_map(|suffix| self.suffixes.get(suffix));
        self.exact
            .get(host)
            .or_else(|| wildcards.into_iter().next())
            .or_else(|| self.suffixes.get(""))
    }
}

/// The first route that matches.
fn first<'a>(routes: Option<&'a Vec<Route>>, host: &str, path: &str) -> &'a Answer {
    let routes = routes.into_iter().flatten();
    let mut matching = routes.filter(|route| {
        let authority = route.authority.as_ref();
        authority.is_none_or(|regex| regex.is_match(host)) && route.path.matches(path)
    });
    let found = matching.next();
    found.map_or(&Answer::Status(404), |route| &route.answer)
}

/// The virtual hosts of the gateways' HTTP servers.
fn ingress(
    config: &Config,
    clusters: &Clusters<'_>,
    reader: Reader,
) -> BTreeMap<String, Vec<Route>> {
    let mut hosts: BTreeMap<String, Vec<Route>> = BTreeMap::new();
    for service in &config.services {
        for server_host in server_hosts(config, service.parts().0, &service.body.gateways) {
            let own = service.body.hosts.iter();
            for host in own.filter_map(|host| narrower(host, &server_host)) {
                let routes = routes(&service.body.http, clusters, reader);
                let host = hosts.entry(host.to_ascii_lowercase()).or_default();
                host.extend(routes);
            }
        }
    }
    for routes in hosts.values_mut() {
        // Where several VirtualServices make one host, what matches everything comes last.
        routes.sort_by_key(Route::is_catch_all);
    }
    hosts
}

/// The virtual hosts of sidecars: one for each port of a service in the mesh. Of several VirtualServices for a host the
/// oldest counts; without any, its endpoints are its own.
fn within(
    config: &Config,
    clusters: &Clusters<'_>,
    reader: Reader,
) -> HashMap<(String, u32), Vec<Route>> {
    let mut hosts = HashMap::new();
    let internal = clusters.services.iter();
    for (host, service) in internal.filter(|(_, service)| service.is_internal) {
        let mut services = config.services.iter().map(|service| &service.body);
        let own = services.find(|own| own.gateways.is_empty() && own.hosts.contains(host));
        for port in &service.ports {
            let routes = match own {
                Some(own) => routes(&own.http, clusters, reader),
                None => vec![Route {
                    authority: None,
                    path: Path::All,
                    answer: Rc::new(clusters.all_of(host, port.number)),
                }],
            };
            hosts.insert((host.clone(), port.number), routes);
        }
    }
    hosts
}

/// The hosts of the HTTP servers of the gateways that a VirtualService names; without any it is for sidecars.
fn server_hosts(config: &Config, namespace: &str, names: &[String]) -> Vec<String> {
    let is_named = |name: &str| {
        names.iter().any(|wanted| {
            let wanted = wanted.split_once('/').unwrap_or((namespace, wanted));
            name.split_once('/').unwrap_or(("", name)) == wanted
        })
    };
    let gateways = config
        .gateways
        .iter()
        .filter(|gateway| is_named(&gateway.name));
    let servers = gateways.flat_map(|gateway| &gateway.body.servers);
    let http = servers.filter(|server| {
        let port = server.port.as_ref();
        port.is_some_and(|port| port.protocol.eq_ignore_ascii_case("http") && port.number == 80)
    });
    http.flat_map(|server| &server.hosts).cloned().collect()
}

/// What two hosts have in common: the narrower one, if the other covers it.
fn narrower<'a>(one: &'a str, other: &'a str) -> Option<&'a str> {
    let covers = |wide: &str, host: &str| {
        wide.strip_prefix('*')
            .map_or(wide == host, |suffix| host.ends_with(suffix))
    };
    if covers(other, one) {
        Some(one)
    } else {
        covers(one, other).then_some(other)
    }
}

/// One for each match; none after one that matches everything.
fn routes(http: &[HttpRoute], clusters: &Clusters<'_>, reader: Reader) -> Vec<Route> {
    let mut routes = Vec::new();
    for route in http {
        let answer = Rc::new(clusters.answer(route));
        let everything = [HttpMatchRequest::default()];
        let matches = if route.matches.is_empty() {
            &everything[..]
        } else {
            &route.matches
        };
        for request in matches {
            routes.push(Route {
                authority: authority(request, reader),
                path: Path::of(request, reader),
                answer: answer.clone(),
            });
            if routes.last().is_some_and(Route::is_catch_all) {
                return routes;
            }
        }
    }
    routes
}
