//! The demo as a person starts it.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_copilot"));
    command.args(["demo", "--once"]).args(arguments);
    command
}

/// A standard output of which nobody reads anything.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn a_reader_who_has_read_enough_ends_nothing_badly() {
    let output = demo(&[]).stdout(closed()).stderr(Stdio::piped()).output();
    let Output { status, stderr, .. } = output.unwrap();
    assert!(status.success(), "{status}: {}", stderr.escape_ascii());
    assert_eq!(stderr, b"");
}

/// Runs the demo to its good end; what it prints of the complete state.
fn complete_state(arguments: &[&str]) -> String {
    let begun = Instant::now();
    let Output {
        status,
        stdout,
        stderr,
    } = demo(arguments).output().unwrap();
    let took = begun.elapsed();
    let stdout = String::from_utf8(stdout).unwrap();
    assert!(
        status.success(),
        "{status}: {stdout}{}",
        stderr.escape_ascii()
    );
    assert!(took < Duration::from_secs(30), "{took:?}");
    let (_, state) = stdout.split_once("after the daemon's start.\n\n").unwrap();
    state.to_owned()
}

#[test]
fn prints_each_route_with_its_endpoints_and_resources_and_why_one_is_withheld() {
    insta::assert_snapshot!(complete_state(&[]));
}

#[test]
fn a_larger_foundation_arrives_too() {
    let small = complete_state(&[]);
    for size in [["50", "100"], ["50", "20"], ["3", "0"]] {
        let [routes, instances] = size;
        let large = complete_state(&["--routes", routes, "--instances", instances]);
        // The same routes are printed; their instances have other ports.
        assert_eq!(large.lines().count(), small.lines().count(), "{size:?}");
    }
}

#[test]
fn ctrl_c_before_the_complete_state_is_no_success() {
    // So many that they are not there when the signal is.
    let mut running = demo(&["--routes", "20000", "--instances", "20000"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
    let started = lines.any(|line| line.unwrap().contains("Copilot for Pilot"));
    assert!(started);
    let sent = Command::new("kill")
        .args(["-INT", &running.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
    let rest: Vec<_> = lines.map(Result::unwrap).collect();
    assert_eq!(running.wait().unwrap().code(), Some(2), "{rest:#?}");
    assert_eq!(rest.last().unwrap(), "Ending the daemon as SIGTERM would.");
}

#[test]
fn an_istiod_beside_the_pilot_holds_the_same() {
    let state = complete_state(&["--xds"]);
    let (pilot, istiod) = state.split_once("\nAn istiod ").unwrap();
    assert_eq!(
        pilot,
        complete_state(&[]).trim_end_matches("Ending the daemon as SIGTERM would.\n")
    );
    for kind in [
        "VirtualService",
        "DestinationRule",
        "ServiceEntry",
        "Gateway",
    ] {
        assert!(istiod.contains(kind), "{istiod}");
    }
}
