//! What a full read finds, and that it loses nothing.

use copilot::model::{
    AppPort, Destination as ModelDestination, HeaderName, LoadBalancing, ProcessType, Protocol,
    Weight, Workload,
};
use serde_json::{Value, json};

use super::*;

/// One route of each kind.
fn routes_of_every_kind(foundation: &Foundation) -> Vec<RouteSpec> {
    let mesh = &foundation.mesh;
    let [internal, tcp] = [
        ("apps.internal", DomainKind::Internal),
        ("tcp.example.com", DomainKind::Tcp),
    ]
    .map(|(name, kind)| foundation.capi.state().add_domain(name, kind));
    let worker = Destination {
        process_type: "worker".to_owned(),
        port: 9090,
        protocol: Protocol::Http2,
        ..web("a")
    };
    let weighted = |name, weight| Destination {
        weight: Some(weight),
        ..web(name)
    };
    let with_options = |host, options| RouteSpec {
        options,
        ..RouteSpec::new(mesh, host)
    };
    let hash = json!({"loadbalancing": "hash", "hash_header": "x", "hash_balance": "1.5"});
    vec![
        RouteSpec::new(mesh, "plain").to(web("a")),
        RouteSpec::new(mesh, "").to(web("a")),
        RouteSpec::new(mesh, "*"),
        RouteSpec::new(mesh, "plain").path("/Sub").to(web("b")),
        RouteSpec::new(mesh, "Upper_Case"),
        RouteSpec::new(mesh, "shared")
            .to(worker)
            .to(web("b"))
            .to(web("a")),
        RouteSpec::new(mesh, "weighted")
            .to(weighted("a", 61))
            .to(weighted("b", 39)),
        RouteSpec::new(&internal, "inner").to(web("a")),
        RouteSpec::new(&foundation.other, "elsewhere").to(web("a")),
        with_options("old-row", None),
        with_options("hashed", Some(hash)),
        RouteSpec {
            port: Some(1024),
            ..RouteSpec::new(&tcp, "")
        },
    ]
}

fn destination(name: &str, process_type: &str, port: u16, weight: Option<u32>) -> ModelDestination {
    ModelDestination {
        workload: Workload {
            app: app(name),
            process_type: ProcessType::from(process_type),
        },
        port: AppPort::Number(port),
        weight: weight.map_or(Weight::Instances, Weight::Fixed),
        protocol: Protocol::Http1,
    }
}

#[tokio::test]
async fn every_kind_of_route_is_read_as_what_it_is() {
    let foundation = Foundation::new().await;
    let specs = routes_of_every_kind(&foundation);
    foundation.capi.state().load(specs);
    let mut settings = foundation.settings();
    settings.domains.push("*.internal".parse().unwrap());
    let mut polling = Polling::start(settings);
    let routes = polling.all_routes().await;

    let names: Vec<_> = routes.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "*.mesh.example.com",
            "hashed.mesh.example.com",
            "inner.apps.internal",
            "mesh.example.com",
            "old-row.mesh.example.com",
            "plain.mesh.example.com",
            "plain.mesh.example.com/Sub",
            "shared.mesh.example.com",
            "upper_case.mesh.example.com",
            "weighted.mesh.example.com",
        ]
    );
    assert!(routes["inner.apps.internal"].internal);
    assert!(!routes["mesh.example.com"].internal);
    assert_eq!(routes["mesh.example.com"].created_at, 1_704_067_200);
    let worker = ModelDestination {
        protocol: Protocol::Http2,
        ..destination("a", "worker", 9090, None)
    };
    assert_eq!(
        routes["shared.mesh.example.com"].destinations.as_slice(),
        [
            destination("a", "web", 8080, None),
            worker,
            destination("b", "web", 8080, None),
        ]
    );
    assert_eq!(
        routes["weighted.mesh.example.com"].destinations.as_slice(),
        [
            destination("a", "web", 8080, Some(61)),
            destination("b", "web", 8080, Some(39)),
        ]
    );
    assert_eq!(
        routes["hashed.mesh.example.com"].load_balancing.as_deref(),
        Some(&LoadBalancing::Hash(HeaderName::parse("x").unwrap()))
    );
    soon(polling.readiness.ready()).await;
    polling.stop().await;
}

#[tokio::test]
async fn a_changed_annotation_is_seen_by_the_next_full_read_whether_or_not_the_route_was_updated() {
    let foundation = Foundation::new().await;
    let guid = foundation.load(1).remove(0);
    let mut settings = foundation.settings();
    settings.full_read_interval = Duration::from_millis(10);
    let mut polling = Polling::start(settings);
    polling.all_routes().await;
    for (seconds, updates) in [(5, false), (6, true), (7, false)] {
        let text = format!("{seconds}s");
        let name = "mesh.cloudfoundry.org/timeout";
        foundation
            .capi
            .state()
            .annotate(&guid, name, &text, updates);
        let timeout = Some(Duration::from_secs(seconds));
        polling
            .holds(|held| {
                let held = held.0.get(&guid);
                let settings = held.and_then(|route| route.settings.as_ref());
                settings.and_then(|settings| settings.timeout) == timeout
            })
            .await;
    }
}

#[tokio::test]
async fn annotations_that_cannot_be_read_leave_what_was_asked_for_as_it_was_and_the_rest_is_read() {
    let foundation = Foundation::new().await;
    let guid = foundation.load(1).remove(0);
    let mut settings = foundation.settings();
    settings.full_read_interval = Duration::from_millis(10);
    for (name, text) in [("timeout", "5s"), ("session-affinity", "SHOP")] {
        let name = format!("mesh.cloudfoundry.org/{name}");
        foundation.capi.state().annotate(&guid, &name, text, false);
    }
    let mut polling = Polling::start(settings);
    polling.holds(|held| held.0.contains_key(&guid)).await;
    let known = polling.held.0[&guid].clone();
    assert!(known.settings.is_some() && known.load_balancing.is_some());
    for (again, annotations) in [
        ("b", Value::Null),
        ("c", json!(["none"])),
        ("d", json!(["none"])),
    ] {
        foundation.capi.state().change(&guid, |spec| {
            spec.annotations = annotations;
            spec.destinations = vec![web(again)];
        });
        polling
            .holds(|held| {
                let mut to = held.0[&guid].destinations.iter();
                to.any(|to| to.workload.app == app(again))
            })
            .await;
        let read = &polling.held.0[&guid];
        assert_eq!(
            (&read.settings, &read.load_balancing),
            (&known.settings, &known.load_balancing)
        );
    }
    let dropped = polling.routes.borrow().dropped.named().clone();
    let dropped = &dropped[&guid.to_string()];
    assert_eq!(dropped.reason, "unclear_annotations");
    assert!(
        dropped.detail.starts_with("kept as it was: "),
        "{}",
        dropped.detail
    );
    foundation
        .capi
        .state()
        .change(&guid, |spec| spec.annotations = json!({}));
    polling
        .holds(|held| held.0[&guid].settings.is_none() && held.0[&guid].load_balancing.is_none())
        .await;
}

#[tokio::test]
async fn a_client_of_the_api_says_who_it_is() {
    let foundation = Foundation::new().await;
    let mut polling = foundation.poll();
    polling.all_routes().await;
    let request = &foundation.capi.requests(Endpoint::Routes)[0];
    assert!(request.user_agent.starts_with("copilot/"));
    assert_eq!(
        request.parameter("domain_guids"),
        Some(foundation.mesh.to_string().as_str())
    );
}

#[tokio::test]
async fn routes_deleted_between_two_pages_hide_no_others() {
    let foundation = Foundation::new().await;
    let routes = foundation.load(25);
    let deleted = routes[..3].to_vec();
    foundation.capi.before(Endpoint::Routes, 1, move |state| {
        for route in &deleted {
            state.delete_route_silently(route);
        }
    });
    let settings = Settings {
        page_size: 10,
        ..foundation.settings()
    };
    let read = Polling::start(settings).all_routes().await;
    let live: BTreeSet<_> = routes[3..].iter().cloned().collect();
    assert!(guids(&read).is_superset(&live));
}

#[tokio::test]
async fn more_routes_in_one_second_than_a_page_holds_are_all_read() {
    let foundation = Foundation::new().await;
    let mut routes = foundation.load(3);
    let specs = (0..35).map(|at| RouteSpec::new(&foundation.mesh, &format!("bulk-{at}")));
    routes.extend(foundation.capi.state().load(specs));
    routes.extend(foundation.load(0));
    let first = routes[3].clone();
    foundation.capi.before(Endpoint::Routes, 2, move |state| {
        state.delete_route_silently(&first);
    });
    let settings = Settings {
        page_size: 10,
        ..foundation.settings()
    };
    let read = Polling::start(settings).all_routes().await;
    let live = routes.iter().filter(|route| **route != routes[3]);
    assert!(guids(&read).is_superset(&live.cloned().collect()));
}

#[tokio::test]
async fn a_limit_on_total_results_does_not_end_the_read() {
    let foundation = Foundation::new().await;
    let routes = foundation.load(45);
    foundation.capi.state().max_total_results = Some(15);
    let settings = Settings {
        page_size: 10,
        ..foundation.settings()
    };
    let read = Polling::start(settings).all_routes().await;
    assert_eq!(read.len(), routes.len());
}

#[tokio::test]
async fn an_invalid_route_is_left_out_alone_and_named() {
    let foundation = Foundation::new().await;
    let routes = foundation.load(3);
    foundation.capi.state().spoil(&routes[1]);
    let mut polling = foundation.poll();
    let read = polling.all_routes().await;
    assert_eq!(read.len(), 2);
    let named = soon(polling.routes.wait_for(|status| !status.dropped.is_empty()));
    let dropped = named.await.unwrap().dropped.named().clone();
    assert_eq!(dropped[&routes[1].to_string()].reason, "malformed");
}

#[tokio::test]
async fn a_domain_that_does_not_exist_is_named_and_the_others_are_served() {
    let foundation = Foundation::new().await;
    foundation.load(1);
    let mut settings = foundation.settings();
    settings.domains.push("gone.example.com".parse().unwrap());
    let mut polling = Polling::start(settings);
    assert_eq!(polling.all_routes().await.len(), 1);
    let dropped = polling.routes.borrow().dropped.named().clone();
    assert_eq!(dropped["gone.example.com"].reason, "missing_domain");
}

/// What is said of what is configured and not there.
async fn said_of_missing(foundation: &Foundation, domains: &[&str]) -> BTreeMap<String, String> {
    let domains = domains.iter().map(|domain| domain.parse().unwrap());
    let settings = Settings {
        domains: domains.collect(),
        ..foundation.settings()
    };
    let mut polling = Polling::start(settings);
    polling.all_routes().await;
    let dropped = polling.routes.borrow().dropped.named().clone();
    let said = dropped.into_values();
    said.map(|dropped| (dropped.name, dropped.detail)).collect()
}

#[tokio::test]
async fn a_domain_that_is_mistyped_is_named_with_the_one_that_there_is() {
    let foundation = Foundation::new().await;
    foundation.load(1);
    let said = said_of_missing(
        &foundation,
        &["mesh.example.com", "ohter.example.com", "sys.example.com"],
    );
    let expected = [
        (
            "ohter.example.com",
            "cloud controller has no such domain; it has other.example.com, which is nearly it",
        ),
        ("sys.example.com", "cloud controller has no such domain"),
    ];
    let expected = expected.map(|(name, detail)| (name.to_owned(), detail.to_owned()));
    assert_eq!(said.await, BTreeMap::from(expected));
}

#[tokio::test]
async fn a_suffix_that_is_mistyped_or_one_label_too_long_is_named_with_the_domain_that_there_is() {
    let foundation = Foundation::new().await;
    foundation.load(1);
    let team = "blue.teams.example.org";
    foundation.capi.state().add_domain(team, DomainKind::Http);
    let patterns = [
        "mesh.example.com",
        "*.temas.example.org",
        "*.other.example.com",
        "*.elsewhere.net",
    ];
    let said = said_of_missing(&foundation, &patterns).await;
    let beside = |of: &str| said[of].split_once("it has ").unwrap().1.to_owned();
    assert_eq!(
        beside("*.temas.example.org"),
        format!("{team}, which is nearly it")
    );
    assert!(beside("*.other.example.com").starts_with("other.example.com"));
    assert_eq!(said.len(), 2, "{said:?}");
}

#[tokio::test]
async fn what_else_there_is_is_asked_for_once_and_only_where_a_domain_is_missing() {
    let foundation = Foundation::new().await;
    foundation.load(1);
    let mut polling = foundation.poll();
    polling.all_routes().await;
    assert_eq!(foundation.capi.requests(Endpoint::Domains).len(), 1);

    // It is a help, and no part of the read: there are two, which have to agree.
    let foundation = Foundation::new().await;
    foundation.load(1);
    let capi = &foundation.capi;
    capi.inject(Endpoint::Domains, 1, 1, Fault::UnknownError);
    let said = said_of_missing(&foundation, &["mesh.example.com", "ohter.example.com"]).await;
    assert_eq!(
        said["ohter.example.com"],
        "cloud controller has no such domain"
    );
    // One for each read, and one to look around.
    assert_eq!(foundation.capi.count(Endpoint::Domains), 3);
}

#[tokio::test]
async fn a_suffix_pattern_finds_its_domains_page_by_page() {
    let foundation = Foundation::new().await;
    {
        let mut state = foundation.capi.state();
        for at in 0..7 {
            let domain = state.add_domain(&format!("d{at}.example.org"), DomainKind::Http);
            state.load([RouteSpec::new(&domain, "a")]);
        }
    }
    let settings = Settings {
        domains: vec!["*.example.org".parse().unwrap()],
        page_size: 2,
        ..foundation.settings()
    };
    let routes = Polling::start(settings).all_routes().await;
    assert_eq!(routes.len(), 7);
    assert!(routes.contains_key("a.d6.example.org"));
}

#[tokio::test]
async fn more_domains_than_fit_into_a_url_are_read_in_several_walks() {
    let foundation = Foundation::new().await;
    {
        let mut state = foundation.capi.state();
        for at in 0..200 {
            let domain = state.add_domain(&format!("d{at}.example.org"), DomainKind::Http);
            state.load([RouteSpec::new(&domain, "a")]);
        }
    }
    let settings = Settings {
        domains: vec!["*.example.org".parse().unwrap()],
        ..foundation.settings()
    };
    let mut polling = Polling::start(settings);
    assert_eq!(polling.all_routes().await.len(), 200);
    let asked = foundation.capi.requests(Endpoint::Routes);
    let domains = asked
        .iter()
        .filter_map(|request| request.parameter("domain_guids"));
    let counts: Vec<_> = domains.map(|guids| guids.split(',').count()).collect();
    assert_eq!(counts.iter().sum::<usize>(), 200);
    assert!(counts.iter().all(|count| *count <= 180), "{counts:?}");
}

#[tokio::test]
async fn every_later_read_is_told_as_it_is_with_the_time_that_it_took() {
    let foundation = Foundation::new().await;
    let routes = foundation.load(10);
    let mut polling = foundation.poll();
    let Basis::Read(first) = polling.report().await.basis else {
        panic!("everything was read");
    };
    for route in &routes {
        foundation.capi.state().delete_route_silently(route);
    }
    let asked = Instant::now();
    polling.ask_for_routes();
    let report = polling.report().await;
    assert!(matches!(report.update, Update::AllRoutes(routes) if routes.is_empty()));
    let Basis::Read(second) = report.basis else {
        panic!("everything was read");
    };
    assert!(first.ended <= asked && asked <= second.began && second.began <= second.ended);
    assert_eq!(polling.routes.borrow().problem, None);
}

#[tokio::test]
async fn a_read_that_could_confirm_something_is_made_once_however_long_the_interval() {
    let foundation = Foundation::new().await;
    foundation.load(2);
    let mut polling = foundation.poll();
    polling.all_routes().await;
    for reads in 2..4 {
        polling.ask_for_routes();
        polling.all_routes().await;
        polling.touched.send(app("a")).await.unwrap();
        let all = polling.touched.max_capacity();
        drop(soon(polling.touched.reserve_many(all)).await.unwrap());
        assert_eq!(foundation.capi.count(Endpoint::Domains), reads);
    }
}

#[tokio::test]
async fn a_first_read_of_nothing_counts_when_a_second_one_confirms_it() {
    let foundation = Foundation::new().await;
    // At once, and not after what other reads wait for.
    let settings = Settings {
        confirm_after: NEVER,
        ..foundation.settings()
    };
    let mut polling = Polling::start(settings);
    assert!(polling.all_routes().await.is_empty());
    assert_eq!(foundation.capi.count(Endpoint::Domains), 2);
    polling.problem_is_over().await;
}

#[tokio::test]
async fn a_first_read_of_an_empty_page_in_passing_is_not_served() {
    let foundation = Foundation::new().await;
    foundation.load(3);
    foundation.capi.inject(Endpoint::Routes, 0, 1, Fault::Empty);
    assert_eq!(foundation.poll().all_routes().await.len(), 3);
}

#[tokio::test]
async fn a_first_read_that_misses_a_domain_waits_for_another_and_says_so() {
    let foundation = Foundation::new().await;
    foundation.load(3);
    let mut settings = foundation.settings();
    settings.domains.push("late.example.com".parse().unwrap());
    foundation.capi.before(Endpoint::Domains, 1, |state| {
        let late = state.add_domain("late.example.com", DomainKind::Http);
        state.load([RouteSpec::new(&late, "a")]);
    });
    let mut polling = Polling::start(settings);
    let message = polling.problem("unconfirmed").await;
    assert!(message.contains("late.example.com"), "{message}");
    assert_eq!(polling.all_routes().await.len(), 4);
}

#[tokio::test]
async fn a_first_read_of_unreadable_rows_is_not_served() {
    let foundation = Foundation::new().await;
    let routes = foundation.load(40);
    for route in &routes[..21] {
        foundation.capi.state().spoil(route);
    }
    let mut polling = foundation.poll();
    polling.problem("unreadable").await;
    soon(foundation.capi.requested(Endpoint::Routes, 4)).await;
    assert!(polling.has_sent_nothing());
    assert_eq!(
        polling.routes.borrow().dropped.len(),
        21,
        "named all the same"
    );
}

#[tokio::test]
async fn every_page_has_the_configured_size() {
    let foundation = Foundation::new().await;
    foundation.load(60);
    let settings = Settings {
        page_size: 7,
        ..foundation.settings()
    };
    let read = Polling::start(settings).all_routes().await;
    assert_eq!(read.len(), 60);
    for request in foundation.capi.requests(Endpoint::Routes) {
        assert_eq!(request.parameter("per_page"), Some("7"));
    }
}
