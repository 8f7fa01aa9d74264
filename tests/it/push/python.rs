//! The push API as an independent client sees it: Python's grpcio, the C core that Cloud Controller's Ruby client is
//! built on too. `scripts/test` installs it and names the interpreter in `COPILOT_TEST_PYTHON`.

use std::{
    env,
    io::{self, Write as _},
    path::Path,
    process::Command,
};

use super::*;

const ROUTES: usize = 20_000;

/// An interpreter that has gRPC. One that is named must have it.
fn python() -> Option<String> {
    let named = env::var("COPILOT_TEST_PYTHON").ok();
    let python = named.clone().unwrap_or_else(|| "python3".to_owned());
    let has_grpc = Command::new(&python).args(["-c", "import grpc"]).output();
    let has_grpc = has_grpc.is_ok_and(|output| output.status.success());
    assert!(has_grpc || named.is_none(), "{python} has no grpcio");
    has_grpc.then_some(python)
}

#[tokio::test(flavor = "multi_thread")]
async fn syncs_changes_and_lists_with_grpc_s_c_core_over_mtls_and_gzip() {
    let Some(python) = python() else {
        // To the terminal itself: what a test prints is shown only when it fails.
        let skipped = "SKIPPED: no Python with grpcio; name one in COPILOT_TEST_PYTHON";
        return writeln!(io::stderr(), "{skipped}").unwrap();
    };
    let push = Push::start(CloudFoundry::start().await.unwrap()).await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/bulk_sync.py");
    let file = |name: &str| push.foundation.folder().join(name);
    let mut call = Command::new(python);
    call.arg(script)
        .arg(push.daemon.cloud_controller.unwrap().to_string())
        .arg(push.foundation.pki.ca())
        .args([file("pilot.crt"), file("pilot.key")])
        .arg(ROUTES.to_string());
    // It gives up by itself: each of its calls has a deadline.
    let output = tokio::task::spawn_blocking(move || call.output());
    let output = output.await.unwrap().unwrap();
    let (out, error) = (output.stdout.escape_ascii(), output.stderr.escape_ascii());
    assert!(output.status.success(), "{out} {error}");
    assert!(output.stdout.starts_with(b"ok: 5"), "{out} {error}");
    push.holds(|state| {
        let held = state.collections.get(Kind::VirtualService.collection());
        held.is_some_and(|held| held.resources.len() >= ROUTES)
    })
    .await;
    push.daemon.end().await;
}
