//! A sorted, persistent list of encoded resources.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use bytes::{Bytes, BytesMut};

use super::{CollectionVersion, Encoded, Form, Resource, ResourceVersion};

/// Most resources of a leaf. A change copies one leaf, some 20 KiB at the usual 300 bytes a resource; a smaller
/// leaf makes more chunks to send, a larger one more bytes to copy.
const LEAF_MAX: usize = 64;
/// A leaf that has shrunk below this joins its neighbour.
const LEAF_MIN: usize = LEAF_MAX / 4;

/// All resources of one kind at one moment. Clones and successors share the leaves that are the same.
#[derive(Debug, Clone, Default)]
pub struct Collection {
    version: CollectionVersion,
    len: usize,
    encoded_len: usize,
    leaves: Vec<Arc<Leaf>>,
}

/// Neighbouring resources, their bytes in one chunk for each form. Never empty.
#[derive(Debug)]
pub(super) struct Leaf {
    entries: Box<[Entry]>,
    /// In the form of MCP, which is how resources are encoded.
    mcp: Chunk,
    /// In the others: written when somebody first asks for them, and then shared like the leaf itself.
    ads: OnceLock<Chunk>,
    delta_ads: OnceLock<Chunk>,
}

#[derive(Debug, Clone)]
struct Entry {
    name: Arc<str>,
    version: ResourceVersion,
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
    fn new(entries: &[(Arc<str>, Encoded)]) -> Self {
        let len = entries.iter().map(|(_, encoded)| encoded.bytes.len()).sum();
        let mcp = Chunk::new(len, entries.iter(), |(_, encoded), chunk| {
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

    fn first(&self) -> &str {
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
                form.write(&resource, chunk);
            })
        })
    }

    /// The bytes of one of its resources, a part of the chunk.
    pub(super) fn slice(&self, form: Form, entry: usize) -> Bytes {
        self.chunk(form).slice(entry)
    }

    fn resources(&self) -> impl Iterator<Item = Resource<'_>> {
        (0..self.entries.len()).map(|entry| self.resource(entry))
    }

    fn resource(&self, entry: usize) -> Resource<'_> {
        let Entry { name, version } = &self.entries[entry];
        Resource {
            name,
            version: *version,
            leaf: self,
            entry,
        }
    }

    /// Its resources as they were added.
    fn encoded(&self) -> impl Iterator<Item = (Arc<str>, Encoded)> {
        self.entries.iter().enumerate().map(|(index, entry)| {
            let encoded = Encoded {
                version: entry.version,
                bytes: self.slice(Form::Mcp, index),
            };
            (entry.name.clone(), encoded)
        })
    }

    fn differs(&self, name: &str, edit: Option<&Encoded>) -> bool {
        let held = self
            .entries
            .binary_search_by(|entry| (*entry.name).cmp(name))
            .ok()
            .map(|entry| self.entries[entry].version);
        held != edit.map(|encoded| encoded.version)
    }
}

/// What a sink that holds an older state of a collection needs.
#[derive(Debug, Default)]
pub struct Diff<'a> {
    /// New, or with another version.
    pub changed: Vec<Resource<'a>>,
    /// The names of those that are gone.
    pub removed: Vec<&'a str>,
}

impl Diff<'_> {
    /// Whether the two states are the same.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty()
    }
}

impl Collection {
    /// The version: equal for equal names and versions, whatever the history.
    pub fn version(&self) -> CollectionVersion {
        self.version
    }

    /// How many resources it has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of the resources in a full response of MCP.
    pub fn encoded_len(&self) -> usize {
        self.encoded_len
    }

    /// The bytes of a full response's `resources`, shared with everyone who sends them.
    pub fn chunks(&self, form: Form) -> impl Iterator<Item = &Bytes> {
        self.leaves.iter().map(move |leaf| &leaf.chunk(form).bytes)
    }

    /// One of the [`chunks`](Self::chunks), for those who send them one after the other.
    pub fn chunk(&self, form: Form, index: usize) -> Option<&Bytes> {
        self.leaves.get(index).map(|leaf| &leaf.chunk(form).bytes)
    }

    /// The resources in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = Resource<'_>> {
        self.leaves.iter().flat_map(|leaf| leaf.resources())
    }

    /// The resource of that name.
    pub fn get(&self, name: &str) -> Option<Resource<'_>> {
        let after = self.leaves.partition_point(|leaf| leaf.first() <= name);
        let leaf = &self.leaves[after.checked_sub(1)?];
        let entry = leaf
            .entries
            .binary_search_by(|entry| (*entry.name).cmp(name))
            .ok()?;
        Some(leaf.resource(entry))
    }

    /// The collection with resources set (`Some`) and removed (`None`). An edit that sets what is there already, or
    /// removes what is not, changes nothing. Only the leaves with edits are rebuilt; of the others a pointer is copied.
    #[must_use]
    pub fn edited(&self, edits: BTreeMap<Arc<str>, Option<Encoded>>) -> Self {
        let mut next = Self {
            leaves: Vec::with_capacity(self.leaves.len() + 1),
            ..*self
        };
        let mut edits = edits.into_iter().peekable();
        for (index, leaf) in self.leaves.iter().enumerate() {
            let bound = self.leaves.get(index + 1).map(|next| next.first());
            let mut own = BTreeMap::new();
            while let Some((name, edit)) =
                edits.next_if(|(name, _)| bound.is_none_or(|bound| &**name < bound))
            {
                own.insert(name, edit);
            }
            own.retain(|name, edit| leaf.differs(name, edit.as_ref()));
            if own.is_empty() {
                next.leaves.push(leaf.clone());
            } else {
                let entries = next.merge(leaf, own);
                next.push(entries);
            }
        }
        // Only a collection without leaves leaves edits over.
        let entries: Vec<_> = edits
            .filter_map(|(name, edit)| Some(next.added(name, edit?)))
            .collect();
        next.push(entries);
        next
    }

    /// The leaf's entries after its edits; totals follow.
    fn merge(
        &mut self,
        leaf: &Leaf,
        mut edits: BTreeMap<Arc<str>, Option<Encoded>>,
    ) -> Vec<(Arc<str>, Encoded)> {
        let mut entries = Vec::with_capacity(leaf.entries.len() + edits.len());
        for (name, held) in leaf.encoded() {
            let edit = edits.remove(&name);
            if edit.is_some() {
                self.version.subtract(&name, held.version);
                self.len -= 1;
                self.encoded_len -= held.bytes.len();
            }
            match edit {
                None => entries.push((name, held)),
                Some(Some(encoded)) => entries.push(self.added(name, encoded)),
                Some(None) => {}
            }
        }
        let new: Vec<_> = edits
            .into_iter()
            .filter_map(|(name, edit)| Some(self.added(name, edit?)))
            .collect();
        if !new.is_empty() {
            entries.extend(new);
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        entries
    }

    fn added(&mut self, name: Arc<str>, encoded: Encoded) -> (Arc<str>, Encoded) {
        self.version.add(&name, encoded.version);
        self.len += 1;
        self.encoded_len += encoded.bytes.len();
        (name, encoded)
    }

    /// Appends rebuilt entries, in leaves of even size; too small a leaf takes in the one before it.
    fn push(&mut self, mut entries: Vec<(Arc<str>, Encoded)>) {
        if entries.is_empty() {
            return;
        }
        if entries.len() < LEAF_MIN
            && let Some(previous) = self.leaves.pop()
        {
            entries.splice(0..0, previous.encoded());
        }
        let leaves = entries.len().div_ceil(LEAF_MAX);
        let size = entries.len().div_ceil(leaves);
        self.leaves.extend(
            entries
                .chunks(size)
                .map(|entries| Arc::new(Leaf::new(entries))),
        );
    }

    /// What changed since `old`. Leaves that both share are skipped.
    pub fn diff<'a>(&'a self, old: &'a Self) -> Diff<'a> {
        let (mut new, mut old) = (Cursor::new(self), Cursor::new(old));
        let mut diff = Diff::default();
        loop {
            while new.skip_shared(&mut old) {}
            match (new.entry(), old.entry()) {
                (None, None) => return diff,
                (Some(_), None) => diff.changed.push(new.take()),
                (None, Some(_)) => diff.removed.push(old.take().name),
                (Some(ours), Some(theirs)) => match ours.name.cmp(&theirs.name) {
                    std::cmp::Ordering::Less => diff.changed.push(new.take()),
                    std::cmp::Ordering::Greater => diff.removed.push(old.take().name),
                    std::cmp::Ordering::Equal => {
                        let same = ours.version == theirs.version;
                        let resource = new.take();
                        old.take();
                        if !same {
                            diff.changed.push(resource);
                        }
                    }
                },
            }
        }
    }
}

/// A place in a collection's sorted entries.
struct Cursor<'a> {
    leaves: &'a [Arc<Leaf>],
    entry: usize,
}

impl<'a> Cursor<'a> {
    fn new(collection: &'a Collection) -> Self {
        Self {
            leaves: &collection.leaves,
            entry: 0,
        }
    }

    fn entry(&self) -> Option<&'a Entry> {
        Some(&self.leaves.first()?.entries[self.entry])
    }

    /// The entry's resource; the cursor moves on. Only where `entry` is some.
    fn take(&mut self) -> Resource<'a> {
        let leaf = &self.leaves[0];
        let resource = leaf.resource(self.entry);
        self.entry += 1;
        if self.entry == leaf.entries.len() {
            self.leaves = &self.leaves[1..];
            self.entry = 0;
        }
        resource
    }

    /// Moves both past a leaf that they share, if both are at its beginning.
    fn skip_shared(&mut self, other: &mut Self) -> bool {
        let (Some(a), Some(b)) = (self.leaves.first(), other.leaves.first()) else {
            return false;
        };
        let shared = self.entry == 0 && other.entry == 0 && Arc::ptr_eq(a, b);
        if shared {
            self.leaves = &self.leaves[1..];
            other.leaves = &other.leaves[1..];
        }
        shared
    }
}

#[cfg(test)]
mod tests;
