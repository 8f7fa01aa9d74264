//! What a BulkSync may look like.

use prost::Message as _;

use super::*;
use crate::{
    feed::Kind,
    model::{Update, Weight},
    proto::api::{BulkSyncRequest, CapiDiegoProcessAssociation, Route, RouteMapping},
};

fn route(guid: &str, host: &str) -> Route {
    Route {
        guid: guid.to_owned(),
        host: host.to_owned(),
        ..Route::default()
    }
}

fn mapping(route: &str, process: &str, weight: u32) -> RouteMapping {
    RouteMapping {
        capi_process_guid: process.to_owned(),
        route_guid: route.to_owned(),
        route_weight: weight,
    }
}

fn request(routes: Vec<Route>, route_mappings: Vec<RouteMapping>) -> BulkSyncRequest {
    BulkSyncRequest {
        route_mappings,
        routes,
        capi_diego_process_associations: vec![CapiDiegoProcessAssociation {
            capi_process_guid: "p".to_owned(),
            diego_process_guids: vec!["p-1".to_owned()],
        }],
    }
}

fn read(request: &BulkSyncRequest) -> (Pushed, Vec<Dropped>) {
    let (pushed, _, dropped) = Pushed::from_bulk_sync(&request.encode_to_vec()).unwrap();
    (pushed, dropped)
}

fn refused(message: &[u8]) -> Refused {
    Pushed::from_bulk_sync(message).unwrap_err()
}

#[test]
fn nothing_is_a_bulk_sync_of_nothing() {
    let (pushed, _, dropped) = Pushed::from_bulk_sync(&[]).unwrap();
    assert_eq!((pushed, dropped.len()), (Pushed::default(), 0));
}

#[test]
fn reads_all_three_lists_whatever_their_order() {
    let message = request(
        vec![route("r", "a.example.com")],
        vec![mapping("r", "p", 2)],
    );
    let (pushed, dropped) = read(&message);
    assert_eq!(dropped, []);
    let Update::AllPushed {
        routes,
        associations,
        leads: true,
    } = pushed.all(pushed.leads())
    else {
        panic!("everything at once");
    };
    assert_eq!(routes[0].destinations[0].weight, Weight::Running(2));
    assert_eq!(associations[0].process, "p".into());
}

#[test]
fn an_invalid_item_is_left_out_alone_and_named() {
    let message = request(
        vec![
            route("good", "a.example.com"),
            route("bad", "a b.example.com"),
            route("", "c.example.com"),
            route("\u{1b}[2J", "d.example.com"),
        ],
        vec![mapping("good", "p", 1), mapping("good", "", 1)],
    );
    let (pushed, dropped) = read(&message);
    let sizes = pushed.sizes();
    assert_eq!(
        (sizes.routes, sizes.mappings, sizes.associations),
        (1, 1, 1)
    );
    let named: Vec<_> = dropped
        .iter()
        .map(|item| (item.name.as_str(), item.reason))
        .collect();
    assert_eq!(
        named,
        [
            ("mapping good ", "missing"),
            ("route bad a b.example.com", "hostname"),
            ("route  c.example.com", "missing"),
            ("route \u{fffd}[2J d.example.com", "control_character"),
        ]
    );
}

#[test]
fn weights_are_brought_within_what_cloud_controller_allows() {
    let message = request(
        vec![route("r", "a.example.com")],
        vec![
            mapping("r", "none", 0),
            mapping("r", "some", 128),
            mapping("r", "too much", u32::MAX),
        ],
    );
    let (pushed, _) = read(&message);
    let weights: Vec<_> = pushed.mappings().map(|(_, weight)| weight).collect();
    assert_eq!(weights, [1, 128, 128]);
}

#[test]
fn of_items_with_the_same_guids_the_last_one_counts() {
    let message = request(
        vec![route("r", "a.example.com"), route("r", "b.example.com")],
        vec![mapping("r", "p", 1), mapping("r", "p", 2)],
    );
    let (pushed, _) = read(&message);
    let hosts: Vec<_> = pushed.routes().map(|route| route.host.as_str()).collect();
    assert_eq!(hosts, ["b.example.com"]);
    assert_eq!(pushed.mappings().map(|(_, weight)| weight).sum::<u32>(), 2);
}

#[test]
fn fields_of_later_versions_are_passed_over() {
    let mut message = request(vec![route("r", "a.example.com")], vec![]).encode_to_vec();
    // Numbers 15 and 14 as varint, fixed64, fixed32 and bytes.
    message.extend([0x78, 0x96, 0x01]);
    message.extend([&[0x79][..], &[7; 8]].concat());
    message.extend([&[0x7d][..], &[7; 4]].concat());
    message.extend([0x72, 2, 1, 2]);
    let (pushed, ..) = Pushed::from_bulk_sync(&message).unwrap();
    assert_eq!(pushed.sizes().routes, 1);
}

#[test]
fn bytes_that_are_no_bulk_sync_are_refused() {
    let whole = request(vec![route("r", "a.example.com")], vec![]).encode_to_vec();
    let endless = [0xff; 20];
    let bad_utf8 = [0x12, 3, 0x0a, 1, 0xff];
    let within = &whole[..whole.len() - 1];
    for message in [b"not protobuf at all" as &[u8], &endless, &bad_utf8, within] {
        assert_eq!(refused(message).kind(), Kind::Malformed, "{message:?}");
    }
    // Its own fields as numbers, and a field 0.
    for message in [
        &[0x08_u8, 1][..],
        &[0x10, 1],
        &[0x18, 1, 0x10, 7],
        &[0x02, 1, 7],
    ] {
        let refused = refused(message);
        assert!(matches!(refused, Refused::WireType { .. }), "{refused}");
    }
    // A length that is larger than memory.
    let huge = [0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    assert!(matches!(refused(&huge), Refused::Truncated));
}

#[test]
fn an_item_that_is_larger_than_any_valid_one_is_not_even_decoded() {
    let guids = vec![String::new(); MAX_ITEM];
    let mut message = request(vec![route("r", "a.example.com")], vec![]);
    message.capi_diego_process_associations[0].diego_process_guids = guids;
    let (pushed, dropped) = read(&message);
    assert_eq!((pushed.sizes().routes, pushed.sizes().associations), (1, 0));
    assert_eq!(dropped[0].reason, "too_long");
}

#[test]
fn a_bulk_sync_of_nothing_but_invalid_routes_is_no_end_of_all_routes() {
    let message = request(vec![route("r", "a b")], vec![]).encode_to_vec();
    assert_eq!(refused(&message).kind(), Kind::Unreadable);
    // Without a route there is nothing wrong with the routes.
    let (pushed, dropped) = read(&request(vec![], vec![mapping("r", "", 1)]));
    assert_eq!((pushed.sizes().routes, dropped.len()), (0, 1));
}

#[test]
fn more_than_a_fifth_of_invalid_routes_is_too_much_once_they_are_ten() {
    let routes = |good: usize, bad| {
        let good = (0..good).map(|n| route(&n.to_string(), "a.example.com"));
        let bad = vec![route("r", "a b"); bad];
        request(good.chain(bad).collect(), vec![]).encode_to_vec()
    };
    for (good, bad) in [(1, 9), (40, 10)] {
        let (pushed, _, dropped) = Pushed::from_bulk_sync(&routes(good, bad)).unwrap();
        assert_eq!((pushed.sizes().routes, dropped.len()), (good, bad));
    }
    assert_eq!(refused(&routes(39, 10)).kind(), Kind::Unreadable);
}

#[test]
fn so_many_invalid_items_that_the_rest_is_not_to_be_trusted() {
    let mappings = vec![mapping("r", "", 1); MAX_DROPPED + 1];
    let message = request(vec![route("r", "a.example.com")], mappings).encode_to_vec();
    assert_eq!(refused(&message).kind(), Kind::Unreadable);
}
