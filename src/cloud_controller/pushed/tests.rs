//! The rules of what was pushed, by example and against a naive model.

use std::collections::HashMap;

use proptest::prelude::*;
use smallvec::smallvec;

use super::*;

fn route(guid: &str, host: &str) -> Change {
    Change::UpsertRoute(Route::example(guid, host))
}

fn pair(route: &str, process: &str) -> Pair {
    (route.into(), process.into())
}

fn map(route: &str, process: &str, weight: u32) -> Change {
    Change::Map(pair(route, process), weight)
}

fn associate(process: &str, diego: &str) -> Change {
    Change::Associate(Association {
        process: process.into(),
        diego_processes: smallvec![diego.into()],
    })
}

fn pushed(changes: impl IntoIterator<Item = Change>) -> Pushed {
    let mut pushed = Pushed::default();
    for change in changes {
        pushed.take(change).unwrap();
    }
    pushed
}

/// The one route that an update brings, as host and shares.
#[track_caller]
fn current(update: Option<Update>) -> (String, Vec<(String, Weight)>) {
    let Some(Update::Routes { current, gone }) = update else {
        panic!("{update:?}");
    };
    assert_eq!((current.len(), gone.len()), (1, 0));
    let shares = current[0].destinations.iter();
    let shares = shares.map(|to| (to.workload.app.to_string(), to.weight));
    (current[0].host.to_string(), shares.collect())
}

#[test]
fn mapping_a_pair_again_replaces_its_weight() {
    let mut pushed = pushed([route("r", "a.example.com"), map("r", "p", 1)]);
    let (_, shares) = current(pushed.apply(map("r", "p", 3)).unwrap());
    assert_eq!(shares, [("p".to_owned(), Weight::Running(3))]);
    assert!(pushed.apply(map("r", "p", 3)).unwrap().is_none());
}

#[test]
fn unmapping_twice_or_what_is_unknown_changes_nothing() {
    let mut pushed = pushed([
        route("r", "a.example.com"),
        map("r", "p", 1),
        map("r", "q", 1),
    ]);
    let (_, shares) = current(pushed.apply(Change::Unmap(pair("r", "q"))).unwrap());
    assert_eq!(shares, [("p".to_owned(), Weight::Running(1))]);
    for unknown in [pair("r", "q"), pair("r", "x"), pair("x", "p")] {
        assert!(pushed.apply(Change::Unmap(unknown)).unwrap().is_none());
    }
}

#[test]
fn a_mapping_may_come_before_its_route() {
    let mut pushed = Pushed::default();
    assert!(pushed.apply(map("r", "p", 2)).unwrap().is_none());
    let (_, shares) = current(pushed.apply(route("r", "a.example.com")).unwrap());
    assert_eq!(shares, [("p".to_owned(), Weight::Running(2))]);
}

#[test]
fn upserting_a_route_again_moves_it_to_its_new_host() {
    let mut pushed = pushed([route("r", "a.example.com"), map("r", "p", 1)]);
    assert!(pushed.apply(route("r", "a.example.com")).unwrap().is_none());
    let (host, shares) = current(pushed.apply(route("r", "b.example.com")).unwrap());
    assert_eq!((host.as_str(), shares.len()), ("b.example.com", 1));
}

#[test]
fn a_deleted_route_is_gone_once_and_keeps_its_mappings_for_its_return() {
    let mut pushed = pushed([route("r", "a.example.com"), map("r", "p", 1)]);
    let gone = pushed.apply(Change::DeleteRoute("r".into())).unwrap();
    assert!(matches!(gone, Some(Update::Routes { current, gone })
        if current.is_empty() && gone == ["r".into()]));
    assert!(
        pushed
            .apply(Change::DeleteRoute("r".into()))
            .unwrap()
            .is_none()
    );
    let (_, shares) = current(pushed.apply(route("r", "a.example.com")).unwrap());
    assert_eq!(shares.len(), 1);
}

#[test]
fn an_association_that_stays_the_same_is_no_news() {
    let mut pushed = Pushed::default();
    assert!(pushed.apply(associate("p", "p-1")).unwrap().is_some());
    assert!(pushed.apply(associate("p", "p-1")).unwrap().is_none());
    assert!(pushed.apply(associate("p", "p-2")).unwrap().is_some());
    let dissociate = || Change::Dissociate("p".into());
    let gone = pushed.apply(dissociate()).unwrap();
    assert!(matches!(gone, Some(Update::Associations { gone, .. }) if gone == ["p".into()]));
    assert!(pushed.apply(dissociate()).unwrap().is_none());
}

#[test]
fn the_mappings_of_a_route_are_found_whatever_the_guids_look_like() {
    let least = "00000000-0000-0000-0000-000000000000";
    let pushed = pushed([
        route("b", "b.example.com"),
        map("a", "z", 1),
        map("b", least, 1),
        map("b", "!", 2),
        map("b", "6a901b7c-9417-4dc1-8189-d3234aa0ab82", 3),
        map("c", least, 1),
    ]);
    assert_eq!(pushed.mappings_of(&"b".into()).count(), 3);
}

#[test]
fn what_is_known_can_change_when_there_is_no_room_for_more() {
    let mut full: BTreeMap<usize, u32> = (0..MAX_ITEMS).map(|n| (n, 0)).collect();
    assert_eq!(
        put(&mut full, MAX_ITEMS, 0, "routes"),
        Err(Full { what: "routes" })
    );
    assert_eq!(put(&mut full, 0, 1, "routes"), Ok(true));
}

/// What a table that follows the updates has: host and shares of each route, and the associations.
#[derive(Debug, Default, PartialEq)]
struct Followed {
    routes: HashMap<RouteGuid, Route>,
    associations: HashMap<CapiProcessGuid, Association>,
}

impl Followed {
    fn follow(&mut self, update: Update) {
        let by_guid =
            |routes: Vec<Route>| routes.into_iter().map(|route| (route.guid.clone(), route));
        let by_process =
            |all: Vec<Association>| all.into_iter().map(|one| (one.process.clone(), one));
        match update {
            Update::AllPushed {
                routes,
                associations,
                ..
            } => {
                self.routes = by_guid(routes).collect();
                self.associations = by_process(associations).collect();
            }
            Update::Routes { current, gone } => {
                self.routes.retain(|guid, _| !gone.contains(guid));
                self.routes.extend(by_guid(current));
            }
            Update::Associations { current, gone } => {
                self.associations.retain(|guid, _| !gone.contains(guid));
                self.associations.extend(by_process(current));
            }
            other => panic!("{other:?}"),
        }
    }
}

fn any_change() -> impl Strategy<Value = Change> {
    let guid = || prop::sample::select(vec!["a", "b", "00000000-0000-0000-0000-000000000000"]);
    prop_oneof![
        (guid(), guid()).prop_map(|(guid, host)| route(guid, host)),
        guid().prop_map(|guid| Change::DeleteRoute(guid.into())),
        (guid(), guid(), 1..4_u32).prop_map(|(to, from, weight)| map(to, from, weight)),
        (guid(), guid()).prop_map(|(to, from)| Change::Unmap(pair(to, from))),
        (guid(), guid()).prop_map(|(process, diego)| associate(process, diego)),
        guid().prop_map(|process| Change::Dissociate(process.into())),
    ]
}

/// What a change is about: changes of different things may swap places.
fn subject(change: &Change) -> (u8, String) {
    match change {
        Change::UpsertRoute(route) => (0, route.guid.to_string()),
        Change::DeleteRoute(guid) => (0, guid.to_string()),
        Change::Map(pair, _) | Change::Unmap(pair) => (1, format!("{pair:?}")),
        Change::Associate(association) => (2, association.process.to_string()),
        Change::Dissociate(process) => (2, process.to_string()),
    }
}

proptest! {
    #[test]
    fn whoever_follows_the_updates_has_what_is_known(changes in prop::collection::vec(any_change(), 0..60)) {
        let mut pushed = Pushed::default();
        let mut followed = Followed::default();
        for change in changes {
            if let Some(update) = pushed.apply(change).unwrap() {
                followed.follow(update);
            }
            let mut whole = Followed::default();
            whole.follow(pushed.all(true));
            prop_assert_eq!(&followed, &whole);
        }
        for route in followed.routes.values() {
            prop_assert!(route.destinations.is_sorted());
        }
    }

    #[test]
    fn the_order_counts_only_among_changes_of_the_same_thing(changes in prop::collection::vec(any_change(), 0..60)) {
        let mut grouped = changes.clone();
        grouped.sort_by_key(subject);
        prop_assert_eq!(pushed(changes), pushed(grouped));
    }
}
