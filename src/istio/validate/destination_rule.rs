//! Istio's rules for DestinationRules.

use super::{Era, Invalid, Validate, domain, is_dns_label, labels, require, unique};
use crate::{
    model::HeaderName,
    proto::istio::networking::v1alpha3::{
        DestinationRule, LoadBalancerSettings, TrafficPolicy,
        load_balancer_settings::{
            ConsistentHashLb, LbPolicy, SimpleLb, consistent_hash_lb::HashKey,
        },
    },
};

impl Validate for DestinationRule {
    fn validate(&self, era: Era) -> Result<(), Invalid> {
        domain(&self.host)?;
        let policy = self.traffic_policy.as_ref();
        policy.map_or(Ok(()), |policy| traffic_policy(policy, era))?;
        unique(
            self.subsets.iter().map(|subset| &subset.name),
            "subset",
            "subsets",
        )?;
        for subset in &self.subsets {
            require(is_dns_label(&subset.name), "subset", || {
                format!("subset {:?} is not a DNS label", subset.name)
            })?;
            labels(&subset.labels)?;
        }
        Ok(())
    }
}

fn traffic_policy(policy: &TrafficPolicy, era: Era) -> Result<(), Invalid> {
    require(
        policy.load_balancer.is_some() || policy.tls.is_some(),
        "traffic_policy",
        || "an empty traffic policy".to_owned(),
    )?;
    let settings = policy.load_balancer.as_ref();
    settings.map_or(Ok(()), |settings| load_balancer(settings, era))
}

fn load_balancer(settings: &LoadBalancerSettings, era: Era) -> Result<(), Invalid> {
    match &settings.lb_policy {
        Some(LbPolicy::Simple(number)) => simple(*number, era),
        Some(LbPolicy::ConsistentHash(hash)) => consistent_hash(hash),
        None => Err(Invalid {
            rule: "traffic_policy",
            detail: "a load balancer without a policy".to_owned(),
        }),
    }
}

fn simple(number: i32, era: Era) -> Result<(), Invalid> {
    let known = match era {
        Era::Classic => [SimpleLb::Unspecified, SimpleLb::LeastConn],
        Era::Xds => [SimpleLb::RoundRobin, SimpleLb::LeastRequest],
    };
    require(
        known.into_iter().any(|known| i32::from(known) == number),
        "traffic_policy",
        || format!("load balancer {number} means nothing, or another thing, to its readers"),
    )
}

fn consistent_hash(hash: &ConsistentHashLb) -> Result<(), Invalid> {
    let named = match &hash.hash_key {
        Some(HashKey::HttpHeaderName(name)) => HeaderName::is_valid(name),
        None => false,
    };
    require(named, "traffic_policy", || "a hash of no header".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lb_policy: Option<LbPolicy>, era: Era) -> Result<(), Invalid> {
        validate(
            TrafficPolicy {
                load_balancer: Some(LoadBalancerSettings { lb_policy }),
                tls: None,
            },
            era,
        )
    }

    fn validate(policy: TrafficPolicy, era: Era) -> Result<(), Invalid> {
        let rule = DestinationRule {
            host: "a.example.com".to_owned(),
            traffic_policy: Some(policy),
            subsets: Vec::new(),
        };
        rule.validate(era)
    }

    #[test]
    fn a_number_that_means_another_thing_in_the_other_era_is_refused() {
        for (number, classic, xds) in [(0, true, false), (1, true, false), (4, false, true)] {
            let valid = |era| check(Some(LbPolicy::Simple(number)), era).is_ok();
            assert_eq!((valid(Era::Classic), valid(Era::Xds)), (classic, xds));
        }
    }

    #[test]
    fn a_traffic_policy_that_says_nothing_is_refused() {
        let hash = |name: &str| {
            let hash_key = Some(HashKey::HttpHeaderName(name.to_owned()));
            Some(LbPolicy::ConsistentHash(ConsistentHashLb { hash_key }))
        };
        for era in [Era::Classic, Era::Xds] {
            check(hash("x-user"), era).unwrap();
            for bad in [hash(""), hash("a b"), None] {
                assert_eq!(check(bad, era).unwrap_err().rule, "traffic_policy");
            }
            let empty = validate(TrafficPolicy::default(), era);
            assert_eq!(empty.unwrap_err().rule, "traffic_policy");
        }
    }
}
