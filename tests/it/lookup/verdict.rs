//! Whether a request goes where the gorouter sends it, in the shares that its route asks for.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddrV4,
};

use copilot::model::{Destination, LoadBalancing, Protocol, Weight};

use super::{
    envoy::{Answer, Envoy, Target},
    foundation::{Member, Shared},
    messages::{ConsistentHashLb, HttpCookie, LbPolicy},
    model::Pool,
    reader::Reader,
};

type Verdict = Result<(), String>;

fn require(right: bool, wrong: impl FnOnce() -> String) -> Verdict {
    if right { Ok(()) } else { Err(wrong()) }
}

/// What has to be so whatever is asked: nothing is discarded, every service is one ServiceEntry's and no wildcard, its
/// endpoints differ, and no route leads to a service that is not there. (A Pilot that refuses services without endpoints
/// has to do without them.)
pub fn shape(envoy: &Envoy, reader: Reader) -> Verdict {
    require(envoy.discarded.is_empty(), || {
        format!("discarded: {:?}", envoy.discarded)
    })?;
    for (host, service) in &envoy.services {
        require(!host.starts_with('*'), || {
            format!("service {host} is a wildcard")
        })?;
        require(service.entries == 1, || {
            format!("{} entries for {host}", service.entries)
        })?;
        // What Envoys of the first Pilots take (`--max-obj-name-len`).
        let cluster = format!("outbound|80||{host}");
        require(cluster.len() <= 189, || {
            format!("cluster {cluster} has a long name")
        })?;
        let places = service
            .endpoints
            .iter()
            .map(|endpoint| (&endpoint.address, &endpoint.ports));
        let places: BTreeSet<_> = places.collect();
        require(places.len() == service.endpoints.len(), || {
            format!("{host}: {:?}", service.endpoints)
        })?;
    }
    let missing = envoy.answers().find_map(|answer| match answer {
        Answer::Shared(targets) => targets.iter().find(|target| target.is_missing),
        Answer::Status(_) => None,
    });
    require(reader != Reader::Istiod || missing.is_none(), || {
        format!("no service {missing:?}")
    })
}

/// Compares what is right with what a proxy does.
pub fn verdict(right: Option<&Shared>, answer: &Answer, reader: Reader) -> Verdict {
    let targets = match answer {
        Answer::Status(_) => &[][..],
        Answer::Shared(targets) => targets,
    };
    let Some(right) = right.filter(|pool| !pool.is_empty()) else {
        let answering = targets.iter().find(|target| target.endpoint.is_some());
        return require(answering.is_none(), || {
            format!("{answering:?} instead of nobody")
        });
    };
    if right.refusals().next().is_some() {
        let mut statuses = right
            .refusals()
            .map(|refusal| Answer::Status(refusal.status()));
        return require(statuses.any(|status| status == *answer), || {
            format!("{answer:?} where requests are refused: {:?}", right.routes)
        });
    }
    require(!targets.is_empty(), || {
        format!("{answer:?} instead of {:?}", right.members)
    })?;
    let lost: f64 = shares(targets, |target| target.endpoint.is_none());
    require(lost == 0.0, || {
        format!("{lost} of a hundred requests fail: {targets:?}")
    })?;
    every_endpoint_once(targets)?;
    protocols(right, targets)?;
    let divided = divided(&right.members);
    if right.routes.len() == 1 || !divided {
        proportions(right, targets, divided)?;
    }
    match &right.routes[..] {
        [route] => policies(route.load_balancing.as_deref(), divided, targets, reader),
        _ => Ok(()),
    }
}

fn shares(targets: &[Target], which: impl Fn(&Target) -> bool) -> f64 {
    let chosen = targets.iter().filter(|target| which(target));
    // Not `sum`, of which nothing is -0.
    chosen.fold(0.0, |sum, target| sum + target.share)
}

fn every_endpoint_once(targets: &[Target]) -> Verdict {
    let mut seen = BTreeSet::new();
    let mut twice = targets
        .iter()
        .filter(|target| !seen.insert((&target.cluster, target.endpoint)));
    let twice = twice.next();
    require(twice.is_none(), || {
        format!("twice in its service: {twice:?}")
    })
}

fn protocols(right: &Shared, targets: &[Target]) -> Verdict {
    targets.iter().try_for_each(|target| {
        let leads_there = |member: &&Member| {
            member
                .endpoints
                .iter()
                .any(|at| Some(*at) == target.endpoint)
        };
        let wanted: Vec<_> = right
            .members
            .iter()
            .filter(leads_there)
            .map(|member| member.to.protocol)
            .collect();
        require(!wanted.is_empty(), || {
            format!("{target:?} is of no destination of {:?}", right.members)
        })?;
        let spoken = match &*target.protocol {
            "http" => Protocol::Http1,
            "http2" => Protocol::Http2,
            other => panic!("protocol {other}"),
        };
        require(wanted.contains(&spoken), || {
            format!("{target:?} is not spoken to as {wanted:?}")
        })
    })
}

/// Whether somebody asked for weights: a push of 1 for every destination is nobody's.
fn divided(members: &[Member]) -> bool {
    members
        .iter()
        .any(|member| !matches!(member.to.weight, Weight::Instances | Weight::Running(1)))
}

/// Within one point of a hundred of what is exact, where whole percents are all that can be said.
fn proportions(right: &Shared, targets: &[Target], divided: bool) -> Verdict {
    let given = given(targets);
    if !divided {
        let endpoints = right.members.iter().flat_map(|member| &member.endpoints);
        let endpoints: BTreeSet<_> = endpoints.collect();
        let exact = 100.0 / count(endpoints.len());
        let mut given = endpoints
            .iter()
            .map(|at| (at, given.get(at).copied().unwrap_or_default()));
        let wrong = given.find(|(_, got)| *got == 0.0 || (got - exact).abs() > 1.0);
        return require(wrong.is_none(), || {
            format!("{wrong:?} where {exact} is right")
        });
    }
    let running: Vec<_> = right
        .members
        .iter()
        .filter(|member| !member.endpoints.is_empty())
        .collect();
    let sum: f64 = running.iter().map(|member| weight(&member.to)).sum();
    if sum == 0.0 {
        // Only those run that were given nothing: whoever gets the requests, they are answered.
        return Ok(());
    }
    let exact = |member: &Member| 100.0 * weight(&member.to) / sum;
    // Each of them gets one from the others.
    let small = running
        .iter()
        .filter(|member| (0.0..1.0).contains(&exact(member)) && weight(&member.to) > 0.0);
    let small = count(small.count());
    running.iter().try_for_each(|member| {
        let exact = exact(member);
        let each = member
            .endpoints
            .iter()
            .map(|at| given.get(at).copied().unwrap_or_default());
        let each: Vec<f64> = each.collect();
        let got: f64 = each.iter().sum();
        let least = if weight(&member.to) > 0.0 { 1.0 } else { 0.0 };
        let enough =
            got > least - TINY && got > exact - 1.0 - small - TINY && got < exact + 1.0 + TINY;
        let alike = each.iter().all(|share| (share - each[0]).abs() < TINY);
        require(enough && alike, || {
            format!("{each:?} where {exact} in all is right for {:?}", member.to)
        })
    })
}

/// What sums of shares are wrong by.
const TINY: f64 = 1e-9;

fn weight(to: &Destination) -> f64 {
    match to.weight {
        Weight::Fixed(weight) | Weight::Running(weight) => weight.into(),
        Weight::Instances => panic!("one without a weight beside others that have one"),
    }
}

fn count(number: usize) -> f64 {
    u32::try_from(number).unwrap().into()
}

/// Of each endpoint, whichever service it is reached through.
fn given(targets: &[Target]) -> BTreeMap<SocketAddrV4, f64> {
    let mut given = BTreeMap::new();
    for target in targets {
        *given.entry(target.endpoint.unwrap()).or_default() += target.share;
    }
    given
}

/// The choice is of the route: over all its instances, unless they are divided by weight or by protocol.
fn policies(
    choice: Option<&LoadBalancing>,
    divided: bool,
    targets: &[Target],
    reader: Reader,
) -> Verdict {
    let wanted = choice.map(|choice| policy(choice, reader));
    let other = targets.iter().find(|target| target.policy != wanted);
    require(other.is_none(), || {
        format!("{other:?} instead of {wanted:?}")
    })?;
    let clusters: BTreeSet<_> = targets.iter().map(|target| &target.cluster).collect();
    let protocols: BTreeSet<_> = targets.iter().map(|target| &target.protocol).collect();
    require(divided || clusters.len() == protocols.len(), || {
        format!("instances of one route in {clusters:?}")
    })
}

/// `LoadBalancerSettings.SimpleLB`: 0 was round robin to Pilots and is nothing to istiod, to which 4 is; the least
/// connections were 1, and are 5 now.
pub fn policy(choice: &LoadBalancing, reader: Reader) -> LbPolicy {
    match (choice, reader) {
        (LoadBalancing::RoundRobin, Reader::Pilot(_)) => LbPolicy::Simple(0),
        (LoadBalancing::RoundRobin, Reader::Istiod) => LbPolicy::Simple(4),
        (LoadBalancing::LeastConnection, Reader::Pilot(_)) => LbPolicy::Simple(1),
        (LoadBalancing::LeastConnection, Reader::Istiod) => LbPolicy::Simple(5),
        (LoadBalancing::Hash(header), _) => LbPolicy::ConsistentHash(ConsistentHashLb {
            http_header_name: Some(header.to_string()),
            http_cookie: None,
        }),
        (LoadBalancing::Cookie(cookie), _) => LbPolicy::ConsistentHash(ConsistentHashLb {
            http_header_name: None,
            http_cookie: Some(HttpCookie {
                name: cookie.name.as_str().to_owned(),
                path: "/".to_owned(),
                ttl: Some(cookie.ttl.try_into().unwrap()),
            }),
        }),
    }
}
