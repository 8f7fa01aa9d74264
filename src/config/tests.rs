//! Everything that is wrong with a file is said at once, with its key.

use serde_json::json;

use super::*;

fn problems(config: Value) -> Vec<String> {
    let Value::Object(object) = config else {
        panic!("an object")
    };
    let problems = Config::parse(object).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn an_empty_file_is_told_every_key_that_it_needs() {
    assert_eq!(
        problems(json!({})),
        [
            "ListenAddressForMCP: is required",
            "ServerCertPath: is required",
            "ServerKeyPath: is required",
            "PilotClientCAPath: is required",
            "CAPI: is required to read routes from Cloud Controller, or else \
             ListenAddressForCloudController where it pushes them",
            "BBS: is required",
        ]
    );
}

#[test]
fn bad_values_are_named_with_their_section() {
    let config = json!({
        "ListenAddressForMCP": "nowhere",
        "LogLevel": "loud",
        "MCPConvergeInterval": "30",
        "VIPCIDR": "127.128.0.0/40",
        "MeshDomains": ["*.*.example.com"],
        "CAPI": { "Address": "cc:9024:1", "PageSize": 5001, "TailAuditEvents": "yes" },
        "BBS": { "SyncInterval": "1us", "Adress": "https://bbs" },
        "TLSPems": [{ "CertChain": "", "PrivateKey": 5 }],
        "Unknown": 1,
    });
    let said = problems(config);
    for begin in [
        "LogLevel: \"loud\": unknown log level",
        "ListenAddressForMCP: \"nowhere\": expected IP:PORT",
        "MeshDomains[0]: ",
        "CAPI.Address: expected https://HOST:PORT and nothing more",
        "CAPI.CACertPath: is required",
        "CAPI.PageSize: expected a whole number from 1 to 5000, found 5001",
        "CAPI.TailAuditEvents: expected true or false, found a string",
        "BBS.SyncInterval: must be at least 1ms",
        "BBS.Adress: unknown key; did you mean Address, which is required?",
        "MCPConvergeInterval: \"30\" is no duration",
        "VIPCIDR: \"127.128.0.0/40\": ",
        "TLSPems[0].PrivateKey: expected a string, found a number",
        "Unknown: unknown key",
    ] {
        assert!(
            said.iter().any(|problem| problem.starts_with(begin)),
            "{begin:?} is not in {said:#?}"
        );
    }
}

#[test]
fn a_range_of_virtual_addresses_that_is_none_is_named_as_what_it_is() {
    for (range, what) in [
        ("fd00::/8", "this is IPv6, "),
        ("::ffff:127.128.0.0/105", "this is IPv6, "),
        ("fd00::1", "this is IPv6, "),
        ("127.128.0.1", "this is one address; "),
        ("127.128.0.0/33", "expected a range of IPv4 addresses"),
        (
            "127.128.0.0-127.255.255.255",
            "expected a range of IPv4 addresses",
        ),
    ] {
        let said = problems(json!({ "VIPCIDR": range }));
        let expected = format!("VIPCIDR: {range:?}: {what}");
        let found = said.iter().filter(|problem| problem.starts_with(&expected));
        assert_eq!(found.count(), 1, "{expected} is not in {said:#?}");
    }
}

#[test]
fn a_secret_in_the_wrong_form_is_not_repeated() {
    let config = json!({
        "CAPI": { "ClientSecret": 12_345_678 },
        "TLSPems": [{ "PrivateKey": ["-----BEGIN PRIVATE KEY-----"] }],
    });
    let said = problems(config).join("\n");
    assert!(
        said.contains("CAPI.ClientSecret: expected a string, found a number"),
        "{said}"
    );
    assert!(
        !said.contains("12345678") && !said.contains("BEGIN"),
        "{said}"
    );
}

#[test]
fn a_key_that_is_there_in_two_spellings_is_a_problem() {
    let said = problems(json!({ "LogLevel": "info", "loglevel": "debug" }));
    assert!(said[0].ends_with("is there twice"), "{said:?}");
}

#[test]
fn keys_match_without_regard_to_case() {
    let said = problems(json!({ "listenaddressformcp": "127.0.0.1:9009" }));
    assert!(
        !said
            .iter()
            .any(|problem| problem.contains("ListenAddressForMCP")),
        "{said:?}"
    );
}

/// What is wrong with a section of a file that has nothing else.
fn problems_of(section: &str, value: &serde_json::Value) -> Vec<String> {
    let said = problems(json!({ section: value })).into_iter();
    said.filter(|line| line.starts_with(section)).collect()
}

#[test]
fn tls_to_instances_is_told_what_is_wrong_in_one_line_each() {
    let good = json!({
        "Mode": "mutual",
        "ClientCertPath": "/certs/client.crt",
        "ClientKeyPath": "/certs/client.key",
        "CACertPath": "/certs/ca.crt",
        "Verify": "instance",
    });
    let with = |key: &str, value: serde_json::Value| {
        let mut config = good.clone();
        config[key] = value;
        problems_of("BackendTLS", &config)
    };
    let null = serde_json::Value::Null;
    assert_eq!(problems_of("BackendTLS", &good), [""; 0]);
    for path in ["ClientCertPath", "ClientKeyPath", "CACertPath"] {
        assert_eq!(
            with(path, null.clone()),
            [format!("BackendTLS.{path}: is required")]
        );
        for (bad, why) in [
            ("certs/x", "expected the absolute path of a file"),
            ("/certs/", "expected the path of a file, not of a folder"),
            ("/a~b", "a path with '~' cannot be told to proxies"),
        ] {
            assert_eq!(
                with(path, json!(bad)),
                [format!("BackendTLS.{path}: {bad:?}: {why}")]
            );
        }
    }
    for (key, bad, why) in [
        ("Mode", json!("tls"), "\"tls\": expected mutual or simple"),
        ("Mode", null.clone(), "is required"),
        ("Mode", json!(1), "expected a string, found a number"),
        ("Verify", json!("none"), "\"none\": expected instance or ca"),
        ("Names", json!([]), "unknown key"),
    ] {
        assert_eq!(with(key, bad), [format!("BackendTLS.{key}: {why}")]);
    }
}

#[test]
fn without_a_client_certificate_there_is_no_place_for_one_and_always_one_for_the_ca() {
    let only = |config: serde_json::Value| problems_of("BackendTLS", &config);
    let simple = json!({ "Mode": "simple", "CACertPath": "/certs/ca.crt" });
    assert_eq!(only(simple.clone()), [""; 0]);
    let mut with_key = simple;
    with_key["ClientKeyPath"] = json!("/certs/client.key");
    assert_eq!(
        only(with_key),
        [
            "BackendTLS.ClientKeyPath: is for Mode mutual: with simple, proxies present no certificate"
        ]
    );
    for verify in ["instance", "ca"] {
        assert_eq!(
            only(json!({ "Mode": "simple", "Verify": verify })),
            ["BackendTLS.CACertPath: is required"]
        );
    }
    assert_eq!(
        problems_of("InternalTLS", &json!({})),
        ["InternalTLS.CACertPath: is required"]
    );
    assert_eq!(
        problems_of(
            "InternalTLS",
            &json!({ "CACertPath": "/certs/ca.crt", "Verify": "ca" })
        ),
        ["InternalTLS.Verify: unknown key"]
    );
}

#[test]
fn what_the_librarian_is_to_write_is_whole_and_well_formed() {
    let paths = json!({
        "Mode": "mutual",
        "ClientCertPath": "/certs/client.crt",
        "ClientKeyPath": "/certs/client.key",
        "CACertPath": "/certs/ca.crt",
    });
    let with = |texts: &[(&str, &str)]| {
        let mut config = paths.clone();
        for (key, text) in texts {
            config[*key] = json!(text);
        }
        problems_of("BackendTLS", &config)
    };
    assert_eq!(
        with(&[("CACert", "no PEM")]),
        [
            "BackendTLS.CACert: no certificate in it",
            "BackendTLS.ClientCert: is required",
            "BackendTLS.ClientKey: is required",
        ]
    );
    let said = with(&[("ClientCert", "neither"), ("ClientKey", "hush-hush")]);
    assert_eq!(said[0], "BackendTLS.CACert: is required");
    let said = with(&[
        ("CACert", "no PEM"),
        ("ClientCert", "neither"),
        ("ClientKey", "hush-hush"),
    ]);
    assert_eq!(said.len(), 2, "{said:?}");
    assert_eq!(
        said[1],
        "BackendTLS.ClientCert: no certificate in the chain"
    );
}

/// What is wrong with a file of these bytes.
fn of_file(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copilot.json");
    std::fs::write(&path, bytes).unwrap();
    let error = Config::load(&path).unwrap_err().to_string();
    error.replace(&path.display().to_string(), "FILE")
}

#[test]
fn what_no_json_parser_takes_is_told_by_its_name() {
    let text = r#"{"LogLevel": "info"}"#;
    let with_mark = [&[0xef, 0xbb, 0xbf], text.as_bytes()].concat();
    let mark = "FILE begins with a byte order mark: save it as UTF-8 without one";
    assert_eq!(of_file(&with_mark), mark);
    let utf_16 = "FILE is UTF-16: save it as UTF-8";
    let little: Vec<_> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<_> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for bytes in [[vec![0xff, 0xfe], little.clone()].concat(), little, big] {
        assert_eq!(of_file(&bytes), utf_16);
    }
    assert_eq!(of_file(b"{\"LogLevel\": \"\xff\"}"), "FILE is no UTF-8");
    for comment in ["// why", "/* why */", "# why"] {
        let text = format!("{{\n  \"LogLevel\": \"info\", {comment}\n  \"X\": 1\n}}");
        let said = "FILE has a comment in line 2, which JSON has not: take it out";
        assert_eq!(of_file(text.as_bytes()), said, "{comment}");
    }
    let broken = of_file(b"{\n  \"LogLevel\": \"http://x\" \"\"\n}");
    assert!(broken.contains("is not a JSON object"), "{broken}");
}

#[test]
fn a_file_without_an_object_is_told_by_what_it_has() {
    assert_eq!(of_file(b" \n"), "FILE is empty");
    let no_object = "FILE is JSON, and no object: that begins with {";
    assert_eq!(of_file(b"[]"), no_object);
    assert_eq!(of_file(b"7"), no_object);
}

#[test]
fn a_key_that_is_there_twice_is_named_with_its_sections() {
    let said = of_file(br#"{"BBS": {"Address": "a", "Address": "b"}, "TLSPems": [{"CertChain": "", "CertChain": ""}]}"#);
    for key in ["BBS.Address", "TLSPems[0].CertChain"] {
        assert!(said.contains(&format!("{key}: is there twice")), "{said}");
    }
}

#[test]
fn a_mistyped_key_is_one_fault_with_what_was_meant() {
    let said = problems(
        json!({ "ListenAdressForMCP": "127.0.0.1:9009", "CAPI": {}, "MeshDomain": ["a.example.com"] }),
    );
    let about = |word: &str| -> Vec<_> {
        said.iter()
            .filter(|problem| problem.contains(word))
            .collect()
    };
    let meant =
        "ListenAdressForMCP: unknown key; did you mean ListenAddressForMCP, which is required?";
    assert_eq!(about("ForMCP"), [meant], "{said:?}");
    let meant = about("MeshDomain");
    assert_eq!(meant.len(), 1, "{said:?}");
    assert!(
        meant[0].starts_with("MeshDomain: unknown key; did you mean MeshDomains"),
        "{said:?}"
    );
}

#[test]
fn a_port_that_two_listeners_want_is_told_with_both_keys() {
    let said = problems(json!({
        "ListenAddressForMCP": "0.0.0.0:9003",
        "AdminListenAddress": "127.0.0.1:9003",
    }));
    let expected = "AdminListenAddress: port 9003 is that of ListenAddressForMCP".to_owned();
    assert!(said.contains(&expected), "{said:?}");
    let said = problems(json!({
        "ListenAddressForMCP": "10.0.0.1:9003",
        "AdminListenAddress": "127.0.0.1:9003",
    }));
    assert!(
        !said.iter().any(|problem| problem.contains("is that of")),
        "{said:?}"
    );
}

#[test]
fn to_converge_before_it_is_quiet_is_a_contradiction_and_a_short_time_alone_is_none() {
    let contradiction = |config| {
        let said = problems(config).into_iter();
        said.filter(|problem| problem.contains("MCPQuietInterval"))
            .count()
    };
    let both =
        |quiet, converge| json!({ "MCPQuietInterval": quiet, "MCPConvergeInterval": converge });
    assert_eq!(contradiction(both("1s", "200ms")), 1);
    // As a template writes them, of which one was set.
    for (quiet, converge) in [("1s", "100ms"), ("10ms", "5ms")] {
        assert_eq!(contradiction(both(quiet, converge)), 0, "{quiet}");
    }
    assert_eq!(contradiction(json!({ "MCPConvergeInterval": "1ms" })), 0);
}

#[test]
fn defaults_of_routes_are_told_what_is_wrong_in_one_line_each() {
    let only = |config: serde_json::Value| problems_of("Defaults", &config);
    assert_eq!(
        only(json!({
            "Timeout": "15m",
            "RetryAttempts": 0,
            "InternalTimeout": "15s",
            "InternalRetryAttempts": 3,
            "ConnectTimeout": "5s",
            "OutlierDetection": { "ConnectionFailures": 3, "EjectionTime": "30s" },
            "SessionAffinity": { "Cookie": "MESH_ROUTE" },
            "Region": "eu-west",
        })),
        [""; 0]
    );
    for (bad, said) in [
        (
            json!({ "Timeout": "2h" }),
            "Timeout: must be at least 1ms and at most 1h",
        ),
        (
            json!({ "Timeout": "1.5ms" }),
            "Timeout: must be of whole milliseconds",
        ),
        (
            json!({ "RetryAttempts": 11 }),
            "RetryAttempts: expected a whole number from 0 to 10, found 11",
        ),
        (
            json!({ "OutlierDetection": { "EjectionTime": "6m" } }),
            "OutlierDetection.EjectionTime: must be at least 1ms and at most 5m",
        ),
        (
            json!({ "HTTPSRedirect": true }),
            "HTTPSRedirect: needs a certificate in TLSPems: nothing takes what is sent on",
        ),
        (
            json!({ "HTTPSRedirectExcept": ["a.example.com"] }),
            "HTTPSRedirectExcept: is for HTTPSRedirect, which is off",
        ),
        (
            json!({ "SessionAffinity": { "TTL": "90s" } }),
            "SessionAffinity.Cookie: is required",
        ),
        (
            json!({ "SessionAffinity": { "Cookie": "JSESSIONID" } }),
            "SessionAffinity.Cookie: \"JSESSIONID\" is a cookie that apps set themselves",
        ),
        (
            json!({ "SessionAffinity": { "Cookie": "MESH_ROUTE", "TTL": "1500ms" } }),
            "SessionAffinity.TTL: \"1500ms\" is no whole number of seconds",
        ),
        (
            json!({ "Region": "eu/west" }),
            "Region: \"eu/west\": expected 1 to 64 letters",
        ),
        (json!({ "Retries": 2 }), "Retries: unknown key"),
    ] {
        let said = format!("Defaults.{said}");
        let found = only(bad);
        assert!(found[0].starts_with(&said), "{found:?}, not {said}");
    }
}

#[test]
fn tcp_routes_are_told_what_is_wrong_in_one_line_each() {
    let only = |config: serde_json::Value| problems_of("TCPRoutes", &config);
    let with = |key: &str, value: serde_json::Value| {
        let mut good = json!({ "Domains": ["tcp.example.com"], "Ports": ["1024-1123", "2000"] });
        good[key] = value;
        only(good)
    };
    // It needs what it does not have here, and no more.
    let nothing: [&str; 0] = [];
    assert_eq!(with("PollInterval", json!("5s")), nothing);
    for (key, bad, said) in [
        ("Domains", json!([]), "Domains: is empty"),
        (
            "Domains",
            json!(["*.example.com"]),
            "Domains: *.example.com: TCP domains are named one by one",
        ),
        ("Domains", json!(["a b"]), "Domains[0]: "),
        ("Domains", serde_json::Value::Null, "Domains: is required"),
        ("Ports", json!([]), "Ports: is empty"),
        ("Ports", json!(["80"]), "Ports[0]: expected a port"),
        (
            "Ports",
            json!(["1024", "3000-2000"]),
            "Ports[1]: expected a port",
        ),
        ("Ports", json!(["1024-2024"]), "Ports: 1001 ports"),
        ("Port", json!("1024"), "Port: unknown key"),
    ] {
        let found = with(key, bad);
        assert!(
            found.len() == 1 && found[0].starts_with(&format!("TCPRoutes.{said}")),
            "{found:?}, not {said}"
        );
    }
    let pushed = problems(json!({
        "ListenAddressForCloudController": "127.0.0.1:9001",
        "TCPRoutes": { "Domains": ["tcp.example.com"], "Ports": ["1024"] },
    }));
    assert!(
        pushed
            .iter()
            .any(|said| said.starts_with("TCPRoutes: is for routes that are read")),
        "{pushed:?}"
    );
}
