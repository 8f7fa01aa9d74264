//! What the operator has for all routes.

use std::time::Duration;

use super::*;
use crate::{
    model::{Asked, Cookie, CookieName, HeaderName, Hostname, LoadBalancing, Retries},
    proto::istio::networking::v1alpha3::{
        Gateway, HttpRetry, TrafficPolicy,
        load_balancer_settings::{LbPolicy, consistent_hash_lb::HashKey},
    },
};

fn with(defaults: Defaults) -> Options {
    Options {
        defaults,
        ..keep_empty()
    }
}

fn requests(timeout: u64, retries: Retries) -> Requests {
    Requests {
        timeout: Some(Duration::from_secs(timeout)),
        retries: Some(retries),
        retry_resets: false,
    }
}

fn external() -> Options {
    with(Defaults {
        external: requests(900, Retries::of_unsent(2)),
        ..Defaults::default()
    })
}

/// The timeouts, in seconds, and the retries of an hostname's requests, one after the other.
fn said(made: &Made) -> Vec<(Option<i64>, Option<HttpRetry>)> {
    let said = made.http().iter().map(|route| {
        let timeout = route.timeout.map(|timeout| timeout.seconds);
        (timeout, route.retries.clone())
    });
    said.collect()
}

fn retries(attempts: i32, retry_on: &str) -> HttpRetry {
    HttpRetry {
        attempts,
        per_try_timeout: None,
        retry_remote_localities: None,
        retry_ignore_previous_hosts: None,
        retry_on: retry_on.to_owned(),
    }
}

#[test]
fn what_was_not_sent_is_tried_again_and_what_an_app_has_answered_is_not() {
    let routes = [
        route("shop.example.com/1", [to("app", 8080)]),
        route("shop.example.com", [weighted("app", 1), weighted("new", 3)]),
    ];
    let instances = [(1, "app"), (2, "new")].map(|(n, app)| instance(n, app, &[(8080, 61_001)]));
    let made = make_with(&external(), routes, instances);
    let all = (
        Some(900),
        Some(retries(2, "connect-failure,refused-stream")),
    );
    assert_eq!(said(&made), [all.clone(), all]);
    assert_eq!(made.services[0], made.services[1]);
}

#[test]
fn what_an_owner_asks_for_is_in_the_place_of_that_alone() {
    let mut route = route("shop.example.com", [to("app", 8080)]);
    route.ask(Asked::parse([("timeout", "7s")]));
    let made = make_with(&external(), [route.clone()], []);
    let unsent = Some(retries(2, "connect-failure,refused-stream"));
    assert_eq!(said(&made), [(Some(7), unsent)]);
    route.ask(Asked::parse([("retry-attempts", "0")]));
    let made = make_with(&external(), [route], []);
    assert_eq!(said(&made), [(Some(900), Some(retries(0, "")))]);
}

#[test]
fn no_attempts_take_away_those_that_istio_makes() {
    let none = with(Defaults {
        external: Requests {
            retries: Some(Retries::of_unsent(0)),
            ..Requests::default()
        },
        ..Defaults::default()
    });
    let made = make_with(&none, [route("shop.example.com", [to("app", 8080)])], []);
    assert_eq!(said(&made), [(None, Some(retries(0, "")))]);
}

#[test]
fn connections_that_were_closed_are_for_istiods_of_today_alone() {
    let resets = with(Defaults {
        external: Requests {
            retry_resets: true,
            ..requests(900, Retries::of_unsent(2))
        },
        ..Defaults::default()
    });
    let retries = |asked: &[(&str, &str)]| {
        let mut route = route("shop.example.com", [to("app", 8080)]);
        route.ask(Asked::parse(asked.iter().copied()));
        let made = make_with(&resets, [route], []);
        let services = made.services.map(Option::unwrap);
        services.map(|service| service.http[0].retries.clone().unwrap().retry_on)
    };
    let unsent = "connect-failure,refused-stream";
    let with_resets = "connect-failure,refused-stream,reset-before-request";
    assert_eq!(retries(&[]), [unsent, with_resets]);
    assert_eq!(retries(&[("retry-attempts", "5")]), [unsent, with_resets]);
    let all = [("retry-attempts", "5"), ("retry-on", "5xx")];
    assert_eq!(retries(&all), ["5xx"; 2]);
    assert_eq!(retries(&[("retry-attempts", "0")]), [""; 2]);
}

#[test]
fn a_refused_route_is_answered_at_once() {
    let mut refused = route("shop.example.com", [to("app", 8080)]);
    refused.refused = Some(crate::model::Refusal::RoutePolicies);
    let made = make_with(&external(), [refused], []);
    assert_eq!(said(&made), [(None, None)]);
}

#[test]
fn internal_hostnames_have_a_virtual_service_as_soon_as_anything_is_said_of_them() {
    let internal = || [route("shop.apps.internal", [to("app", 8080)])];
    let instances = || [instance(1, "app", &[(8080, 61_001)])];
    assert_eq!(
        make_with(&external(), internal(), instances()).services,
        [None, None]
    );
    let figures = with(Defaults {
        internal: requests(15, Retries::of_server_errors(3)),
        ..Defaults::default()
    });
    let made = make_with(&figures, internal(), instances());
    assert_eq!(said(&made), [(Some(15), Some(retries(3, "5xx")))]);
    let service = made.services[0].clone().unwrap();
    assert_eq!(
        (service.gateways.len(), service.hosts),
        (0, vec!["shop.apps.internal".to_owned()])
    );
    let [destination] = &service.http[0].route[..] else {
        panic!("{:?}", service.http);
    };
    let destination = destination.destination.as_ref().unwrap();
    assert_eq!(
        (&*destination.host, &*destination.subset),
        ("shop.apps.internal", "")
    );
}

#[test]
fn every_external_service_has_its_way_of_being_connected_to() {
    let defaults = Defaults {
        connect_timeout: Some(Duration::from_secs(5)),
        ejection: Some(Ejection {
            failures: 1,
            duration: Duration::from_mins(2),
        }),
        ..Defaults::default()
    };
    let routes = [
        route("shop.example.com", [to("app", 8080)]),
        route("shop.example.com/b", [to("b", 8080), http2("b", 8080)]),
    ];
    let made = make_with(
        &with(defaults),
        routes,
        [instance(1, "b", &[(8080, 61_001)])],
    );
    assert_eq!(made.rules[0].len(), made.entries[1].len());
    let policies = |era: usize| {
        let policy = |rule: &DestinationRule| rule.traffic_policy.clone().unwrap();
        made.rules[era].values().map(policy).collect::<Vec<_>>()
    };
    for policy in policies(0) {
        let connect = |policy: &TrafficPolicy| policy.connection_pool?.tcp?.connect_timeout;
        assert_eq!(connect(&policy).unwrap().seconds, 5);
        assert_eq!(
            policy.outlier_detection, None,
            "Pilots count what apps answer"
        );
    }
    for policy in policies(1) {
        let ejection = policy.outlier_detection.unwrap();
        assert!(ejection.split_external_local_origin_errors);
        assert_eq!(ejection.consecutive_local_origin_failures, Some(1));
        assert_eq!(
            ejection.consecutive_5xx_errors,
            Some(0),
            "an answer is no failure"
        );
        assert_eq!(ejection.consecutive_gateway_errors, Some(0));
        assert_eq!(ejection.base_ejection_time.unwrap().seconds, 120);
    }
}

fn redirecting(except: &[&str]) -> HttpsRedirect {
    HttpsRedirect {
        except: except
            .iter()
            .map(|name| Hostname::parse(name).unwrap())
            .collect(),
    }
}

/// The servers' ports, and whether each sends on to HTTPS, by the gateways' names.
fn gateways(redirect: Option<&HttpsRedirect>) -> Vec<(&'static str, Vec<(u32, bool)>)> {
    let certificate = FrontendCertificate {
        names: vec!["*.example.com".to_owned()],
    };
    let served = gateway(
        &CertificateRoot::default(),
        &[certificate],
        redirect,
        &BTreeSet::new(),
    )
    .unwrap();
    let gateways = served.gateways.into_iter().map(|(name, encoded)| {
        let gateway: Gateway = decode(&encoded);
        let servers = gateway.servers.iter().map(|server| {
            let is_redirect = server.tls.as_ref().is_some_and(|tls| tls.https_redirect);
            (server.port.as_ref().unwrap().number, is_redirect)
        });
        (name, servers.collect())
    });
    gateways.collect()
}

#[test]
fn what_comes_without_tls_is_sent_on_but_for_the_hostnames_that_are_spared() {
    assert_eq!(gateways(None), [(GATEWAY, vec![(80, false), (443, false)])]);
    let all = redirecting(&[]);
    assert_eq!(
        gateways(Some(&all)),
        [(GATEWAY, vec![(80, true), (443, false)])]
    );
    let some = redirecting(&["plain.example.com", "*.old.example.com"]);
    let [plain, redirect] = PLAIN_GATEWAYS;
    assert_eq!(
        gateways(Some(&some)),
        [
            (GATEWAY, vec![(443, false)]),
            (plain, vec![(80, false)]),
            (redirect, vec![(80, true)])
        ]
    );
    let of = |host: &str, redirect: &HttpsRedirect| {
        let options = with(Defaults {
            https_redirect: Some(redirect.clone()),
            ..Defaults::default()
        });
        let made = make_with(&options, [route(host, [to("app", 8080)])], []);
        made.services[0].clone().unwrap().gateways
    };
    assert_eq!(of("shop.example.com", &all), [GATEWAY]);
    assert_eq!(of("shop.example.com", &some), [GATEWAY, redirect]);
    for host in [
        "plain.example.com",
        "a.old.example.com",
        "*.old.example.com",
    ] {
        assert_eq!(of(host, &some), [GATEWAY, plain], "{host}");
    }
}

#[test]
fn retries_are_thirty_six_bytes_of_a_route_and_nothing_else_changes() {
    let routes = || [route("shop.example.com", [to("app", 8080)])];
    let size = |made: &Made| {
        let service = made.services[0].as_ref().unwrap();
        prost::Message::encoded_len(service)
    };
    let unsent = with(Defaults {
        external: Requests {
            retries: Some(Retries::of_unsent(2)),
            ..Requests::default()
        },
        ..Defaults::default()
    });
    let before = make(routes(), []);
    let after = make_with(&unsent, routes(), []);
    // Its own bytes, and where the length of the route takes one more.
    let added = size(&after) - size(&before);
    assert!((36..=38).contains(&added), "{added}");
    assert_eq!(before.entries, after.entries);
    assert_eq!(before.rules, after.rules);
}

#[test]
fn a_client_is_known_again_where_the_routes_owner_chose_nothing() {
    let cookie = Cookie {
        name: CookieName::parse("MESH_ROUTE").unwrap(),
        ttl: Duration::from_secs(90),
    };
    let options = with(Defaults {
        load_balancing: Some(LoadBalancing::Cookie(cookie)),
        ..Defaults::default()
    });
    let chooses = Route {
        load_balancing: Some(Box::new(LoadBalancing::LeastConnection)),
        ..route("shop.example.com/1", [to("app", 8080)])
    };
    let routes = [route("shop.example.com", [to("app", 8080)]), chooses];
    let made = make_with(&options, routes, []);
    for rules in &made.rules {
        let hashes = rules.values().map(|rule| {
            let policy = rule.traffic_policy.as_ref().unwrap();
            match policy.load_balancer.as_ref().unwrap().lb_policy.as_ref() {
                Some(LbPolicy::ConsistentHash(hash)) => match hash.hash_key.as_ref() {
                    Some(HashKey::HttpCookie(cookie)) => Some(cookie.name.clone()),
                    _ => None,
                },
                _ => None,
            }
        });
        let mut hashes: Vec<_> = hashes.collect();
        hashes.sort();
        assert_eq!(hashes, [None, Some("MESH_ROUTE".to_owned())]);
    }
}

#[test]
fn endpoints_have_the_zone_of_their_instance_where_its_region_is_known() {
    let zoned = |n: u8, app: &str, zone: Option<&str>| Instance {
        zone: zone.map(Into::into),
        ..instance(n, app, &[(8080, 61_001)])
    };
    let localities = |region: Option<&str>, url: &str| {
        let options = with(Defaults {
            region: region.map(Into::into),
            ..Defaults::default()
        });
        let instances = [zoned(1, "app", Some("z1")), zoned(2, "app", None)];
        let made = make_with(&options, [route(url, [to("app", 8080)])], instances);
        assert_eq!(made.entries[0], made.entries[1]);
        let entries = made.entries[0].values();
        let endpoints = entries.flat_map(|entry| entry.endpoints.iter());
        let localities = endpoints.map(|endpoint| endpoint.locality.clone());
        localities.collect::<Vec<_>>()
    };
    for url in ["shop.example.com", "shop.apps.internal"] {
        assert_eq!(localities(Some("eu"), url), ["eu/z1", ""], "{url}");
        assert_eq!(localities(None, url), ["", ""], "{url}");
    }
}

#[test]
fn what_is_tried_again_of_a_client_that_is_kept_goes_to_another_instance() {
    let kept = |change: fn(&mut Route)| {
        let mut route = route("shop.example.com", [to("app", 8080)]);
        change(&mut route);
        let made = make_with(&external(), [route], []);
        let services = made.services.map(Option::unwrap);
        services.map(|service| {
            let retries = service.http[0].retries.as_ref();
            retries.unwrap().retry_ignore_previous_hosts
        })
    };
    assert_eq!(kept(|_| ()), [None; 2]);
    let by_cookie = |route: &mut Route| route.ask(Asked::parse([("session-affinity", "SHOP")]));
    assert_eq!(kept(by_cookie), [None, Some(true)]);
    let by_header = |route: &mut Route| {
        let header = HeaderName::parse("X-User").unwrap();
        route.load_balancing = Some(Box::new(LoadBalancing::Hash(header)));
    };
    assert_eq!(kept(by_header), [None, Some(true)]);
    let never = |route: &mut Route| {
        route.ask(Asked::parse([
            ("session-affinity", "SHOP"),
            ("retry-attempts", "0"),
        ]));
    };
    assert_eq!(kept(never), [None; 2]);
}

/// What an operator sets so that zones count.
fn zoned() -> Defaults {
    Defaults {
        region: Some("eu".into()),
        ejection: Some(Ejection {
            failures: 3,
            duration: Duration::from_mins(2),
        }),
        ..external().defaults
    }
}

#[test]
fn what_is_tried_again_leaves_the_zone_where_zones_come_first() {
    let other_zones = |defaults: Defaults, asked: &[(&str, &str)]| {
        let mut route = route("shop.example.com", [to("app", 8080)]);
        route.ask(Asked::parse(asked.iter().copied()));
        let made = make_with(&with(defaults), [route], []);
        let services = made.services.map(Option::unwrap);
        services.map(|service| {
            let retries = service.http[0].retries.as_ref();
            retries.unwrap().retry_remote_localities
        })
    };
    assert_eq!(other_zones(zoned(), &[]), [None, Some(true)]);
    for attempts in ["0", "1"] {
        // None of these is a third.
        let asked = [("retry-attempts", attempts)];
        assert_eq!(other_zones(zoned(), &asked), [None; 2], "{attempts}");
    }
    let no_region = Defaults {
        region: None,
        ..zoned()
    };
    assert_eq!(other_zones(no_region, &[]), [None; 2]);
    // No zone comes first then.
    let no_ejection = Defaults {
        ejection: None,
        ..zoned()
    };
    assert_eq!(other_zones(no_ejection, &[]), [None; 2]);
}

#[test]
fn a_client_is_kept_at_one_instance_from_whichever_zone_it_comes() {
    let zones = |defaults: &Defaults, choice: LoadBalancing| {
        let route = Route {
            load_balancing: Some(Box::new(choice)),
            ..route("shop.example.com", [to("app", 8080)])
        };
        let made = make_with(&with(defaults.clone()), [route], []);
        let retries = made.services.map(|service| {
            let retries = service.unwrap().http[0].retries.clone().unwrap();
            (
                retries.retry_ignore_previous_hosts,
                retries.retry_remote_localities,
            )
        });
        let enabled = made.rules.map(|rules| {
            let policy = rules.into_values().next()?.traffic_policy?;
            policy.load_balancer?.locality_lb_setting?.enabled
        });
        (enabled, retries)
    };
    let by_header = || LoadBalancing::Hash(HeaderName::parse("X-User").unwrap());
    let anywhere = [(None, None), (Some(true), None)];
    assert_eq!(
        zones(&zoned(), by_header()),
        ([None, Some(false)], anywhere)
    );
    let no_region = Defaults {
        region: None,
        ..zoned()
    };
    assert_eq!(zones(&no_region, by_header()), ([None; 2], anywhere));
    let in_zone = [(None, None), (None, Some(true))];
    assert_eq!(
        zones(&zoned(), LoadBalancing::LeastConnection),
        ([None; 2], in_zone)
    );
}
