//! The oracle judges by what was true at some moment of a request, and for a grace before it.

use std::time::{Duration, Instant};

use crate::harness::oracle::{
    Oracle,
    Verdict::{self, Excused, Failed, Right, Wrong},
};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const NOBODY: [&str; 0] = [];

/// A request to the host `a` that took no time.
fn judged(oracle: &Oracle, app: Option<&str>, at: Instant) -> Verdict {
    oracle.judge("a", app, at, at)
}

#[test]
fn an_app_may_answer_while_it_is_mapped_and_for_a_grace_after() {
    let oracle = Oracle::new(HOUR);
    let before = Instant::now();
    oracle.set("A", ["one"]);
    let now = Instant::now();
    assert_eq!(judged(&oracle, Some("one"), now), Right);
    assert_eq!(judged(&oracle, Some("two"), now), Wrong);
    assert_eq!(oracle.judge("b", Some("one"), now, now), Wrong);
    let early = before.checked_sub(MINUTE).unwrap();
    assert_eq!(judged(&oracle, Some("one"), early), Wrong);

    oracle.set("a", ["two"]);
    let now = Instant::now();
    let later = now + HOUR + MINUTE;
    assert_eq!(judged(&oracle, Some("one"), now), Right);
    assert_eq!(oracle.judge("a", Some("one"), now, later), Right);
    assert_eq!(judged(&oracle, Some("one"), later), Wrong);
    assert_eq!(judged(&oracle, Some("two"), later), Right);
}

#[test]
fn a_failure_is_excused_where_nobody_could_answer_at_some_moment_of_it() {
    let oracle = Oracle::new(HOUR);
    let now = Instant::now();
    assert_eq!(judged(&oracle, None, now), Excused);
    oracle.set("a", ["one"]);
    oracle.set("a", ["one", "two"]);
    let now = Instant::now();
    assert_eq!(judged(&oracle, None, now), Failed);
    oracle.set("a", NOBODY);
    let now = Instant::now();
    assert_eq!(judged(&oracle, None, now), Excused);
    oracle.set("a", ["one"]);
    let now = Instant::now();
    assert_eq!(judged(&oracle, None, now), Excused);
    assert_eq!(judged(&oracle, None, now + HOUR + MINUTE), Failed);
}

#[test]
fn an_app_that_comes_back_may_not_have_answered_meanwhile() {
    let oracle = Oracle::new(Duration::ZERO);
    oracle.set("a", ["one"]);
    oracle.set("a", NOBODY);
    let away = Instant::now();
    oracle.set("a", ["one"]);
    let back = Instant::now();
    assert_eq!(judged(&oracle, Some("one"), away), Wrong);
    assert_eq!(oracle.judge("a", Some("one"), away, back), Right);
}
