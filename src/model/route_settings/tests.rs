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

proptest! {
    #[test]
    fn what_was_read_is_read_again_from_what_is_written_of_it(texts in annotations()) {
        let asked = Asked::parse(texts.iter().map(|(name, text)| (&**name, &**text)));
        prop_assert!(asked.wrong.len() <= texts.len());
        let written = asked.settings.to_annotations();
        let again = Asked::parse(written.iter().map(|(name, text)| (&**name, &**text)));
        prop_assert_eq!(again.settings, asked.settings);
        prop_assert_eq!(again.wrong, vec![]);
    }
}
