//! DestinationRules: how the instances of a service are reached.

use prost::Message as _;

use super::{
    BackendTls, Ended, Era, Eras, InternalTls, Options, Verify, defaults::duration,
    validate::Invalid,
};
use crate::{
    model::{Hostname, LoadBalancing},
    proto::istio::networking::v1alpha3::{
        ClientTlsSettings, DestinationRule, LoadBalancerSettings, TrafficPolicy,
        client_tls_settings::TlSmode,
        load_balancer_settings::{
            ConsistentHashLb, LbPolicy, SimpleLb,
            consistent_hash_lb::{HashKey, HttpCookie},
        },
    },
    snapshot::Resource,
    table::{Part, Pool},
};

/// The rule of a route's service, where something has to be said of it: which instance is picked, and of a part that is
/// reached over TLS, how that is verified.
pub(super) fn destination_rule(
    service: &str,
    pool: &Pool<'_>,
    part: &Part<'_>,
    options: &Options,
    ended: &Ended,
) -> Eras<Option<DestinationRule>> {
    let defaults = &options.defaults;
    let choice = defaults.choice(pool);
    let tls = options.backend_tls.as_ref().filter(|_| part.is_tls);
    let tls = tls.map(|tls| to_instances(service, pool, part, tls, ended));
    let rule = |era| {
        let policy = TrafficPolicy {
            load_balancer: choice.map(|choice| LoadBalancerSettings {
                locality_lb_setting: defaults.zones(choice, era),
                ..load_balancer(choice, era)
            }),
            connection_pool: defaults.connection_pool(),
            outlier_detection: defaults.outlier_detection().filter(|_| era == Era::Xds),
            tls: tls.clone(),
        };
        (policy != TrafficPolicy::default()).then(|| DestinationRule {
            host: service.to_owned(),
            traffic_policy: Some(policy),
            subsets: Vec::new(),
        })
    };
    if choice.is_some() || defaults.ejection.is_some() {
        Eras::new(rule(Era::Classic), rule(Era::Xds))
    } else {
        Eras::Same(rule(Era::Classic))
    }
}

/// TLS to the proxies in containers, whose certificates have the guids of their instances.
///
/// The server name is there for Envoy: without it, and without names, it would verify the service's hostname. Containers
/// do not look at it.
fn to_instances(
    service: &str,
    pool: &Pool<'_>,
    part: &Part<'_>,
    tls: &BackendTls,
    ended: &Ended,
) -> ClientTlsSettings {
    let identity = tls.identity.as_ref();
    let path = |path: Option<String>| path.unwrap_or_default();
    ClientTlsSettings {
        mode: match identity {
            Some(_) => TlSmode::Mutual.into(),
            None => TlSmode::Simple.into(),
        },
        client_certificate: path(identity.map(|pair| pair.chain.to_string())),
        private_key: path(identity.map(|pair| pair.key.to_string())),
        ca_certificates: tls.ca.to_string(),
        subject_alt_names: match tls.verify {
            Verify::Instance => names(service, pool, part, ended),
            Verify::Ca => Vec::new(),
        },
        sni: service.to_owned(),
    }
}

/// The guids of a part's instances, and of those that had been until a while ago. Without any it is the service's own name,
/// which no certificate has: no names at all would let in whoever comes first.
pub(super) fn names(service: &str, pool: &Pool<'_>, part: &Part<'_>, ended: &Ended) -> Vec<String> {
    let mut names = current_names(pool, part);
    let ended = ended.get(service).into_iter().flatten();
    names.extend(ended.map(|(name, _)| name.clone()));
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        names.push(service.to_owned());
    }
    names
}

/// The guids of a part's instances.
pub(super) fn current_names(pool: &Pool<'_>, part: &Part<'_>) -> Vec<String> {
    let instances = pool.endpoints(part).into_values();
    let names = instances.map(|instance| instance.guid.to_string());
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    // An instance may be reached at several ports.
    names.dedup();
    names
}

/// The names that a rule has, but for the service's own.
pub(super) fn named(served: Resource<'_>) -> Vec<String> {
    let body = served.decode().body.unwrap_or_default();
    let policy = DestinationRule::decode(&*body.value)
        .ok()
        .and_then(|rule| rule.traffic_policy);
    let tls = policy.and_then(|policy| policy.tls);
    let mut names = tls.map(|tls| tls.subject_alt_names).unwrap_or_default();
    names.retain(|name| name != served.name);
    names
}

/// TLS from apps to other apps, whose proxies have certificates with the internal hostnames that lead to them.
pub(super) fn to_apps(host: &Hostname, tls: &InternalTls) -> ClientTlsSettings {
    ClientTlsSettings {
        mode: TlSmode::Simple.into(),
        ca_certificates: tls.ca.to_string(),
        subject_alt_names: vec![host.to_string()],
        sni: host.to_string(),
        ..ClientTlsSettings::default()
    }
}

/// How an instance is picked, as an era says it.
pub(super) fn load_balancer(choice: &LoadBalancing, era: Era) -> LoadBalancerSettings {
    let lb_policy = match (choice, era) {
        // What is called unspecified today was ROUND_ROBIN. As one of a oneof it is on the wire although it is 0.
        (LoadBalancing::RoundRobin, Era::Classic) => LbPolicy::Simple(SimpleLb::Unspecified.into()),
        (LoadBalancing::RoundRobin, Era::Xds) => LbPolicy::Simple(SimpleLb::RoundRobin.into()),
        (LoadBalancing::LeastConnection, Era::Classic) => {
            LbPolicy::Simple(SimpleLb::LeastConn.into())
        }
        (LoadBalancing::LeastConnection, Era::Xds) => {
            LbPolicy::Simple(SimpleLb::LeastRequest.into())
        }
        (LoadBalancing::Hash(header), _) => LbPolicy::ConsistentHash(ConsistentHashLb {
            hash_key: Some(HashKey::HttpHeaderName(header.to_string())),
        }),
        // Without a path a browser would keep it for those below that of the request.
        (LoadBalancing::Cookie(cookie), _) => LbPolicy::ConsistentHash(ConsistentHashLb {
            hash_key: Some(HashKey::HttpCookie(HttpCookie {
                name: cookie.name.as_str().to_owned(),
                path: "/".to_owned(),
                ttl: Some(duration(cookie.ttl)),
            })),
        }),
    };
    LoadBalancerSettings {
        lb_policy: Some(lb_policy),
        locality_lb_setting: None,
    }
}

/// A route whose owner's choice does not count, because another spelling of its URL is older and has another one.
pub(super) fn overruled(pool: &Pool<'_>) -> Option<Invalid> {
    let (older, choice) = pool.load_balancing()?;
    pool.routes().find_map(|route| {
        let other = route.load_balancing.as_deref()?;
        (other != choice).then(|| Invalid {
            rule: "options",
            detail: format!(
                "route {} asks for {other} where the older route {} has {choice}",
                route.guid, older.guid
            ),
        })
    })
}
