//! The commands as an operator types them: bad input is one clear message, exit code 1, no panic.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use copilot::sim::pki::Pki;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with certificates and a good config file.
struct Files {
    folder: TempDir,
    config: Value,
}

impl Files {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let pki = Pki::new(folder.path(), "test").unwrap();
        let server = pki.issue("server", &["127.0.0.1"]).unwrap();
        pki.issue("other", &["127.0.0.1"]).unwrap();
        let config = json!({
            "ListenAddressForMCP": "127.0.0.1:0",
            "ServerCertPath": server.cert,
            "ServerKeyPath": server.key,
            "PilotClientCAPath": pki.ca(),
            "AdminListenAddress": "127.0.0.1:0",
            "MeshDomains": ["apps.example.com"],
            "CAPI": {
                "Address": "https://127.0.0.1:1",
                "CACertPath": pki.ca(),
                "ClientID": "copilot",
                "ClientSecret": "hush-hush",
            },
            "BBS": {
                "Address": "https://127.0.0.1:1",
                "ServerCACertPath": pki.ca(),
                "ClientCertPath": server.cert,
                "ClientKeyPath": server.key,
            },
        });
        Self { folder, config }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a command on the config with one value changed; `pointer` is a JSON pointer.
    fn run_with(&self, command: &str, pointer: &str, value: Value) -> Output {
        let mut config = self.config.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        config
            .pointer_mut(parent)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .insert(key.to_owned(), value);
        let path = self.path("config.json");
        fs::write(&path, config.to_string()).unwrap();
        run(command, &path)
    }
}

fn run(command: &str, config: &Path) -> Output {
    let binary = env!("CARGO_BIN_EXE_copilot");
    Command::new(binary)
        .arg(command)
        .arg("--config")
        .arg(config)
        .output()
        .unwrap()
}

/// Both commands refuse, each in one line that says `what`, and exit with 1.
fn assert_refused(files: &Files, pointer: &str, value: &Value, what: &str) {
    for command in ["check", "serve"] {
        let output = files.run_with(command, pointer, value.clone());
        assert_says(&output, what);
    }
}

fn assert_says(output: &Output, what: &str) {
    let said = String::from_utf8([output.stdout.as_slice(), &output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(what), "{what:?} is not in {said:?}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    assert!(
        !said.contains("panicked") && !said.contains("hush-hush"),
        "{said}"
    );
}

#[test]
fn a_verdict_that_nobody_reads_is_a_verdict() {
    let files = Files::new();
    let path = files.path("config.json");
    let mut config = files.config.clone();
    for code in [0, 1] {
        fs::write(&path, config.to_string()).unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut check = Command::new(env!("CARGO_BIN_EXE_copilot"));
        check.arg("check").arg("--config").arg(&path);
        let status = check.stdout(writer).status().unwrap();
        assert_eq!(status.code(), Some(code));
        config["MeshDomains"] = json!(5);
    }
}

#[test]
fn a_good_file_is_good() {
    let files = Files::new();
    let output = files.run_with("check", "/LogLevel", json!("debug"));
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_missing_file_is_named() {
    let files = Files::new();
    for command in ["check", "serve"] {
        assert_says(
            &run(command, &files.path("nowhere.json")),
            "nowhere.json: No such file or directory",
        );
    }
}

#[test]
fn bad_json_is_located() {
    let files = Files::new();
    let path = files.path("bad.json");
    fs::write(&path, "{\"ListenAddressForMCP\":\n oops}").unwrap();
    for command in ["check", "serve"] {
        assert_says(
            &run(command, &path),
            "no well-formed JSON at line 2 column 2",
        );
    }
}

#[test]
fn bad_values_are_named_by_their_key() {
    let files = Files::new();
    for (pointer, value, what) in [
        ("/Surprise", json!(1), "Surprise: unknown key"),
        (
            "/BBS/SyncInterval",
            json!("soon"),
            "BBS.SyncInterval: \"soon\" is no duration",
        ),
        (
            "/VIPCIDR",
            json!("fd00::/8"),
            "VIPCIDR: \"fd00::/8\": this is IPv6, ",
        ),
        (
            "/MeshDomains",
            json!(["apps.example.com", ".foo.com"]),
            "MeshDomains[1]: \".foo.com\": two dots in a row, or one in front; did you mean *.foo.com?",
        ),
        (
            "/MeshDomains",
            json!(["-bad.com"]),
            "MeshDomains[0]: \"-bad.com\": a label neither",
        ),
        (
            "/ListenAddressForMCP",
            json!("9009"),
            "ListenAddressForMCP: \"9009\"",
        ),
    ] {
        assert_refused(&files, pointer, &value, what);
    }
}

#[test]
fn tls_to_instances_that_cannot_be_is_named_by_its_key() {
    let files = Files::new();
    let good = json!({
        "Mode": "mutual",
        "ClientCertPath": "/certs/client.crt",
        "ClientKeyPath": "/certs/client.key",
        "CACertPath": "/certs/ca.crt",
    });
    let output = files.run_with("check", "/BackendTLS", good.clone());
    assert!(output.status.success(), "{output:?}");
    for (key, value, what) in [
        ("ClientCertPath", json!(null), "is required"),
        (
            "ClientKeyPath",
            json!("certs/client.key"),
            "\"certs/client.key\": expected the absolute path of a file",
        ),
        (
            "Mode",
            json!("istio"),
            "\"istio\": expected mutual or simple",
        ),
        (
            "Verify",
            json!("names"),
            "\"names\": expected instance or ca",
        ),
        ("CACertPath", json!(null), "is required"),
    ] {
        let mut tls = good.clone();
        tls["Verify"] = json!("instance");
        tls[key] = value;
        let what = format!("BackendTLS.{key}: {what}");
        assert_refused(&files, "/BackendTLS", &tls, &what);
    }
    let relative = json!({ "CACertPath": "ca.crt" });
    let what = "InternalTLS.CACertPath: \"ca.crt\": expected the absolute path of a file";
    assert_refused(&files, "/InternalTLS", &relative, what);
}

#[test]
fn each_fault_of_a_domain_has_a_line_of_its_own() {
    let files = Files::new();
    let domains = json!(["a..b", "good.com", "a".repeat(70) + ".com"]);
    let output = files.run_with("check", "/MeshDomains", domains);
    let said = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = said.lines().map(|line| &line[..14]).collect();
    assert_eq!(lines, ["MeshDomains[0]", "MeshDomains[2]"], "{said}");
}

#[test]
fn bad_certificates_are_named_by_key_and_file() {
    let files = Files::new();
    let other = files.path("other.key");
    assert_refused(
        &files,
        "/ServerKeyPath",
        &json!(other),
        "other.key do not work together",
    );
    let nowhere = files.path("nowhere.crt");
    assert_refused(
        &files,
        "/BBS/ClientCertPath",
        &json!(nowhere),
        "nowhere.crt",
    );
    let config = files.path("config.json");
    assert_refused(
        &files,
        "/CAPI/CACertPath",
        &json!(config),
        "config.json holds no certificate",
    );
}

#[test]
fn a_file_is_checked_with_and_without_the_name_of_its_option() {
    let files = Files::new();
    let path = files.path("config.json");
    fs::write(&path, files.config.to_string()).unwrap();
    let mut check = Command::new(env!("CARGO_BIN_EXE_copilot"));
    let output = check.arg("check").arg(&path).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(said.contains("config.json: good"), "{said}");
    assert_eq!(run("check", &path).status.code(), Some(0));
}

#[test]
fn an_address_in_use_is_named_by_its_key() {
    let files = Files::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    for key in ["/ListenAddressForMCP", "/AdminListenAddress"] {
        let output = files.run_with("serve", key, json!(address));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        let what = format!("{} {address}: ", &key[1..]);
        let last = said.trim_end().lines().last().unwrap();
        assert!(last.contains(&what) && last.contains("in use"), "{said}");
    }
}

/// A key whose lines were joined on the way is a bad key, and still a secret.
#[test]
fn a_key_on_one_line_is_not_repeated() {
    let files = Files::new();
    let key = fs::read_to_string(files.path("server.key")).unwrap();
    let flat = key.replace('\n', " ");
    let base64 = key.lines().nth(1).unwrap();
    let decimal = format!("{:?}", base64.as_bytes());
    let path = files.path("flat.key");
    fs::write(&path, &flat).unwrap();
    let chain = fs::read_to_string(files.path("server.crt")).unwrap();
    let pair = json!([{ "CertChain": chain, "PrivateKey": flat }]);
    for (pointer, value) in [("/ServerKeyPath", json!(path)), ("/TLSPems", pair)] {
        let output = files.run_with("check", pointer, value);
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8([output.stdout.as_slice(), &output.stderr].concat()).unwrap();
        assert!(!said.contains(base64), "{said}");
        assert!(!said.contains(decimal.trim_matches(['[', ']'])), "{said}");
    }
}
