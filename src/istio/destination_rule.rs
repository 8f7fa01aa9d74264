//! DestinationRules: how the instances of a service are reached.

use super::{Era, Eras, validate::Invalid};
use crate::{
    model::LoadBalancing,
    proto::istio::networking::v1alpha3::{
        DestinationRule, LoadBalancerSettings, TrafficPolicy,
        load_balancer_settings::{
            ConsistentHashLb, LbPolicy, SimpleLb, consistent_hash_lb::HashKey,
        },
    },
    table::Pool,
};

/// The rule of a route's service, where something has to be said of it.
pub(super) fn destination_rule(service: &str, pool: &Pool<'_>) -> Eras<Option<DestinationRule>> {
    let rule = |era| {
        traffic_policy(pool, era).map(|traffic_policy| DestinationRule {
            host: service.to_owned(),
            traffic_policy: Some(traffic_policy),
            subsets: Vec::new(),
        })
    };
    Eras::new(rule(Era::Classic), rule(Era::Xds))
}

/// How the instances of a route are reached, where it is not the usual way.
fn traffic_policy(pool: &Pool<'_>, era: Era) -> Option<TrafficPolicy> {
    let (_, choice) = pool.load_balancing()?;
    Some(TrafficPolicy {
        load_balancer: Some(load_balancer(choice, era)),
        tls: None,
    })
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
    };
    LoadBalancerSettings {
        lb_policy: Some(lb_policy),
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
