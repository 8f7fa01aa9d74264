//! Changes that are seen without a full read.

use copilot::model::LoadBalancing;
use serde_json::json;

use super::*;

fn tailing(foundation: &Foundation) -> Settings {
    Settings {
        tail_audit_events: true,
        ..foundation.settings()
    }
}

#[tokio::test]
async fn a_route_is_followed_from_its_creation_to_its_end() {
    let foundation = Foundation::new().await;
    foundation.load(2);
    let mut polling = Polling::start(tailing(&foundation));
    polling.all_routes().await;

    let spec = RouteSpec::new(&foundation.mesh, "new");
    let route = foundation.capi.state().create_route(spec);
    let (current, gone) = polling.changed().await;
    assert!(current["new.mesh.example.com"].destinations.is_empty());
    assert_eq!(gone, []);

    foundation.capi.state().map(&route, web("a"));
    let (current, _) = polling.changed().await;
    assert_eq!(current["new.mesh.example.com"].destinations.len(), 1);

    let options = json!({"loadbalancing": "least-connection"});
    foundation.capi.state().set_options(&route, options);
    let (current, _) = polling.changed().await;
    assert_eq!(
        current["new.mesh.example.com"].load_balancing.as_deref(),
        Some(&LoadBalancing::LeastConnection)
    );

    foundation.capi.state().unmap(&route, &app("a"));
    let (current, _) = polling.changed().await;
    assert!(current["new.mesh.example.com"].destinations.is_empty());

    foundation.capi.state().delete_route(&route);
    let (current, gone) = polling.changed().await;
    assert!(current.is_empty());
    assert_eq!(gone, [route]);
    polling.stop().await;
}

#[tokio::test]
async fn an_event_that_is_committed_late_is_seen() {
    let foundation = Foundation::new().await;
    let route = foundation.load(1).remove(0);
    let mut polling = Polling::start(tailing(&foundation));
    polling.all_routes().await;
    let began = foundation.capi.state().now();
    foundation.capi.state().advance(30);
    foundation
        .capi
        .state()
        .create_route(RouteSpec::new(&foundation.mesh, "early"));
    polling.changed().await;

    {
        let mut state = foundation.capi.state();
        state.change(&route, |spec| spec.destinations.push(web("a")));
        let data = json!({"route_guid": route.to_string(), "app_port": 8080});
        state.emit_at(began, "audit.app.map-route", "a", &data);
    }
    let (current, _) = polling.changed().await;
    assert_eq!(guids(&current), BTreeSet::from([route]));
}

#[tokio::test]
async fn an_event_is_acted_upon_once() {
    let foundation = Foundation::new().await;
    let mut polling = Polling::start(tailing(&foundation));
    polling.all_routes().await;
    let spec = RouteSpec::new(&foundation.mesh, "new");
    foundation.capi.state().create_route(spec);
    polling.changed().await;
    let routes_asked = foundation.capi.count(Endpoint::Routes);
    let tails = foundation.capi.count(Endpoint::AuditEvents);
    soon(foundation.capi.requested(Endpoint::AuditEvents, tails + 5)).await;
    assert_eq!(foundation.capi.count(Endpoint::Routes), routes_asked);
    assert!(polling.has_sent_nothing());
}

#[tokio::test]
async fn a_deletion_that_is_announced_before_it_is_committed_is_seen() {
    let foundation = Foundation::new().await;
    let route = foundation.load(2).remove(0);
    let settings = Settings {
        recheck_after: vec![Duration::from_millis(50), Duration::from_secs(1)],
        ..tailing(&foundation)
    };
    let mut polling = Polling::start(settings);
    polling.all_routes().await;
    let guid = route.to_string();
    foundation
        .capi
        .state()
        .emit("audit.route.delete-request", &guid, &json!({}));
    let (current, gone) = polling.changed().await;
    assert_eq!((current.len(), gone.len()), (1, 0));
    foundation.capi.state().delete_route_silently(&route);
    loop {
        let (_, gone) = polling.changed().await;
        if !gone.is_empty() {
            assert_eq!(gone, [route]);
            return;
        }
    }
}

#[tokio::test]
async fn new_routes_are_seen_by_their_own_time_too() {
    let foundation = Foundation::new().await;
    foundation.load(1);
    let settings = Settings {
        tail_updated_at: true,
        ..foundation.settings()
    };
    let mut polling = Polling::start(settings);
    polling.all_routes().await;
    foundation.capi.state().advance(1);
    let spec = RouteSpec::new(&foundation.mesh, "new").to(web("a"));
    foundation.capi.state().load([spec]);
    while !polling
        .changed()
        .await
        .0
        .contains_key("new.mesh.example.com")
    {}
}

#[tokio::test]
async fn a_touched_app_has_its_routes_read_the_gained_and_the_lost() {
    let foundation = Foundation::new().await;
    let mesh = &foundation.mesh;
    let [kept, lost, deleted] = ["kept", "lost", "deleted"].map(|host| {
        let spec = RouteSpec::new(mesh, host).to(web("a"));
        foundation.capi.state().load([spec]).remove(0)
    });
    let mut polling = foundation.poll();
    polling.all_routes().await;
    {
        let mut state = foundation.capi.state();
        state.unmap_silently(&lost, &app("a"));
        state.delete_route_silently(&deleted);
        state.load([
            RouteSpec::new(mesh, "gained").to(web("a")),
            RouteSpec::new(&foundation.other, "elsewhere").to(web("a")),
        ]);
    }
    polling.touched.send(app("a")).await.unwrap();
    let (current, gone) = polling.changed().await;
    let names: Vec<_> = current.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "gained.mesh.example.com",
            "kept.mesh.example.com",
            "lost.mesh.example.com"
        ]
    );
    assert_eq!(current["lost.mesh.example.com"].guid, lost);
    assert_eq!(current["kept.mesh.example.com"].guid, kept);
    assert!(current["lost.mesh.example.com"].destinations.is_empty());
    assert_eq!(gone, [deleted]);
}

#[tokio::test]
async fn a_touched_app_of_a_domain_that_was_unknown_is_read_with_it() {
    let foundation = Foundation::new().await;
    let settings = Settings {
        domains: vec!["*.example.com".parse().unwrap()],
        ..foundation.settings()
    };
    let mut polling = Polling::start(settings);
    polling.all_routes().await;
    {
        let mut state = foundation.capi.state();
        let new = state.add_domain("new.example.com", DomainKind::Http);
        let outside = state.add_domain("example.org", DomainKind::Http);
        state.load([
            RouteSpec::new(&new, "host").to(web("a")),
            RouteSpec::new(&outside, "host").to(web("a")),
        ]);
    }
    polling.touched.send(app("a")).await.unwrap();
    let (current, _) = polling.changed().await;
    assert_eq!(current.len(), 1);
    assert!(current.contains_key("host.new.example.com"));
}

#[tokio::test]
async fn an_app_without_routes_in_the_mesh_causes_no_update() {
    let foundation = Foundation::new().await;
    foundation.load(1);
    let spec = RouteSpec::new(&foundation.other, "elsewhere").to(web("a"));
    foundation.capi.state().load([spec]);
    let mut polling = foundation.poll();
    polling.all_routes().await;
    polling.touched.send(app("a")).await.unwrap();
    soon(foundation.capi.requested(Endpoint::Routes, 2)).await;
    let spec = RouteSpec::new(&foundation.mesh, "mine").to(web("b"));
    foundation.capi.state().load([spec]);
    polling.touched.send(app("b")).await.unwrap();
    let (current, _) = polling.changed().await;
    assert!(current.contains_key("mine.mesh.example.com"));
}

#[tokio::test]
async fn what_changes_during_a_full_read_is_not_undone_by_it() {
    let foundation = Foundation::new().await;
    let first = foundation.load(25).remove(0);
    // The first read has three pages. In the second one, the route is mapped when its page was already read.
    let mapped = first.clone();
    foundation.capi.before(Endpoint::Routes, 4, move |state| {
        state.map(&mapped, web("a"));
    });
    let settings = Settings {
        page_size: 10,
        full_read_interval: Duration::ZERO,
        tail_interval: Duration::ZERO,
        gather: Duration::ZERO,
        ..tailing(&foundation)
    };
    let mut polling = Polling::start(settings);
    assert_eq!(polling.all_routes().await.len(), 25);
    let (current, _) = polling.changed().await;
    assert_eq!(guids(&current), BTreeSet::from([first.clone()]));
    let routes = polling.all_routes().await;
    let route = routes.values().find(|route| route.guid == first).unwrap();
    assert_eq!(route.destinations.len(), 1);
}

#[tokio::test]
async fn a_tail_that_fails_catches_up() {
    let foundation = Foundation::new().await;
    let mut polling = Polling::start(tailing(&foundation));
    polling.all_routes().await;
    foundation
        .capi
        .inject(Endpoint::AuditEvents, 0, usize::MAX, Fault::BadGateway);
    problem(&mut polling.tail, "server_error").await;
    let spec = RouteSpec::new(&foundation.mesh, "new");
    foundation.capi.state().create_route(spec);
    foundation.capi.clear();
    let (current, _) = polling.changed().await;
    assert!(current.contains_key("new.mesh.example.com"));
}

#[tokio::test]
async fn a_tail_that_is_rate_limited_silences_the_rest_too() {
    let foundation = Foundation::new().await;
    let mut polling = Polling::start(tailing(&foundation));
    polling.all_routes().await;
    foundation
        .capi
        .inject(Endpoint::AuditEvents, 0, 1, Fault::RateLimited(3600));
    problem(&mut polling.tail, "rate_limited").await;
    let asked = foundation.capi.count(Endpoint::Routes);
    for _ in 0..3 {
        polling.touched.send(app("a")).await.unwrap();
        let all = polling.touched.max_capacity();
        drop(soon(polling.touched.reserve_many(all)).await.unwrap());
    }
    assert_eq!(foundation.capi.count(Endpoint::Routes), asked);
    polling.stop().await;
}

#[tokio::test]
async fn what_could_not_be_read_is_read_later() {
    let foundation = Foundation::new().await;
    let mut polling = foundation.poll();
    polling.all_routes().await;
    let spec = RouteSpec::new(&foundation.mesh, "new").to(web("a"));
    foundation.capi.state().load([spec]);
    foundation
        .capi
        .inject(Endpoint::Routes, 0, 2, Fault::Maintenance);
    polling.touched.send(app("a")).await.unwrap();
    let (current, _) = polling.changed().await;
    assert!(current.contains_key("new.mesh.example.com"));
}

#[tokio::test]
async fn a_route_that_only_the_running_read_has_found_can_be_deleted() {
    let foundation = Foundation::new().await;
    foundation.load(25);
    // The first read has three pages. The second one finds a new route on its third, which is gone at its fourth.
    let mesh = foundation.mesh.clone();
    foundation.capi.before(Endpoint::Routes, 3, move |state| {
        for at in 0..20 {
            state.advance(1);
            state.load([RouteSpec::new(&mesh, &format!("new-{at}"))]);
        }
    });
    foundation.capi.before(Endpoint::Routes, 6, |state| {
        let brief = state.route("new-0").expect("it was created");
        state.delete_route(&brief);
    });
    let settings = Settings {
        page_size: 10,
        full_read_interval: Duration::ZERO,
        tail_interval: Duration::ZERO,
        gather: Duration::ZERO,
        ..tailing(&foundation)
    };
    let mut polling = Polling::start(settings);
    assert_eq!(polling.all_routes().await.len(), 25);
    let routes = polling.all_routes().await;
    assert!(routes.contains_key("new-1.mesh.example.com"));
    assert!(!routes.contains_key("new-0.mesh.example.com"));
}

#[tokio::test]
async fn more_apps_than_a_request_can_name_are_read_turn_by_turn() {
    let foundation = Foundation::new().await;
    let apps: Vec<_> = (0..400).map(|at| format!("app-{at:03}")).collect();
    foundation.load(1);
    let settings = Settings {
        gather: Duration::from_millis(200),
        ..foundation.settings()
    };
    let mut polling = Polling::start(settings);
    polling.all_routes().await;
    let specs = apps
        .iter()
        .map(|name| RouteSpec::new(&foundation.mesh, name).to(web(name)));
    foundation.capi.state().load(specs);
    for name in &apps {
        polling.touched.send(app(name)).await.unwrap();
    }
    let mut found = 0;
    while found < apps.len() {
        let (current, _) = polling.changed().await;
        assert!(current.len() <= 180, "one request's worth");
        found += current.len();
    }
}

#[tokio::test]
async fn a_tail_whose_newest_row_is_unreadable_does_not_walk_the_whole_list() {
    let foundation = Foundation::new().await;
    let routes = foundation.load(3);
    foundation.capi.state().spoil(&routes[2]);
    let settings = Settings {
        tail_updated_at: true,
        ..foundation.settings()
    };
    let mut polling = Polling::start(settings);
    polling.all_routes().await;
    problem(&mut polling.tail, "malformed").await;
    foundation.load(1);
    let is_well = |status: &Status| status.problem.is_none();
    soon(polling.tail.wait_for(is_well)).await.unwrap();
    let walks = foundation.capi.requests(Endpoint::Routes);
    let mut walks = walks
        .iter()
        .filter(|request| request.parameter("order_by") == Some("updated_at"));
    assert!(walks.all(|request| request.parameter("updated_ats[gte]").is_some()));
}
