//! Answers of which there is too much, and answers that hold what nobody is to read.

use super::*;

/// As `Fault` wants it: the simulator says it until the test ends.
fn text(text: String) -> &'static str {
    text.leak()
}

/// Waits until what is left out is as expected.
async fn leaves_out(status: &mut watch::Receiver<Status>, count: usize) -> Status {
    let is_so = |status: &Status| status.dropped.len() == count;
    soon(status.wait_for(is_so)).await.unwrap().clone()
}

#[tokio::test]
async fn pages_that_come_round_again_are_a_failed_read() {
    let foundation = Foundation::new().await;
    foundation.load(3);
    let mut polling = foundation.poll();
    assert_eq!(polling.all_routes().await.len(), 3);
    let row = |name: &str| format!(r#"{{"guid":"{name}","created_at":"2026-01-01T00:00:00Z"}}"#);
    let rows: Vec<_> = (0..5000).map(|n| row(&n.to_string())).collect();
    // Of one second, so that only the number of the page is another; and there are to be enough for many more.
    let page = format!(
        r#"{{"pagination":{{"total_results":4000000000,"next":{{"href":"/v3/routes"}}}},"resources":[{}]}}"#,
        rows.join(",")
    );
    let fault = Fault::Says(text(page));
    foundation
        .capi
        .inject(Endpoint::Routes, 0, usize::MAX, fault);
    polling.ask_for_routes();
    let message = polling.problem("truncated").await;
    assert!(message.contains("there already"), "{message}");
    assert!(polling.has_sent_nothing());
}

#[tokio::test]
async fn a_page_from_the_future_hides_nothing_that_is_older() {
    let foundation = Foundation::new().await;
    foundation.load(3);
    let mut polling = foundation.poll();
    assert_eq!(polling.all_routes().await.len(), 3);
    let row = |n: usize| {
        let (hour, minute, second) = (n / 3600, n / 60 % 60, n % 60);
        let time = format!("2096-01-01T{hour:02}:{minute:02}:{second:02}Z");
        format!(r#"{{"guid":"{n}","created_at":"{time}"}}"#)
    };
    let rows: Vec<_> = (0..5000).map(row).collect();
    // Few rows that are lacking then are all, too.
    for total in [4_000_000, 5001] {
        let page = format!(
            r#"{{"pagination":{{"total_results":{total},"next":{{"href":"/v3/routes"}}}},"resources":[{}]}}"#,
            rows.join(",")
        );
        let fault = Fault::Says(text(page));
        foundation.capi.inject(Endpoint::Routes, 0, 1, fault);
        polling.ask_for_routes();
        let message = polling.problem("truncated").await;
        assert!(message.contains("vanish"), "{message}");
        assert_eq!(polling.all_routes().await.len(), 3);
    }
}

#[tokio::test]
async fn full_pages_without_end_are_a_failed_read() {
    let foundation = Foundation::new().await;
    foundation.load(3);
    let mut polling = Polling::start(Settings {
        page_size: 100,
        max_rows: 1000,
        ..foundation.settings()
    });
    assert_eq!(polling.all_routes().await.len(), 3);
    foundation
        .capi
        .inject(Endpoint::Routes, 0, usize::MAX, Fault::Unending);
    polling.ask_for_routes();
    let message = polling.problem("too_large").await;
    assert!(message.contains("has no end"), "{message}");
    assert!(polling.has_sent_nothing());
}

#[tokio::test]
async fn an_answer_that_is_larger_than_any_is_a_failed_read() {
    for (endpoint, limit, kind) in [
        (Endpoint::Root, 1 << 20, "too_large"),
        (Endpoint::Token, 1 << 20, "uaa"),
        (Endpoint::Routes, 64 << 20, "too_large"),
    ] {
        let foundation = Foundation::new().await;
        let fault = Fault::Says(text(" ".repeat(limit + 1)));
        foundation.capi.inject(endpoint, 0, usize::MAX, fault);
        let mut polling = foundation.poll();
        let message = polling.problem(kind).await;
        let said = format!("more than {limit} bytes");
        assert!(message.contains(&said), "{message}");
        polling.stop().await;
    }
}

#[tokio::test]
async fn more_rows_than_a_page_can_have_are_none() {
    let foundation = Foundation::new().await;
    let page = format!(
        r#"{{"pagination":{{"total_results":1000000}},"resources":[{}0]}}"#,
        "0,".repeat(999_999)
    );
    let fault = Fault::Says(text(page));
    foundation
        .capi
        .inject(Endpoint::Routes, 0, usize::MAX, fault);
    let mut polling = foundation.poll();
    let message = polling.problem("too_large").await;
    assert!(message.contains("1000000 rows"), "{message}");
}

#[tokio::test]
async fn rows_that_are_left_out_are_named_to_a_number_and_forgotten_with_a_clean_read() {
    let foundation = Foundation::new().await;
    foundation.load(1);
    let mut polling = foundation.poll();
    polling.all_routes().await;
    let long = "x".repeat(100_000);
    let row = |n: usize| format!(r#"{{"guid":"{n}","created_at":"{long}"}}"#);
    let few: Vec<_> = (0..20).map(row).collect();
    let row = |n: usize| format!(r#"{{"guid":"more-{n}","created_at":0}}"#);
    let many: Vec<_> = (0..2980).map(row).collect();
    let page = format!(
        r#"{{"pagination":{{"total_results":3000}},"resources":[{},{}]}}"#,
        few.join(","),
        many.join(",")
    );
    let fault = Fault::Says(text(page));
    foundation.capi.inject(Endpoint::Routes, 0, 1, fault);
    polling.ask_for_routes();
    let dropped = leaves_out(&mut polling.routes, 3000).await.dropped;
    assert_eq!(dropped.named().len(), 1000);
    let longest = dropped.named().values().map(|item| item.detail.len()).max();
    assert!(longest < Some(600), "{longest:?}");
    polling.ask_for_routes();
    leaves_out(&mut polling.routes, 0).await;
}

#[tokio::test]
async fn a_token_in_an_answer_of_another_shape_is_in_no_error() {
    for body in [
        r#"["eyJhbGciOi-hush-hush"]"#,
        r#""eyJhbGciOi-hush-hush""#,
        r#"{"access_token":{"eyJhbGciOi-hush-hush":1}}"#,
        r#"{"access_token":"ok","expires_in":"eyJhbGciOi-hush-hush"}"#,
    ] {
        let foundation = Foundation::new().await;
        foundation
            .capi
            .inject(Endpoint::Token, 0, usize::MAX, Fault::Says(body));
        let mut polling = foundation.poll();
        let feed = problem(&mut polling.token, "uaa").await;
        let routes = polling.problem("uaa").await;
        for message in [feed, routes] {
            assert!(!message.contains("hush"), "{message}");
            assert!(message.contains("line 1 column"), "{message}");
        }
        polling.stop().await;
    }
}

#[tokio::test]
async fn a_password_in_a_link_is_in_no_error() {
    for link in [
        "https://user:hush-hush@127.0.0.1:1/uaa",
        "uaa:user:hush-hush@127.0.0.1:1",
        "mailto:user:hush-hush@example.com",
    ] {
        let foundation = Foundation::new().await;
        let root = format!(r#"{{"links":{{"uaa":{{"href":"{link}"}}}}}}"#);
        let fault = Fault::Says(text(root));
        foundation.capi.inject(Endpoint::Root, 0, usize::MAX, fault);
        let mut polling = foundation.poll();
        let message = polling.problem("uaa").await;
        assert!(!message.contains("hush"), "{message}");
        polling.stop().await;
    }
}
