//! A sorted, persistent list of encoded resources.

use std::{collections::BTreeMap, sync::Arc};

use bytes::{Bytes, BytesMut};

use super::{CollectionVersion, Encoded, Resource, ResourceVersion};

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

/// Neighbouring resources, their bytes in one chunk. Never empty.
#[derive(Debug)]
struct Leaf {
    entries: Box<[Entry]>,
    chunk: Bytes,
}

#[derive(Debug, Clone)]
struct Entry {
    name: Arc<str>,
    version: ResourceVersion,
    start: usize,
    end: usize,
}

impl Leaf {
    fn first(&self) -> &str {
        &self.entries[0].name
    }

    fn resource(&self, entry: usize) -> Resource<'_> {
        let entry = &self.entries[entry];
        Resource {
            name: &entry.name,
            version: entry.version,
            bytes: self.bytes(entry),
        }
    }

    fn bytes(&self, entry: &Entry) -> Bytes {
        self.chunk.slice(entry.start..entry.end)
    }
}

/// What a sink that holds an older state of a collection needs.
#[derive(Debug, Default, PartialEq, Eq)]
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

    /// Bytes of the resources in a full response.
    pub fn encoded_len(&self) -> usize {
        self.encoded_len
    }

    /// The bytes of a full response's `resources`, shared with everyone who sends them.
    pub fn chunks(&self) -> impl Iterator<Item = &Bytes> {
        self.leaves.iter().map(|leaf| &leaf.chunk)
    }

    /// One of the [`chunks`](Self::chunks), for those who send them one after the other.
    pub fn chunk(&self, index: usize) -> Option<&Bytes> {
        self.leaves.get(index).map(|leaf| &leaf.chunk)
    }

    /// The resources in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = Resource<'_>> {
        self.leaves
            .iter()
            .flat_map(|leaf| (0..leaf.entries.len()).map(|entry| leaf.resource(entry)))
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
        for entry in &leaf.entries {
            let edit = edits.remove(&entry.name);
            if edit.is_some() {
                self.version.subtract(&entry.name, entry.version);
                self.len -= 1;
                self.encoded_len -= entry.end - entry.start;
            }
            match edit {
                None => entries.push((
                    entry.name.clone(),
                    Encoded {
                        version: entry.version,
                        bytes: leaf.bytes(entry),
                    },
                )),
                Some(Some(encoded)) => entries.push(self.added(entry.name.clone(), encoded)),
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
            let kept = previous.entries.iter().map(|entry| {
                let encoded = Encoded {
                    version: entry.version,
                    bytes: previous.bytes(entry),
                };
                (entry.name.clone(), encoded)
            });
            entries.splice(0..0, kept);
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

impl Leaf {
    fn new(entries: &[(Arc<str>, Encoded)]) -> Self {
        let len = entries.iter().map(|(_, encoded)| encoded.bytes.len()).sum();
        let mut chunk = BytesMut::with_capacity(len);
        let entries = entries
            .iter()
            .map(|(name, encoded)| {
                let start = chunk.len();
                chunk.extend_from_slice(&encoded.bytes);
                Entry {
                    name: name.clone(),
                    version: encoded.version,
                    start,
                    end: chunk.len(),
                }
            })
            .collect();
        Self {
            entries,
            chunk: chunk.freeze(),
        }
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
