//! Objects as Cloud Controller sends them, in all its versions.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::{
    AppPort, Destination, HeaderName, Hostname, LoadBalancing, Protocol, Route, RouteGuid, Weight,
};

const ROUTE: &str = "cbad697f-cac1-48f4-9017-ac08f39dfb31";
const APP: &str = "0a6636b5-7fc4-44d8-8752-0db3e40b35a5";

fn raw(value: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap()
}

fn wire_route() -> Value {
    json!({
        "guid": ROUTE, "created_at": "2019-05-10T17:17:48Z", "updated_at": null,
        "protocol": "http", "host": "a-hostname", "path": "", "port": null, "url": "unused",
        "destinations": [wire_destination()],
        "options": {}, "metadata": {"labels": {}},
        "relationships": {
            "space": {"data": {"guid": "s"}},
            "domain": {"data": {"guid": "d"}},
        },
        "links": {}, "added_in_a_later_version": [1, 2],
    })
}

fn wire_destination() -> Value {
    json!({
        "guid": "385bf117", "app": {"guid": APP, "process": {"type": "web"}},
        "weight": null, "port": 8080, "protocol": "http1",
    })
}

fn read(value: &Value) -> Result<ParsedRoute, Dropped> {
    read_of(DomainKind::Http, value)
}

fn read_of(kind: DomainKind, value: &Value) -> Result<ParsedRoute, Dropped> {
    let domain = MeshDomain {
        name: Hostname::parse("example.com").unwrap(),
        kind,
    };
    route(
        &raw(value),
        &AnnotationPrefix::default(),
        |guid| match guid.to_string().as_str() {
            "d" => KnownDomain::Mesh(&domain),
            "elsewhere" => KnownDomain::Outside,
            _ => KnownDomain::Unknown,
        },
    )
}

fn read_mesh(value: &Value) -> (Route, Vec<Dropped>) {
    match read(value) {
        Ok(ParsedRoute::Mesh(located, dropped)) => (
            located.route,
            dropped.map(|item| *item).into_iter().collect(),
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_route_is_read_with_its_destination() {
    let (route, dropped) = read_mesh(&wire_route());
    assert_eq!(dropped, []);
    assert_eq!(route.guid, RouteGuid::from(ROUTE));
    assert_eq!(route.host.as_str(), "a-hostname.example.com");
    assert_eq!(route.created_at, 1_557_508_668);
    assert_eq!(
        route.destinations.as_slice(),
        [Destination {
            workload: Workload {
                app: APP.into(),
                process_type: ProcessType::Web
            },
            port: AppPort::Number(8080),
            weight: Weight::Instances,
            protocol: Protocol::Http1,
        }]
    );
}

#[test]
fn hosts_may_be_empty_a_wildcard_upper_case_or_have_underscores() {
    for (host, expected) in [
        ("", "example.com"),
        ("*", "*.example.com"),
        ("Under_Score", "under_score.example.com"),
    ] {
        let mut value = wire_route();
        value["host"] = host.into();
        assert_eq!(read_mesh(&value).0.host.as_str(), expected);
    }
}

#[test]
fn what_older_versions_leave_out_is_not_missed() {
    let mut value = wire_route();
    for key in [
        "protocol",
        "options",
        "updated_at",
        "port",
        "path",
        "metadata",
    ] {
        value.as_object_mut().unwrap().remove(key);
    }
    let destination = value["destinations"][0].as_object_mut().unwrap();
    destination.remove("protocol");
    destination.remove("weight");
    assert_eq!(read_mesh(&value), read_mesh(&wire_route()));
}

#[test]
fn destinations_are_sorted_and_each_is_there_once() {
    let mut value = wire_route();
    let mut second = wire_destination();
    second["port"] = 1024.into();
    second["protocol"] = "http2".into();
    second["weight"] = 39.into();
    value["destinations"] = json!([wire_destination(), second, wire_destination()]);
    let ports: Vec<_> = read_mesh(&value)
        .0
        .destinations
        .iter()
        .map(|destination| (destination.port, destination.protocol, destination.weight))
        .collect();
    assert_eq!(
        ports,
        [
            (AppPort::Number(1024), Protocol::Http2, Weight::Fixed(39)),
            (AppPort::Number(8080), Protocol::Http1, Weight::Instances)
        ]
    );
}

#[test]
fn a_missing_protocol_is_http_and_a_missing_port_the_default() {
    let mut value = wire_route();
    value["destinations"][0]["protocol"] = Value::Null;
    value["destinations"][0]["port"] = Value::Null;
    assert_eq!(read_mesh(&value), read_mesh(&wire_route()));
}

#[test]
fn an_invalid_destination_is_left_out_alone() {
    for (key, bad) in [
        ("port", json!(0)),
        ("port", json!(70_000)),
        ("app", Value::Null),
        ("protocol", json!("tcp")),
        ("protocol", json!("http9")),
        ("weight", json!("all")),
    ] {
        let mut value = wire_route();
        let mut second = wire_destination();
        second[key] = bad;
        value["destinations"] = json!([second, wire_destination()]);
        let (route, dropped) = read_mesh(&value);
        assert_eq!(route.destinations.len(), 1);
        assert_eq!(
            (dropped[0].name.as_str(), dropped[0].reason),
            (ROUTE, "invalid_destination")
        );
    }
}

#[test]
fn a_route_without_any_valid_destination_is_unreadable() {
    let mut value = wire_route();
    value["destinations"][0]["port"] = 0.into();
    let dropped = read(&value).unwrap_err();
    assert_eq!((dropped.name.as_str(), dropped.reason), (ROUTE, MALFORMED));
    value["destinations"] = json!([]);
    assert!(read_mesh(&value).0.destinations.is_empty(), "none is fine");
}

#[test]
fn annotations_for_the_mesh_are_read_and_others_are_not() {
    let mut value = wire_route();
    value["options"] = json!({"loadbalancing": "hash", "hash_header": "x-user"});
    value["metadata"]["annotations"] = json!({
        "mesh.cloudfoundry.org/timeout": "5s",
        "mesh.cloudfoundry.org/session-affinity": "SHOP",
        "other.example.com/timeout": "9 eggs",
        "timeout": "7s",
    });
    let (route, dropped) = read_mesh(&value);
    assert!(dropped.is_empty(), "{dropped:?}");
    let settings = route.settings.unwrap();
    assert_eq!(settings.timeout, Some(Duration::from_secs(5)));
    let choice = route.load_balancing.unwrap();
    assert_eq!(choice.to_string(), "cookie SHOP", "comes before the option");
    for nothing in [
        Value::Null,
        json!({}),
        json!({"annotations": null}),
        json!({"annotations": {}}),
    ] {
        let mut value = wire_route();
        value["metadata"] = nothing;
        assert_eq!(read_mesh(&value), read_mesh(&wire_route()));
    }
}

#[test]
fn annotations_that_cannot_be_followed_are_left_out_and_named_together() {
    let mut value = wire_route();
    value["metadata"]["annotations"] = json!({
        "mesh.cloudfoundry.org/timeout": "soon",
        "mesh.cloudfoundry.org/patience": "none",
    });
    let (route, dropped) = read_mesh(&value);
    assert_eq!(route, read_mesh(&wire_route()).0, "the route is served");
    let [dropped] = dropped.as_slice() else {
        panic!("{dropped:?}");
    };
    assert_eq!(
        (dropped.name.as_str(), dropped.reason),
        (ROUTE, "invalid_annotations")
    );
    assert_eq!(
        dropped.detail,
        "annotation \"timeout\": \"soon\" is no whole number with ms, s, m or h, up to 3600s; \
         annotation \"patience\": there is no such setting"
    );
    // Each is read alone, whatever the others are.
    value["metadata"]["annotations"] = json!({
        "mesh.cloudfoundry.org/timeout": "5s",
        "mesh.cloudfoundry.org/path-rewrite": 7,
        "mesh.cloudfoundry.org/retry-attempts": null,
        "other.example.com/any": {"a": []},
    });
    let (route, dropped) = read_mesh(&value);
    assert_eq!(
        route.settings.unwrap().timeout,
        Some(Duration::from_secs(5))
    );
    assert_eq!(dropped[0].reason, "invalid_annotations");
    assert_eq!(
        dropped[0].detail,
        "annotation \"path-rewrite\": this is no text"
    );
}

#[test]
fn annotations_that_cannot_be_told_apart_say_nothing() {
    for metadata in [
        json!(7),
        json!([]),
        json!({"annotations": 7}),
        json!({"annotations": ["a"]}),
    ] {
        let mut value = wire_route();
        value["metadata"] = metadata;
        let Ok(ParsedRoute::Mesh(located, dropped)) = read(&value) else {
            panic!("{value}");
        };
        assert!(located.settings_unclear, "{value}");
        assert_eq!(located.route, read_mesh(&wire_route()).0);
        assert_eq!(dropped.unwrap().reason, "unclear_annotations");
    }
}

#[test]
fn without_a_word_on_annotations_it_is_unclear_what_is_asked_for() {
    for (metadata, is_unclear) in [
        (Value::Null, true),
        (json!({}), true),
        (json!({"annotations": null}), true),
        (json!({"annotations": {}}), false),
    ] {
        let mut value = wire_route();
        value["metadata"] = metadata;
        let Ok(ParsedRoute::Mesh(located, None)) = read(&value) else {
            panic!("{value}");
        };
        assert_eq!(located.settings_unclear, is_unclear, "{value}");
    }
}

#[test]
fn all_that_is_left_out_of_a_route_is_named_under_its_name() {
    let mut value = wire_route();
    value["options"] = json!({"loadbalancing": 7});
    value["metadata"]["annotations"] = json!({"mesh.cloudfoundry.org/timeout": "soon"});
    let named = |value: &Value| {
        let (_, dropped) = read_mesh(value);
        let [dropped] = &dropped[..] else {
            panic!("{dropped:?}");
        };
        (dropped.reason, dropped.detail.clone())
    };
    let (reason, detail) = named(&value);
    assert_eq!(reason, "invalid_options");
    assert!(
        detail.contains("another shape") && detail.contains("\"soon\""),
        "{detail}"
    );
    // What is known of its annotations stays, which has to be said.
    value["metadata"] = json!(7);
    let (reason, detail) = named(&value);
    assert_eq!(reason, "unclear_annotations");
    assert!(detail.contains("another shape"), "{detail}");
}

#[test]
fn a_prefix_of_annotations_is_a_domain_name_and_a_slash() {
    for bad in [
        "",
        "/",
        "mesh",
        "mesh.example.com",
        "*.example.com/",
        "a b/",
        "a/b/",
    ] {
        assert!(bad.parse::<AnnotationPrefix>().is_err(), "{bad}");
    }
    // As the check of the job's properties has it.
    assert!("Mesh.Example.com/".parse::<AnnotationPrefix>().is_ok());
    let mut value = wire_route();
    value["metadata"]["annotations"] = json!({"a.example.com/timeout": "5s"});
    let domain = MeshDomain {
        name: Hostname::parse("example.com").unwrap(),
        kind: DomainKind::Http,
    };
    let prefix = "a.example.com/".parse().unwrap();
    let read = route(&raw(&value), &prefix, |_| KnownDomain::Mesh(&domain));
    let Ok(ParsedRoute::Mesh(located, _)) = read else {
        panic!("{read:?}");
    };
    assert!(located.route.settings.is_some());
}

#[test]
fn options_say_how_instances_share_the_requests() {
    let header = HeaderName::parse("x-user").unwrap();
    for (options, expected) in [
        (Value::Null, None),
        (json!({}), None),
        (json!({"loadbalancing": null}), None),
        (json!({"added_later": [1]}), None),
        (
            json!({"loadbalancing": "round-robin"}),
            Some(LoadBalancing::RoundRobin),
        ),
        (
            json!({"loadbalancing": "least-connection"}),
            Some(LoadBalancing::LeastConnection),
        ),
        (
            json!({"loadbalancing": "hash", "hash_header": "X-User", "hash_balance": "1.25"}),
            Some(LoadBalancing::Hash(header)),
        ),
    ] {
        let mut value = wire_route();
        value["options"] = options;
        let (route, dropped) = read_mesh(&value);
        assert_eq!(
            (route.load_balancing.as_deref(), dropped),
            (expected.as_ref(), vec![])
        );
    }
}

#[test]
fn options_that_cannot_be_followed_are_left_out_alone_and_named() {
    for (options, detail) in [
        (
            json!({"loadbalancing": "fastest"}),
            r#"unknown loadbalancing "fastest""#,
        ),
        (
            json!({"loadbalancing": "hash"}),
            "loadbalancing by hash without hash_header",
        ),
        (
            json!({"loadbalancing": "hash", "hash_header": "no header"}),
            r#"header "no header" is not"#,
        ),
        (json!({"loadbalancing": 7}), "JSON of another shape"),
        (json!("all of them"), "JSON of another shape"),
    ] {
        let mut value = wire_route();
        value["options"] = options;
        let (route, dropped) = read_mesh(&value);
        assert_eq!(route, read_mesh(&wire_route()).0, "the route is served");
        let [dropped] = dropped.as_slice() else {
            panic!("{dropped:?}");
        };
        assert_eq!(
            (dropped.name.as_str(), dropped.reason),
            (ROUTE, "invalid_options")
        );
        assert!(dropped.detail.starts_with(detail), "{}", dropped.detail);
    }
}

#[test]
fn routes_of_other_domains_are_elsewhere() {
    let mut domain = wire_route();
    domain["relationships"]["domain"]["data"]["guid"] = "elsewhere".into();
    let mut tcp = domain.clone();
    tcp["protocol"] = "tcp".into();
    let mut port = wire_route();
    port["port"] = 1024.into();
    port["relationships"]["domain"]["data"]["guid"] = "new".into();
    for value in [tcp, port, domain] {
        assert_eq!(read(&value), Ok(ParsedRoute::Elsewhere));
    }
    let mut unknown = wire_route();
    unknown["relationships"]["domain"]["data"]["guid"] = "new".into();
    assert_eq!(read(&unknown), Ok(ParsedRoute::UnknownDomain("new".into())));
}

#[test]
fn a_route_of_a_tcp_domain_is_its_port_and_has_no_requests_to_say_anything_of() {
    let mut value = wire_route();
    value["port"] = 1024.into();
    value["protocol"] = "tcp".into();
    value["host"] = "".into();
    let read = |value: &Value| match read_of(DomainKind::Tcp, value) {
        Ok(ParsedRoute::Mesh(located, dropped)) => (located.route, dropped),
        other => panic!("{other:?}"),
    };
    let (route, dropped) = read(&value);
    assert_eq!(route.host.as_str(), "example.com:1024");
    assert_eq!(route.destinations[0].protocol, Protocol::Tcp);
    assert_eq!((dropped, route.internal), (None, false));

    value["options"] = json!({ "loadbalancing": "least-connection" });
    let (route, dropped) = read(&value);
    assert_eq!(
        route.load_balancing.as_deref(),
        Some(&LoadBalancing::LeastConnection)
    );
    assert_eq!(dropped, None);
    value["options"] = json!({ "loadbalancing": "hash", "hash_header": "X-User" });
    value["metadata"]["annotations"] = json!({ "mesh.cloudfoundry.org/timeout": "5s" });
    let (route, dropped) = read(&value);
    assert_eq!((route.load_balancing, route.settings), (None, None));
    let said = dropped.unwrap().detail;
    assert!(
        said.contains("headers") && said.contains("requests"),
        "{said}"
    );

    for port in [Value::Null, 0.into()] {
        value["port"] = port;
        let dropped = read_of(DomainKind::Tcp, &value).unwrap_err();
        assert_eq!(
            (dropped.name.as_str(), dropped.reason),
            (ROUTE, "tcp_route")
        );
    }
}

#[test]
fn an_invalid_route_is_named_with_the_reason() {
    for (key, bad, reason) in [
        ("host", json!("a/b"), "invalid_hostname"),
        ("path", json!("no-slash"), "invalid_path"),
        ("port", json!(443), "tcp_route"),
        ("protocol", json!("tcp"), "tcp_route"),
        ("created_at", json!("yesterday"), "malformed"),
        ("relationships", json!({}), "malformed"),
        ("destinations", Value::Null, "malformed"),
    ] {
        let mut value = wire_route();
        value[key] = bad;
        let dropped = read(&value).unwrap_err();
        assert_eq!((dropped.name.as_str(), dropped.reason), (ROUTE, reason));
    }
}

#[test]
fn what_is_longer_than_any_guid_is_none() {
    for pointer in [
        "/guid",
        "/relationships/domain/data/guid",
        "/destinations/0/app/guid",
        "/destinations/0/app/process/type",
    ] {
        let mut value = wire_route();
        let mut of = |bytes| {
            *value.pointer_mut(pointer).unwrap() = "x".repeat(bytes).into();
            read(&value)
        };
        of(255).unwrap();
        for bytes in [256, 10 << 20] {
            let dropped = of(bytes).unwrap_err();
            let said = dropped.name.len() + dropped.detail.len();
            assert!(said < 200, "{pointer}: {said} bytes");
        }
    }
}

#[test]
fn no_detail_quotes_what_was_found() {
    let mut value = wire_route();
    value["created_at"] = "secret".into();
    let mut destination = wire_route();
    destination["destinations"][0]["port"] = "secret".into();
    for value in [value, destination] {
        let dropped = read(&value).unwrap_err();
        assert!(!dropped.detail.contains("secret"), "{}", dropped.detail);
    }
}

#[test]
fn a_route_has_a_thousand_destinations_at_most() {
    let mut value = wire_route();
    let destination = value["destinations"][0].clone();
    value["destinations"] = vec![destination; 100_000].into();
    let (route, dropped) = read_mesh(&value);
    assert_eq!((route.destinations.len(), dropped.len()), (1, 1));
    assert!(
        dropped[0].detail.contains("99000 destinations"),
        "{dropped:?}"
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(Value::from("2019-05-10T17:17:48Z")),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("guid|app|data|domain|type|process", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_that_is_json_panics(bad in any_json(), at in 0..10_usize) {
        let mut value = wire_route();
        let keys = [
            "guid", "created_at", "protocol", "host", "path", "port", "destinations", "options", "relationships",
        ];
        match keys.get(at) {
            Some(key) => value[*key] = bad,
            None => value["destinations"][0] = bad,
        }
        match read(&value) {
            Ok(ParsedRoute::Mesh(Located { route, .. }, _)) => {
                prop_assert!(route.path.is_empty() || route.path.starts_with('/'));
            }
            Ok(_) => {}
            Err(dropped) => prop_assert!(!dropped.name.is_empty() || value["guid"] == ""),
        }
        domain(&raw(&value)).ok();
        process(&raw(&value)).ok();
        binding(&raw(&value)).ok();
    }
}

#[test]
fn a_domain_enforces_route_policies_unless_it_says_no() {
    for (key, value, expected) in [
        ("added_later", json!(true), false),
        ("enforce_route_policies", json!(false), false),
        ("enforce_route_policies", json!(null), false),
        ("enforce_route_policies", json!(true), true),
        ("enforce_route_policies", json!("org"), true),
        ("route_policies_scope", json!("org"), true),
        ("route_policies_scope", json!(null), false),
    ] {
        let mut row = json!({"guid": "d", "name": "example.com"});
        row[key] = value;
        assert_eq!(domain(&raw(&row)).unwrap().enforced, expected, "{row}");
    }
}

#[test]
fn a_binding_guards_its_route_unless_it_could_not_be_made() {
    let guards = |changes: Value| {
        let mut row = json!({
            "guid": "b", "route_service_url": null, "created_at": "2021-05-10T17:17:48Z",
            "last_operation": null,
            "relationships": {"route": {"data": {"guid": ROUTE}}, "service_instance": {"data": {"guid": "s"}}},
        });
        let changes = changes.as_object().unwrap().clone();
        row.as_object_mut().unwrap().extend(changes);
        let binding = binding(&raw(&row)).unwrap();
        assert_eq!(binding.route, RouteGuid::from(ROUTE));
        binding.guards
    };
    let operation = |kind, state| json!({"type": kind, "state": state, "description": ""});
    let url = "https://guard.example.com";
    assert!(
        guards(json!({})),
        "a service in front of the router has no URL"
    );
    assert!(guards(
        json!({"last_operation": operation("create", "in progress")})
    ));
    assert!(guards(
        json!({"last_operation": operation("delete", "failed")})
    ));
    assert!(guards(
        json!({"route_service_url": url, "last_operation": operation("create", "failed")})
    ));
    assert!(!guards(
        json!({"last_operation": operation("create", "failed")})
    ));
    let dropped = binding(&raw(&json!({"guid": "b"}))).unwrap_err();
    assert_eq!((dropped.name.as_str(), dropped.reason), ("b", "malformed"));
}

#[test]
fn domains_are_http_internal_or_tcp_in_every_version() {
    let kind = |value: Value| {
        let mut domain_value = json!({"guid": "d", "name": "Example.com", "internal": false});
        domain_value
            .as_object_mut()
            .unwrap()
            .append(&mut value.as_object().unwrap().clone());
        domain(&raw(&domain_value)).unwrap().kind
    };
    let group = json!({"guid": "g"});
    for (value, expected) in [
        (json!({}), DomainKind::Http),
        (
            json!({"internal": true, "router_group": null}),
            DomainKind::Internal,
        ),
        (json!({"router_group": group}), DomainKind::Tcp),
        (
            json!({"router_group": group, "supported_protocols": ["tcp"]}),
            DomainKind::Tcp,
        ),
        (
            json!({"router_group": group, "supported_protocols": ["http"]}),
            DomainKind::Http,
        ),
        (json!({"supported_protocols": null}), DomainKind::Http),
    ] {
        assert_eq!(kind(value.clone()), Some(expected), "{value}");
    }
    assert_eq!(kind(json!({"internal": null})), None, "it does not say");
}

#[test]
fn a_process_names_its_app_and_type() {
    let value = json!({
        "guid": "p", "type": "worker", "version": null,
        "relationships": {"app": {"data": {"guid": APP}}, "revision": null},
    });
    let process = process(&raw(&value)).unwrap();
    assert_eq!(process.workload.app, AppGuid::from(APP));
    assert_eq!(process.workload.process_type.as_str(), "worker");
    let dropped = super::process(&raw(&json!({"guid": "p"}))).unwrap_err();
    assert_eq!((dropped.name.as_str(), dropped.reason), ("p", "malformed"));
}
