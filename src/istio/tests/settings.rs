//! What owners of routes ask for, what becomes of it in each era, and that no text of theirs does harm.

use proptest::prelude::*;

use super::*;
use crate::{
    model::{Asked, HeaderName, LoadBalancing, annotations},
    proto::istio::networking::v1alpha3::HttpRetry,
};

/// A route as its owner annotated it.
fn annotated<'a>(
    url: &str,
    app: &str,
    texts: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Route {
    let mut route = route(url, [to(app, 8080)]);
    route.ask(Asked::parse(texts));
    route
}

/// For Pilots, then for istiods: what is matched, and what stands in its place.
fn rewrites(made: &Made) -> [Vec<(usize, Option<String>)>; 2] {
    [0, 1].map(|era| {
        let routes = made.services[era].as_ref().unwrap().http.iter();
        let rewrite = |route: &HttpRoute| route.rewrite.clone().map(|rewrite| rewrite.uri);
        routes
            .map(|route| (route.r#match.len(), rewrite(route)))
            .collect()
    })
}

#[test]
fn timeout_retries_and_headers_are_the_same_for_both_eras() {
    let made = make(
        [annotated(
            "shop.example.com",
            "app",
            [
                ("timeout", "1500ms"),
                ("retry-attempts", "3"),
                ("retry-per-try-timeout", "250ms"),
                ("retry-on", "gateway-error"),
                ("request-headers-set", "X-Tenant: 7"),
                ("response-headers-remove", "Server"),
            ],
        )],
        [],
    );
    assert_eq!(made.services[0], made.services[1]);
    let [route] = made.http() else {
        panic!("{:?}", made.http());
    };
    let time = |seconds, nanos| prost_types::Duration { seconds, nanos };
    assert_eq!(route.timeout, Some(time(1, 500_000_000)));
    let retries = route.retries.as_ref().unwrap();
    assert_eq!(
        (retries.attempts, retries.retry_on.as_str()),
        (3, "gateway-error")
    );
    assert_eq!(retries.per_try_timeout, Some(time(0, 250_000_000)));
    let headers = route.headers.as_ref().unwrap();
    let (request, response) = (headers.request.as_ref(), headers.response.as_ref());
    assert_eq!(request.unwrap().set["x-tenant"], "7");
    assert_eq!(response.unwrap().remove, ["server"]);
    assert!(made.remarks.is_empty());
}

#[test]
fn no_attempts_are_told_so_that_istio_makes_none_of_its_own() {
    let none = [("retry-attempts", "0")];
    let made = make([annotated("shop.example.com", "app", none)], []);
    let retries = made.http()[0].retries.as_ref();
    assert_eq!(retries, Some(&HttpRetry::default()));
}

#[test]
fn a_path_is_replaced_with_what_is_below_it_for_istiods_and_for_pilots_if_it_has_no_letters() {
    let to = |text: &str| Some(text.to_owned());
    let both = || vec![(1, to("/v2")), (1, to("/v2/"))];
    for (url, text, classic, xds) in [
        ("shop.example.com/2024", "/v2", both(), both()),
        (
            "shop.example.com/2024",
            "/",
            vec![(2, to("/"))],
            vec![(2, to("/"))],
        ),
        (
            "shop.example.com",
            "/v2",
            vec![(0, to("/v2/"))],
            vec![(0, to("/v2/"))],
        ),
        ("shop.example.com/api", "/v2", vec![(1, None)], both()),
    ] {
        let made = make([annotated(url, "app", [("path-rewrite", text)])], []);
        assert_eq!(rewrites(&made), [classic, xds], "{url}");
        let is_told = !url.ends_with("api");
        assert_eq!(made.remarks.is_empty(), is_told, "{:?}", made.remarks);
    }
}

#[test]
fn of_two_spellings_of_a_url_the_older_ones_settings_count_and_the_other_is_named() {
    let mut newer = annotated("shop.example.com/A", "app", [("timeout", "2s")]);
    newer.created_at = 2;
    let older = annotated("shop.example.com/a", "app", [("timeout", "1s")]);
    let made = make([newer, older], []);
    assert_eq!(made.http()[0].timeout.as_ref().unwrap().seconds, 1);
    assert_eq!(
        made.remarks[0].detail,
        "route shop.example.com/A asks for other settings than the older route \
         shop.example.com/a, which count"
    );
}

#[test]
fn a_path_of_two_spellings_is_replaced_where_both_ask_and_who_leads_nowhere_has_no_say() {
    let both = [("timeout", "1s"), ("path-rewrite", "/v2")];
    let asking = || annotated("shop.example.com/7/", "app", both);
    let plain = || route("shop.example.com/7", [to("other", 8080)]);
    let of = |routes: [Route; 2]| {
        let made = make(routes, []);
        let http = made.http()[0].clone();
        let said: Vec<_> = made.remarks.iter().map(|it| it.detail.clone()).collect();
        (http.timeout.is_some(), http.rewrite.is_some(), said)
    };
    let lost = "route shop.example.com/7/ asks for another path, which another spelling of its URL does not";
    assert_eq!(
        of([asking(), plain()]),
        (true, false, vec![lost.to_owned()])
    );
    let agreeing = annotated("shop.example.com/7", "other", both);
    assert_eq!(of([asking(), agreeing]), (true, true, vec![]));
    let nowhere = || Route {
        destinations: Vec::new().into(),
        ..asking()
    };
    assert_eq!(of([nowhere(), plain()]), (false, false, vec![]));
    let rewriting = annotated("shop.example.com/7", "other", both);
    let unasked = Route {
        settings: None,
        ..nowhere()
    };
    assert_eq!(of([unasked, rewriting]), (true, true, vec![]));
}

#[test]
fn a_route_that_is_held_is_divided_as_it_was_whatever_its_owner_asks_for() {
    let asking = annotated("shop.example.com", "app", [("timeout", "7s")]);
    let host = asking.host.clone();
    let table = table([asking], [instance(1, "app", &[(8080, 61_001)])]);
    let service = service(&host, "");
    let held: Held = [(
        Arc::from(&*service),
        vec![(service.clone(), 30), (format!("cf--h2.{service}"), 70)],
    )]
    .into();
    let mut made = Made::default();
    made.take(virtual_service(
        table.host(&host).unwrap(),
        &held,
        &Options::default(),
    ));
    assert_eq!(
        made.split(0),
        [("shop.example.com", 30), ("cf--h2.shop.example.com", 70)]
    );
    assert_eq!(made.http()[0].timeout.as_ref().unwrap().seconds, 7);
}

#[test]
fn what_a_hostname_goes_on_to_comes_with_its_settings() {
    let wildcard = annotated("*.example.com", "other", [("timeout", "7s")]);
    let made = make(
        [route("shop.example.com/pay", [to("app", 8080)]), wildcard],
        [
            instance(1, "other", &[(8080, 61_001)]),
            instance(2, "app", &[(8080, 61_002)]),
        ],
    );
    let timeouts = made.http().iter().map(|route| route.timeout.is_some());
    assert_eq!(timeouts.collect::<Vec<_>>(), [false, true]);
}

#[test]
fn an_internal_hostname_that_asks_for_something_has_a_virtual_service_and_is_otherwise_as_it_was() {
    let both = || [to("app", 8080), to("other", 8080)];
    let plain = || route("shop.apps.internal", both());
    let instances = || {
        [
            instance(1, "app", &[(8080, 61_001)]),
            instance(2, "other", &[(8080, 61_002)]),
        ]
    };
    let before = make([plain()], instances());
    assert_eq!(before.services, [None, None]);
    let asking = || Route {
        destinations: both().into_iter().collect(),
        ..annotated("shop.apps.internal", "app", [("timeout", "7s")])
    };
    let made = make([asking()], instances());
    let [asked] = made.http() else {
        panic!("{:?}", made.http());
    };
    assert_eq!(asked.timeout.as_ref().unwrap().seconds, 7);
    let [to] = &asked.route[..] else {
        panic!("{:?}", asked.route);
    };
    let destination = to.destination.as_ref().unwrap();
    assert_eq!(
        (
            destination.host.as_str(),
            destination.subset.as_str(),
            to.weight
        ),
        ("shop.apps.internal", "", 100)
    );
    assert_eq!(destination.port.as_ref().unwrap().number, 8080);
    assert_eq!(
        (&made.rules, &made.entries),
        (&before.rules, &before.entries)
    );
    // A scale is nothing to it.
    let more = [
        instance(3, "app", &[(8080, 61_003)]),
        instance(2, "other", &[(8080, 61_002)]),
    ];
    assert_eq!(make([asking()], more).services, made.services);
}

#[test]
fn the_oldest_route_of_an_internal_hostname_decides_how_instances_are_picked_and_others_are_named()
{
    let aged = |route: Route, created_at| Route {
        created_at,
        ..route
    };
    let affinity = |name| [("session-affinity", name)];
    let plain = |created_at| aged(route("shop.apps.internal", [to("app", 8080)]), created_at);
    let below = |created_at| {
        aged(
            annotated("shop.apps.internal/long/path", "app", affinity("LONG")),
            created_at,
        )
    };
    let of = |made: &Made| {
        let rule = made.rules[0].values().next().unwrap();
        rule.traffic_policy.is_some()
    };
    let newer = make([below(2), plain(1)], []);
    assert!(!of(&newer));
    assert_eq!(newer.overruled[0].rule, "options");
    assert_eq!(
        newer.overruled[0].detail,
        "route shop.apps.internal/long/path asks for cookie LONG where the oldest route of the hostname asks for nothing"
    );
    let older = make([below(1), plain(2)], []);
    assert!(of(&older) && older.overruled.is_empty());
    let other = aged(annotated("shop.apps.internal", "app", affinity("SHORT")), 2);
    let both = make([below(1), other], []);
    assert_eq!(
        both.overruled[0].detail,
        "route shop.apps.internal asks for cookie SHORT where route shop.apps.internal/long/path has cookie LONG"
    );
}

/// Another way of picking an instance is chosen for a route of that age.
fn chosen(url: &str, created_at: i64, choice: Option<LoadBalancing>) -> Route {
    Route {
        created_at,
        load_balancing: choice.map(Box::new),
        ..route(url, [to("app", 8080)])
    }
}

#[test]
fn a_cookie_takes_the_place_of_no_other_routes_choice_unless_it_is_of_the_oldest_route() {
    let header = HeaderName::parse("x-user").unwrap();
    let hash = || Some(LoadBalancing::Hash(header.clone()));
    let policy = |routes: Vec<Route>| {
        let mut table = table([], [instance(1, "app", &[(8080, 61_001)])]);
        table.apply(Update::AllRoutes(routes.clone()));
        let made = make_of(&routes, &table);
        let rule = made.rules[0].values().next().cloned();
        let policy = rule.and_then(|rule| rule.traffic_policy);
        let policy = policy.and_then(|policy| policy.load_balancer);
        format!("{:?}", policy.and_then(|policy| policy.lb_policy))
    };
    let cookie = |created_at| Route {
        created_at,
        ..annotated(
            "shop.apps.internal/long",
            "app",
            [("session-affinity", "LONG")],
        )
    };
    let oldest = |choice| chosen("shop.apps.internal", 1, choice);
    let least = || Some(LoadBalancing::LeastConnection);
    // As without annotations: the longest path that has any.
    let longest = policy(vec![
        oldest(None),
        chosen("shop.apps.internal/a", 2, least()),
    ]);
    assert_eq!(longest, "Some(Simple(LeastConn))");
    let others = || [oldest(least()), chosen("shop.apps.internal/a", 3, hash())];
    let without = policy(others().into());
    assert!(without.contains("x-user"), "{without}");
    let with_newer: Vec<_> = others().into_iter().chain([cookie(2)]).collect();
    assert_eq!(policy(with_newer), without);
    let with_older: Vec<_> = others().into_iter().chain([cookie(0)]).collect();
    assert!(policy(with_older).contains("LONG"));
    // Another spelling of the oldest route's URL is another route.
    let spelled = |created_at| {
        let asking = annotated("shop.apps.internal/", "app", [("session-affinity", "SHOP")]);
        Route {
            created_at,
            ..asking
        }
    };
    assert_eq!(policy(vec![oldest(None), spelled(2)]), "None");
    assert!(policy(vec![oldest(None), spelled(0)]).contains("SHOP"));
    // One that leads nowhere decides nothing.
    let nowhere = Route {
        destinations: Vec::new().into(),
        ..oldest(None)
    };
    assert!(policy(vec![cookie(2), nowhere]).contains("LONG"));
}

#[test]
fn hostnames_that_istio_refuses_take_two_places_where_a_path_is_replaced() {
    let rewrite = [("path-rewrite", "/other")];
    let nameless = |n: usize| annotated(&format!("host_{n:04}.x.com/{n}"), "app", rewrite);
    let routes: Vec<_> = [route("*.x.com", [to("app", 8080)])]
        .into_iter()
        .chain((0..501).map(nameless))
        .collect();
    let mut table = table([], [instance(1, "app", &[(8080, 61_001)])]);
    table.apply(Update::AllRoutes(routes.clone()));
    let made = make_of(&routes[..1], &table);
    assert!(
        made.remarks[0]
            .detail
            .starts_with("1 hostnames that Istio refuses"),
        "{:?}",
        made.remarks
    );
    assert_eq!(made.http().len(), 1000 + 1 + 1);
}

#[test]
fn what_is_asked_for_on_hostnames_that_istio_refuses_has_its_room_with_their_names() {
    let lines = (0..7).map(|n| format!("x-{n}: {}\n", "v".repeat(250)));
    let lines: String = lines.collect();
    let long = ["l".repeat(60), "l".repeat(60), "l".repeat(60)].join(".");
    let of = |texts: &[(&str, &str)]| {
        let url = |n: usize| format!("host_{n:04}.{long}.x.com");
        let nameless = (0..800).map(|n| annotated(&url(n), "app", texts.iter().copied()));
        let wildcard = route("*.x.com", [to("app", 8080)]);
        let routes: Vec<_> = std::iter::once(wildcard).chain(nameless).collect();
        let mut table = table([], [instance(1, "app", &[(8080, 61_001)])]);
        table.apply(Update::AllRoutes(routes.clone()));
        make_of(&routes[..1], &table)
    };
    assert!(of(&[]).remarks.is_empty());
    let asking = of(&[("request-headers-set", &*lines)]);
    let refused = &asking.remarks[0].detail;
    assert!(refused.contains("have no room"), "{refused}");
    let size = asking.services[0].as_ref().map(prost::Message::encoded_len);
    assert!((1 << 20..2 << 20).contains(&size.unwrap()), "{size:?}");
}

#[test]
fn a_refused_route_is_refused_whatever_its_owner_asks_for() {
    let mut refused = annotated("shop.example.com", "app", [("timeout", "7s")]);
    refused.refused = Some(crate::model::Refusal::RoutePolicies);
    let made = make([refused], []);
    assert!(made.http()[0].fault.is_some());
    assert_eq!(made.http()[0].timeout, None);
}

/// What an era is told of the requests for the path of the other route.
fn of_beside(made: &Made, era: usize) -> Vec<HttpRoute> {
    let mut routes = made.services[era].clone().unwrap_or_default().http;
    routes.retain(|route| {
        format!("{:?}", route.r#match).contains("/[bB]")
            || format!("{:?}", route.r#match).contains("/beside")
    });
    routes
}

/// The rules of an era that are not of the route without a path, whose owner asks for something.
fn rules_of_others(made: &Made, era: usize, url: &str) -> BTreeMap<String, DestinationRule> {
    let asking = service(
        &url.split('/')
            .next()
            .and_then(|host| Hostname::parse(host).ok())
            .unwrap(),
        &url[url.find('/').unwrap_or(url.len())..].to_lowercase(),
    );
    let asking = asking.trim_end_matches(".routes.cloudfoundry").to_owned();
    let mut rules = made.rules[era].clone();
    rules.remove(&asking);
    rules
}

proptest! {
    #[test]
    fn no_annotation_makes_a_resource_that_is_withheld_or_changes_another_route(
        texts in annotations(),
        url in prop::sample::select(vec!["a.example.com", "a.example.com/Cart", "a.example.com/7", "a.apps.internal"]),
    ) {
        let texts = texts.iter().map(|(name, text)| (&**name, &**text));
        let asking = annotated(url, "app", texts);
        let plain = Route { settings: None, load_balancing: None, ..asking.clone() };
        // Of an internal hostname the oldest route decides how an instance is picked.
        let beside = Route { created_at: 0, ..route(&format!("{}/Beside", plain.host), [to("beside", 8080)]) };
        let routes = [asking, beside.clone()];
        let instances = || [
            instance(1, "app", &[(8080, 61_001)]),
            instance(2, "beside", &[(8080, 61_002)]),
        ];
        // Whatever is made is validated.
        let made = make(routes.clone(), instances());
        let before = make([plain, beside], instances());
        for remark in &made.remarks {
            prop_assert_eq!(remark.rule, "settings");
        }
        for remark in &made.overruled {
            prop_assert_eq!(remark.rule, "options");
        }
        prop_assert!(made.unreachable.is_empty());
        let table = table(routes.clone(), instances());
        let pools = table.host(&routes[0].host).unwrap().pools();
        let most: usize = pools.map(|pool| pool.asked_bytes()).sum();
        for era in [0, 1] {
            prop_assert_eq!(made.services[era].is_some(), before.services[era].is_some());
            prop_assert_eq!(of_beside(&made, era), of_beside(&before, era));
            prop_assert_eq!(&made.entries[era], &before.entries[era]);
            prop_assert_eq!(rules_of_others(&made, era, url), rules_of_others(&before, era, url));
            let size = |made: &Made| made.services[era].as_ref().map_or(0, prost::Message::encoded_len);
            prop_assert!(size(&made) <= size(&before) + most, "{} {} {}", size(&made), size(&before), most);
        }
    }

    #[test]
    fn annotations_of_a_wildcard_change_no_more_than_its_own_path_of_those_below(texts in annotations()) {
        let texts = texts.iter().map(|(name, text)| (&**name, &**text));
        let asking = annotated("*.example.com", "app", texts);
        let plain = Route { settings: None, load_balancing: None, ..asking.clone() };
        let own = route("a_b.example.com/7", [to("beside", 8080)]);
        let below = route("shop.example.com/7", [to("beside", 8080)]);
        let instances = || [instance(1, "app", &[(8080, 61_001)]), instance(2, "beside", &[(8080, 61_002)])];
        // A hostname that is no domain name is in the wildcard's VirtualService.
        let of = |wildcard: &Route, is_named: bool, era: usize| {
            let routes = if is_named { [below.clone(), wildcard.clone()] } else { [wildcard.clone(), own.clone()] };
            let mut routes = make(routes, instances()).services[era].clone().unwrap().http;
            routes.retain(|route| format!("{:?}", route.r#match).contains("/7"));
            routes
        };
        for (is_named, era) in [(true, 0), (true, 1), (false, 0), (false, 1)] {
            prop_assert_eq!(of(&plain, is_named, era).len(), 1);
            prop_assert_eq!(of(&asking, is_named, era), of(&plain, is_named, era));
        }
    }
}
