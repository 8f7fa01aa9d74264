use proptest::prelude::*;

use super::*;

fn wrong(name: &str, text: &str) -> String {
    let asked = Asked::parse([(name, text)]);
    assert_eq!(asked.settings, RouteSettings::default(), "{name} {text}");
    assert_eq!(asked.affinity, None, "{name} {text}");
    let [wrong] = &asked.wrong[..] else {
        panic!("{name} {text}: {:?}", asked.wrong);
    };
    wrong.to_string()
}

#[test]
fn each_setting_is_read() {
    let asked = Asked::parse([
        ("timeout", "90s"),
        ("retry-attempts", "3"),
        ("retry-per-try-timeout", "500ms"),
        ("retry-on", "5xx, connect-failure"),
        ("path-rewrite", "/v2/"),
        ("session-affinity", "SHOP"),
        ("session-affinity-ttl", "1h"),
        ("request-headers-set", "X-Tenant: a: b\n\nX-Shop: 1\n"),
        ("request-headers-remove", "X-Debug, x-trace"),
        (
            "response-headers-set",
            "Strict-Transport-Security: max-age=1",
        ),
        ("response-headers-remove", "Server"),
    ]);
    assert!(asked.wrong.is_empty(), "{:?}", asked.wrong);
    let header = |name| HeaderName::parse(name).unwrap();
    let set = |name, value: &str| (header(name), Arc::from(value));
    assert_eq!(
        asked.settings,
        RouteSettings {
            timeout: Some(Duration::from_secs(90)),
            retries: Some(Retries {
                attempts: 3,
                per_try: Some(Duration::from_millis(500)),
                conditions: ["5xx", "connect-failure"].into(),
            }),
            rewrite: Some("/v2".into()),
            request: HeaderChanges {
                set: [set("x-tenant", "a: b"), set("x-shop", "1")].into(),
                removed: [header("x-debug"), header("x-trace")].into(),
            },
            response: HeaderChanges {
                set: [set("strict-transport-security", "max-age=1")].into(),
                removed: [header("server")].into(),
            },
        }
    );
    let cookie = asked.affinity.unwrap();
    assert_eq!(
        (cookie.name.as_str(), cookie.ttl),
        ("SHOP", Duration::from_hours(1))
    );
}

#[test]
fn what_is_wrong_is_named_and_leaves_out_nothing_else() {
    for (name, text, why) in [
        (
            "timeout",
            "5",
            "is no whole number with ms, s, m or h, up to 3600s",
        ),
        ("timeout", "0s", "up to 3600s"),
        ("timeout", "2h", "up to 3600s"),
        ("timeout", "99999999999999999999h", "up to 3600s"),
        ("retry-attempts", "11", "no number from 0 to 10"),
        ("retry-on", "reset", r#""reset" is none of 5xx"#),
        ("retry-on", "5xx", "without retry-attempts"),
        ("path-rewrite", "v2", "is no path"),
        ("path-rewrite", "/a/../b", "is no path"),
        ("path-rewrite", "/a?b", "is no path"),
        ("session-affinity", "a b", "cookie \"a b\""),
        ("session-affinity-ttl", "1h", "without session-affinity"),
        ("request-headers-set", "X-A", "no name, colon and value"),
        ("request-headers-set", "X-A: %START_TIME%", "other than %"),
        (
            "request-headers-set",
            "X-A: 1\nx-a: 2",
            "x-a is there twice",
        ),
        ("request-headers-set", "", "0 headers"),
        ("request-headers-remove", "x a", "header \"x a\""),
        ("patience", "1s", "there is no such setting"),
    ] {
        let said = wrong(name, text);
        assert!(said.contains(why), "{said}");
    }
    let asked = Asked::parse([("timeout", "soon"), ("retry-attempts", "0")]);
    assert_eq!(asked.wrong.len(), 1);
    assert_eq!(asked.settings.retries.unwrap().attempts, 0);
}

#[test]
fn headers_that_say_who_a_client_is_or_how_a_request_is_framed_are_not_touched() {
    for header in [
        ":authority",
        "Host",
        "X-Forwarded-For",
        "X-Forwarded-Client-Cert",
        "x_forwarded_proto",
        "Connection",
        "Transfer-Encoding",
        "Content-Length",
        "Authorization",
        "Cookie",
        "X-CF-ApplicationID",
        "X-Envoy-Retry-On",
        "X-Real-IP",
    ] {
        for side in ["request", "response"] {
            wrong(&format!("{side}-headers-set"), &format!("{header}: x"));
            wrong(&format!("{side}-headers-remove"), header);
        }
    }
}

#[test]
fn without_conditions_only_what_was_not_sent_is_tried_again() {
    let retries = Asked::parse([("retry-attempts", "2")]).settings.retries;
    let conditions = retries.unwrap().conditions;
    assert_eq!(conditions, ["connect-failure", "refused-stream"].into());
}

/// Texts of annotations, of which some are good.
pub(crate) fn annotations() -> impl Strategy<Value = BTreeMap<String, String>> {
    let name = prop_oneof![
        8 => prop::sample::select(vec![
            TIMEOUT, ATTEMPTS, PER_TRY, CONDITIONS, REWRITE, AFFINITY, AFFINITY_TTL,
            REQUEST[0], REQUEST[1], RESPONSE[0], RESPONSE[1],
        ]).prop_map(str::to_owned),
        1 => ".{0,80}",
    ];
    let text = prop_oneof![
        ".{0,40}",
        "[0-9]{1,3}(ms|s|m|h)?",
        "/[a-z/.]{0,8}",
        "[a-zA-Z-]{1,10}(: [ -~]{0,10}\n?){0,2}",
        "[a-z-]{1,9}(,[a-z-]{1,9}){0,3}",
        "(5xx|connect-failure|reset)(,(5xx|refused-stream)){0,2}",
    ];
    prop::collection::btree_map(name, text, 0..8)
}

#[test]
fn what_a_client_is_known_by_and_traces_are_nobodys_to_touch() {
    for header in [
        "Client-IP",
        "X-Client-IP",
        "True-Client-IP",
        "Fastly-Client-IP",
        "X-Cluster-Client-Ip",
        "X-Azure-ClientIP",
        "CF-Connecting-IP",
        "X-Appengine-User-IP",
        "Remote-User",
        "X-Remote-Addr",
        "X_REAL_IP",
        "Client-Cert",
        "Client-Cert-Chain",
        "X-Client-Cert",
        "X-SSL-Client-Cert",
        "X-ClientCert",
        "SSL-Client-S-DN",
        "X-Client-Verify",
        "X-Original-URL",
        "X-Original-Forwarded-For",
        "X-OriginalHost",
        "X-Rewrite-URL",
        "X-Host",
        "Forwarded-For",
        "X-Forwarded",
        "X-Authorization",
        "Proxy-Authorization",
        "b3",
        "X-B3-TraceId",
        "traceparent",
        "tracestate",
        "baggage",
        "X-OT-Span-Context",
        "X-Request-Id",
        "X-Request-Start",
        "X-Datadog-Trace-Id",
        "X-Cloud-Trace-Context",
        "X-Amzn-Trace-Id",
        "grpc-trace-bin",
        "X-Envoy-Upstream-Rq-Timeout-Ms",
        "X-CF-App-Instance",
        "X-Vcap-Request-Id",
        "Set-Cookie2",
        "X-Remote-IP",
        "X-Originating-IP",
        "X-Azure-SocketIP",
        "X-Auth-Request-Email",
        "X-Goog-Authenticated-User-Email",
        "X-Authenticated-User",
        "X-MS-Client-Principal",
        "X-Amzn-Oidc-Identity",
        "X-Goog-Iap-Jwt-Assertion",
        "Uber-Trace-Id",
        "sw8-correlation",
        "X-Scheme",
        "Front-End-Https",
    ] {
        for side in ["request", "response"] {
            wrong(&format!("{side}-headers-set"), &format!("{header}: x"));
            wrong(&format!("{side}-headers-remove"), header);
        }
    }
    for header in [
        "X-Tenant",
        "Cache-Control",
        "Content-Type",
        "X-Hostess",
        "X-B3",
        "Te-a",
        "Server",
        "X-Client",
    ] {
        let asked = Asked::parse([("request-headers-remove", header)]);
        assert_eq!(asked.wrong, [], "{header}");
    }
}

#[test]
fn a_cookie_that_apps_set_themselves_is_not_for_proxies_to_make() {
    for name in [
        "JSESSIONID",
        "jsessionid",
        "PHPSESSID",
        "SESSION",
        "connect.sid",
        "__VCAP_ID__",
        "ASPSESSIONIDQ",
        "__Host-shop",
        "__Secure-shop",
    ] {
        let said = wrong("session-affinity", name);
        assert!(said.contains("apps set themselves"), "{said}");
    }
    let asked = Asked::parse([("session-affinity", "JSESSIONID_ROUTE")]);
    assert_eq!(asked.wrong, []);
}

#[test]
fn a_client_keeps_a_cookie_for_whole_seconds_and_no_longer_than_a_year() {
    let ttl = |text| Asked::parse([("session-affinity", "SHOP"), ("session-affinity-ttl", text)]);
    for (text, seconds) in [("0", 0), ("1s", 1), ("3000ms", 3), ("8760h", 31_536_000)] {
        assert_eq!(
            ttl(text).affinity.unwrap().ttl,
            Duration::from_secs(seconds)
        );
    }
    for text in [
        "1ms",
        "1500ms",
        "8761h",
        "-1s",
        "18446744073709551615s",
        "1.5s",
    ] {
        let asked = ttl(text);
        assert_eq!(
            (asked.wrong.len(), asked.affinity.unwrap().ttl),
            (1, Duration::ZERO),
            "{text}"
        );
    }
}

#[test]
fn settings_have_so_many_bytes_and_without_their_headers_fewer() {
    let lines = |count: usize| {
        let lines = (0..count).map(|n| format!("x-{n}: {}\n", "v".repeat(256)));
        lines.collect::<String>()
    };
    let (few, many) = (lines(5), lines(8));
    let path = format!("/{}", "p".repeat(MAX_PATH - 1));
    let others = [
        ("path-rewrite", &*path),
        ("retry-attempts", "1"),
        (
            "retry-on",
            "5xx,cancelled,connect-failure,deadline-exceeded,gateway-error,refused-stream,resource-exhausted,retriable-4xx,unavailable",
        ),
    ];
    let with = |text, remove| {
        let headers = [
            ("request-headers-set", text),
            ("response-headers-remove", remove),
        ];
        Asked::parse(others.into_iter().chain(headers))
    };
    let within = with(&few, "server");
    assert_eq!(within.wrong, []);
    assert!(within.settings.bytes() <= MAX_BYTES);
    let beyond = with(&many, "server");
    let names: Vec<_> = beyond.wrong.iter().map(|wrong| &*wrong.name).collect();
    assert_eq!(names, ["request-headers-set", "response-headers-remove"]);
    assert!(
        beyond.wrong[0].why.ends_with("bytes, of at most 2048"),
        "{}",
        beyond.wrong[0]
    );
    assert!(beyond.settings.request.is_empty() && beyond.settings.response.is_empty());
    assert!(beyond.settings.rewrite.is_some() && beyond.settings.retries.is_some());
}

/// A route whose owner asks for that.
fn route(asked: Asked) -> Route {
    let mut route = Route::example("r", "a.example.com");
    route.ask(asked);
    route
}

proptest! {
    #[test]
    fn what_was_read_is_read_again_from_what_is_written_of_it(texts in annotations()) {
        let asked = Asked::parse(texts.iter().map(|(name, text)| (&**name, &**text)));
        prop_assert!(asked.wrong.len() <= texts.len());
        prop_assert!(asked.settings.bytes() <= MAX_BYTES);
        let known = route(asked);
        let written = known.annotations();
        let again = Asked::parse(written.iter().map(|(name, text)| (&**name, &**text)));
        prop_assert_eq!(&again.wrong, &vec![]);
        prop_assert_eq!(route(again), known);
    }
}
