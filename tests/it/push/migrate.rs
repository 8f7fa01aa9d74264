//! `copilot migrate`: from the original's config file to one for this daemon, in the hands of the binary.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use super::*;
use crate::{mesh::with, process::Process};

fn migrate(file: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_copilot"))
        .arg("migrate")
        .arg(file)
        .output()
        .unwrap()
}

/// What it does with a config: the file to write, what it says, and its exit code.
fn migrated(foundation: &CloudFoundry, config: &Value) -> (Value, Vec<String>, Option<i32>) {
    migrated_text(foundation, &config.to_string())
}

fn migrated_text(foundation: &CloudFoundry, config: &str) -> (Value, Vec<String>, Option<i32>) {
    let path = foundation.folder().join("original.json");
    fs::write(&path, config).unwrap();
    let output = migrate(&path);
    let said = String::from_utf8(output.stderr).unwrap();
    let file = serde_json::from_slice(&output.stdout).unwrap();
    let said = said.lines().map(ToOwned::to_owned).collect();
    (file, said, output.status.code())
}

/// The keys of the lines that begin like this.
fn keys<'s>(said: &'s [String], what: &str) -> Vec<&'s str> {
    let lines = said.iter().filter_map(|line| line.strip_prefix(what));
    lines
        .map(|line| line.trim_start_matches([' ', '"']))
        .map(|line| line.split(['"', ':']).next().unwrap())
        .collect()
}

#[tokio::test]
async fn nobody_has_to_read_what_there_is_to_say() {
    let (foundation, _) = foundation().await;
    let path = foundation.folder().join("original.json");
    fs::write(&path, original_config(&foundation).to_string()).unwrap();
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    let mut migrate = Command::new(env!("CARGO_BIN_EXE_copilot"));
    let output = migrate.arg("migrate").arg(path).stderr(closed).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(!output.stdout.is_empty());
}

#[tokio::test]
async fn the_originals_file_becomes_one_that_starts_without_a_key_that_has_no_effect() {
    let (foundation, _) = foundation().await;
    let (mut file, said, code) = migrated(&foundation, &original_config(&foundation));
    assert_eq!(code, Some(0), "{said:#?}");
    let left_out = [
        "BBS.ClientSessionCacheSize",
        "BBS.MaxIdleConnsPerHost",
        "MCPConvergeInterval",
    ];
    assert_eq!(keys(&said, "left out:"), left_out);
    let considered = [
        "CAPI",
        "BackendTLS",
        "StateFile",
        "Defaults",
        "AdminListenAddress",
        "AllowedSinkNames",
        "AllowedCloudControllerNames",
        "PolicyServerPollInterval",
    ];
    assert_eq!(keys(&said, "consider:"), considered);
    assert!(!said.concat().contains("PRIVATE KEY"));

    file["AdminListenAddress"] = json!("127.0.0.1:0");
    let process = Process::serve(&foundation, "migrated.json", &file);
    let mut lines = process.started.iter();
    assert!(!lines.any(|line| line["message"] == "this key has no effect"));
    drop(process);

    let (again, said, code) = migrated(&foundation, &file);
    assert_eq!((&again, code), (&file, Some(0)));
    assert!(keys(&said, "left out:").is_empty(), "{said:#?}");
}

#[tokio::test]
async fn what_stops_the_daemon_is_named_with_the_rest_and_the_exit_code_is_1() {
    let (foundation, _) = foundation().await;
    let mut config = original_config(&foundation);
    config["pilotclientcapath"] = config["PilotClientCAPath"].take();
    config.as_object_mut().unwrap().remove("PilotClientCAPath");
    config
        .as_object_mut()
        .unwrap()
        .remove("ListenAddressForMCP");
    config["ListenAddressForPilot"] = json!("0.0.0.0:9009");
    config["ListenAddressForVIPResolver"] = json!("0.0.0.0:9002");
    config["LogLevel"] = json!("fatal");
    config["Typo"] = json!(1);
    let (file, said, code) = migrated(&foundation, &config);
    assert_eq!(code, Some(1), "{said:#?}");
    assert_eq!(
        keys(&said, "to be set right:"),
        ["ListenAddressForMCP", "Typo"]
    );
    assert!(keys(&said, "left out:").contains(&"ListenAddressForPilot"));
    let considered = keys(&said, "consider:");
    assert!(considered.ends_with(&["VIPResolverTLS", "PolicyServerPollInterval", "LogLevel"]));
    assert_eq!(
        file["Typo"], 1,
        "only what is known to have no effect is left out"
    );
}

#[test]
fn what_is_no_config_file_is_one_line_and_nothing_to_write() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("broken.json");
    fs::write(&path, "{\"BBS\": ").unwrap();
    for path in [&path, &folder.path().join("nowhere.json")] {
        let output = migrate(path);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(output.stdout.is_empty());
    }
}

#[tokio::test]
async fn certificates_that_would_not_be_served_and_keys_that_are_there_twice_are_told() {
    let (foundation, _) = foundation().await;
    let garbage = json!([{ "CertChain": "no certificate", "PrivateKey": "no key" }]);
    let config = with(original_config(&foundation), &[("/TLSPems", garbage)]);
    let (_, said, code) = migrated(&foundation, &config);
    let expected = ["TLSPems[0].CertChain"];
    assert_eq!(keys(&said, "careful:"), expected, "{said:#?}");
    assert_eq!(code, Some(0));

    let config = original_config(&foundation).to_string();
    let twice = format!(r#"{{"VIPCIDR":"127.0.0.0/9",{}"#, &config[1..]);
    let (file, said, code) = migrated_text(&foundation, &twice);
    assert_eq!(keys(&said, "careful:"), ["VIPCIDR"], "{said:#?}");
    assert_eq!(file["VIPCIDR"], "127.128.0.0/9");
    assert_eq!(code, Some(0));
}
