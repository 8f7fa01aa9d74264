//! Answers that are well-formed and wrong.

use super::*;

/// Forty routes, one in each second, with a destination each.
fn forty(foundation: &Foundation) -> Vec<RouteGuid> {
    let routes = foundation.load(40);
    for (at, route) in routes.iter().enumerate() {
        let destination = web(&format!("app-{at}"));
        let mut state = foundation.capi.state();
        state.change(route, |spec| {
            spec.destinations.push(destination);
            "/path".clone_into(&mut spec.path);
        });
    }
    routes
}

fn lie(foundation: &Foundation, after: usize, times: usize, lie: Lie) {
    let fault = Fault::Lie(lie);
    foundation
        .capi
        .inject(Endpoint::Routes, after, times, fault);
}

/// Waits until all of a running poller's next full read failed, or was made.
async fn again(foundation: &Foundation, polling: &Polling) {
    let reads = foundation.capi.count(Endpoint::Domains);
    polling.ask_for_routes();
    soon(foundation.capi.requested(Endpoint::Domains, reads + 1)).await;
}

/// C5, C6, C7 and C8 of a list that is its first page, and later ones.
const CONTRADICTIONS: [(Lie, usize); 6] = [
    (Lie::Rows(3, false), 0),
    (Lie::Rows(3, true), 0),
    (Lie::Rows(0, true), 1),
    (Lie::Rows(10, false), 1),
    (Lie::ItselfNext, 0),
    (Lie::Total(3), 1),
];

#[tokio::test]
async fn c5_to_c8_a_first_read_that_contradicts_itself_is_none() {
    for (contradiction, page) in CONTRADICTIONS {
        let foundation = Foundation::new().await;
        let routes = forty(&foundation);
        // So often that the read is given up.
        lie(&foundation, page, 4, contradiction);
        let settings = Settings {
            page_size: 10,
            ..foundation.settings()
        };
        let mut polling = Polling::start(settings);
        let message = polling.problem("truncated").await;
        assert!(message.contains("/v3/routes"), "{message}");
        let read = polling.all_routes().await;
        assert_eq!(read.len(), routes.len(), "{contradiction:?}");
        polling.problem_is_over().await;
    }
}

#[tokio::test]
async fn c5_to_c8_a_later_read_that_contradicts_itself_changes_nothing() {
    for (contradiction, page) in CONTRADICTIONS {
        let foundation = Foundation::new().await;
        forty(&foundation);
        let settings = Settings {
            page_size: 10,
            ..foundation.settings()
        };
        let mut polling = Polling::start(settings);
        assert_eq!(polling.all_routes().await.len(), 40);
        lie(&foundation, page, usize::MAX, contradiction);
        again(&foundation, &polling).await;
        polling.problem("truncated").await;
        assert!(polling.has_sent_nothing(), "{contradiction:?}");
        foundation.capi.clear();
        assert_eq!(polling.all_routes().await.len(), 40);
    }
}

#[tokio::test]
async fn c7_rows_that_are_no_longer_counted_on_a_later_page_are_asked_for_again() {
    let foundation = Foundation::new().await;
    forty(&foundation);
    foundation.capi.inject(Endpoint::Routes, 1, 1, Fault::Empty);
    let settings = Settings {
        page_size: 10,
        ..foundation.settings()
    };
    assert_eq!(Polling::start(settings).all_routes().await.len(), 40);
}

/// Lies by which every row says nothing that is understood.
const NOTHING_UNDERSTOOD: [Lie; 7] = [
    Lie::BlankHosts,
    Lie::PathsWithoutSlash,
    Lie::Ports,
    Lie::Tcp,
    Lie::DestinationProtocols,
    Lie::Guids,
    Lie::Nothing,
];

#[tokio::test]
async fn c9_a_row_that_says_nothing_that_is_understood_keeps_what_was_known() {
    for oddity in NOTHING_UNDERSTOOD {
        let foundation = Foundation::new().await;
        let routes = forty(&foundation);
        let mut polling = foundation.poll();
        let known = polling.all_routes().await;
        lie(&foundation, 0, usize::MAX, oddity);
        polling.ask_for_routes();
        assert_eq!(polling.all_routes().await, known, "{oddity:?}");
        polling.problem_is_over().await;
        assert_eq!(polling.routes.borrow().counts["kept_routes"], 40);
        // Of those that are asked for by name too.
        let reads = foundation.capi.count(Endpoint::Routes);
        polling.touched.send(app("app-0")).await.unwrap();
        soon(foundation.capi.requested(Endpoint::Routes, reads + 1)).await;
        polling.ask_for_routes();
        assert_eq!(polling.all_routes().await, known, "{oddity:?}");
        if oddity != Lie::Nothing {
            let dropped = polling.routes.borrow().dropped.named().clone();
            let detail = &dropped[&routes[0].to_string()].detail;
            assert!(detail.starts_with("kept as it was: "), "{detail}");
        }
    }
}

#[tokio::test]
async fn c9_c10_a_first_read_that_understands_nothing_is_not_believed() {
    for oddity in NOTHING_UNDERSTOOD {
        let foundation = Foundation::new().await;
        let specs =
            ["a", "b", "c"].map(|name| RouteSpec::new(&foundation.mesh, name).to(web(name)));
        foundation.capi.state().load(specs);
        lie(&foundation, 0, 3, oddity);
        let mut polling = foundation.poll();
        let message = polling.problem("unreadable").await;
        assert!(message.contains("3 rows"), "{message}");
        assert_eq!(polling.all_routes().await.len(), 3, "{oddity:?}");
    }
}

#[tokio::test]
async fn rows_without_a_guid_keep_what_is_missing_if_they_can_be_all_of_it() {
    let foundation = Foundation::new().await;
    let routes = forty(&foundation);
    let mut polling = foundation.poll();
    polling.all_routes().await;
    foundation.capi.state().spoil_wholly(&routes[6]);
    polling.ask_for_routes();
    assert_eq!(polling.all_routes().await.len(), 40);
    foundation.capi.state().delete_route_silently(&routes[5]);
    polling.ask_for_routes();
    assert_eq!(
        polling.all_routes().await.len(),
        38,
        "one row is not of two"
    );
}

#[tokio::test]
async fn c4_c11_what_a_full_read_lacks_is_told_as_what_was_read() {
    for fault in [Fault::Lie(Lie::NoDestinations), Fault::Empty] {
        let foundation = Foundation::new().await;
        forty(&foundation);
        let mut polling = foundation.poll();
        polling.all_routes().await;
        foundation.capi.inject(Endpoint::Routes, 0, 1, fault);
        polling.ask_for_routes();
        let report = polling.report().await;
        assert!(matches!(report.basis, Basis::Read(_)), "{report:?}");
    }
}

#[tokio::test]
async fn c1_c2_c3_what_an_answer_about_named_routes_lacks_is_told_as_what_was_asked_for() {
    for fault in [Fault::Lie(Lie::NoDestinations), Fault::Empty] {
        let foundation = Foundation::new().await;
        let routes = forty(&foundation);
        let mut polling = foundation.poll();
        polling.all_routes().await;
        // By its app, and by its guid.
        foundation.capi.inject(Endpoint::Routes, 0, 2, fault);
        polling.touched.send(app("app-7")).await.unwrap();
        let report = polling.report().await;
        assert_eq!(report.basis, Basis::Asked, "{fault:?}");
        polling.held.apply(report.update);
        let route = polling.held.0.get(&routes[7]);
        assert!(route.is_none_or(|route| route.destinations.is_empty()));
    }
}

#[tokio::test]
async fn a_route_that_a_read_lacked_can_still_be_withheld() {
    let foundation = Foundation::new().await;
    let routes = forty(&foundation);
    let settings = Settings {
        tail_audit_events: true,
        ..foundation.settings()
    };
    let mut polling = Polling::start(settings);
    polling.all_routes().await;
    foundation.capi.inject(Endpoint::Routes, 0, 2, Fault::Empty);
    for _ in 0..2 {
        polling.ask_for_routes();
        assert!(polling.all_routes().await.is_empty());
    }
    foundation.capi.state().bind(&routes[3]);
    let report = polling.report().await;
    assert_eq!(report.basis, Basis::Told);
    let refused = vec![(routes[3].clone(), Refusal::RouteService)];
    assert!(matches!(report.update, Update::Refused(routes) if routes == refused));
}
