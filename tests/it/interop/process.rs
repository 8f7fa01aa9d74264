//! A peer ends with its owner, and says why it does not start.

use std::{fs, path::Path, process::Command};

use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::{
    harness::peers::process::{POLL, Process},
    mesh::LONG,
};

fn shell(folder: &Path, script: &str) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(folder);
    Process::start("a peer", &mut command, folder.join("log")).unwrap()
}

/// Whether the process runs: one that has ended, and waits to be reaped, does not.
fn runs(id: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_some_and(|state| !state.starts_with(['Z', 'X']))
}

#[tokio::test]
async fn a_peer_that_does_not_start_says_what_to_do_and_how_its_log_ends() {
    let folder = TempDir::new().unwrap();
    let script = "for n in $(seq 100); do echo line $n; done; echo no such flag >&2; exit 3";
    let peer = shell(folder.path(), script);
    let never = async || false;
    let error = peer.started("try another", never).await.unwrap_err();
    let said = error.to_string();
    let mut lines = said.lines();
    assert_eq!(
        lines.next(),
        Some("a peer ended before it was ready: try another")
    );
    assert_eq!(lines.next_back(), Some("no such flag"));
    assert_eq!(
        lines.next(),
        Some("line 82"),
        "the end of the log, not all of it"
    );
}

#[tokio::test]
async fn what_a_peer_has_started_ends_with_it_even_if_it_cares_for_no_signal() {
    let folder = TempDir::new().unwrap();
    let script = "trap '' TERM INT HUP; sleep 1000 & echo $! >child; while :; do wait; done";
    let peer = shell(folder.path(), script);
    let child = folder.path().join("child");
    let is_written = async || fs::read_to_string(&child).is_ok_and(|text| text.ends_with('\n'));
    peer.started("-", is_written).await.unwrap();
    let (parent, child) = (peer.id().to_string(), fs::read_to_string(child).unwrap());
    assert!(runs(&parent) && runs(child.trim()));
    drop(peer);
    assert!(
        !Path::new(&format!("/proc/{parent}")).exists(),
        "it was reaped"
    );
    let child_ends = async {
        while runs(child.trim()) {
            sleep(POLL).await;
        }
    };
    let ended = timeout(LONG, child_ends).await;
    assert!(ended.is_ok(), "its child runs on");
}

#[tokio::test]
async fn a_peer_that_is_asked_to_end_may_take_its_time() {
    let folder = TempDir::new().unwrap();
    let script = "trap 'echo done >said; exit' TERM; touch ready; while :; do sleep 0.01; done";
    let peer = shell(folder.path(), script);
    let ready = async || folder.path().join("ready").exists();
    peer.started("-", ready).await.unwrap();
    peer.terminate().await;
    let said = fs::read_to_string(folder.path().join("said")).unwrap();
    assert_eq!(said, "done\n");
}
