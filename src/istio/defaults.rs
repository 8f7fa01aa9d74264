//! What the operator has for all routes whose owners ask for nothing else.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::Era;
use crate::{
    model::{Hostname, Instance, LoadBalancing, Retries},
    proto::istio::networking::v1alpha3::{
        ConnectionPoolSettings, HttpRetry, LocalityLoadBalancerSetting, OutlierDetection,
        connection_pool_settings::TcpSettings,
    },
    table::Pool,
};

/// What is the same for all routes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Defaults {
    /// What requests for external routes get.
    pub external: Requests,
    /// What those for internal ones get. Where that is anything, each internal hostname has a VirtualService.
    pub internal: Requests,
    /// How long a connection to an instance of an external route may take to be there.
    pub connect_timeout: Option<Duration>,
    /// When an instance of an external route gets no requests for a while.
    pub ejection: Option<Ejection>,
    /// How an instance of an external route is picked.
    pub load_balancing: Option<LoadBalancing>,
    /// The region that the zones of instances are in. Where it is known, their endpoints have both, and with [`Defaults::ejection`]
    /// an istiod's proxies ask those of their own zone first.
    pub region: Option<Arc<str>>,
    /// Whether what comes without TLS is sent to HTTPS.
    pub https_redirect: Option<HttpsRedirect>,
}

/// What requests get that their owners do not decide.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requests {
    /// How long one may take with all its attempts.
    pub timeout: Option<Duration>,
    /// What is tried again. Where nothing is said, Istio tries twice more, also what an app answered with 503.
    pub retries: Option<Retries>,
    /// Whether istiods are told to try again, too, what an instance closed a kept connection on: those since 1.24. Older ones,
    /// and Pilots, discard what says so.
    pub retry_resets: bool,
}

/// What istiods have to be told so that what is tried again goes somewhere else: Pilots mean that by themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Elsewhere {
    /// Nothing.
    #[default]
    Unsaid,
    /// Another instance is meant, although the client is kept at one.
    OtherInstance,
    /// Other zones are meant, too, although that of the proxy comes first.
    OtherZone,
}

/// Envoy's word for that.
const RESETS: &str = ",reset-before-request";

impl Requests {
    /// Whether nothing is said of them.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What is tried again of a route whose owner asked for that, or for nothing.
    pub(super) fn retries(
        &self,
        asked: Option<&Retries>,
        era: Era,
        elsewhere: Elsewhere,
    ) -> Option<HttpRetry> {
        let of_route = asked.or(self.retries.as_ref())?;
        let mut retries = retries(of_route);
        if era == Era::Xds && of_route.attempts > 0 {
            if self.retry_resets && of_route.is_of_unsent() {
                retries.retry_on.push_str(RESETS);
            }
            match elsewhere {
                Elsewhere::Unsaid => {}
                Elsewhere::OtherInstance => retries.retry_ignore_previous_hosts = Some(true),
                // The third attempt is the first to leave the zone.
                Elsewhere::OtherZone => {
                    retries.retry_remote_localities = (of_route.attempts > 1).then_some(true);
                }
            }
        }
        Some(retries)
    }
}

/// When an instance gets no requests for a while, as the gorouter does it: connections to it fail. To Envoy, a request without
/// an answer in its time is one, too, and one that is reset; what an instance answers is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejection {
    /// After how many that failed one after the other.
    pub failures: u32,
    /// For how long the first time; each time after it, longer by as much, up to five minutes (Envoy's own bound).
    pub duration: Duration,
}

/// How often Envoy looks whether an instance may come back.
const INTERVAL: Duration = Duration::from_secs(1);

impl Defaults {
    /// Whether istiods are told otherwise than Pilots what is tried again of a pool's requests.
    pub(super) fn tells_apart(&self, pool: &Pool<'_>) -> bool {
        self.external.retry_resets || self.elsewhere(pool) != Elsewhere::default()
    }

    /// What is to be said of where a pool's requests are tried again.
    pub(super) fn elsewhere(&self, pool: &Pool<'_>) -> Elsewhere {
        if self.choice(pool).is_some_and(LoadBalancing::keeps) {
            Elsewhere::OtherInstance
        } else if self.prefers_zones() {
            Elsewhere::OtherZone
        } else {
            Elsewhere::Unsaid
        }
    }

    /// How an instance of a pool is picked, where anybody says so. There is no header and no cookie in what goes over TCP.
    pub(super) fn choice<'c>(&'c self, pool: &'c Pool<'_>) -> Option<&'c LoadBalancing> {
        let own = pool.load_balancing().map(|(_, choice)| choice);
        let choice = own.or(self.load_balancing.as_ref());
        choice.filter(|choice| !(pool.host().is_tcp() && choice.keeps()))
    }

    /// What is said of zones where an instance is picked like that. A client that is kept at one is kept there by the proxies of
    /// all zones: to each of them it may come.
    pub(super) fn zones(
        &self,
        choice: &LoadBalancing,
        era: Era,
    ) -> Option<LocalityLoadBalancerSetting> {
        let is_none = era == Era::Xds && self.prefers_zones() && choice.keeps();
        let enabled = Some(false);
        is_none.then_some(LocalityLoadBalancerSetting { enabled })
    }

    /// Whether an istiod has proxies prefer the instances of their own zone: only where those that fail are left out.
    fn prefers_zones(&self) -> bool {
        self.region.is_some() && self.ejection.is_some()
    }

    /// Where an instance runs, as Istio writes it: REGION/ZONE. Empty where that is not known.
    pub(super) fn locality(&self, instance: &Instance) -> String {
        let place = self.region.as_ref().zip(instance.zone.as_ref());
        place.map_or_else(String::new, |(region, zone)| format!("{region}/{zone}"))
    }

    pub(super) fn connection_pool(&self) -> Option<ConnectionPoolSettings> {
        let connect_timeout = self.connect_timeout.map(duration);
        connect_timeout.map(|connect_timeout| ConnectionPoolSettings {
            tcp: Some(TcpSettings {
                connect_timeout: Some(connect_timeout),
            }),
        })
    }

    /// For istiods: Pilots up to 1.8 cannot tell connections that fail from what an app answers.
    pub(super) fn outlier_detection(&self) -> Option<OutlierDetection> {
        self.ejection.map(|ejection| OutlierDetection {
            interval: Some(duration(INTERVAL)),
            base_ejection_time: Some(duration(ejection.duration)),
            max_ejection_percent: 100,
            // Where all are out, all are tried.
            min_health_percent: 1,
            // 0 is none, not a default.
            consecutive_gateway_errors: Some(0),
            consecutive_5xx_errors: Some(0),
            split_external_local_origin_errors: true,
            consecutive_local_origin_failures: Some(ejection.failures),
        })
    }
}

/// What comes without TLS is sent to HTTPS, but for some hostnames.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpsRedirect {
    /// Which, and those below wildcards among them.
    pub except: BTreeSet<Hostname>,
}

impl HttpsRedirect {
    /// Whether a hostname is served without TLS, too.
    pub(super) fn spares(&self, host: &Hostname) -> bool {
        let mut wider = host.wider();
        self.except.contains(host) || wider.any(|wildcard| self.except.contains(&*wildcard))
    }
}

pub(super) fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).expect("less than a second"),
    }
}

fn retries(retries: &Retries) -> HttpRetry {
    let conditions: Vec<_> = retries.conditions.iter().copied().collect();
    HttpRetry {
        retry_remote_localities: None,
        retry_ignore_previous_hosts: None,
        attempts: retries.attempts.into(),
        per_try_timeout: retries.per_try.map(duration),
        retry_on: conditions.join(","),
    }
}
