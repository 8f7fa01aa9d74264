//! One resource: its encoding and the version that follows from its content.

use std::fmt;

use bytes::Bytes;
use prost::{
    Message as _, Name,
    encoding::{WireType, encode_key, encode_varint},
};
use prost_types::{Any, Timestamp};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::proto::istio::mcp::v1alpha1::{Metadata, Resource as Message};

/// Field number of `resources` in `istio.mcp.v1alpha1.Resources`.
const RESOURCES: u32 = 3;

/// The version of a resource: a hash of its content.
///
/// Equal content has equal versions on every replica and after every restart. Pilot refreshes its endpoints only
/// when the version changes, so a counter that starts again would make it keep stale ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceVersion(u64);

impl fmt::Display for ResourceVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The version of a collection: the sum of hashes of its resources' names and versions, in no particular order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CollectionVersion(u128);

impl CollectionVersion {
    pub(super) fn add(&mut self, name: &str, version: ResourceVersion) {
        self.0 = self.0.wrapping_add(term(name, version));
    }

    pub(super) fn subtract(&mut self, name: &str, version: ResourceVersion) {
        self.0 = self.0.wrapping_sub(term(name, version));
    }
}

fn term(name: &str, version: ResourceVersion) -> u128 {
    let mut input = Vec::with_capacity(name.len() + 8);
    input.extend_from_slice(&version.0.to_le_bytes());
    input.extend_from_slice(name.as_bytes());
    xxh3_128(&input)
}

impl fmt::Display for CollectionVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A resource, encoded once for everyone who will ever be sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    pub(super) version: ResourceVersion,
    pub(super) bytes: Bytes,
}

impl Encoded {
    /// Encodes `body` under `name`. `created_at` is in seconds since the Unix epoch, and part of the content: sinks
    /// order by it, so it must not depend on when the daemon started.
    pub fn new<M: prost::Message + Name>(name: &str, created_at: i64, body: &M) -> Self {
        let body = Any {
            type_url: M::type_url(),
            value: body.encode_to_vec(),
        };
        let mut hash = Xxh3::new();
        hash.update(&created_at.to_le_bytes());
        // Lengths keep neighbouring fields apart.
        hash.update(&name.len().to_le_bytes());
        hash.update(name.as_bytes());
        hash.update(&body.type_url.len().to_le_bytes());
        hash.update(body.type_url.as_bytes());
        hash.update(&body.value);
        let version = ResourceVersion(hash.digest());

        let message = Message {
            metadata: Some(Metadata {
                name: name.to_owned(),
                create_time: Some(Timestamp {
                    seconds: created_at,
                    nanos: 0,
                }),
                version: version.to_string(),
                ..Metadata::default()
            }),
            body: Some(body),
        };
        let len = message.encoded_len();
        let mut bytes = Vec::with_capacity(len + 8);
        encode_key(RESOURCES, WireType::LengthDelimited, &mut bytes);
        encode_varint(len as u64, &mut bytes);
        message
            .encode(&mut bytes)
            .expect("a Vec takes all that is written");
        Self {
            version,
            bytes: bytes.into(),
        }
    }

    /// Its version.
    pub fn version(&self) -> ResourceVersion {
        self.version
    }
}
