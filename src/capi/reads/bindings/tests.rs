//! What reads and events make of the bindings that are known.

use super::*;

const CONFIRM_AFTER: Duration = Duration::from_secs(10);

fn bindings() -> Bindings {
    Bindings::new(100, CONFIRM_AFTER)
}

fn route(n: usize) -> RouteGuid {
    RouteGuid::from(n.to_string().as_str())
}

fn list(bound: impl IntoIterator<Item = usize>) -> FoundBindings {
    FoundBindings {
        bound: bound.into_iter().map(route).collect(),
        ..FoundBindings::default()
    }
}

fn list_of(
    asked: impl IntoIterator<Item = usize>,
    bound: impl IntoIterator<Item = usize>,
) -> FoundBindings {
    FoundBindings {
        asked: Some(asked.into_iter().map(route).collect()),
        ..list(bound)
    }
}

/// Bindings of which a list had these many.
fn known(count: usize, now: Instant) -> Bindings {
    let mut bindings = bindings();
    let changes = bindings.take_in(&list(0..count), now);
    assert_eq!(changes.bound.len(), count);
    bindings
}

#[test]
fn a_route_that_is_bound_is_news_once_and_never_doubted() {
    let (mut bindings, now) = (bindings(), Instant::now());
    assert_eq!(bindings.take_in(&list(0..50), now).bound.len(), 50);
    let changes = bindings.take_in(&list(0..150), now);
    assert_eq!(changes.bound.len(), 100);
    assert_eq!(bindings.doubt(), None);
    assert_eq!(
        bindings.take_in(&list(0..150), now),
        BindingChanges::default()
    );
}

#[test]
fn what_a_list_lacks_stays_until_a_later_one_lacks_it_too_however_much_it_is() {
    for kept in [9, 5, 0] {
        let now = Instant::now();
        let mut bindings = known(10, now);
        for later in [now, now + CONFIRM_AFTER / 2] {
            assert_eq!(
                bindings.take_in(&list(0..kept), later),
                BindingChanges::default()
            );
            assert!(bindings.has_unsure() && bindings.len() == 10);
        }
        let changes = bindings.take_in(&list(0..kept), now + CONFIRM_AFTER);
        assert_eq!(changes.unbound.len(), 10 - kept);
        assert!(!bindings.has_unsure());
    }
}

#[test]
fn a_list_that_has_them_again_settles_the_doubt() {
    let now = Instant::now();
    let mut bindings = known(10, now);
    bindings.take_in(&list([]), now);
    bindings.take_in(&list(0..10), now + CONFIRM_AFTER);
    assert!(!bindings.has_unsure());
    let changes = bindings.take_in(&list([]), now + 2 * CONFIRM_AFTER);
    assert_eq!(changes.unbound, []);
    assert_eq!(bindings.len(), 10);
}

#[test]
fn what_is_asked_for_by_name_and_lacking_is_asked_for_again_and_then_believed() {
    let now = Instant::now();
    let mut bindings = known(100, now);
    let changes = bindings.take_in(&list_of([1, 2, 1000], [2]), now);
    assert_eq!(changes.unbound, []);
    assert_eq!(changes.unsure, BTreeSet::from([route(1)]));
    let early = bindings.take_in(&list_of([1], []), now + CONFIRM_AFTER / 2);
    assert_eq!(early, BindingChanges::default());
    let changes = bindings.take_in(&list_of([1], []), now + CONFIRM_AFTER);
    assert_eq!(changes.unbound, [route(1)]);
}

#[test]
fn what_an_event_released_goes_with_the_first_read_that_lacks_it() {
    let now = Instant::now();
    let mut bindings = known(1, now);
    bindings.release(&route(0));
    assert!(
        bindings.has(&route(0)),
        "the event may come before its commit"
    );
    assert_eq!(
        bindings.take_in(&list_of([0], [0]), now),
        BindingChanges::default()
    );
    assert_eq!(bindings.take_in(&list_of([0], []), now).unbound, [route(0)]);
}

#[test]
fn what_is_released_item_by_item_is_not_held_however_much_it_is() {
    let now = Instant::now();
    let mut bindings = known(10, now);
    for n in 0..10 {
        bindings.release(&route(n));
    }
    assert_eq!(bindings.take_in(&list([]), now).unbound.len(), 10);
    assert!(!bindings.has_unsure());
}

#[test]
fn what_an_event_bound_counts_before_a_read_has_it() {
    let (mut bindings, now) = (bindings(), Instant::now());
    assert!(bindings.announce(&route(0)) && !bindings.announce(&route(0)));
    assert!(bindings.has(&route(0)));
    let changes = bindings.take_in(&list_of([0], []), now);
    assert_eq!(
        changes.unsure,
        BTreeSet::from([route(0)]),
        "not yet to be seen"
    );
    assert_eq!(
        bindings.take_in(&list_of([0], [0]), now),
        BindingChanges::default()
    );
    // Bound again after it was released.
    bindings.release(&route(0));
    bindings.announce(&route(0));
    assert_eq!(bindings.take_in(&list_of([0], []), now).unbound, []);
}

#[test]
fn a_binding_that_could_not_be_made_binds_nothing() {
    let now = Instant::now();
    let mut bindings = known(1, now);
    let found = FoundBindings {
        failed: GuidSet::from_iter([route(0)]),
        ..list_of([0], [])
    };
    assert_eq!(bindings.take_in(&found, now).unbound, [route(0)]);
}

#[test]
fn rows_that_cannot_be_read_release_nothing_and_the_others_bind() {
    let now = Instant::now();
    let mut bindings = known(10, now);
    let found = FoundBindings {
        unreadable: 1,
        ..list(1..11)
    };
    for later in [now, now + CONFIRM_AFTER, now + 2 * CONFIRM_AFTER] {
        assert_eq!(bindings.take_in(&found, later).unbound, []);
        let doubt = Doubt::UnreadableBindings { unreadable: 1 };
        assert_eq!(bindings.doubt(), Some(&doubt));
    }
    assert!(bindings.has(&route(0)) && bindings.has(&route(10)));
}
