//! Holds what docs/ says of the size of responses to what is served.

use std::{fs, path::Path};

use copilot::{
    istio::Kind,
    model::{Hostname, Route, Update},
    publisher::{Metrics, Settings, State},
    sim::foundation,
};
use prometheus_client::registry::Registry;

/// Of a route with a hostname of 31 characters and two instances: bytes of its hostname's VirtualService, and of its
/// service's ServiceEntry.
fn bytes() -> [usize; 2] {
    let routes = 1_000;
    let route = |n| Route {
        host: Hostname::parse(&format!("my-apps-{n:06}.apps.example.com")).unwrap(),
        ..foundation::route(n)
    };
    let mut state =
        State::new(&Settings::default(), Metrics::new(&mut Registry::default())).unwrap();
    state.apply(Update::AllRoutes((0..routes).map(route).collect()));
    let instances =
        (0..routes).flat_map(|n| (0..2).map(move |index| foundation::instance(n, index, 61_000)));
    state.apply(Update::AllInstances(instances.collect()));
    let snapshot = state.publish().unwrap();
    [Kind::VirtualService, Kind::ServiceEntry].map(|kind| {
        let collection = snapshot.get(kind).unwrap();
        assert_eq!(collection.len(), routes);
        collection.encoded_len() / routes
    })
}

/// In hundreds, as a person writes it.
fn about(count: usize) -> String {
    let hundreds = (count / 100 * 100).to_string();
    let (thousands, rest) = hundreds.split_at(hundreds.len() - 3);
    format!("{thousands},{rest}")
}

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name);
    fs::read_to_string(path).unwrap()
}

#[test]
fn the_docs_say_how_many_routes_a_message_holds() {
    let bytes = bytes();
    let largest = bytes.into_iter().max().unwrap();
    let holds = |limit: usize| about(limit / largest);
    let rows = [
        (4 << 20, "4194304 (default)"),
        (8 << 20, "8388608 (istio-release)"),
        (64 << 20, "67108864"),
    ]
    .map(|(limit, name)| format!("| {name} | about {} |", holds(limit)));
    println!("{bytes:?} bytes: {rows:#?}");
    for name in ["istio.md", "operations.md"] {
        let page = page(name);
        for row in &rows {
            assert!(page.contains(row), "{name} lacks {row}");
        }
    }
    let scaling = page("scaling.md");
    let million = 1_000_000;
    let said = [
        format!("| {}, {} routes;", holds(4 << 20), holds(8 << 20)),
        // The length of a gRPC message has four bytes.
        format!("| some {} million routes |", (4 << 30) / largest / million),
        format!("{} MB of VirtualServices", bytes[0] / 10 * 10),
        format!("{} MB of ServiceEntries", bytes[1] / 10 * 10),
    ];
    for said in said {
        assert!(scaling.contains(&said), "scaling.md lacks {said}");
    }
}
