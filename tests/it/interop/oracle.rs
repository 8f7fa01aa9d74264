//! The oracle judges by what was true at some moment of a request, and for a grace before it.

use std::time::{Duration, Instant};

use crate::harness::oracle::{Oracle, Verdict};

const HOUR: Duration = Duration::from_secs(3600);
const NOBODY: [&str; 0] = [];

#[test]
fn an_app_may_answer_while_it_is_mapped_and_for_a_grace_after() {
    let oracle = Oracle::new(HOUR);
    let before = Instant::now();
    oracle.set("A.example.com", ["one"]);
    let now = Instant::now();
    assert_eq!(
        oracle.judge("a.example.com", Some("one"), now, now),
        Verdict::Right
    );
    assert_eq!(
        oracle.judge("a.example.com", Some("two"), now, now),
        Verdict::Wrong
    );
    assert_eq!(
        oracle.judge("b.example.com", Some("one"), now, now),
        Verdict::Wrong
    );
    let early = before - Duration::from_secs(1);
    assert_eq!(
        oracle.judge("a.example.com", Some("one"), early, early),
        Verdict::Wrong
    );

    oracle.set("a.example.com", ["two"]);
    let now = Instant::now();
    assert_eq!(
        oracle.judge("a.example.com", Some("one"), now, now),
        Verdict::Right
    );
    let (late, later) = (now + HOUR - Duration::from_secs(1), now + HOUR + HOUR);
    assert_eq!(
        oracle.judge("a.example.com", Some("one"), late, later),
        Verdict::Right
    );
    assert_eq!(
        oracle.judge("a.example.com", Some("one"), later, later),
        Verdict::Wrong
    );
    assert_eq!(
        oracle.judge("a.example.com", Some("two"), later, later),
        Verdict::Right
    );
}

#[test]
fn a_failure_is_excused_where_nobody_could_answer_at_some_moment_of_it() {
    let oracle = Oracle::new(HOUR);
    let now = Instant::now();
    assert_eq!(oracle.judge("a", None, now, now), Verdict::Excused);
    oracle.set("a", ["one"]);
    oracle.set("a", ["one", "two"]);
    let now = Instant::now();
    assert_eq!(oracle.judge("a", None, now, now), Verdict::Failed);
    oracle.set("a", NOBODY);
    let now = Instant::now();
    assert_eq!(oracle.judge("a", None, now, now), Verdict::Excused);
    oracle.set("a", ["one"]);
    let now = Instant::now();
    assert_eq!(oracle.judge("a", None, now, now), Verdict::Excused);
    let later = now + HOUR + HOUR;
    assert_eq!(oracle.judge("a", None, later, later), Verdict::Failed);
}

#[test]
fn an_app_that_comes_back_may_not_have_answered_meanwhile() {
    let oracle = Oracle::new(Duration::ZERO);
    oracle.set("a", ["one"]);
    oracle.set("a", NOBODY);
    let away = Instant::now();
    oracle.set("a", ["one"]);
    let back = Instant::now();
    assert_eq!(oracle.judge("a", Some("one"), away, away), Verdict::Wrong);
    assert_eq!(oracle.judge("a", Some("one"), away, back), Verdict::Right);
}
