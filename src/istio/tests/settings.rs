//! What owners of routes ask for, what becomes of it in each era, and that no text of theirs does harm.

use proptest::prelude::*;

use super::*;
use crate::{
    model::{Asked, LoadBalancing, RouteSettings, annotations},
    proto::istio::networking::v1alpha3::HttpRetry,
};

/// A route as its owner annotated it.
fn annotated<'a>(
    url: &str,
    app: &str,
    texts: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Route {
    let asked = Asked::parse(texts);
    let is_said = asked.settings != RouteSettings::default();
    let choice = asked.affinity.map(LoadBalancing::Cookie);
    Route {
        settings: is_said.then(|| Arc::new(asked.settings)),
        load_balancing: choice.map(Box::new),
        ..route(url, [to(app, 8080)])
    }
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
        (3, "connect-failure,refused-stream")
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
fn an_internal_hostname_has_a_virtual_service_if_something_is_to_be_said_of_its_requests() {
    let plain = [route("shop.apps.internal", [to("app", 8080)])];
    let instances = || [instance(1, "app", &[(8080, 61_001)])];
    assert_eq!(make(plain, instances()).services, [None, None]);
    let asked = annotated("shop.apps.internal", "app", [("timeout", "7s")]);
    let made = make([asked], instances());
    assert_eq!(made.http()[0].timeout.as_ref().unwrap().seconds, 7);
    assert_eq!(made.http()[0].route.len(), 1);
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

proptest! {
    #[test]
    fn no_annotation_makes_a_resource_that_is_withheld_or_changes_another_route(
        texts in annotations(),
        url in prop::sample::select(vec!["a.example.com", "a.example.com/Cart", "a.example.com/7", "a.apps.internal"]),
    ) {
        let texts = texts.iter().map(|(name, text)| (&**name, &**text));
        let asked = annotated(url, "app", texts);
        let plain = Route { settings: None, load_balancing: None, ..asked.clone() };
        let beside = route(&format!("{}/Beside", plain.host), [to("beside", 8080)]);
        let instances = || [
            instance(1, "app", &[(8080, 61_001)]),
            instance(2, "beside", &[(8080, 61_002)]),
        ];
        // Whatever is made is validated.
        let made = make([asked, beside.clone()], instances());
        let before = make([plain, beside], instances());
        for remark in &made.remarks {
            prop_assert_eq!(remark.rule, "settings");
        }
        prop_assert!(made.overruled.is_empty() && made.unreachable.is_empty());
        for era in [0, 1] {
            prop_assert_eq!(made.services[era].is_some(), before.services[era].is_some());
            prop_assert_eq!(of_beside(&made, era), of_beside(&before, era));
            prop_assert_eq!(&made.entries[era], &before.entries[era]);
        }
    }
}
