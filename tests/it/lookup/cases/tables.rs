//! The cases.

use copilot::model::{HeaderName, LoadBalancing, Protocol};
use serde_json::json;

use super::{Case, case};

/// By hostname and path.
pub fn lookups() -> Vec<Case> {
    let shop = |name| {
        let case = case(name).app("front", 1).app("admin", 1);
        case.route("*.$", "front").route("shop.$/admin", "admin")
    };
    vec![
        shop("l1").asks("shop.$", "/", "front"),
        shop("l2")
            .asks("shop.$", "/admin/x", "admin")
            .asks("shop.$", "/admin", "admin"),
        shop("l3").asks("shop.$", "/administrator", "front"),
        case("l4")
            .app("far", 1)
            .app("front", 1)
            .app("one", 1)
            .route("*.deep.$", "far")
            .route("*.$", "front")
            .route("a.deep.$/p", "one")
            .asks("a.deep.$", "/", "far")
            .asks("b.deep.$", "/", "far")
            .asks("a.deep.$", "/p", "one"),
        case("l5")
            .app("front", 1)
            .app("far", 1)
            .route("*.$", "front")
            .route("*.deep.$/p", "far")
            .asks("x.deep.$", "/", "front")
            .asks("x.deep.$", "/p", "far"),
        case("l6")
            .app("front", 1)
            .app("report", 0)
            .route("portal.$", "front")
            .route("portal.$/reports", "report")
            .asks("portal.$", "/reports", "front"),
        case("l7")
            .app("front", 1)
            .app("one", 0)
            .route("*.$", "front")
            .route("one.$", "one")
            .asks("one.$", "/", "front"),
        case("l8")
            .app("alone", 0)
            .route("alone.$", "alone")
            .asks_in_vain("alone.$", "/"),
        case("l9")
            .app("front", 1)
            .route("case.$/Api", "front")
            .asks("case.$", "/api", "front")
            .asks("case.$", "/API/x", "front")
            .asks("case.$", "/Api", "front"),
        case("l10")
            .app("front", 1)
            .route("slash.$/docs/", "front")
            .asks("slash.$", "/docs", "front")
            .asks("slash.$", "/docs/", "front")
            .asks("slash.$", "/docs/x", "front"),
        case("l11")
            .app("front", 1)
            .route("Shop.$", "front")
            .asks("SHOP.$:8080", "/", "front"),
        case("l12")
            .app("front", 1)
            .route("enc.$/a%20b", "front")
            .asks("enc.$", "/a%20b", "front")
            .asks("enc.$", "/a%20b/c", "front"),
    ]
}

/// Of several apps on one route, or of several routes on one hostname.
pub fn shares() -> Vec<Case> {
    let blue_and_green = [
        ("blue", None, Protocol::Http1),
        ("green", None, Protocol::Http1),
    ];
    let thirds = [
        ("blue", 100.0 / 3.0, "http"),
        ("green", 200.0 / 3.0, "http"),
    ];
    let three = |name| {
        let case = case(name).app("blue", 1).app("green", 2);
        case.shared("shop.$", &blue_and_green)
    };
    let tenant = HeaderName::parse("x-tenant").unwrap();
    vec![
        case("s1")
            .app("blue", 0)
            .app("green", 1)
            .shared(
                "shop.$",
                &[
                    ("blue", Some(90), Protocol::Http1),
                    ("green", Some(10), Protocol::Http1),
                ],
            )
            .asks("shop.$", "/", "green"),
        three("s2").shares("shop.$", "/", &thirds),
        three("s3")
            .options(json!({"loadbalancing": "hash", "hash_header": "X-Tenant"}))
            .shares("shop.$", "/", &thirds)
            .picked(LoadBalancing::Hash(tenant)),
        three("s4")
            .options(json!({"loadbalancing": "least-connection"}))
            .shares("shop.$", "/", &thirds)
            .picked(LoadBalancing::LeastConnection),
        case("s5")
            .app("front", 1)
            .app("grpc", 1)
            .route("mix.$", "front")
            .shared("mix.$/pkg.Svc", &[("grpc", None, Protocol::Http2)])
            .asks("mix.$", "/", "front")
            .shares("mix.$", "/pkg.Svc/Method", &[("grpc", 100.0, "http2")]),
        case("s6")
            .app("front", 1)
            .app("grpc", 1)
            .shared(
                "mix.$",
                &[
                    ("front", None, Protocol::Http1),
                    ("grpc", None, Protocol::Http2),
                ],
            )
            .shares(
                "mix.$",
                "/",
                &[("front", 50.0, "http"), ("grpc", 50.0, "http2")],
            ),
        case("s7")
            .app("b", 1)
            .app("c", 1)
            .route("*.wild.$", "c")
            .route("special.wild.$", "b")
            .asks("other.wild.$", "/", "c")
            .asks("special.wild.$", "/", "b"),
    ]
}
