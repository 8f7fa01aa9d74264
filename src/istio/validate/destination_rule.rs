//! Istio's rules for DestinationRules.

use super::{
    Era, Invalid, Validate, domain, is_dns_label, labels, require, settings::duration, unique,
};
use crate::{
    model::{CookieName, HeaderName},
    proto::istio::networking::v1alpha3::{
        ClientTlsSettings, DestinationRule, LoadBalancerSettings, OutlierDetection, TrafficPolicy,
        client_tls_settings::TlSmode,
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
        *policy != TrafficPolicy::default(),
        "traffic_policy",
        || "an empty traffic policy".to_owned(),
    )?;
    let settings = policy.load_balancer.as_ref();
    settings.map_or(Ok(()), |settings| load_balancer(settings, era))?;
    let tcp = policy
        .connection_pool
        .as_ref()
        .and_then(|pool| pool.tcp.as_ref());
    tcp.map_or(Ok(()), |tcp| duration(tcp.connect_timeout.as_ref()))?;
    policy
        .outlier_detection
        .as_ref()
        .map_or(Ok(()), |detection| outlier_detection(detection, era))?;
    policy.tls.as_ref().map_or(Ok(()), tls)
}

/// Istio's rules, and ours: what most Pilots do not know makes of it the detection that they have by default, which counts
/// what apps answer.
fn outlier_detection(detection: &OutlierDetection, era: Era) -> Result<(), Invalid> {
    duration(detection.interval.as_ref())?;
    duration(detection.base_ejection_time.as_ref())?;
    let percents = [detection.max_ejection_percent, detection.min_health_percent];
    let is_good = percents.iter().all(|percent| (0..=100).contains(percent));
    require(is_good && era == Era::Xds, "traffic_policy", || {
        format!("outlier detection by {percents:?} percent")
    })
}

/// The rules of all eras, and ours: what would verify nothing, or what nobody has, is not told to proxies.
fn tls(settings: &ClientTlsSettings) -> Result<(), Invalid> {
    let is_said = |texts: [&String; 2]| texts.iter().any(|text| !text.is_empty());
    let pair = [&settings.client_certificate, &settings.private_key];
    let has_pair = pair.iter().all(|text| !text.is_empty());
    let (what, is_whole) = match settings.mode() {
        TlSmode::Disable => (
            "no TLS with settings",
            *settings == ClientTlsSettings::default(),
        ),
        TlSmode::Simple => ("a client certificate in mode SIMPLE", !is_said(pair)),
        TlSmode::Mutual => ("no client certificate, or no key", has_pair),
    };
    let is_known = TlSmode::try_from(settings.mode).is_ok();
    require(is_known && is_whole, "tls", || {
        format!("mode {}: {what}", settings.mode)
    })?;
    if settings.mode() == TlSmode::Disable {
        return Ok(());
    }
    require(!settings.ca_certificates.is_empty(), "tls", || {
        "no CA, so that everyone would be trusted".to_owned()
    })?;
    domain(&settings.sni)?;
    settings.subject_alt_names.iter().try_for_each(|name| {
        require(!name.is_empty(), "tls", || {
            "a name without a text".to_owned()
        })
    })
}

fn load_balancer(settings: &LoadBalancerSettings, era: Era) -> Result<(), Invalid> {
    // To most Pilots it means nothing, or what the mesh config says in any case.
    let zones = settings.locality_lb_setting.as_ref();
    let is_good = zones.is_none_or(|zones| zones.enabled.is_some() && era == Era::Xds);
    require(is_good, "traffic_policy", || format!("of zones {zones:?}"))?;
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
        // Without a time Envoy makes none, and 1.1 refuses it; of a part of a second old Pilots make none.
        Some(HashKey::HttpCookie(cookie)) => {
            let is_whole = |ttl: &prost_types::Duration| ttl.seconds >= 0 && ttl.nanos == 0;
            CookieName::parse(&cookie.name).is_ok() && cookie.ttl.as_ref().is_some_and(is_whole)
        }
        None => false,
    };
    require(named, "traffic_policy", || {
        "a hash of no header and no cookie".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::istio::networking::v1alpha3::{
        LocalityLoadBalancerSetting, load_balancer_settings::consistent_hash_lb,
    };

    fn check(lb_policy: Option<LbPolicy>, era: Era) -> Result<(), Invalid> {
        validate(
            TrafficPolicy {
                load_balancer: Some(LoadBalancerSettings {
                    lb_policy,
                    locality_lb_setting: None,
                }),
                ..TrafficPolicy::default()
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

    fn over_tls(change: impl Fn(&mut ClientTlsSettings)) -> Result<(), Invalid> {
        let mut tls = ClientTlsSettings {
            mode: TlSmode::Mutual.into(),
            client_certificate: "/client.crt".to_owned(),
            private_key: "/client.key".to_owned(),
            ca_certificates: "/ca.crt".to_owned(),
            subject_alt_names: vec!["guid".to_owned()],
            sni: "a.example.com".to_owned(),
        };
        change(&mut tls);
        let both = [Era::Classic, Era::Xds].map(|era| {
            let policy = TrafficPolicy {
                tls: Some(tls.clone()),
                ..TrafficPolicy::default()
            };
            validate(policy, era)
        });
        assert_eq!(both[0], both[1]);
        let [classic, _] = both;
        classic
    }

    #[test]
    fn tls_that_pilots_discard_or_that_verifies_nothing_is_refused() {
        over_tls(|_| {}).unwrap();
        over_tls(|tls| tls.subject_alt_names.clear()).unwrap();
        over_tls(|tls| *tls = ClientTlsSettings::default()).unwrap();
        let simple = |tls: &mut ClientTlsSettings| {
            tls.mode = TlSmode::Simple.into();
            tls.client_certificate.clear();
            tls.private_key.clear();
        };
        over_tls(simple).unwrap();
        let bad: [fn(&mut ClientTlsSettings); 8] = [
            |tls| tls.mode = 3,
            |tls| tls.mode = TlSmode::Simple.into(),
            |tls| tls.mode = TlSmode::Disable.into(),
            |tls| tls.client_certificate.clear(),
            |tls| tls.private_key.clear(),
            |tls| tls.ca_certificates.clear(),
            |tls| tls.sni.clear(),
            |tls| tls.subject_alt_names.push(String::new()),
        ];
        for change in bad {
            assert!(over_tls(change).is_err());
        }
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

    #[test]
    fn of_zones_istiods_alone_are_told_and_whether_they_count() {
        let check = |enabled, era| {
            let settings = LoadBalancerSettings {
                lb_policy: Some(LbPolicy::ConsistentHash(ConsistentHashLb {
                    hash_key: Some(HashKey::HttpHeaderName("x-user".to_owned())),
                })),
                locality_lb_setting: Some(LocalityLoadBalancerSetting { enabled }),
            };
            let policy = TrafficPolicy {
                load_balancer: Some(settings),
                ..TrafficPolicy::default()
            };
            validate(policy, era).is_ok()
        };
        assert!(check(Some(false), Era::Xds));
        assert!(!check(None, Era::Xds));
        assert!(!check(Some(false), Era::Classic));
    }

    #[test]
    fn a_cookie_has_a_time_of_whole_seconds() {
        let hash = |ttl| {
            let cookie = consistent_hash_lb::HttpCookie {
                name: "SHOP".to_owned(),
                path: "/".to_owned(),
                ttl,
            };
            let hash_key = Some(HashKey::HttpCookie(cookie));
            Some(LbPolicy::ConsistentHash(ConsistentHashLb { hash_key }))
        };
        let time = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
        for era in [Era::Classic, Era::Xds] {
            for good in [time(0, 0), time(3600, 0)] {
                check(hash(good), era).unwrap();
            }
            for bad in [None, time(0, 1), time(1, 500_000_000), time(-1, 0)] {
                assert!(check(hash(bad), era).is_err(), "{bad:?}");
            }
        }
    }
}
