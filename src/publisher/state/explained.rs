//! What is known of a hostname, and what has changed: for people who ask.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::SystemTime,
};

use tokio::time::Instant;
use tracing::{debug, info};

use super::{Collections, State};
use crate::{
    explain::{
        Cause, Change, DestinationFacts, Everything, Held, InstanceFacts, Known, Lookup, Refused,
        RouteFacts, Unreached, from_nanos, from_seconds,
    },
    istio::{self, Era, Kind},
    model::{AppPort, Destination, Hostname, Instance, Protocol, Refusal, Route, Weight, path},
    snapshot::{Collection, ResourceVersion},
    table::{Changes, Crowd, HostView, Pool, Subject, Unreachable},
};

/// Changes of one moment that are looked at: more is a full read, and would take long.
const MOST: usize = 256;
/// Changes that are told with what is known of a hostname.
const LATEST: usize = 5;

/// Paths that are told with it.
const PATHS: usize = 8;

/// The line of a change.
pub(super) const PUBLISHED: &str = "published";

/// A hostname that is about to change, with the services that it has.
pub(super) struct Watched {
    host: Hostname,
    keys: Vec<Arc<str>>,
    services: Vec<String>,
    /// What says how its requests are looked up, if it is external or internal.
    speakers: [String; 2],
}

/// The versions of what is made of a hostname, each by its place among the names.
type Seen = Vec<(usize, ResourceVersion)>;

impl State {
    /// All that is known of the requests for a hostname and path.
    pub fn explain(&self, host: &Hostname, path: &str, now: Instant) -> Known {
        let wider = host.wider();
        let wider = wider.filter_map(|wider| Hostname::parse(&wider).ok());
        let hosts = std::iter::once(host.clone()).chain(wider);
        let key = key(path);
        let lookups = hosts.flat_map(|name| {
            let view = self.table.host(&name);
            let view = view.filter(|view| !view.is_internal() || name == *host);
            let keys = std::iter::once(key.as_str()).chain(path::above(&key));
            let pools = keys.filter_map(|key| view?.pool(key));
            pools
                .map(|pool| self.lookup(&pool, now))
                .collect::<Vec<_>>()
        });
        let mut changes = self.journal.of(Some(host));
        changes.drain(..changes.len().saturating_sub(LATEST));
        let pools = self.table.host(host).into_iter().flat_map(HostView::pools);
        Known {
            lookups: lookups.collect(),
            paths: pools.take(PATHS).map(|pool| pool.key().into()).collect(),
            left_out: self.left_out(host, &key),
            changes,
        }
    }

    /// The longest path of a route that has no place and that would take this one.
    fn left_out(&self, host: &Hostname, asked: &str) -> Option<String> {
        let (_, left_out) = self.table.left_out(&Crowd::Host(host.clone()));
        let left_out: HashSet<_> = left_out.iter().map(|route| route.key()).collect();
        let mut keys = std::iter::once(asked).chain(path::above(asked));
        keys.find(|key| left_out.contains(*key)).map(str::to_owned)
    }

    /// All routes and instances.
    pub fn everything(&self) -> Everything {
        Everything {
            routes: self.table.all_routes(),
            instances: self.table.all_instances(),
        }
    }

    /// What has changed of late.
    pub fn changes(&self, host: Option<&Hostname>) -> Vec<Change> {
        self.journal.of(host)
    }

    fn lookup(&self, pool: &Pool<'_>, now: Instant) -> Lookup {
        let host = pool.host();
        let key: Arc<str> = pool.key().into();
        let lost: BTreeMap<_, _> = pool
            .hidden()
            .map(|(route, holder)| (&route.guid, holder.guid.to_string()))
            .collect();
        let routes = host.routes.iter().filter(|route| route.key() == *key);
        let routes = routes.map(|route| RouteFacts {
            guid: route.guid.to_string(),
            path: route.path.to_string(),
            created: from_seconds(route.created_at),
            lost_to: lost.get(&route.guid).cloned(),
            destinations: destinations(host, route),
        });
        let entries = &self.collections[Kind::ServiceEntry];
        let is_served = |name: &String| entries.of(Era::Xds).get(name).is_some();
        let place = (host.name.clone(), key.clone());
        Lookup {
            host: host.name.to_string(),
            path: key.to_string(),
            internal: host.is_internal(),
            vip: host.vip(),
            takes: !pool.is_empty(),
            refused: pool.refused().map(refused),
            routes: routes.collect(),
            services: services(pool).into_iter().filter(is_served).collect(),
            held: self.held_of(&Subject::Route(host.name.clone(), key), now),
            waits_for_services: self.holds.has(&place),
        }
    }

    fn held_of(&self, subject: &Subject, now: Instant) -> Option<Held> {
        let (source, since) = self.guard.holds(subject)?;
        let all = self.held();
        let all = all.iter().find(|all| all.source == source)?;
        Some(Held {
            feed: source.as_str(),
            age_seconds: now.saturating_duration_since(since).as_secs(),
            remaining_seconds: all.due.saturating_duration_since(now).as_secs(),
        })
    }

    /// What is to be looked at again when the pending changes are made.
    pub(super) fn watch(&self, pending: &Changes) -> Vec<Watched> {
        if self.number == 0 {
            return Vec::new();
        }
        let hosts = pending.hosts().take(MOST);
        let watched = hosts.map(|(host, touched)| {
            let mut watched = Watched {
                host: host.clone(),
                keys: touched.services().cloned().collect(),
                services: vec![Kind::ServiceEntry.name(host, true)],
                speakers: [false, true].map(|internal| Kind::VirtualService.name(host, internal)),
            };
            self.add_services(&mut watched);
            watched
        });
        watched.collect()
    }

    /// Of the routes of which something may be different: those that they may have, and those that they have.
    fn add_services(&self, watched: &mut Watched) {
        for key in watched.keys.iter().take(MOST) {
            let divided = self.divided.get(&(watched.host.clone(), key.clone()));
            let divided = divided.into_iter().flatten();
            let names = divided.map(ToString::to_string);
            let names = names.chain(istio::undivided(&watched.host, key));
            watched.services.extend(names);
        }
        watched.services.sort_unstable();
        watched.services.dedup();
    }

    /// Remembers what became of what was watched.
    pub(super) fn note_changes(&mut self, watched: Vec<Watched>, of: usize, before: &Collections) {
        let at = SystemTime::now();
        let mut others = of.saturating_sub(watched.len());
        for mut watched in watched {
            self.add_services(&mut watched);
            let cause = self.causes.remove(&watched.host);
            let collections = &self.collections;
            let services = [before, collections].map(|all| services_of(&watched, all));
            let speakers = [before, collections].map(|all| speakers_of(&watched, all));
            if services[0] == services[1] && speakers[0] == speakers[1] {
                continue;
            }
            let [endpoints_before, endpoints_after] =
                [before, collections].map(|all| endpoints_of(&watched, all));
            let change = Change {
                at,
                host: watched.host.to_string(),
                cause,
                endpoints_before,
                endpoints_after,
                lookup: speakers[0] != speakers[1],
                others: std::mem::take(&mut others),
            };
            self.log(&change);
            self.journal.add(change);
        }
        self.causes.clear();
    }

    /// Where all changes are logged, one hostname that changes all the time fills no disk.
    fn log(&self, change: &Change) {
        let Change {
            host,
            cause,
            endpoints_before,
            endpoints_after,
            lookup,
            others,
            ..
        } = change;
        let cause = cause.map(Cause::as_str);
        match &self.told_changes {
            Some(changed) if changed.begins(host.clone()) => info!(
                host,
                cause, endpoints_before, endpoints_after, lookup, others, "{PUBLISHED}"
            ),
            _ => debug!(
                host,
                cause, endpoints_before, endpoints_after, lookup, others, "{PUBLISHED}"
            ),
        }
    }
}

fn services_of(watched: &Watched, all: &Collections) -> Seen {
    versions(&watched.services, all[Kind::ServiceEntry].of(Era::Xds))
}

fn speakers_of(watched: &Watched, all: &Collections) -> Seen {
    versions(&watched.speakers, all[Kind::VirtualService].of(Era::Xds))
}

fn versions(names: &[String], of: &Collection) -> Seen {
    let names = names.iter().enumerate();
    names
        .filter_map(|(at, name)| Some((at, of.get(name)?.version)))
        .collect()
}

fn endpoints_of(watched: &Watched, all: &Collections) -> usize {
    let entries = all[Kind::ServiceEntry].of(Era::Xds);
    let entries = watched.services.iter().filter_map(|name| entries.get(name));
    entries.map(istio::endpoint_count).sum()
}

/// A path as the gorouter looks it up.
fn key(path: &str) -> String {
    let path = path.strip_suffix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    path.to_ascii_lowercase()
}

fn services(pool: &Pool<'_>) -> Vec<String> {
    let host = pool.host();
    if host.is_internal() {
        return vec![Kind::ServiceEntry.name(host.name, true)];
    }
    let parts = istio::parts(pool).into_iter();
    parts.map(|(name, _)| name).collect()
}

fn refused(why: Refusal) -> Refused {
    let rule = match why {
        Refusal::RoutePolicies => "route-policies",
        Refusal::RouteService => "route-service",
    };
    Refused {
        rule,
        status: why.status(),
    }
}

fn destinations(host: HostView<'_>, route: &Route) -> Vec<DestinationFacts> {
    let facts = |to: &Destination| DestinationFacts {
        app: to.workload.app.to_string(),
        process_type: to.workload.process_type.to_string(),
        port: to.port.number(),
        weight: match to.weight {
            Weight::Instances => None,
            Weight::Fixed(weight) | Weight::Running(weight) => Some(weight),
        },
        protocol: match to.protocol {
            Protocol::Http1 => "http1",
            Protocol::Http2 => "http2",
            Protocol::Tcp => "tcp",
        },
        instances: host
            .instances(&to.workload)
            .map(|one| instance(host, one, to.port))
            .collect(),
    };
    route.destinations.iter().map(facts).collect()
}

fn instance(host: HostView<'_>, instance: &Instance, port: AppPort) -> InstanceFacts {
    let endpoint = host.reach(instance, port);
    let unreachable = endpoint.err().map(|why| match why {
        Unreachable::TlsAlone => Unreached::TlsAlone,
        Unreachable::Taken => {
            let owner = host.successor(instance);
            Unreached::Taken(owner.map(|owner| owner.guid.to_string()))
        }
        Unreachable::NoPort if instance.mapping(port).is_none() => Unreached::NoPort,
        Unreachable::NoPort => Unreached::NoAddress,
    });
    InstanceFacts {
        guid: instance.guid.to_string(),
        cell: instance.host_address.to_string(),
        place: endpoint.ok().map(|endpoint| endpoint.at.to_string()),
        tls: endpoint.is_ok_and(|endpoint| endpoint.is_tls),
        unreachable,
        ports: instance.ports.iter().map(|port| port.container).collect(),
        since: from_nanos(instance.since),
    }
}
