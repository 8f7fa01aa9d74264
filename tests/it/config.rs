//! What a config file becomes: every key, every default, and the router's certificates up to the published gateway.

use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

use copilot::{
    admin, bbs, capi, cloud_controller,
    config::{Config, Ignored, Listener, Routes, Xds},
    grpc::{self, Security},
    guard,
    istio::{
        BackendTls, CertificateRoot, Defaults, Ejection, FrontendCertificate, GATEWAY,
        HttpsRedirect, InternalTls, Kind, ProxyIdentity, Requests, Verify, validate::Invalid,
    },
    mcp,
    model::{Cookie, CookieName, Hostname, LoadBalancing, Retries},
    outbound, policy,
    publisher::{self, Input},
    sim::pki::Pki,
    store,
    table::Join,
    telemetry::{Level, Timestamp},
    tls::{Clients, Identity},
    xds,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::mesh::{Daemon, foundation, with};

const SECOND: Duration = Duration::from_secs(1);
const GUARD: guard::Settings = guard::Settings {
    free: 28,
    percent: 29,
};

const LIMITS: copilot::table::Limits = copilot::table::Limits {
    host_routes: 9000,
    host_bytes: 2_097_152,
    app_routes: 8000,
};

/// A folder with certificates, a different one for each key.
struct Files {
    folder: TempDir,
    pilot_ca: PathBuf,
    capi_ca: PathBuf,
    pushes_ca: PathBuf,
    policy_ca: PathBuf,
    bbs_ca: PathBuf,
    server: Identity,
    client: Identity,
    frontend: Identity,
}

impl Files {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let [pki, capi, pushes, bbs, policy] = ["pilot", "capi", "pushes", "bbs", "policy"]
            .map(|name| Pki::new(folder.path(), name).unwrap());
        Self {
            pilot_ca: pki.ca().to_owned(),
            capi_ca: capi.ca().to_owned(),
            pushes_ca: pushes.ca().to_owned(),
            policy_ca: policy.ca().to_owned(),
            bbs_ca: bbs.ca().to_owned(),
            server: pki.issue("server", &["127.0.0.1"]).unwrap(),
            client: pki.issue("client", &["copilot"]).unwrap(),
            frontend: pki
                .issue(
                    "frontend",
                    &["*.apps.example.com", "10.0.0.1", "example.com"],
                )
                .unwrap(),
            folder,
        }
    }

    fn state_file(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Only what is required.
    fn minimal(&self) -> Value {
        json!({
            "ListenAddressForMCP": "127.0.0.1:9009",
            "ServerCertPath": self.server.cert,
            "ServerKeyPath": self.server.key,
            "PilotClientCAPath": self.pilot_ca,
            "MeshDomains": ["apps.example.com"],
            "CAPI": {
                "Address": "https://cc.example.com:9024",
                "CACertPath": self.capi_ca,
                "ClientID": "copilot",
                "ClientSecret": "hush-hush",
            },
            "BBS": {
                "Address": "https://bbs.example.com:8889",
                "ServerCACertPath": self.bbs_ca,
                "ClientCertPath": self.client.cert,
                "ClientKeyPath": self.client.key,
            },
        })
    }

    /// Every key, each with a value that is neither its default nor another's.
    fn full(&self) -> Value {
        with(
            self.minimal(),
            &[
                ("/AdminListenAddress", json!("127.0.0.2:9103")),
                ("/AdminHostNames", json!(["Copilot.example.com"])),
                ("/LogLevel", json!("error")),
                ("/LogTimestamp", json!("unix-epoch")),
                ("/LogChanges", json!(true)),
                ("/MCPQuietInterval", json!("11ms")),
                ("/MCPConvergeInterval", json!("101ms")),
                ("/MCPLingerInterval", json!("16s")),
                ("/MCPPushInterval", json!("501ms")),
                ("/MaxLoss", json!(28)),
                ("/MaxLossPercent", json!(29)),
                ("/MaxHostRoutes", json!(9000)),
                ("/MaxHostBytes", json!(2_097_152)),
                ("/MaxAppRoutes", json!(8000)),
                ("/StateFile", json!(self.state_file())),
                ("/StateFileMaxAge", json!("30h")),
                ("/StateFileAfter", json!("31s")),
                ("/VIPCIDR", json!("127.129.0.0/16")),
                ("/AllowedSinkNames", json!(["pilot", "galley"])),
                ("/MaxSinkStreams", json!(12)),
                ("/MaxSinkStreamsPerPeer", json!(13)),
                ("/MaxSinkRequestsPerSecond", json!(14)),
                ("/MaxSinkConnectionAge", json!("32m")),
                ("/TLSPems", json!([pair(&self.frontend)])),
                ("/ListenAddressForCloudController", json!("127.0.0.1:9001")),
                ("/CloudControllerClientCAPath", json!(self.pushes_ca)),
                ("/AllowedCloudControllerNames", json!(["cc"])),
                ("/ListenAddressForVIPResolver", json!(":9002")),
                ("/VIPResolverTLS", json!(true)),
                ("/ListenAddressForXDS", json!("127.0.0.1:9010")),
                ("/XDSServerCertPath", json!(self.client.cert)),
                ("/XDSServerKeyPath", json!(self.client.key)),
                ("/XDSAllowPlaintext", json!(true)),
                ("/XDSPushInterval", json!("201ms")),
                ("/KeepEmptyServiceEntries", json!(false)),
                ("/CertificateReloadInterval", json!("22s")),
                (
                    "/PolicyServerAddress",
                    json!("https://policy.example.com:4003"),
                ),
                ("/PolicyServerCAPath", json!(self.policy_ca)),
                ("/PolicyServerClientCertPath", json!(self.client.cert)),
                ("/PolicyServerClientKeyPath", json!(self.client.key)),
                // Whether it is, and that of the BBS, have tests of their own.
                ("/PolicyServerDisabled", json!(false)),
                ("/PolicyServerPollInterval", json!("23s")),
                ("/PolicyServerRequestTimeout", json!("24s")),
                ("/PolicyServerGrace", json!("27s")),
                ("/BBS/Disable", json!(false)),
                ("/IstioCertRootPath", json!("/var/istio")),
                ("/IstioCertGroup", json!("vcap")),
                ("/BackendTLS", self.backend_tls()),
                ("/InternalTLS", json!({ "CACertPath": "/apps/ca.crt" })),
                (
                    "/Defaults",
                    json!({
                        "Timeout": "15m",
                        "RetryAttempts": 1,
                        "RetryResets": true,
                        "InternalTimeout": "15s",
                        "InternalRetryAttempts": 3,
                        "ConnectTimeout": "6s",
                        "OutlierDetection": { "ConnectionFailures": 4, "EjectionTime": "33s" },
                        "SessionAffinity": { "Cookie": "MESH_ROUTE", "TTL": "90s" },
                        "Region": "eu",
                        "HTTPSRedirect": true,
                        "HTTPSRedirectExcept": ["plain.example.com", "*.old.example.com"],
                    }),
                ),
                (
                    "/TCPRoutes",
                    json!({
                        "Domains": ["tcp.example.com"],
                        "Ports": ["15000-15001", "15443", "2000"],
                        "PollInterval": "5s",
                    }),
                ),
                (
                    "/MeshDomains",
                    json!(["apps.example.com", "*.apps.internal"]),
                ),
                ("/CAPI/UAAAddress", json!("https://uaa.example.com:8443")),
                ("/CAPI/FullReadInterval", json!("15m")),
                ("/CAPI/TailInterval", json!("16s")),
                ("/CAPI/TailAuditEvents", json!(false)),
                ("/CAPI/TailRouteUpdates", json!(false)),
                ("/CAPI/AnnotationPrefix", json!("mesh.example.com/")),
                ("/CAPI/PageSize", json!(17)),
                ("/CAPI/ServeBoundRoutes", json!(true)),
                ("/CAPI/RequestTimeout", json!("19s")),
                ("/BBS/SyncInterval", json!("20s")),
                ("/BBS/RequestTimeout", json!("21s")),
            ],
        )
    }

    /// With what the librarian writes: the daemon's file may be its own.
    fn backend_tls(&self) -> Value {
        let text = |path| fs::read_to_string(path).unwrap();
        json!({
            "Mode": "mutual",
            "ClientCertPath": "/var/istio/client.crt",
            "ClientKeyPath": "/var/istio/client.key",
            "CACertPath": "/var/istio/ca.crt",
            "Verify": "ca",
            "ClientCert": text(&self.client.cert),
            "ClientKey": text(&self.client.key),
            "CACert": text(&self.bbs_ca),
        })
    }

    fn load(&self, config: &Value) -> Config {
        let path = self.folder.path().join("config.json");
        fs::write(&path, config.to_string()).unwrap();
        // That of which the files are is in other keys.
        let certificates = Vec::new();
        Config {
            certificates,
            ..Config::load(&path).unwrap()
        }
    }

    /// What the minimal file becomes: the defaults that the README names.
    fn defaults(&self) -> Config {
        Config {
            log_level: Level::Info,
            log_timestamp: Timestamp::Rfc3339,
            mcp_address: "127.0.0.1:9009".parse().unwrap(),
            mcp: mcp::Settings {
                identity: self.server.clone(),
                clients: Clients {
                    ca: self.pilot_ca.clone(),
                    names: None,
                },
                certificates_every: 10 * SECOND,
                limits: mcp::Limits {
                    burst_distance: mcp::BURST_DISTANCE,
                    ..mcp::Limits::default()
                },
            },
            admin: admin::Settings {
                address: "127.0.0.1:9003".parse().unwrap(),
                names: BTreeSet::new(),
            },
            certificates: Vec::new(),
            ignored: Vec::new(),
            routes: Routes::Polled(Box::new(self.capi_defaults())),
            cloud_controller: None,
            vip_resolver: None,
            xds: None,
            bbs: Some(bbs::Settings {
                peer: outbound::Settings {
                    address: "https://bbs.example.com:8889".parse().unwrap(),
                    ca: self.bbs_ca.clone(),
                    identity: Some(self.client.clone()),
                    connect_timeout: 5 * SECOND,
                    request_timeout: 30 * SECOND,
                },
                sync_interval: 60 * SECOND,
                backoff: (SECOND / 2, 15 * SECOND),
                confirm_after: 60 * SECOND,
            }),
            policy: None,
            publisher: publisher::Settings {
                tcp_ports: BTreeSet::new(),
                tcp_domains: BTreeSet::new(),
                store: None,
                guard: guard::Settings::default(),
                limits: copilot::table::Limits::default(),
                debounce_after: Duration::from_millis(10),
                debounce_max: Duration::from_millis(100),
                linger: 15 * SECOND,
                required: [Input::Routes, Input::Instances, Input::Processes].into(),
                certificate_root: CertificateRoot::default(),
                certificates: Vec::new(),
                left_out: Vec::new(),
                keep_empty_service_entries: true,
                backend_tls: None,
                internal_tls: None,
                // As the gorouter.
                defaults: Defaults {
                    external: Requests {
                        timeout: None,
                        retries: Some(Retries::of_unsent(2)),
                        retry_resets: false,
                    },
                    ..Defaults::default()
                },
                vip_range: None,
                join: Join::Described,
                policies: None,
                log_changes: false,
            },
        }
    }

    /// The listener for Cloud Controllers of that name.
    fn pushes(&self, name: Option<&str>) -> Listener {
        let clients = Clients {
            ca: self.pushes_ca.clone(),
            names: name.map(|name| [name.to_owned()].into()),
        };
        let listener = self.listener("127.0.0.1:9001", Some(clients));
        Listener {
            settings: cloud_controller::listening(listener.settings),
            ..listener
        }
    }

    /// A listener that presents the server's certificate.
    fn listener(&self, address: &str, clients: Option<Clients>) -> Listener {
        Listener {
            address: address.parse().unwrap(),
            settings: grpc::Settings::new(Security::Tls {
                identity: self.server.clone(),
                clients,
                certificates_every: 22 * SECOND,
            }),
        }
    }

    fn capi_defaults(&self) -> capi::Settings {
        capi::Settings {
            tcp: None,
            api: "https://cc.example.com:9024".parse().unwrap(),
            uaa: None,
            ca: self.capi_ca.clone(),
            client_id: "copilot".to_owned(),
            client_secret: "hush-hush".to_owned().into(),
            domains: vec!["apps.example.com".parse().unwrap()],
            annotations: capi::AnnotationPrefix::default(),
            full_read_interval: Duration::from_mins(5),
            tail_interval: 2 * SECOND,
            tail_audit_events: true,
            tail_updated_at: true,
            page_size: 5000,
            confirm_after: 10 * SECOND,
            serve_bound_routes: false,
            domains_interval: 5 * SECOND,
            request_timeout: 30 * SECOND,
            max_rows: 1_500_000,
            page_retries: 3,
            min_backoff: SECOND / 2,
            max_backoff: 15 * SECOND,
            gather: SECOND / 20,
            recheck_after: vec![SECOND / 5, 2 * SECOND, 10 * SECOND, 60 * SECOND],
        }
    }

    /// The limits of sinks are those of istiods too.
    fn xds_all_set(&self) -> xds::Settings {
        let settings = xds::Settings::new(Security::Tls {
            identity: self.client.clone(),
            clients: None,
            certificates_every: 22 * SECOND,
        });
        xds::Settings {
            limits: mcp::Limits {
                streams_total: 12,
                connections: 12,
                streams_per_peer: 13,
                requests_per_second: 14,
                max_connection_age: Some(Duration::from_mins(32)),
                burst_distance: Duration::from_millis(201),
                ..settings.limits
            },
            ..settings
        }
    }

    fn store(&self) -> store::Settings {
        store::Settings {
            path: self.state_file(),
            foundation: "https://cc.example.com:9024/ *.apps.internal apps.example.com".to_owned(),
            max_age: Duration::from_hours(30),
            after: 31 * SECOND,
        }
    }

    fn capi_all_set(&self) -> capi::Settings {
        capi::Settings {
            uaa: Some("https://uaa.example.com:8443".parse().unwrap()),
            domains: ["apps.example.com", "*.apps.internal"]
                .map(|domain| domain.parse().unwrap())
                .into(),
            annotations: "mesh.example.com/".parse().unwrap(),
            full_read_interval: Duration::from_mins(15),
            tail_interval: 16 * SECOND,
            tail_audit_events: false,
            tail_updated_at: false,
            page_size: 17,
            serve_bound_routes: true,
            request_timeout: 19 * SECOND,
            tcp: Some(capi::TcpSettings {
                domains: vec!["tcp.example.com".parse().unwrap()],
                interval: 5 * SECOND,
                gather: 2 * SECOND,
            }),
            ..self.capi_defaults()
        }
    }

    /// What the full file becomes.
    fn all_set(&self) -> Config {
        let defaults = self.defaults();
        Config {
            // Those who push are refused, whoever they are.
            ignored: vec![Ignored {
                key: "AllowedCloudControllerNames".to_owned(),
                why: "with CAPI, what is pushed is refused",
            }],
            log_level: Level::Error,
            log_timestamp: Timestamp::UnixEpoch,
            admin: admin::Settings {
                address: "127.0.0.2:9103".parse().unwrap(),
                names: ["copilot.example.com".to_owned()].into(),
            },
            mcp: mcp::Settings {
                certificates_every: 22 * SECOND,
                limits: mcp::Limits {
                    streams_total: 12,
                    connections: 12,
                    streams_per_peer: 13,
                    requests_per_second: 14,
                    max_connection_age: Some(Duration::from_mins(32)),
                    burst_distance: Duration::from_millis(501),
                    ..mcp::Limits::default()
                },
                clients: Clients {
                    names: Some(["pilot".to_owned(), "galley".to_owned()].into()),
                    ..defaults.mcp.clients
                },
                ..defaults.mcp
            },
            routes: Routes::Polled(Box::new(self.capi_all_set())),
            cloud_controller: Some(self.pushes(None)),
            vip_resolver: Some(self.listener("0.0.0.0:9002", None)),
            xds: Some(Xds {
                address: "127.0.0.1:9010".parse().unwrap(),
                settings: self.xds_all_set(),
            }),
            policy: Some(policy::Settings {
                peer: outbound::Settings {
                    address: "https://policy.example.com:4003".parse().unwrap(),
                    ca: self.policy_ca.clone(),
                    identity: Some(self.client.clone()),
                    connect_timeout: 5 * SECOND,
                    request_timeout: 24 * SECOND,
                },
                poll_interval: 23 * SECOND,
                backoff: (SECOND / 2, 15 * SECOND),
            }),
            bbs: defaults.bbs.map(|bbs| bbs::Settings {
                sync_interval: 20 * SECOND,
                peer: outbound::Settings {
                    request_timeout: 21 * SECOND,
                    ..bbs.peer
                },
                ..bbs
            }),
            publisher: publisher::Settings {
                tcp_ports: [2000].into(),
                tcp_domains: [Hostname::parse("tcp.example.com").unwrap()].into(),
                left_out: reserved().into(),
                required: &defaults.publisher.required | &[Input::TcpRoutes].into(),
                log_changes: true,
                debounce_after: Duration::from_millis(11),
                debounce_max: Duration::from_millis(101),
                linger: 16 * SECOND,
                guard: GUARD,
                limits: LIMITS,
                store: Some(self.store()),
                certificate_root: "/var/istio".parse().unwrap(),
                certificates: vec![FrontendCertificate {
                    names: vec!["*.apps.example.com".to_owned(), "example.com".to_owned()],
                }],
                backend_tls: Some(BackendTls {
                    identity: Some(ProxyIdentity {
                        chain: "/var/istio/client.crt".parse().unwrap(),
                        key: "/var/istio/client.key".parse().unwrap(),
                    }),
                    ca: "/var/istio/ca.crt".parse().unwrap(),
                    verify: Verify::Ca,
                }),
                internal_tls: Some(InternalTls {
                    ca: "/apps/ca.crt".parse().unwrap(),
                }),
                vip_range: Some("127.129.0.0/16".parse().unwrap()),
                policies: Some(27 * SECOND),
                keep_empty_service_entries: false,
                defaults: all_defaults(),
                ..defaults.publisher
            },
            ..defaults
        }
    }
}

/// The ports at which no TCP route is served.
fn reserved() -> [(String, Invalid); 3] {
    let ports = [
        (15000, "proxies"),
        (15001, "proxies"),
        (15443, "gateways between networks"),
    ];
    ports.map(|(port, who)| {
        let invalid = Invalid {
            rule: "port",
            detail: format!("{who} listen at {port} themselves: no TCP route there is served"),
        };
        (format!("TCPRoutes.Ports {port}"), invalid)
    })
}

/// All that an operator can have for all routes.
fn all_defaults() -> Defaults {
    let except =
        ["plain.example.com", "*.old.example.com"].map(|name| Hostname::parse(name).unwrap());
    Defaults {
        external: Requests {
            timeout: Some(900 * SECOND),
            retries: Some(Retries::of_unsent(1)),
            retry_resets: true,
        },
        internal: Requests {
            timeout: Some(15 * SECOND),
            retries: Some(Retries::of_server_errors(3)),
            retry_resets: false,
        },
        connect_timeout: Some(6 * SECOND),
        ejection: Some(Ejection {
            failures: 4,
            duration: 33 * SECOND,
        }),
        load_balancing: Some(LoadBalancing::Cookie(Cookie {
            name: CookieName::parse("MESH_ROUTE").unwrap(),
            ttl: 90 * SECOND,
        })),
        region: Some("eu".into()),
        https_redirect: Some(HttpsRedirect {
            except: except.into(),
        }),
    }
}

/// A certificate and its key as texts, as the key `TLSPems` has them.
fn pair(identity: &Identity) -> Value {
    json!({
        "CertChain": fs::read_to_string(&identity.cert).unwrap(),
        "PrivateKey": fs::read_to_string(&identity.key).unwrap(),
    })
}

/// Compares every field, and the secret, which is not printed.
fn assert_same(loaded: &Config, expected: &Config) {
    assert_eq!(format!("{loaded:#?}"), format!("{expected:#?}"));
    let secret = |config: &Config| match &config.routes {
        Routes::Polled(capi) => Some(capi.client_secret.expose().to_owned()),
        Routes::Pushed(_) => None,
    };
    assert_eq!(secret(loaded), secret(expected));
}

#[test]
fn a_file_with_only_what_is_required_has_the_documented_defaults() {
    let files = Files::new();
    assert_same(&files.load(&files.minimal()), &files.defaults());
}

#[test]
fn every_key_reaches_the_setting_it_is_for() {
    let files = Files::new();
    assert_same(&files.load(&files.full()), &files.all_set());

    // Two flags differ from their defaults in the same way; here only one does.
    let config = with(files.full(), &[("/CAPI/TailRouteUpdates", json!(true))]);
    let mut expected = files.all_set();
    let Routes::Polled(capi) = &mut expected.routes else {
        panic!("polled")
    };
    capi.tail_updated_at = true;
    assert_same(&files.load(&config), &expected);
}

#[test]
fn without_capi_routes_are_pushed() {
    let files = Files::new();
    let mut config = files.full();
    let config = config.as_object_mut().unwrap();
    config.remove("CAPI");
    config.remove("MeshDomains");
    config.remove("TCPRoutes");
    let mut expected = files.all_set();
    expected.ignored.clear();
    expected.cloud_controller = Some(files.pushes(Some("cc")));
    expected.routes = Routes::Pushed(cloud_controller::Settings {
        max_bulk_sync_bytes: 128 << 20,
    });
    expected.publisher.required = [Input::Routes, Input::Instances].into();
    expected.publisher.tcp_ports.clear();
    expected.publisher.tcp_domains.clear();
    expected.publisher.left_out.clear();
    expected.publisher.join = Join::Associated;
    expected.publisher.store.as_mut().unwrap().foundation = "pushed".to_owned();
    assert_same(&files.load(&json!(config)), &expected);

    config.insert("MaxBulkSyncBytes".to_owned(), json!(1000));
    expected.routes = Routes::Pushed(cloud_controller::Settings {
        max_bulk_sync_bytes: 1000,
    });
    assert_same(&files.load(&json!(config)), &expected);
}

#[test]
fn plaintext_for_istiods_is_for_loopback_unless_it_is_allowed() {
    let files = Files::new();
    let open = |allow: bool| {
        let keys = [
            ("/ListenAddressForXDS", json!("0.0.0.0:9010")),
            ("/XDSAllowPlaintext", json!(allow)),
        ];
        let Value::Object(config) = with(files.minimal(), &keys) else {
            panic!("an object")
        };
        Config::parse(config)
    };
    let problems = open(false).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].key, "ListenAddressForXDS");
    let allowed = open(true).unwrap().xds.unwrap();
    assert_eq!(allowed.settings.security, Security::Plaintext);
}

#[test]
fn what_keeps_changes_from_sinks_has_bounds_of_its_own() {
    let files = Files::new();
    for (key, longest, longer) in [
        ("XDSPushInterval", "10s", "10001ms"),
        ("MCPPushInterval", "30s", "30001ms"),
        ("MCPLingerInterval", "10m", "10m1s"),
    ] {
        let set = |interval: &str| {
            let keys = [(&*format!("/{key}"), json!(interval))];
            let Value::Object(config) = with(files.minimal(), &keys) else {
                panic!("an object")
            };
            Config::parse(config)
        };
        assert!(set(longest).is_ok());
        let off = set("0").unwrap().publisher.linger;
        assert_eq!(off.is_zero(), key == "MCPLingerInterval", "{key}");
        let problems = set(longer).unwrap_err();
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        let expected = format!("{key}: must be at least 1ms and at most {longest}");
        assert_eq!(problems, [expected]);
    }
}

#[test]
fn the_originals_interval_is_no_distance_between_full_sets() {
    let files = Files::new();
    let distance = |key: &str, value: &str| {
        let loaded = files.load(&with(files.minimal(), &[(key, json!(value))]));
        loaded.mcp.limits.burst_distance
    };
    let original = distance("/MCPConvergeInterval", "30s");
    assert_eq!(original, mcp::BURST_DISTANCE);
    let own = distance("/MCPPushInterval", "700ms");
    assert_eq!(own, Duration::from_millis(700));
}

#[test]
fn what_is_disabled_needs_no_files_and_is_not_waited_for() {
    let files = Files::new();
    let config = with(
        files.minimal(),
        &[
            ("/PolicyServerDisabled", json!(true)),
            ("/PolicyServerAddress", json!("nowhere")),
            ("/PolicyServerCAPath", json!("/nowhere")),
            (
                "/BBS",
                json!({ "Disable": true, "Address": "nowhere", "ClientCertPath": "/nowhere" }),
            ),
        ],
    );
    let mut expected = files.defaults();
    expected.bbs = None;
    expected.publisher.required = [Input::Routes].into();
    assert_same(&files.load(&config), &expected);
}

#[test]
fn keys_without_a_use_are_accepted_and_named() {
    let files = Files::new();
    let config = with(
        files.minimal(),
        &[
            ("/ListenAddressForPilot", json!("127.0.0.1:9000")),
            ("/BBS/ClientSessionCacheSize", json!(128)),
            ("/BBS/MaxIdleConnsPerHost", json!(8)),
            // Of older versions of this program.
            ("/CAPI/MaxShrinkPercent", json!(18)),
            ("/BBS/MaxRemovedPercent", json!(30)),
            // As Go writes what is not set.
            ("/ListenAddressForVIPResolver", json!("")),
            ("/PolicyServerAddress", json!("")),
            ("/MCPConvergeInterval", json!("0s")),
            ("/BBS/SyncInterval", json!("0s")),
            ("/TLSPems", Value::Null),
            // Of use only where routes are pushed.
            ("/MaxBulkSyncBytes", json!(1)),
            ("/CloudControllerClientCAPath", json!("/nowhere")),
        ],
    );
    let loaded = files.load(&config);
    let ignored: Vec<_> = loaded.ignored.iter().map(|ignored| &ignored.key).collect();
    assert_eq!(
        ignored,
        [
            "MaxBulkSyncBytes",
            "CAPI.MaxShrinkPercent",
            "CloudControllerClientCAPath",
            "ListenAddressForPilot",
            "BBS.ClientSessionCacheSize",
            "BBS.MaxIdleConnsPerHost",
            "BBS.MaxRemovedPercent",
        ]
    );
    let defaults = files.defaults();
    assert_same(
        &Config {
            ignored: Vec::new(),
            ..loaded
        },
        &defaults,
    );
}

/// The keys of a document's first table with defaults, as pointers, and their defaults.
fn documented(document: &str) -> Vec<(String, &str)> {
    let (_, table) = document.split_once("| key | default |").unwrap();
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let mut cells = row
            .split('|')
            .skip(1)
            .map(|cell| cell.trim().trim_matches('`'));
        let pointer = format!("/{}", cells.next().unwrap().replace('.', "/"));
        (pointer, cells.next().unwrap())
    })
    .collect()
}

#[test]
fn the_documents_show_what_is_required_and_the_default_of_everything_else() {
    let readme = include_str!("../../README.md");
    let (_, example) = readme.split_once("```json\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let example: Value = serde_json::from_str(example).unwrap();
    let files = Files::new();
    assert_eq!(keys(&example), keys(&files.minimal()));

    let rows = documented(include_str!("../../docs/configuration.md"));
    let most_important = documented(readme);
    assert_eq!(most_important.len(), 10);
    assert!(most_important.iter().all(|row| rows.contains(row)));
    let pointers = rows.iter().map(|(pointer, _)| pointer.clone());
    let optional = &keys(&files.full()) - &keys(&files.minimal());
    assert_eq!(pointers.collect::<BTreeSet<_>>(), optional);
    let defaults: Vec<_> = rows
        .iter()
        .filter(|(_, default)| !default.is_empty())
        .map(|(pointer, default)| (pointer.as_str(), serde_json::from_str(default).unwrap()))
        .collect();
    let mut minimal = files.minimal();
    minimal["Defaults"] = json!({});
    let config = with(minimal, &defaults);
    assert_same(&files.load(&config), &files.defaults());
}

#[test]
fn every_key_is_listed_for_those_who_write_files() {
    const SECTIONS: [&str; 8] = [
        "/TCPRoutes",
        "/BBS",
        "/CAPI",
        "/BackendTLS",
        "/InternalTLS",
        "/Defaults",
        "/Defaults/OutlierDetection",
        "/Defaults/SessionAffinity",
    ];
    let pushed = ["/MaxBulkSyncBytes", "/MaxEmptiedRoutes"].map(str::to_owned);
    let pairs = ["/TLSPems[]/CertChain", "/TLSPems[]/PrivateKey"].map(str::to_owned);
    let unused = [
        "/ListenAddressForPilot",
        "/BBS/ClientSessionCacheSize",
        "/BBS/MaxIdleConnsPerHost",
        "/CAPI/MaxShrinkPercent",
        "/PolicyServerMaxRemovedPercent",
        "/BBS/MaxRemovedPercent",
    ];
    let others = unused.map(str::to_owned).into_iter();
    let expected: BTreeSet<_> = keys(&Files::new().full())
        .into_iter()
        .chain(pushed)
        .chain(pairs)
        .chain(others)
        .chain(SECTIONS.map(str::to_owned))
        .collect();
    let pointer = |key: String| format!("/{}", key.replace('.', "/"));
    let listed: BTreeSet<_> = Config::keys().into_iter().map(pointer).collect();
    assert_eq!(listed, expected);
}

/// The keys of a config and of its sections, as pointers.
fn keys(config: &Value) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for (key, value) in config.as_object().unwrap() {
        match value {
            Value::Object(section) => {
                let inner = self::keys(&Value::Object(section.clone())).into_iter();
                keys.extend(inner.map(|inner| format!("/{key}{inner}")));
            }
            _ => {
                keys.insert(format!("/{key}"));
            }
        }
    }
    keys
}

#[tokio::test]
async fn a_certificate_of_the_router_becomes_an_https_server_of_the_gateway() {
    let (foundation, _) = foundation().await;
    let names = ["*.apps.example.com", "shop.example.com"];
    let frontend = foundation.pki.issue("frontend", &names).unwrap();
    let config = with(
        foundation.config(),
        &[
            ("/TLSPems", json!([pair(&frontend)])),
            ("/IstioCertRootPath", json!("/var/istio")),
        ],
    );
    let daemon = Daemon::start(config).await;
    let page = format!("/debug/resources/{}/{GATEWAY}", Kind::Gateway.collection());
    let gateway = daemon
        .shows(&page, |gateway| gateway["name"] == GATEWAY)
        .await;
    let servers = gateway["body"]["servers"].as_array().unwrap();
    assert_eq!(servers.len(), 2, "{gateway:#}");
    assert_eq!(servers[0]["port"]["number"], 80);
    assert_eq!(servers[0]["hosts"], json!(["*"]));
    let https = &servers[1];
    assert_eq!(
        https["port"],
        json!({"number": 443, "protocol": "https", "name": "https-0"})
    );
    // It is for everybody, those who ask for no name among them.
    assert_eq!(https["hosts"], json!(["*"]));
    assert_eq!(
        https["tls"],
        json!({
            "mode": "SIMPLE",
            "serverCertificate": "/var/istio/*.apps.example.com/tls.crt",
            "privateKey": "/var/istio/*.apps.example.com/tls.key",
        })
    );
    daemon.end().await;
}
