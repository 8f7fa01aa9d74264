//! `copilot bug-report`: what is in the archive, and what is nowhere in it.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::Path,
    process::{Command, Output},
};

use copilot::sim::capi::CLIENT_SECRET;
use flate2::read::GzDecoder;
use serde_json::json;

use crate::mesh::{self, Mesh, with};

/// Writes a report of this config; what is in it, by name.
/// What others may have logged, with secrets that no config has.
const OF_OTHERS: [&str; 3] = [
    "{\"Authorization\": \"Bearer eyJhbGciOi.of-others\"}",
    "GET https://joe:of-others@example.com/path",
    "-----BEGIN RSA PRIVATE KEY-----\nof-others\n-----END RSA PRIVATE KEY-----\nafter it",
];

async fn report(
    folder: &Path,
    admin: &str,
    config: &str,
    more: &[&str],
) -> BTreeMap<String, String> {
    let (file, output) = (folder.join("report.json"), folder.join("report.tar.gz"));
    fs::write(&file, config).unwrap();
    let logs = folder.join("logs");
    fs::create_dir_all(&logs).unwrap();
    let log = format!(
        "{{\"message\":\"began\"}}\n{{\"message\":\"told {CLIENT_SECRET}\"}}\n{}",
        OF_OTHERS.join("\n")
    );
    fs::write(logs.join("copilot.stdout.log"), log).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_copilot"));
    command.args(["bug-report", "--admin", admin]).args(more);
    command.arg("--output").arg(&output);
    command
        .env("COPILOT_CONFIG", &file)
        .env("COPILOT_LOGS", &logs);
    let ran = tokio::task::spawn_blocking(move || command.output());
    let Output {
        status,
        stdout,
        stderr,
    } = ran.await.unwrap().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    assert!(String::from_utf8_lossy(&stdout).contains("report.tar.gz"));
    let mut archive = tar::Archive::new(GzDecoder::new(fs::File::open(&output).unwrap()));
    let mut found = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        let (_, name) = path.split_once('/').unwrap();
        found.insert(name.to_owned(), text);
    }
    found
}

#[tokio::test]
async fn a_report_has_everything_and_no_secret_of_the_config() {
    let mut mesh = Mesh::start().await;
    // More than there are whole: those of the hostname are among them.
    mesh.foundation.load(60, 60);
    mesh.holds(|state| mesh::endpoints(state, "app-000059").len() == 1)
        .await;
    let key = fs::read_to_string(mesh.foundation.folder().join("copilot.key")).unwrap();
    let chain = fs::read_to_string(mesh.foundation.folder().join("copilot.crt")).unwrap();
    let pems = json!([{ "CertChain": chain, "PrivateKey": key }]);
    let changes = [
        ("/TLSPems", pems),
        ("/ClientSecretOfOld", json!("left-behind")),
    ];
    let config = with(mesh.foundation.config(), &changes);
    let admin = mesh.daemon.admin.to_string();
    let host = ["--host", "https://Shop.apps.example.com:443/cart?x"];
    let found = report(mesh.foundation.folder(), &admin, &config.to_string(), &host).await;
    for (name, words) in [
        ("version.txt", "0."),
        ("config.json", "ListenAddressForMCP"),
        ("pages/debug/status.txt", "READY"),
        ("pages/metrics", "copilot_"),
        ("pages/debug/changes", "["),
        ("explain.txt", "GOOD: "),
        (
            "resources/istio/networking/v1alpha3/virtualservices/copilot-service-for-shop.apps.example.com.json",
            "\"hosts\"",
        ),
        ("logs/copilot.stdout.log", "told [redacted]"),
    ] {
        let text = found
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not in {:?}", found.keys()));
        assert!(text.contains(words), "{words:?} is not in {name}: {text}");
    }
    let secrets = key.lines().filter(|line| !line.starts_with("---"));
    let log = &found["logs/copilot.stdout.log"];
    for kept in ["Authorization", "@example.com/path", "after it"] {
        assert!(log.contains(kept), "{kept:?} is not in {log}");
    }
    for secret in secrets.chain([CLIENT_SECRET, "left-behind", "of-others"]) {
        for (name, text) in &found {
            assert!(!text.contains(secret), "{name} has a secret");
        }
    }
}

#[tokio::test]
async fn a_report_of_a_daemon_that_does_not_answer_says_so_and_has_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let found = report(folder.path(), "127.0.0.1:1", "{}", &[]).await;
    assert!(
        found["pages/debug/status"].contains("asking the daemon"),
        "{found:?}"
    );
    assert!(found["logs/copilot.stdout.log"].contains("began"));
}

#[tokio::test]
async fn without_a_config_that_can_be_read_there_are_no_logs() {
    let folder = tempfile::tempdir().unwrap();
    let found = report(folder.path(), "127.0.0.1:1", "{\"CAPI\": {", &[]).await;
    assert!(found["config.json"].contains("is no JSON"), "{found:?}");
    assert!(found["logs/none.txt"].contains("see config.json"));
    assert!(!found.contains_key("logs/copilot.stdout.log"));
}

#[tokio::test]
async fn what_is_missing_in_a_report_is_told_when_it_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let (config, logs) = (
        folder.path().join("config.json"),
        folder.path().join("logs"),
    );
    fs::write(&config, "{}").unwrap();
    fs::create_dir(&logs).unwrap();
    for logs in [logs, folder.path().join("nowhere")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_copilot"));
        command.args(["bug-report", "--admin", "127.0.0.1:1", "--output"]);
        command.arg(logs.with_extension("tar.gz"));
        command
            .arg("--config")
            .arg(&config)
            .arg("--logs")
            .arg(&logs);
        let said = String::from_utf8(command.output().unwrap().stderr).unwrap();
        assert!(said.contains("without logs: --logs"), "{said}");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_copilot"));
    command.args(["bug-report", "--admin", "127.0.0.1:1", "--output"]);
    command.arg(folder.path().join("report.tar.gz"));
    command
        .env_remove("COPILOT_CONFIG")
        .env_remove("COPILOT_LOGS");
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    for expected in [
        "without the config: --config",
        "without logs: ",
        "without pages: asking the daemon at 127.0.0.1:1",
    ] {
        assert!(said.contains(expected), "{expected:?} is not in {said:?}");
    }
    assert!(output.status.success());
}
