//! Neighbouring resources of a collection, in the bytes in which they are sent.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use prost::Message as _;

use super::{Encoded, Form, ResourceVersion};
use crate::proto::istio::mcp::v1alpha1::{Resource as Message, Resources};

/// Neighbouring resources, their bytes in one chunk for each form. Never empty.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) entries: Box<[Entry]>,
    /// In the form of MCP, which is how resources are encoded.
    mcp: Chunk,
    /// In the others: written when somebody first asks for them, and then shared like the leaf itself.
    ads: OnceLock<Chunk>,
    delta_ads: OnceLock<Chunk>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Arc<str>,
    pub(super) version: ResourceVersion,
}

/// The bytes of a leaf's resources, one after the other.
#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    /// Where each of them ends.
    ends: Box<[usize]>,
}

impl Chunk {
    /// A chunk to which `write` appends one resource after the other.
    fn new<T>(
        capacity: usize,
        resources: impl Iterator<Item = T>,
        write: impl Fn(T, &mut BytesMut),
    ) -> Self {
        let mut bytes = BytesMut::with_capacity(capacity);
        let ends = resources.map(|resource| {
            write(resource, &mut bytes);
            bytes.len()
        });
        Self {
            ends: ends.collect(),
            bytes: bytes.freeze(),
        }
    }

    fn slice(&self, index: usize) -> Bytes {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.bytes.slice(start..self.ends[index])
    }
}

impl Leaf {
    pub(super) fn new(entries: &[(Arc<str>, Encoded)]) -> Self {
        let mcp = Chunk::new(bytes(entries), entries.iter(), |(_, encoded), chunk| {
            chunk.extend_from_slice(&encoded.bytes);
        });
        let entries = entries.iter().map(|(name, encoded)| Entry {
            name: name.clone(),
            version: encoded.version,
        });
        Self {
            entries: entries.collect(),
            mcp,
            ads: OnceLock::new(),
            delta_ads: OnceLock::new(),
        }
    }

    pub(super) fn first(&self) -> &str {
        &self.entries[0].name
    }

    fn chunk(&self, form: Form) -> &Chunk {
        let chunk = match form {
            Form::Mcp => return &self.mcp,
            Form::Ads => &self.ads,
            Form::DeltaAds => &self.delta_ads,
        };
        chunk.get_or_init(|| {
            // The names and type URLs that are added make up for about half of it again.
            let capacity = self.mcp.bytes.len() * 3 / 2;
            Chunk::new(capacity, self.resources(), |resource, chunk| {
                form.write(resource.name, resource.version, resource.decode(), chunk);
            })
        })
    }

    /// The bytes of all its resources, one after the other.
    pub(super) fn bytes(&self, form: Form) -> &Bytes {
        &self.chunk(form).bytes
    }

    pub(super) fn resources(&self) -> impl Iterator<Item = Resource<'_>> {
        (0..self.entries.len()).map(|entry| self.resource(entry))
    }

    pub(super) fn resource(&self, entry: usize) -> Resource<'_> {
        let Entry { name, version } = &self.entries[entry];
        Resource {
            name,
            version: *version,
            leaf: self,
            entry,
        }
    }

    /// Its resources as they were added.
    pub(super) fn encoded(&self) -> impl Iterator<Item = (Arc<str>, Encoded)> {
        let names = self.entries.iter().map(|entry| entry.name.clone());
        names.zip(self.resources().map(|resource| resource.encoded()))
    }

    /// The resource of that name.
    pub(super) fn get(&self, name: &str) -> Option<Resource<'_>> {
        let entry = self
            .entries
            .binary_search_by(|entry| (*entry.name).cmp(name));
        Some(self.resource(entry.ok()?))
    }

    pub(super) fn differs(&self, name: &str, edit: Option<&Encoded>) -> bool {
        let held = self.get(name).map(|resource| resource.version);
        held != edit.map(|encoded| encoded.version)
    }
}

/// The bytes of resources in the form of MCP.
pub(super) fn bytes(entries: &[(Arc<str>, Encoded)]) -> usize {
    entries.iter().map(|(_, encoded)| encoded.bytes.len()).sum()
}

/// A resource of a collection.
#[derive(Debug, Clone, Copy)]
pub struct Resource<'a> {
    /// Its name in the collection.
    pub name: &'a str,
    /// The hash of its content.
    pub version: ResourceVersion,
    leaf: &'a Leaf,
    entry: usize,
}

impl Resource<'_> {
    /// Its entry of a response's `resources`: key, length, message; shared with everyone who sends it.
    pub fn frame(&self, form: Form) -> Bytes {
        self.leaf.chunk(form).slice(self.entry)
    }

    /// As it was added to its collection.
    pub(super) fn encoded(&self) -> Encoded {
        Encoded {
            version: self.version,
            bytes: self.frame(Form::Mcp),
        }
    }

    /// The message itself.
    pub fn decode(&self) -> Message {
        Resources::decode(self.frame(Form::Mcp))
            .ok()
            .and_then(|response| response.resources.into_iter().next())
            .expect("a collection holds what `Encoded::new` wrote")
    }
}
