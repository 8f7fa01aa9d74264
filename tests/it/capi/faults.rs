//! Whatever fails, the last good state stays, and the next read recovers.

use super::*;

/// Read again and again.
fn eager(foundation: &Foundation) -> Settings {
    Settings {
        full_read_interval: Duration::from_millis(20),
        page_retries: 0,
        ..foundation.settings()
    }
}

#[tokio::test]
async fn an_api_that_is_down_at_the_start_is_waited_for() {
    let foundation = Foundation::new().await;
    foundation.load(2);
    foundation.capi.stop().await;
    let mut polling = foundation.poll();
    polling.problem("connect").await;
    assert!(polling.has_sent_nothing());
    assert_eq!(polling.readiness.pending(), ["routes"]);

    foundation.capi.resume().await.unwrap();
    assert_eq!(polling.all_routes().await.len(), 2);
    soon(polling.readiness.ready()).await;
}

#[tokio::test]
async fn an_api_that_goes_down_later_takes_nothing_along() {
    let foundation = Foundation::new().await;
    foundation.load(2);
    let mut polling = Polling::start(eager(&foundation));
    polling.all_routes().await;
    foundation.capi.stop().await;
    polling.problem("connect").await;
    while let Ok(Report { update, .. }) = polling.updates.try_recv() {
        assert!(matches!(update, Update::AllRoutes(routes) if routes.len() == 2));
    }

    foundation.load(1);
    foundation.capi.resume().await.unwrap();
    assert_eq!(polling.all_routes().await.len(), 3);
    polling.problem_is_over().await;
}

#[tokio::test]
async fn every_bad_answer_has_its_kind_and_changes_nothing() {
    for (fault, kind) in [
        (Fault::Forbidden, "forbidden"),
        (Fault::UnknownRoute, "not_found"),
        (Fault::RateLimited(0), "rate_limited"),
        (Fault::UnknownError, "server_error"),
        (Fault::BadGateway, "server_error"),
        (Fault::Maintenance, "maintenance"),
        (Fault::Truncated, "truncated"),
        (Fault::Reset, "connect"),
        (Fault::Endless, "too_large"),
        (Fault::Garbage, "malformed"),
        (Fault::NoList, "malformed"),
    ] {
        let foundation = Foundation::new().await;
        foundation.load(3);
        let mut polling = Polling::start(eager(&foundation));
        polling.all_routes().await;
        foundation
            .capi
            .inject(Endpoint::Routes, 0, usize::MAX, fault);
        let message = polling.problem(kind).await;
        assert!(message.contains("/v3/routes"), "{message}");
        while let Ok(Report { update, .. }) = polling.updates.try_recv() {
            assert!(
                matches!(update, Update::AllRoutes(routes) if routes.len() == 3),
                "{fault:?}"
            );
        }
        foundation.capi.clear();
        assert_eq!(polling.all_routes().await.len(), 3, "{fault:?}");
        polling.stop().await;
    }
}

#[tokio::test]
async fn a_router_error_is_named() {
    let foundation = Foundation::new().await;
    foundation
        .capi
        .inject(Endpoint::Routes, 0, usize::MAX, Fault::UnknownRoute);
    let message = foundation.poll().problem("not_found").await;
    assert!(message.contains("unknown_route"), "{message}");
}

#[tokio::test]
async fn an_api_that_does_not_answer_times_out() {
    let foundation = Foundation::new().await;
    foundation.capi.inject(Endpoint::Routes, 0, 1, Fault::Hang);
    let settings = Settings {
        request_timeout: Duration::from_millis(500),
        ..foundation.settings()
    };
    let mut polling = Polling::start(settings);
    polling.problem("timeout").await;
    polling.all_routes().await;
}

#[tokio::test]
async fn a_page_that_fails_is_tried_again_where_the_read_stood() {
    let foundation = Foundation::new().await;
    foundation.load(25);
    foundation
        .capi
        .inject(Endpoint::Routes, 1, 2, Fault::BadGateway);
    let settings = Settings {
        page_size: 10,
        ..foundation.settings()
    };
    let mut polling = Polling::start(settings);
    assert_eq!(polling.all_routes().await.len(), 25);
    let cursors: Vec<_> = foundation
        .capi
        .requests(Endpoint::Routes)
        .iter()
        .map(|request| request.parameter("created_ats[gte]").map(str::to_owned))
        .collect();
    assert_eq!(cursors[0], None);
    assert!(cursors[1].is_some() && cursors[1] == cursors[2] && cursors[2] == cursors[3]);
    assert_eq!(foundation.capi.count(Endpoint::Domains), 1);
}

#[tokio::test]
async fn a_page_that_fails_for_good_ends_the_read_and_the_next_begins_anew() {
    let foundation = Foundation::new().await;
    foundation.load(25);
    foundation
        .capi
        .inject(Endpoint::Routes, 1, 2, Fault::UnknownError);
    let settings = Settings {
        page_size: 10,
        page_retries: 1,
        ..foundation.settings()
    };
    let mut polling = Polling::start(settings);
    assert_eq!(polling.all_routes().await.len(), 25);
    assert_eq!(foundation.capi.count(Endpoint::Domains), 2);
    let third = &foundation.capi.requests(Endpoint::Routes)[3];
    assert_eq!(third.parameter("created_ats[gte]"), None);
}

#[tokio::test]
async fn a_token_that_is_revoked_during_a_read_is_replaced_unnoticed() {
    let foundation = Foundation::new().await;
    foundation.load(25);
    foundation
        .capi
        .inject(Endpoint::Routes, 1, 1, Fault::Revoked);
    let settings = Settings {
        page_size: 10,
        page_retries: 0,
        ..foundation.settings()
    };
    let mut polling = Polling::start(settings);
    assert_eq!(polling.all_routes().await.len(), 25);
    assert_eq!(foundation.capi.count(Endpoint::Token), 2);
    let reads = foundation.capi.count(Endpoint::Domains);
    assert_eq!(reads, 1, "the read went on");
}

#[tokio::test]
async fn tokens_that_are_never_good_enough_are_not_fetched_for_ever() {
    let foundation = Foundation::new().await;
    foundation
        .capi
        .inject(Endpoint::Domains, 0, usize::MAX, Fault::Revoked);
    let settings = Settings {
        min_backoff: NEVER,
        max_backoff: NEVER,
        ..foundation.settings()
    };
    let mut polling = Polling::start(settings);
    polling.problem("unauthorized").await;
    assert_eq!(foundation.capi.count(Endpoint::Token), 2);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    let foundation = Foundation::new().await;
    foundation.capi.state().token_lifetime = 1;
    let mut polling = Polling::start(eager(&foundation));
    while foundation.capi.count(Endpoint::Token) < 3 {
        polling.all_routes().await;
    }
    assert_eq!(polling.routes.borrow().problem, None);
}

#[tokio::test]
async fn a_uaa_that_is_down_is_not_missed_while_the_token_is_good() {
    let foundation = Foundation::new().await;
    foundation.capi.state().token_lifetime = 5;
    foundation
        .capi
        .inject(Endpoint::Token, 1, usize::MAX, Fault::BadGateway);
    let mut polling = Polling::start(eager(&foundation));
    while foundation.capi.count(Endpoint::Token) < 2 {
        polling.all_routes().await;
    }
    let message = problem(&mut polling.token, "uaa").await;
    assert!(message.contains("502"), "{message}");
    foundation.capi.clear();
    polling.all_routes().await;
    assert_eq!(polling.routes.borrow().problem, None);
}

#[tokio::test]
async fn a_loop_shows_that_it_is_not_stuck_at_every_request_of_a_turn() {
    let foundation = Foundation::new().await;
    for at in 0..8 {
        let mut state = foundation.capi.state();
        state.add_domain(&format!("d{at}.example.org"), DomainKind::Http);
    }
    let settings = Settings {
        domains: vec!["*.example.org".parse().unwrap()],
        page_size: 2,
        ..foundation.settings()
    };
    // All pages of domains are read in one turn.
    let polling = Polling::start(settings);
    let status = Arc::new(Mutex::new(polling.routes.clone()));
    let (has_turned, turned) = oneshot::channel();
    let before = Arc::clone(&status);
    foundation.capi.before(Endpoint::Domains, 1, move |_| {
        before.lock().unwrap().mark_unchanged();
    });
    foundation.capi.before(Endpoint::Domains, 2, move |_| {
        let changed = status.lock().unwrap().has_changed();
        has_turned.send(changed.unwrap()).unwrap();
    });
    assert!(soon(turned).await.unwrap());
    polling.stop().await;
}

#[tokio::test]
async fn a_wrong_secret_is_the_uaas_problem() {
    let foundation = Foundation::new().await;
    let settings = Settings {
        client_secret: "wrong".to_owned().into(),
        ..foundation.settings()
    };
    let mut polling = Polling::start(settings);
    let message = polling.problem("uaa").await;
    assert!(message.contains("401"), "{message}");
    assert!(!message.contains("wrong"));
    assert_eq!(foundation.capi.count(Endpoint::Routes), 0);
}

#[tokio::test]
async fn a_uaa_that_is_down_or_rate_limited_is_waited_for() {
    for fault in [Fault::BadGateway, Fault::RateLimited(1)] {
        let foundation = Foundation::new().await;
        foundation.capi.inject(Endpoint::Token, 0, 1, fault);
        let mut polling = foundation.poll();
        polling.problem("uaa").await;
        polling.all_routes().await;
    }
}

#[tokio::test]
async fn nothing_is_asked_while_the_api_wants_to_be_left_alone() {
    let foundation = Foundation::new().await;
    foundation
        .capi
        .inject(Endpoint::Routes, 0, 1, Fault::RateLimited(3600));
    let settings = Settings {
        min_backoff: Duration::ZERO,
        max_backoff: Duration::ZERO,
        ..foundation.settings()
    };
    let mut polling = Polling::start(settings);
    let message = polling.problem("rate_limited").await;
    assert!(message.contains("3600"), "{message}");
    // A touched app wakes the poller; it still asks for nothing.
    for _ in 0..3 {
        polling.touched.send(app("a")).await.unwrap();
        let all = polling.touched.max_capacity();
        drop(soon(polling.touched.reserve_many(all)).await.unwrap());
    }
    assert_eq!(foundation.capi.count(Endpoint::Routes), 1);
    polling.stop().await;
}

#[tokio::test]
async fn a_server_with_a_foreign_certificate_gets_no_token() {
    let foundation = Foundation::new().await;
    let foreign = Pki::new(foundation.folder(), "foreign").unwrap();
    let settings = Settings {
        ca: foreign.ca().to_owned(),
        ..foundation.settings()
    };
    let message = Polling::start(settings).problem("tls").await;
    let advice = "Cloud Controller's certificate does not fit";
    assert!(message.contains(advice), "{message}");
    assert_eq!(foundation.capi.count(Endpoint::Token), 0);
}
