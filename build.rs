//! Compiles `proto/` without protoc.

use std::{env, fs, path::PathBuf};

use prost::Message as _;

const FILES: [&str; 6] = [
    "diego/bbs.proto",
    "istio/mcp/v1alpha1/mcp.proto",
    "istio/networking/v1alpha3/destination_rule.proto",
    "istio/networking/v1alpha3/gateway.proto",
    "istio/networking/v1alpha3/service_entry.proto",
    "istio/networking/v1alpha3/virtual_service.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;

    // The descriptors themselves serve to print any resource as JSON.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;

    let mut config = prost_build::Config::new();
    config
        .disable_comments(["."])
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com")
        // Sorted, so that equal messages have equal bytes.
        .btree_map(["."]);
    // The server side of MCP is our own: it sends shared bytes and must not encode a message for each stream.
    tonic_prost_build::configure()
        .build_server(false)
        .build_client(true)
        .build_transport(false)
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}
