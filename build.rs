//! Compiles `proto/` without protoc, and says which version this is.

use std::{env, fs, path::PathBuf, process::Command};

use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

const FILES: [&str; 10] = [
    "copilot/api.proto",
    "copilot/state.proto",
    "diego/bbs.proto",
    "envoy/service/discovery/v3/ads.proto",
    "istio/mcp/v1alpha1/mcp.proto",
    "istio/networking/v1alpha3/destination_rule.proto",
    "istio/networking/v1alpha3/gateway.proto",
    "istio/networking/v1alpha3/service_entry.proto",
    "istio/networking/v1alpha3/sidecar.proto",
    "istio/networking/v1alpha3/virtual_service.proto",
];

/// Set by whoever builds a release from sources that are no git checkout any more: the commit that they were.
const COMMIT: &str = "COPILOT_COMMIT";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-env-changed={COMMIT}");
    let commit = env::var(COMMIT).ok().or_else(checked_out);
    let commit = commit.as_deref().unwrap_or("unknown commit");
    let version = env::var("CARGO_PKG_VERSION")?;
    println!("cargo:rustc-env=COPILOT_VERSION={version} ({commit})");

    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;

    // The descriptors themselves serve to print any resource as JSON.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;

    // The server side of MCP and of ADS is our own: it sends shared bytes and must not encode a message for each stream.
    let (api, others): (Vec<_>, Vec<_>) = descriptors
        .file
        .into_iter()
        .partition(|file| file.package() == "api");
    generate(api, true)?;
    generate(others, false)?;
    Ok(())
}

/// The commit of a checkout. What was changed since is not told: cargo does not start this again for each change.
fn checked_out() -> Option<String> {
    // It has a line for each commit and checkout. In a worktree it is elsewhere.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    println!("cargo:rerun-if-changed={log}");
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn generate(file: Vec<FileDescriptorProto>, build_server: bool) -> std::io::Result<()> {
    let mut config = prost_build::Config::new();
    config
        .disable_comments(["."])
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com")
        .bytes([".api.BulkSyncRequestChunk"])
        // Sorted, so that equal messages have equal bytes.
        .btree_map(["."]);
    tonic_prost_build::configure()
        .build_server(build_server)
        .build_client(true)
        .build_transport(false)
        .compile_fds_with_config(FileDescriptorSet { file }, config)
}
