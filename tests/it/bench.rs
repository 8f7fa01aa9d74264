//! The load tool as a person starts it: its counts hold at any size, its times are nobody's business here.

use std::process::Command;

use serde_json::Value;

/// What a run prints, by phase.
fn bench(arguments: &[&str]) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_copilot"))
        .args(["bench", "--json"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

fn phase<'a>(phases: &'a [Value], name: &str) -> &'a Value {
    let found = phases.iter().find(|phase| phase["phase"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {phases:#?}"))
}

#[test]
fn a_route_costs_its_hostname_and_its_service_whoever_is_connected_and_rest_costs_none() {
    for mode in ["full", "delta", "xds", "xds-delta"] {
        let phases = bench(&[
            "--routes",
            "50",
            "--instances",
            "100",
            "--sinks",
            "3",
            "--mode",
            mode,
            "--changes",
            "2",
            "--idle",
            "1",
        ]);
        let rest = phase(&phases, "rest");
        for count in ["encoded", "pushes", "bytes_per_sink"] {
            assert_eq!(rest[count], 0.0, "{mode}: {count} at rest");
        }
        let change = phase(&phases, "change");
        assert_eq!(change["encoded"], 2.0, "{mode}");
        assert_eq!(change["collections"], 2.0, "{mode}");
        assert!(change["change_ms"]["p50"].as_f64().unwrap() > 0.0);
        if mode.ends_with("delta") {
            let bytes = change["bytes_per_sink"].as_f64().unwrap();
            assert!(bytes < 4096.0, "{mode}: {bytes}");
        }
    }
}

#[test]
fn an_instance_or_a_policy_of_internal_routes_costs_one_resource() {
    for (change, count) in [("internal", "2"), ("policy", "1")] {
        let phases = bench(&[
            "--routes",
            "0",
            "--instances",
            "0",
            "--internal",
            "40",
            "--mode",
            "delta",
            "--changes",
            count,
            "--change",
            change,
        ]);
        let costs = phase(&phases, "change");
        assert_eq!(costs["encoded"], 1.0, "{change}");
        assert_eq!(costs["collections"], 1.0, "{change}");
    }
}

#[test]
fn of_many_events_none_is_lost() {
    let phases = bench(&[
        "--routes",
        "200",
        "--instances",
        "200",
        "--mode",
        "delta",
        "--changes",
        "0",
        "--event-rate",
        "100",
        "--seconds",
        "1",
    ]);
    let churn = phase(&phases, "churn");
    assert_eq!(
        (&churn["events"], &churn["lost"]),
        (&100.0.into(), &0.0.into())
    );
    assert_eq!(churn["encoded"], 100.0);
}
