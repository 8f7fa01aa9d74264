//! What proxies need to reach instances over TLS.

use super::*;

/// The client certificate and the CA of the instances.
struct Backend {
    client: Pair,
    ca: String,
}

impl Backend {
    fn new(router: &Router, name: &str) -> Self {
        Self {
            client: router.pair(&[name]),
            ca: fs::read_to_string(router.pki.ca()).unwrap(),
        }
    }

    fn config(&self, router: &Router) -> Value {
        json!({
            "IstioCertRootPath": router.root(),
            "BackendTLS": {
                "Mode": "mutual",
                "ClientCertPath": router.file("backend/client.crt"),
                "ClientKeyPath": router.file("backend/client.key"),
                "CACertPath": router.file("trusted/instances.crt"),
                "ClientCert": self.client.chain,
                "ClientKey": self.client.key,
                "CACert": self.ca,
            },
        })
    }
}

fn read(router: &Router) -> Backend {
    let text = |name| fs::read_to_string(router.file(name)).unwrap();
    Backend {
        client: Pair {
            chain: text("backend/client.crt"),
            key: text("backend/client.key"),
        },
        ca: text("trusted/instances.crt"),
    }
}

#[test]
fn writes_the_client_pair_and_the_ca_where_the_proxies_look_and_follows_a_rotation() {
    let router = Router::new();
    let (old, new) = (
        Backend::new(&router, "mesh"),
        Backend::new(&router, "mesh.new"),
    );
    let output = router.run_with(&old.config(&router));
    assert_eq!(said(&output, 0), "written BackendTLS\n");
    let found = read(&router);
    assert_eq!(
        (found.client, found.ca),
        (old.client.clone(), old.ca.clone())
    );
    for (path, expected) in [
        ("backend", 0o750),
        ("trusted", 0o750),
        ("backend/client.crt", 0o600),
        ("backend/client.key", 0o600),
        ("trusted/instances.crt", 0o600),
    ] {
        assert_eq!(mode(&router.file(path)), expected, "{path}");
    }
    let before = router.state();
    assert_eq!(before.len(), 5, "nothing else is left there");
    let output = router.run_with(&old.config(&router));
    assert_eq!(said(&output, 0), "unchanged BackendTLS\n");
    assert_eq!(router.state(), before);

    // First the CAs, old and new; then the pair.
    let both = Backend {
        ca: old.ca.clone() + &new.ca,
        ..old
    };
    let output = router.run_with(&both.config(&router));
    assert_eq!(said(&output, 0), "written BackendTLS\n");
    assert_eq!(read(&router).ca, both.ca);
    let output = router.run_with(&new.config(&router));
    assert_eq!(said(&output, 0), "written BackendTLS\n");
    let found = read(&router);
    assert_eq!((found.client, found.ca), (new.client, new.ca));
    assert_eq!(router.state().len(), 5);
}

#[test]
fn where_none_is_presented_only_the_ca_is_written() {
    let router = Router::new();
    let ca = fs::read_to_string(router.pki.ca()).unwrap();
    let config = json!({
        "IstioCertRootPath": router.root(),
        "BackendTLS": { "Mode": "simple", "CACertPath": router.file("ca.crt"), "CACert": ca },
    });
    assert_eq!(said(&router.run_with(&config), 0), "written BackendTLS\n");
    assert_eq!(router.state().len(), 1);
    let without_text = with(config, "/BackendTLS/CACert", Value::Null);
    assert_eq!(said(&router.run_with(&without_text), 0), "");
}

fn with(mut config: Value, pointer: &str, value: Value) -> Value {
    *config.pointer_mut(pointer).unwrap() = value;
    config
}

#[test]
fn the_group_of_the_proxies_may_read_everything_and_nobody_else_anything() {
    let router = Router::new();
    let own = fs::metadata(router.folder.path()).unwrap();
    // Only root may give files to any group.
    let group = if own.uid() == 0 { 54_321 } else { own.gid() };
    let pair = router.pair(&["example.com"]);
    let mut config = Backend::new(&router, "mesh").config(&router);
    config["TLSPems"] = json!([pair.config()]);
    said(&router.run_with(&config), 0);
    assert_eq!(mode(&router.file("example.com/tls.key")), 0o600);

    config["IstioCertGroup"] = json!(group.to_string());
    let output = router.run_with(&config);
    assert_eq!(
        said(&output, 0),
        "written BackendTLS\nwritten example.com\n"
    );
    for path in [
        "example.com/tls.key",
        "example.com/tls.crt",
        "backend/client.key",
        "trusted/instances.crt",
    ] {
        let path = router.file(path);
        assert_eq!(mode(&path), 0o640, "{path:?}");
        assert_eq!(fs::metadata(&path).unwrap().gid(), group, "{path:?}");
    }
    let folder = router.file("example.com");
    assert_eq!(fs::metadata(&folder).unwrap().gid(), group);
    assert_eq!(mode(&folder), 0o750);
    let before = router.state();
    said(&router.run_with(&config), 0);
    assert_eq!(router.state(), before);
}

#[test]
fn a_group_is_found_by_its_name_and_without_it_nothing_is_written() {
    let router = Router::new();
    let groups = fs::read_to_string("/etc/group").unwrap();
    let own = fs::metadata(router.folder.path())
        .unwrap()
        .gid()
        .to_string();
    let name = groups.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        (fields[2] == own).then_some(fields[0])
    });
    let mut config = Backend::new(&router, "mesh").config(&router);
    config["IstioCertGroup"] = json!("no such group");
    let said_of_none = said(&router.run_with(&config), 1);
    assert_eq!(
        said_of_none,
        "copilot: IstioCertGroup: there is no group \"no such group\"\n"
    );
    assert!(!router.root().exists());
    config["IstioCertGroup"] = json!(name.unwrap());
    said(&router.run_with(&config), 0);
    assert_eq!(mode(&router.file("backend/client.key")), 0o640);
}

#[test]
fn a_group_that_is_none_is_refused_before_anything_is_written() {
    let router = Router::new();
    let mut config = Backend::new(&router, "mesh").config(&router);
    config["IstioCertGroup"] = json!(5);
    let said = said(&router.run_with(&config), 1);
    assert!(said.contains("IstioCertGroup: "), "{said}");
    assert!(!router.root().exists());
}

#[test]
fn the_cas_take_their_place_first_and_the_certificate_last() {
    let all = [
        "trusted/instances.crt",
        "backend/client.key",
        "backend/client.crt",
    ];
    for (at, blocked) in all.into_iter().enumerate() {
        let router = Router::new();
        // No file takes the place of a folder.
        fs::create_dir_all(router.file(blocked)).unwrap();
        let config = Backend::new(&router, "mesh").config(&router);
        let said = said(&router.run_with(&config), 1);
        assert!(said.starts_with("refused BackendTLS: replacing "), "{said}");
        let written = all.map(|path| router.file(path).is_file());
        let expected = [0, 1, 2].map(|file| file < at);
        assert_eq!(written, expected, "{blocked}");
    }
}

#[test]
fn a_folder_that_is_there_stays_as_the_operator_made_it() {
    let router = Router::new();
    fs::create_dir_all(router.file("backend")).unwrap();
    set_mode(&router.file("backend"), 0o711);
    said(
        &router.run_with(&Backend::new(&router, "mesh").config(&router)),
        0,
    );
    assert_eq!(mode(&router.file("backend")), 0o711);
}

#[test]
fn a_link_in_the_place_of_a_file_is_replaced_and_not_followed() {
    let router = Router::new();
    let outside = router.folder.path().join("outside");
    fs::write(&outside, "theirs").unwrap();
    fs::create_dir_all(router.file("backend")).unwrap();
    symlink(&outside, router.file("backend/client.key")).unwrap();
    let backend = Backend::new(&router, "mesh");
    said(&router.run_with(&backend.config(&router)), 0);
    assert_eq!(read(&router).client, backend.client);
    assert_eq!(fs::read_to_string(&outside).unwrap(), "theirs");
}

#[test]
fn what_is_no_place_of_its_own_is_refused_and_the_certificates_are_written() {
    let router = Router::new();
    let pair = router.pair(&["example.com"]);
    let mut config = Backend::new(&router, "mesh").config(&router);
    config["TLSPems"] = json!([pair.config()]);
    for (path, why) in [
        (
            "example.com/tls.crt",
            "is in the folder of a certificate of the router",
        ),
        ("backend/client.crt", "two of its files are to be "),
    ] {
        let bad = with(
            config.clone(),
            "/BackendTLS/ClientKeyPath",
            json!(router.file(path)),
        );
        let said = said(&router.run_with(&bad), 1);
        assert!(said.starts_with("refused BackendTLS: "), "{said}");
        assert!(said.contains(why), "{said}");
        assert_eq!(router.written("example.com"), pair);
        assert!(!router.file("trusted/instances.crt").exists());
    }
}

#[test]
fn texts_that_do_not_belong_together_are_refused_and_the_certificates_are_written() {
    let router = Router::new();
    let pair = router.pair(&["example.com"]);
    let mut config = Backend::new(&router, "mesh").config(&router);
    config["TLSPems"] = json!([pair.config()]);
    let bad = with(config, "/BackendTLS/ClientKey", json!(pair.key));
    let said = said(&router.run_with(&bad), 1);
    assert!(said.contains("written example.com\n"), "{said}");
    let refused = "refused BackendTLS.ClientKey: certificate and private key do not work together";
    assert!(said.contains(refused), "{said}");
    assert!(!router.file("backend").exists());
}
