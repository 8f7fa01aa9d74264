//! DestinationRules.

use std::collections::BTreeMap;

use super::{Era, Eras, subset::Subsets, validate::Invalid, virtual_service::open};
use crate::{
    model::{LoadBalancing, Route},
    proto::istio::networking::v1alpha3::{
        DestinationRule, LoadBalancerSettings, Subset, TrafficPolicy,
        load_balancer_settings::{
            ConsistentHashLb, LbPolicy, SimpleLb, consistent_hash_lb::HashKey,
        },
    },
    table::HostView,
};

/// The subsets of a hostname's destinations, each once; `None` where it has no destination.
pub(super) fn destination_rule(host: &HostView<'_>) -> Eras<Option<DestinationRule>> {
    let subsets = Subsets::of(host);
    let selectors = subsets.selectors();
    if selectors.is_empty() {
        return Eras::Same(None);
    }
    let choices = choices(host, &subsets);
    let rule = |era| {
        let subsets = selectors.iter().map(|(name, labels)| Subset {
            name: name.clone(),
            labels: labels.clone(),
            traffic_policy: choices.get(name).map(|(_, choice)| policy(choice, era)),
        });
        Some(DestinationRule {
            host: host.name.to_string(),
            subsets: subsets.collect(),
        })
    };
    if choices.is_empty() {
        Eras::Same(rule(Era::Classic))
    } else {
        Eras::new(rule(Era::Classic), rule(Era::Xds))
    }
}

/// By subset: the route whose owner chose how its instances share the requests, and the choice.
type Choices<'a> = BTreeMap<String, (&'a Route, &'a LoadBalancing)>;

/// A choice is of a route, while Istio balances by hostname or by subset. It goes to the subsets of the route's
/// destinations, and so not to the hostname's other paths, unless they lead to the same app at the same port. Where
/// they do, a route without a choice has nothing against it; of two choices, that of the older route counts.
fn choices<'a>(host: &HostView<'a>, subsets: &Subsets<'a>) -> Choices<'a> {
    let mut oldest_first: Vec<_> = choosing(host).collect();
    oldest_first.sort_by_key(|(route, _)| (route.created_at, &route.guid));
    let mut choices = Choices::new();
    for (route, choice) in oldest_first {
        for to in &route.destinations {
            choices.entry(subsets.name(to)).or_insert((route, choice));
        }
    }
    choices
}

fn choosing<'a>(host: &HostView<'a>) -> impl Iterator<Item = (&'a Route, &'a LoadBalancing)> {
    open(host).filter_map(|route| Some((route, route.load_balancing.as_deref()?)))
}

/// A route whose owner's choice does not count, because an older route with another one leads to the same subset.
pub(super) fn overruled(host: &HostView<'_>) -> Option<Invalid> {
    let subsets = Subsets::of(host);
    let choices = choices(host, &subsets);
    choosing(host).find_map(|(route, choice)| {
        let names = route.destinations.iter().map(|to| subsets.name(to));
        let mut counting = names.filter_map(|name| choices.get(&name));
        let (older, other) = counting.find(|(_, other)| *other != choice)?;
        Some(Invalid {
            rule: "options",
            detail: format!(
                "route {} asks for {choice} where the older route {} has {other}",
                route.guid, older.guid
            ),
        })
    })
}

fn policy(choice: &LoadBalancing, era: Era) -> TrafficPolicy {
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
    TrafficPolicy {
        load_balancer: Some(LoadBalancerSettings {
            lb_policy: Some(lb_policy),
        }),
    }
}
