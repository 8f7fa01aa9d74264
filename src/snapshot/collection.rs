//! A sorted, persistent list of encoded resources.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    vec,
};

use bytes::Bytes;

use super::{
    CollectionVersion, Encoded, Form, Resource,
    leaf::{Entry, Leaf, bytes},
};

/// Most resources of a leaf. A change copies one leaf.
const LEAF_MAX: usize = 64;
/// Most bytes of a leaf of several resources: as much as one DATA frame of HTTP/2 carries if it is to fit, with its head
/// of 9 bytes, into one record of TLS. RFC 9113 4.2 lets peers take frames of 16 KiB, and nearly all leave it at that;
/// RFC 8446 5.1 limits records to as much. So a leaf is sent with one frame, one record and one write.
const LEAF_BYTES: usize = (16 << 10) - 9;
/// How full leaves become that are made anew: names differ in length.
const LEAF_FILL: usize = LEAF_BYTES / 10 * 9;
/// A leaf that has shrunk below one part in so many of both limits joins its neighbour.
const LEAF_MIN: usize = 4;
/// Most leaves of a branch. A change copies the pointers of one branch's leaves and of all branches: at 250,000
/// resources, that is 64 and some 100, where a list of all leaves would have 5,000.
const BRANCH_MAX: usize = 64;
/// A branch that has shrunk below this joins its neighbour.
const BRANCH_MIN: usize = BRANCH_MAX / 4;

/// All resources of one kind at one moment. Clones and successors share the branches and leaves that are the same.
#[derive(Debug, Clone, Default)]
pub struct Collection {
    version: CollectionVersion,
    len: usize,
    encoded_len: usize,
    branches: Vec<Arc<Branch>>,
}

/// Neighbouring leaves. Never empty.
#[derive(Debug)]
struct Branch {
    leaves: Box<[Arc<Leaf>]>,
}

impl Branch {
    fn first(&self) -> &str {
        self.leaves[0].first()
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
        self.leaves().map(move |leaf| leaf.bytes(form))
    }

    /// All resources as they are sent to a sink that holds `before`: what it has not yet at the given end.
    pub fn sent_after(&self, before: Option<&Self>, changed: Changed) -> Sent {
        let leaves = self.leaves().cloned();
        let Some(before) = before else {
            return Sent(leaves.collect());
        };
        let held: HashSet<_> = before.leaves().map(Arc::as_ptr).collect();
        let (held, new): (Vec<_>, Vec<_>) =
            leaves.partition(|leaf| held.contains(&Arc::as_ptr(leaf)));
        Sent(match changed {
            Changed::First => [new, held].concat(),
            Changed::Last => [held, new].concat(),
        })
    }

    fn leaves(&self) -> impl Iterator<Item = &Arc<Leaf>> {
        self.branches.iter().flat_map(|branch| &branch.leaves)
    }

    /// The resources in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = Resource<'_>> {
        self.leaves().flat_map(|leaf| leaf.resources())
    }

    /// The resource of that name.
    pub fn get(&self, name: &str) -> Option<Resource<'_>> {
        let branch = self
            .branches
            .get(place(&self.branches, Branch::first, name))?;
        let leaf = &branch.leaves[place(&branch.leaves, Leaf::first, name)];
        leaf.get(name)
    }

    /// The collection with resources set (`Some`) and removed (`None`). An edit that sets what is there already, or
    /// removes what is not, changes nothing. Only the leaves with edits are rebuilt; of the others in their branches,
    /// and of the other branches, a pointer is copied.
    #[must_use]
    pub fn edited(&self, edits: Edits) -> Self {
        let mut next = Self {
            branches: Vec::with_capacity(self.branches.len() + 1),
            ..*self
        };
        let mut kept = 0;
        let rest = each_edited(&self.branches, Branch::first, edits, |index, own| {
            let shared = &self.branches[kept..index];
            next.branches.extend_from_slice(shared);
            kept = index + 1;
            next.edit_branch(&self.branches[index], own);
        });
        next.branches.extend_from_slice(&self.branches[kept..]);
        // Only a collection without resources leaves edits over.
        let entries = next.all_added(rest);
        let mut leaves = Vec::new();
        push_leaves(&mut leaves, entries);
        next.push_branches(leaves);
        next
    }

    /// The collection with those resources of another one that may be kept and whose names it has not; itself, if there
    /// are none.
    #[must_use]
    pub fn keeping(
        self: &Arc<Self>,
        other: &Self,
        may_be_kept: impl Fn(&str) -> bool,
    ) -> Arc<Self> {
        let missing = self.diff(other).removed.into_iter();
        let missing = missing.filter(|name| may_be_kept(name));
        let missing = missing.filter_map(|name| {
            let resource = other.get(name)?;
            Some((name.into(), Some(resource.encoded())))
        });
        let missing: Edits = missing.collect();
        if missing.is_empty() {
            return self.clone();
        }
        Arc::new(self.edited(missing))
    }

    /// Appends the branch with its edits; the branch itself, if they change nothing.
    fn edit_branch(&mut self, branch: &Arc<Branch>, edits: Edits) {
        let mut leaves = Vec::with_capacity(branch.leaves.len() + 1);
        let (mut kept, mut changed) = (0, false);
        each_edited(&branch.leaves, Leaf::first, edits, |index, mut own| {
            leaves.extend_from_slice(&branch.leaves[kept..index]);
            kept = index + 1;
            let leaf = &branch.leaves[index];
            own.retain(|name, edit| leaf.differs(name, edit.as_ref()));
            if own.is_empty() {
                leaves.push(leaf.clone());
            } else {
                changed = true;
                push_leaves(&mut leaves, self.merge(leaf, own));
            }
        });
        leaves.extend_from_slice(&branch.leaves[kept..]);
        if changed {
            self.push_branches(leaves);
        } else {
            self.branches.push(branch.clone());
        }
    }

    /// The leaf's entries after its edits; totals follow.
    fn merge(&mut self, leaf: &Leaf, mut edits: Edits) -> Vec<(Arc<str>, Encoded)> {
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
        let new = self.all_added(edits);
        if !new.is_empty() {
            entries.extend(new);
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        entries
    }

    /// What edits set, where nothing was before.
    fn all_added(&mut self, edits: Edits) -> Vec<(Arc<str>, Encoded)> {
        let set = edits.into_iter();
        set.filter_map(|(name, edit)| Some(self.added(name, edit?)))
            .collect()
    }

    fn added(&mut self, name: Arc<str>, encoded: Encoded) -> (Arc<str>, Encoded) {
        self.version.add(&name, encoded.version);
        self.len += 1;
        self.encoded_len += encoded.bytes.len();
        (name, encoded)
    }

    /// Appends rebuilt leaves, in branches of even size; too small a branch takes in the one before it.
    fn push_branches(&mut self, mut leaves: Vec<Arc<Leaf>>) {
        if leaves.is_empty() {
            return;
        }
        if leaves.len() < BRANCH_MIN
            && let Some(previous) = self.branches.pop()
        {
            leaves.splice(0..0, previous.leaves.iter().cloned());
        }
        self.branches.extend(
            in_even_parts(&leaves, leaves.len().div_ceil(BRANCH_MAX)).map(|leaves| {
                Arc::new(Branch {
                    leaves: leaves.into(),
                })
            }),
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

/// Resources to set or to remove, by name.
pub type Edits = BTreeMap<Arc<str>, Option<Encoded>>;

/// Where a name belongs among branches or leaves, of which `first` tells the first name: to the last that begins with
/// it or before it, or to the first of all.
fn place<T>(parts: &[Arc<T>], first: impl Fn(&T) -> &str, name: &str) -> usize {
    parts
        .partition_point(|part| first(part) <= name)
        .saturating_sub(1)
}

/// Shares edits out to the branches or leaves where they belong, in their order. What is left over had nowhere to go.
fn each_edited<T>(
    parts: &[Arc<T>],
    first: impl Fn(&T) -> &str,
    mut edits: Edits,
    mut edit: impl FnMut(usize, Edits),
) -> Edits {
    while let Some((name, _)) = edits.first_key_value() {
        if parts.is_empty() {
            break;
        }
        let index = place(parts, &first, name);
        let later = parts
            .get(index + 1)
            .map(|next| edits.split_off(first(next)));
        edit(index, edits);
        edits = later.unwrap_or_default();
    }
    edits
}

/// Appends rebuilt entries, in leaves of even size; too small a leaf takes in the one before it.
fn push_leaves(leaves: &mut Vec<Arc<Leaf>>, mut entries: Vec<(Arc<str>, Encoded)>) {
    if entries.is_empty() {
        return;
    }
    if entries.len() < LEAF_MAX / LEAF_MIN
        && bytes(&entries) < LEAF_BYTES / LEAF_MIN
        && let Some(previous) = leaves.pop()
    {
        entries.splice(0..0, previous.encoded());
    }
    let bytes = bytes(&entries);
    let parts = if entries.len() <= LEAF_MAX && bytes <= LEAF_BYTES {
        1
    } else {
        let parts = entries.len().div_ceil(LEAF_MAX);
        parts.max(bytes.div_ceil(LEAF_FILL)).min(entries.len())
    };
    let rebuilt = in_even_parts(&entries, parts);
    leaves.extend(rebuilt.map(|entries| Arc::new(Leaf::new(entries))));
}

/// At most so many parts, of even size. There are items.
fn in_even_parts<T>(items: &[T], parts: usize) -> impl Iterator<Item = &[T]> {
    items.chunks(items.len().div_ceil(parts))
}

/// Where in a full response that is which its sink does not hold yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// Before the rest.
    First,
    /// After the rest.
    Last,
}

/// All resources of a collection, leaf by leaf, in the order in which they are sent. Shares the leaves.
#[derive(Debug)]
pub struct Sent(Vec<Arc<Leaf>>);

impl Sent {
    /// Bytes of them in that form.
    pub fn len_in(&self, form: Form) -> usize {
        self.chunks(form).map(Bytes::len).sum()
    }

    /// The bytes of a full response's `resources`, shared with everyone who sends them.
    pub fn chunks(&self, form: Form) -> impl Iterator<Item = &Bytes> {
        self.0.iter().map(move |leaf| leaf.bytes(form))
    }

    /// The same, for those who send them one after the other.
    pub fn into_chunks(self, form: Form) -> Chunks {
        Chunks {
            leaves: self.0.into_iter(),
            form,
        }
    }
}

/// The chunks of leaves that are kept until they were sent.
#[derive(Debug)]
pub struct Chunks {
    leaves: vec::IntoIter<Arc<Leaf>>,
    form: Form,
}

impl Iterator for Chunks {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let leaf = self.leaves.next()?;
        Some(leaf.bytes(self.form).clone())
    }
}

/// A place in a collection's sorted entries.
struct Cursor<'a> {
    branches: &'a [Arc<Branch>],
    leaf: usize,
    entry: usize,
}

impl<'a> Cursor<'a> {
    fn new(collection: &'a Collection) -> Self {
        Self {
            branches: &collection.branches,
            leaf: 0,
            entry: 0,
        }
    }

    fn leaf(&self) -> Option<&'a Arc<Leaf>> {
        Some(&self.branches.first()?.leaves[self.leaf])
    }

    fn entry(&self) -> Option<&'a Entry> {
        Some(&self.leaf()?.entries[self.entry])
    }

    /// The entry's resource; the cursor moves on. Only where `entry` is some.
    fn take(&mut self) -> Resource<'a> {
        let leaf = &self.branches[0].leaves[self.leaf];
        let resource = leaf.resource(self.entry);
        self.entry += 1;
        if self.entry == leaf.entries.len() {
            self.skip_leaf();
        }
        resource
    }

    fn skip_leaf(&mut self) {
        self.entry = 0;
        self.leaf += 1;
        if self.leaf == self.branches[0].leaves.len() {
            self.skip_branch();
        }
    }

    fn skip_branch(&mut self) {
        self.leaf = 0;
        self.branches = &self.branches[1..];
    }

    /// Moves both past a branch or leaf that they share, if both are at its beginning.
    fn skip_shared(&mut self, other: &mut Self) -> bool {
        if self.entry > 0 || other.entry > 0 {
            return false;
        }
        let are_same = self.leaf == 0
            && other.leaf == 0
            && match (self.branches.first(), other.branches.first()) {
                (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
                _ => false,
            };
        if are_same {
            self.skip_branch();
            other.skip_branch();
            return true;
        }
        let (Some(ours), Some(theirs)) = (self.leaf(), other.leaf()) else {
            return false;
        };
        let shared = Arc::ptr_eq(ours, theirs);
        if shared {
            self.skip_leaf();
            other.skip_leaf();
        }
        shared
    }
}

#[cfg(test)]
mod tests;
