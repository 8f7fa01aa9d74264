//! The messages of the peers, generated from `proto/`.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    reason = "generated; proto/ documents the messages"
)]

pub(crate) mod fields;

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage};
use prost_types::Any;

/// Copilot's own services, for Cloud Controllers that push and for resolvers.
pub mod api {
    tonic::include_proto!("api");
}

/// What a state file holds.
pub mod state {
    tonic::include_proto!("copilot.state");
}

/// Istio's messages.
pub mod istio {
    /// The Mesh Configuration Protocol.
    pub mod mcp {
        /// Its only version on the wire.
        pub mod v1alpha1 {
            tonic::include_proto!("istio.mcp.v1alpha1");
        }
    }
    /// Traffic management.
    pub mod networking {
        /// The version that every Pilot and istiod decodes.
        pub mod v1alpha3 {
            tonic::include_proto!("istio.networking.v1alpha3");
        }
    }
}

/// Envoy's messages.
pub mod envoy {
    /// Common parts of a configuration.
    pub mod config {
        /// What all others need.
        pub mod core {
            /// The version of the present.
            pub mod v3 {
                tonic::include_proto!("envoy.config.core.v3");
            }
        }
    }
    /// Services.
    pub mod service {
        /// Discovery services.
        pub mod discovery {
            /// The version of the present.
            pub mod v3 {
                tonic::include_proto!("envoy.service.discovery.v3");
            }
        }
    }
}

/// Google's common messages.
pub mod google {
    /// Status of a call.
    pub mod rpc {
        tonic::include_proto!("google.rpc");
    }
}

/// Diego's BBS.
pub mod bbs {
    tonic::include_proto!("diego.bbs.models");
}

/// The encoded descriptors of everything in `proto/`, for reflection.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

static DESCRIPTORS: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(DESCRIPTOR_SET).expect("build.rs wrote valid descriptors")
});

/// Prints the message inside an `Any` as canonical proto3 JSON.
///
/// # Errors
/// The type is not one of `proto/`, or the bytes do not decode as it.
pub fn any_to_json(any: &Any) -> Result<serde_json::Value, JsonError> {
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    let descriptor = DESCRIPTORS
        .get_message_by_name(name)
        .ok_or_else(|| JsonError::UnknownType(any.type_url.clone()))?;
    let message = DynamicMessage::decode(descriptor, any.value.as_slice())?;
    Ok(serde_json::to_value(message)?)
}

/// Why a message could not be printed.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The type is not one of `proto/`.
    #[error("unknown type {0}")]
    UnknownType(String),
    /// The bytes are not a message of that type.
    #[error("undecodable message")]
    Decode(#[from] prost::DecodeError),
    /// The message has no JSON form.
    #[error("message without a JSON form")]
    Json(#[from] serde_json::Error),
}
