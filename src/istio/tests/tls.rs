//! Where instances are reached that take TLS, and how they are verified.

use super::*;
use crate::proto::istio::networking::v1alpha3::{ClientTlsSettings, client_tls_settings::TlSmode};

fn backend(verify: Verify) -> Options {
    Options {
        backend_tls: Some(BackendTls {
            identity: Some(ProxyIdentity {
                chain: "/certs/client.crt".parse().unwrap(),
                key: "/certs/client.key".parse().unwrap(),
            }),
            ca: "/certs/instances.crt".parse().unwrap(),
            verify,
        }),
        ..keep_empty()
    }
}

fn inside() -> Options {
    Options {
        internal_tls: Some(InternalTls {
            ca: "/etc/apps/instances.crt".parse().unwrap(),
        }),
        ..keep_empty()
    }
}

/// The ports of a cell: in plaintext, and over TLS.
fn on_cell(n: u8, app: &str, host: u16, host_tls: u16) -> Instance {
    let mut instance = instance(n, app, &[(8080, host)]);
    instance.ports[0] = PortMapping {
        host_tls,
        container_tls: 61_001,
        internal_tls: 61_443,
        ..instance.ports[0]
    };
    instance
}

/// As cells of today report it.
fn tls_alone(n: u8, app: &str) -> Instance {
    on_cell(n, app, 0, 61_000 + u16::from(n))
}

fn plain(n: u8, app: &str) -> Instance {
    instance(n, app, &[(8080, 61_000 + u16::from(n))])
}

fn shop(to: impl IntoIterator<Item = Destination>) -> Route {
    route("shop.example.com", to)
}

const SHOP: &str = "shop.example.com";
const TLS_SHOP: &str = "cf--tls.shop.example.com";

fn settings(made: &Made, service: &str) -> Option<ClientTlsSettings> {
    let [classic, xds] = [0, 1].map(|era| {
        let rule = made.rules[era].get(service)?;
        assert_eq!(rule.host.trim_end_matches(".routes.cloudfoundry"), service);
        rule.traffic_policy.clone()?.tls
    });
    assert_eq!(classic, xds, "every era has the same words for it");
    classic
}

#[test]
fn an_instance_that_takes_tls_is_reached_so_and_verified_to_be_one_of_the_routes() {
    let made = make_with(
        &backend(Verify::Instance),
        [shop([to("blue", 8080), to("green", 8080)])],
        [tls_alone(3, "blue"), tls_alone(1, "green")],
    );
    assert_eq!(made.order(), [TLS_SHOP]);
    assert_eq!(
        made.endpoints(TLS_SHOP),
        ["10.0.0.1:61001", "10.0.0.3:61003"]
    );
    assert_eq!(made.entries[0].len(), 1);
    let expected = ClientTlsSettings {
        mode: TlSmode::Mutual.into(),
        client_certificate: "/certs/client.crt".to_owned(),
        private_key: "/certs/client.key".to_owned(),
        ca_certificates: "/certs/instances.crt".to_owned(),
        subject_alt_names: ["instance-1", "instance-3"].map(str::to_owned).into(),
        sni: format!("{TLS_SHOP}.routes.cloudfoundry"),
    };
    assert_eq!(settings(&made, TLS_SHOP), Some(expected));
    assert_eq!(made.unreachable, []);
}

#[test]
fn the_ca_is_enough_where_that_is_asked_for_and_no_certificate_is_presented_in_mode_simple() {
    let mut options = backend(Verify::Ca);
    let routes = || [shop([to("app", 8080)])];
    let made = make_with(&options, routes(), [tls_alone(1, "app")]);
    let told = settings(&made, TLS_SHOP).unwrap();
    assert!(told.subject_alt_names.is_empty());
    assert!(!told.sni.is_empty(), "or the hostname would be verified");

    options.backend_tls.as_mut().unwrap().identity = None;
    let made = make_with(&options, routes(), [tls_alone(1, "app")]);
    let simple = settings(&made, TLS_SHOP).unwrap();
    assert_eq!(simple.mode(), TlSmode::Simple);
    let without = ClientTlsSettings {
        mode: TlSmode::Simple.into(),
        client_certificate: String::new(),
        private_key: String::new(),
        ..told
    };
    assert_eq!(simple, without);
}

#[test]
fn without_a_word_on_tls_plain_ports_are_used_and_who_has_none_is_named_with_the_key() {
    let made = make(
        [shop([to("app", 8080)])],
        [
            on_cell(1, "app", 61_001, 62_001),
            tls_alone(2, "app"),
            tls_alone(3, "app"),
        ],
    );
    assert_eq!(made.endpoints(SHOP), ["10.0.0.1:61001"]);
    assert_eq!(settings(&made, SHOP), None);
    let [named] = &made.unreachable[..] else {
        panic!("{:?}", made.unreachable)
    };
    assert_eq!(named.rule, "tls");
    made.assert_unreachable(2);
    assert!(named.detail.contains("BackendTLS"), "{named}");
}

#[test]
fn of_two_ports_the_one_for_tls_is_used() {
    let made = make_with(
        &backend(Verify::Instance),
        [shop([to("app", 8080)])],
        [on_cell(1, "app", 61_001, 62_001)],
    );
    assert_eq!(made.endpoints(TLS_SHOP), ["10.0.0.1:62001"]);
    assert_eq!(made.entries[0].len(), 1);
}

#[test]
fn while_cells_change_over_a_route_is_two_services_that_share_by_instances() {
    let all = [1, 2, 3, 4];
    for changed in 0..=all.len() {
        let instances = all.map(|n| {
            if usize::from(n) <= changed {
                tls_alone(n, "app")
            } else {
                plain(n, "app")
            }
        });
        let made = make_with(
            &backend(Verify::Instance),
            [shop([to("app", 8080)])],
            instances,
        );
        let percent = i32::try_from(25 * changed).unwrap();
        let expected: Vec<_> = [(SHOP, 100 - percent), (TLS_SHOP, percent)]
            .into_iter()
            .filter(|(_, percent)| *percent > 0)
            .collect();
        assert_eq!(made.split(0), expected);
        let served = made.entries[0].values().map(|entry| entry.endpoints.len());
        assert_eq!(served.sum::<usize>(), all.len());
        let names = settings(&made, TLS_SHOP).map(|tls| tls.subject_alt_names.len());
        assert_eq!(names.unwrap_or_default(), changed);
        assert_eq!(settings(&made, SHOP), None, "never over TLS by this name");
    }
}

#[test]
fn weights_come_first_and_are_divided_by_the_instances_behind_each_port() {
    let made = make_with(
        &backend(Verify::Instance),
        [shop([weighted("blue", 80), weighted("green", 20)])],
        [
            plain(1, "blue"),
            tls_alone(2, "blue"),
            tls_alone(3, "blue"),
            tls_alone(4, "blue"),
            tls_alone(5, "green"),
        ],
    );
    let mut split = made.split(0);
    split.sort_by_key(|(_, percent)| *percent);
    let percents: Vec<_> = split.iter().map(|(_, percent)| *percent).collect();
    assert_eq!(percents, [20, 20, 60]);
    assert_eq!(made.endpoints(split[2].0).len(), 3);
    assert!(split[2].0.starts_with("cf--tls.cf--to-"), "{split:?}");
    let tls = split
        .iter()
        .filter(|(name, _)| name.starts_with("cf--tls."));
    assert_eq!(tls.count(), 2);
}

#[test]
fn no_port_loses_its_share_to_a_weight_that_is_smaller_than_the_instances() {
    let made = make_with(
        &backend(Verify::Instance),
        [shop([weighted("blue", 1), weighted("green", 1)])],
        [
            plain(1, "blue"),
            tls_alone(2, "blue"),
            tls_alone(3, "blue"),
            tls_alone(4, "green"),
        ],
    );
    let mut percents: Vec<_> = made.split(0).iter().map(|(_, percent)| *percent).collect();
    percents.sort_unstable();
    assert_eq!(percents, [17, 33, 50]);
}

#[test]
fn protocols_and_ports_make_those_services_that_have_instances() {
    let made = make_with(
        &backend(Verify::Instance),
        [shop([to("front", 8080), http2("grpc", 8080)])],
        [
            plain(1, "front"),
            tls_alone(2, "front"),
            tls_alone(3, "grpc"),
        ],
    );
    let tls_grpc = "cf--tls.cf--h2.shop.example.com";
    assert_eq!(made.split(0), [(SHOP, 34), (TLS_SHOP, 33), (tls_grpc, 33)]);
    assert_eq!(made.entry(tls_grpc).ports[0].protocol, "http2");
    assert_eq!(made.entries[0].len(), 3);
    assert_eq!(
        settings(&made, tls_grpc).unwrap().subject_alt_names,
        ["instance-3"]
    );
}

#[test]
fn a_choice_of_an_instance_is_for_each_port_and_each_era_has_its_word_for_it() {
    let mut route = shop([to("app", 8080)]);
    route.load_balancing = Some(Box::new(crate::model::LoadBalancing::LeastConnection));
    let made = make_with(
        &backend(Verify::Instance),
        [route],
        [plain(1, "app"), tls_alone(2, "app")],
    );
    for service in [SHOP, TLS_SHOP] {
        let [classic, xds] = [0, 1].map(|era| {
            let policy = made.rules[era][service].traffic_policy.clone().unwrap();
            policy.load_balancer.unwrap()
        });
        assert_ne!(classic, xds);
    }
    assert!(settings(&made, TLS_SHOP).is_some() && settings(&made, SHOP).is_none());
}

#[test]
fn an_app_without_instances_waits_for_one_that_takes_tls_and_nobody_is_let_in_before() {
    let made = make_with(&backend(Verify::Instance), [shop([to("app", 8080)])], []);
    assert_eq!(made.order(), [TLS_SHOP]);
    assert_eq!(made.entries[1][TLS_SHOP].endpoints.len(), 0);
    let names = settings(&made, TLS_SHOP).unwrap().subject_alt_names;
    assert_eq!(names, [format!("{TLS_SHOP}.routes.cloudfoundry")]);
}

#[test]
fn a_row_that_prefers_its_container_is_reached_there_over_tls_if_proxies_know_how() {
    let preferring = |instance: Instance| Instance {
        prefers_container: true,
        ..instance
    };
    let routes = || [shop([to("app", 8080)])];
    let both = || preferring(on_cell(1, "app", 61_009, 61_010));
    let made = make(routes(), [both(), preferring(plain(2, "app"))]);
    assert_eq!(made.endpoints(SHOP), ["10.255.0.1:8080", "10.255.0.2:8080"]);
    let made = make(routes(), [preferring(tls_alone(3, "app"))]);
    assert_eq!(made.endpoints(SHOP), ["10.255.0.3:8080"]);

    let options = backend(Verify::Instance);
    let made = make_with(&options, routes(), [both(), preferring(plain(2, "app"))]);
    assert_eq!(made.endpoints(TLS_SHOP), ["10.255.0.1:61001"]);
    assert_eq!(made.endpoints(SHOP), ["10.255.0.2:8080"]);

    let no_address = Instance {
        container_address: None,
        ..both()
    };
    let made = make(routes(), [no_address]);
    assert_eq!(made.endpoints(SHOP), ["10.0.0.1:61009"], "the cell's, then");
}

const ENTRY: &str = "internal/copilot-service-entry-for-shop.apps.internal";
const RULE: &str = "internal/copilot-rule-for-shop.apps.internal";

#[test]
fn apps_reach_each_other_over_tls_where_proxies_know_the_ca() {
    let routes = || [route("shop.apps.internal", [to("app", 8080)])];
    let instances = || [tls_alone(1, "app"), on_cell(2, "app", 61_002, 0)];
    let made = make_with(&inside(), routes(), instances());
    assert_eq!(
        made.endpoints(ENTRY),
        ["10.255.0.1:61443", "10.255.0.2:61443"]
    );
    assert_eq!(made.ports(ENTRY), [(8080, "http", "http")]);
    let expected = ClientTlsSettings {
        mode: TlSmode::Simple.into(),
        ca_certificates: "/etc/apps/instances.crt".to_owned(),
        subject_alt_names: vec!["shop.apps.internal".to_owned()],
        sni: "shop.apps.internal".to_owned(),
        ..ClientTlsSettings::default()
    };
    for era in [0, 1] {
        let policy = made.rules[era][RULE].traffic_policy.as_ref().unwrap();
        assert_eq!(policy.tls.as_ref(), Some(&expected));
    }
    let made = make(routes(), instances());
    assert_eq!(
        made.endpoints(ENTRY),
        ["10.255.0.1:8080", "10.255.0.2:8080"]
    );
}

#[test]
fn by_one_name_all_of_an_apps_instances_are_reached_alike() {
    let made = make_with(
        &inside(),
        [route("shop.apps.internal", [to("app", 8080)])],
        [tls_alone(1, "app"), plain(2, "app")],
    );
    assert_eq!(
        made.endpoints(ENTRY),
        ["10.255.0.1:8080", "10.255.0.2:8080"]
    );
    assert!(made.rules[0].is_empty());
    let policy = made.rules[1][RULE].traffic_policy.as_ref().unwrap();
    assert_eq!(policy.tls.as_ref().unwrap().mode(), TlSmode::Disable);
    assert_eq!(made.unreachable[0].rule, "plaintext");
    made.assert_unreachable(1);
}

#[test]
fn an_internal_hostname_without_instances_stays_as_it_is_with_them() {
    let routes = || [route("shop.apps.internal", [to("app", 8080)])];
    let with = make_with(&inside(), routes(), [tls_alone(1, "app")]);
    let without = make_with(&inside(), routes(), []);
    assert_eq!(with.rules, without.rules);
}
