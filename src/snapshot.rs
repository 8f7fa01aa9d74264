//! What is published: immutable collections of encoded resources, cheap to change and to compare.
//!
//! A [`Collection`] is a sorted list of leaves of neighbouring resources. A leaf holds its resources' bytes in one
//! chunk for each [`Form`], exactly as they appear in a response, so that a full response is the list of the chunks and
//! nobody encodes or copies anything to send it. A change rebuilds the one leaf it falls into and shares the others.

mod collection;
mod era;
mod form;
mod kind;
mod leaf;
mod resource;
mod vips;

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use tokio::sync::watch;

pub use self::{
    collection::{Changed, Chunks, Collection, Diff, Edits, Sent},
    era::{Era, Eras},
    form::Form,
    kind::{ByKind, Kind},
    leaf::Resource,
    resource::{CollectionVersion, Encoded, ResourceVersion},
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
    /// Those that are not withheld.
    collections: ByKind<Option<Eras<Arc<Collection>>>>,
    /// Resources that no stream keeps for its sink when they are gone, whatever still names them there.
    withdrawn: Arc<BTreeSet<Arc<str>>>,
    vips: Vips,
}

impl Snapshot {
    /// A snapshot of the given collections, published now.
    pub fn new(collections: ByKind<Eras<Arc<Collection>>>) -> Self {
        Self {
            published: Instant::now(),
            cause: None,
            number: 0,
            complete_since: u64::MAX,
            collections: collections.map(Some),
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

    /// With a collection kept back: what belongs in it is not known yet. A server answers for it only once it is: a sink
    /// keeps what it holds meanwhile, and an empty answer would wipe it.
    #[must_use]
    pub fn withholding(mut self, kind: Kind) -> Self {
        self.collections[kind] = None;
        self
    }

    /// With the virtual addresses.
    #[must_use]
    pub fn with_vips(mut self, vips: Vips) -> Self {
        self.vips = vips;
        self
    }

    /// The virtual addresses of the internal hostnames.
    pub fn vips(&self) -> &Vips {
        &self.vips
    }

    /// The collection of that kind as an era is served it; `None` while it is withheld.
    pub fn of(&self, kind: Kind, era: Era) -> Option<&Arc<Collection>> {
        Some(self.collections[kind].as_ref()?.of(era))
    }

    /// The same for Pilots.
    pub fn get(&self, kind: Kind) -> Option<&Arc<Collection>> {
        self.of(kind, Era::Classic)
    }

    /// The same for istiods.
    pub fn xds(&self, kind: Kind) -> Option<&Arc<Collection>> {
        self.of(kind, Era::Xds)
    }

    /// Every collection that is not withheld, as Pilots are served it.
    pub fn iter(&self) -> impl Iterator<Item = (Kind, &Arc<Collection>)> {
        let kinds = Kind::ALL.into_iter();
        kinds.filter_map(|kind| Some((kind, self.get(kind)?)))
    }
}
