//! What is published: immutable collections of encoded resources, cheap to change and to compare.
//!
//! A [`Collection`] is a sorted list of leaves of neighbouring resources. A leaf holds its resources' bytes in one
//! chunk for each [`Form`], exactly as they appear in a response, so that a full response is the list of the chunks and
//! nobody encodes or copies anything to send it. A change rebuilds the one leaf it falls into and shares the others.

mod collection;
mod form;
mod resource;
mod vips;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use tokio::sync::watch;

pub use self::{
    collection::{Changed, Chunks, Collection, Diff, Edits, Sent},
    form::Form,
    resource::{CollectionVersion, Encoded, Resource, ResourceVersion},
    vips::Vips,
};

/// The published state: `None` until the first complete read of every feed.
///
/// Until then a server stays silent: a sink keeps what it has, while an early empty answer would wipe its mesh.
pub type Receiver = watch::Receiver<Option<Arc<Snapshot>>>;

/// Resolves once something is published.
pub async fn published<T>(mut published: watch::Receiver<Option<T>>) {
    if published.wait_for(Option::is_some).await.is_err() {
        // Nobody publishes any more: the process is about to end.
        std::future::pending::<()>().await;
    }
}

/// Every collection at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// When it was published.
    pub published: Instant,
    /// When a source said first what is new in it.
    pub cause: Option<Instant>,
    /// Counts the states of a publisher.
    number: u64,
    /// The first of them whose VirtualServices name nothing that has gone since.
    complete_since: u64,
    collections: BTreeMap<&'static str, Arc<Collection>>,
    /// Only those that differ.
    xds: BTreeMap<&'static str, Arc<Collection>>,
    withheld: BTreeSet<&'static str>,
    /// Resources that no stream keeps for its sink when they are gone, whatever still names them there.
    withdrawn: Arc<BTreeSet<Arc<str>>>,
    vips: Vips,
}

impl Snapshot {
    /// A snapshot of the given collections, published now.
    pub fn new(collections: BTreeMap<&'static str, Arc<Collection>>) -> Self {
        Self {
            published: Instant::now(),
            cause: None,
            number: 0,
            complete_since: u64::MAX,
            collections,
            xds: BTreeMap::new(),
            withheld: BTreeSet::new(),
            withdrawn: Arc::default(),
            vips: Vips::default(),
        }
    }

    /// With its number, and that of the first state from which on VirtualServices name nothing that has gone since. Without
    /// them, what older states name may be gone.
    #[must_use]
    pub fn numbered(mut self, number: u64, complete_since: u64) -> Self {
        self.number = number;
        self.complete_since = complete_since;
        self
    }

    /// With the time at which a source said first what is new in it.
    #[must_use]
    pub fn caused_at(mut self, cause: Option<Instant>) -> Self {
        self.cause = cause;
        self
    }

    /// Whether there is still all that the VirtualServices of an older state name.
    pub fn is_complete_for(&self, older: &Self) -> bool {
        self.complete_since <= older.number
    }

    /// With the names of resources that no stream keeps for its sink when they are gone.
    #[must_use]
    pub fn withdrawing(mut self, names: Arc<BTreeSet<Arc<str>>>) -> Self {
        self.withdrawn = names;
        self
    }

    /// Whether a resource that is gone has to go from every sink, whatever still names it there.
    pub fn withdraws(&self, name: &str) -> bool {
        self.withdrawn.contains(name)
    }

    /// With the collections that MCP-over-xDS serves in place of those of the same name.
    #[must_use]
    pub fn with_xds(mut self, differing: BTreeMap<&'static str, Arc<Collection>>) -> Self {
        self.xds = differing;
        self
    }

    /// With a collection kept back: what belongs in it is not known yet.
    #[must_use]
    pub fn withholding(mut self, name: &'static str) -> Self {
        self.collections.remove(name);
        self.xds.remove(name);
        self.withheld.insert(name);
        self
    }

    /// With the virtual addresses.
    #[must_use]
    pub fn with_vips(mut self, vips: Vips) -> Self {
        self.vips = vips;
        self
    }

    /// Whether the collection of that name is one of ours and not known yet. A server answers for it only once it
    /// is: a sink keeps what it holds meanwhile, and an empty answer would wipe it.
    pub fn withholds(&self, name: &str) -> bool {
        self.withheld.contains(name)
    }

    /// The virtual addresses of the internal hostnames.
    pub fn vips(&self) -> &Vips {
        &self.vips
    }

    /// The collection of that name, if it is one of ours and not withheld.
    pub fn get(&self, name: &str) -> Option<&Arc<Collection>> {
        self.collections.get(name)
    }

    /// The collection of that name as MCP-over-xDS serves it: the same one, unless istiods have to be told something
    /// that older Pilots do not understand.
    pub fn xds(&self, name: &str) -> Option<&Arc<Collection>> {
        self.xds.get(name).or_else(|| self.get(name))
    }

    /// Every collection that is not withheld, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Arc<Collection>)> {
        self.collections
            .iter()
            .map(|(name, collection)| (*name, collection))
    }
}
