//! The virtual addresses of internal hostnames, by example.

use super::*;

#[test]
fn an_internal_host_has_a_vip_while_it_has_a_route() {
    let mut table = RouteTable::new(Join::Described, Some("127.128.0.0/9".parse().unwrap()));
    let host = Hostname::parse("a.apps.internal").unwrap();
    table.apply(Update::AllRoutes(vec![
        route("r1", "a.apps.internal", "", &[]),
        route("r2", "b.example.com", "", &[]),
    ]));
    let vip = table.host(&host).unwrap().vip().unwrap();
    assert_eq!(
        table
            .host(&Hostname::parse("b.example.com").unwrap())
            .unwrap()
            .vip(),
        None
    );
    table.apply(Update::AllRoutes(vec![]));
    table.apply(Update::AllRoutes(vec![route(
        "r1",
        "a.apps.internal",
        "",
        &["app"],
    )]));
    assert_eq!(table.host(&host).unwrap().vip(), Some(vip));
}

#[test]
fn of_two_routes_of_an_internal_host_the_older_ones_vip_counts_and_the_other_takes_over() {
    // Faults 46 and 47 of the original.
    let host = Hostname::parse("a.apps.internal").unwrap();
    let vip = |table: &RouteTable| table.host(&host).map(|view| view.vip());
    let pushed = |guid: &str, path: &str, last: u8| Route {
        vip: Some(Ipv4Addr::new(127, 129, 0, last)),
        ..route(guid, "a.apps.internal", path, &["app"])
    };
    let mut table = RouteTable::default();
    table.apply(Update::AllRoutes(vec![
        route("r0", "a.apps.internal", "/none", &[]),
        pushed("r1", "", 1),
        pushed("r2", "/x", 2),
    ]));
    assert_eq!(vip(&table), Some(Some([127, 129, 0, 1].into())));
    let changes = table.apply(Update::Routes {
        current: vec![],
        gone: vec!["r1".into()],
    });
    assert_eq!(touched(&changes), [("a.apps.internal", How::Lookup)]);
    assert_eq!(vip(&table), Some(Some([127, 129, 0, 2].into())));
    table.apply(Update::Routes {
        current: vec![Route {
            host: Hostname::parse("b.apps.internal").unwrap(),
            ..pushed("r2", "/x", 2)
        }],
        gone: vec!["r0".into()],
    });
    assert_eq!(vip(&table), None, "the old name is forgotten");
}
