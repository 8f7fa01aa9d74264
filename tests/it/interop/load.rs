//! A load keeps its rate, ends by itself, and counts each outcome where it belongs.

use std::{
    net::Ipv4Addr,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{net::TcpListener, time::timeout};

use super::{address, plain};
use crate::{
    harness::{
        client::{Ask, Client},
        instances::Protocol,
        load::{Load, Plan},
        oracle::Oracle,
    },
    mesh::LONG,
};

fn oracle(host: &str, apps: &[&str]) -> Arc<Oracle> {
    let oracle = Oracle::new(Duration::ZERO);
    oracle.set(host, apps.iter().copied());
    Arc::new(oracle)
}

fn plan(hosts: &[&str]) -> Plan {
    Plan {
        at_most: LONG,
        ..Plan::over(hosts)
    }
}

#[tokio::test]
async fn asks_each_host_in_turn_at_its_rate_and_ends_by_itself() {
    let _one = plain("one", Protocol::Http1, address(30)).await;
    let client = Arc::new(Client::new(address(30)).keeping(8));
    let oracle = oracle("a", &["one"]);
    oracle.set("b", ["one"]);
    let plan = Plan {
        at_most: Duration::from_millis(500),
        ..plan(&["a", "b"])
    };
    let begun = Instant::now();
    let load = Load::start(client, plan, oracle);
    assert!(!timeout(LONG, load.until(|_| false)).await.unwrap());
    assert!(begun.elapsed() >= Duration::from_millis(500));
    let tally = load.finish().await;
    // One each 5 ms at the most: where others are at work it is fewer.
    assert!((2..=101).contains(&tally.requests), "{tally}");
    assert_eq!(tally.answers["one"], tally.requests);
    assert_eq!((tally.wrong, tally.failures(), tally.unsent), (0, 0, 0));
    assert!(
        tally.excused.is_empty() && tally.shown.is_empty(),
        "{tally:?}"
    );
    assert!(tally.slowest > Duration::ZERO);
}

#[tokio::test]
async fn an_answer_of_another_app_is_wrong_and_shown() {
    let _one = plain("one", Protocol::Http1, address(31)).await;
    let client = Arc::new(Client::new(address(31)));
    let load = Load::start(client, plan(&["a"]), oracle("a", &["two"]));
    assert!(load.until(|tally| tally.wrong >= 20).await);
    let tally = load.finish().await;
    assert_eq!(tally.wrong, tally.requests);
    assert_eq!(tally.answers["one"], tally.requests);
    assert_eq!(tally.shown.len(), 5);
    let (_, host, what) = &tally.shown[0];
    assert_eq!((&**host, &**what), ("a", "one"));
}

#[tokio::test]
async fn failures_count_by_their_kind_unless_nobody_could_answer() {
    let instance = plain("one", Protocol::Http1, address(32)).await;
    let client = Arc::new(Client::new(address(32)).keeping(8));
    let truth = oracle("a", &["one"]);
    let load = Load::start(client, plan(&["a"]), Arc::clone(&truth));
    assert!(load.until(|tally| tally.requests > 0).await);
    instance.drain(Duration::ZERO).await;
    // Those that were under way end otherwise.
    assert!(
        load.until(|tally| tally.failed.contains_key("connect"))
            .await
    );
    truth.set("a", [""; 0]);
    assert!(
        load.until(|tally| tally.excused.contains_key("connect"))
            .await
    );
    let tally = load.finish().await;
    let excused: u64 = tally.excused.values().sum();
    let answered = tally.answers["one"];
    assert_eq!(answered + tally.failures() + excused, tally.requests);
}

#[tokio::test]
async fn what_would_be_too_much_at_once_is_not_sent() {
    // It accepts, and says nothing.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let client = Arc::new(Client::new(silent.local_addr().unwrap()));
    let plan = Plan {
        rate: NonZeroU32::new(2000).unwrap(),
        asks: vec![Ask::get("a", "/")],
        at_most: LONG,
    };
    let load = Load::start(client, plan, oracle("a", &["one"]));
    assert!(load.until(|tally| tally.unsent > 0).await);
    let tally = load.so_far();
    assert_eq!(tally.requests, 0, "{tally}");
}
