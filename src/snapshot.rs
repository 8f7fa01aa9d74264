//! What is published: immutable collections of encoded resources, cheap to change and to compare.
//!
//! A [`Collection`] is a sorted list of leaves of neighbouring resources. A leaf holds its resources' bytes in one
//! chunk, exactly as they appear in an MCP response, so that a full response is the list of the chunks and nobody
//! encodes or copies anything to send it. A change rebuilds the one leaf it falls into and shares the others.

mod collection;
mod resource;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use tokio::sync::watch;

pub use self::{
    collection::{Collection, Diff},
    resource::{CollectionVersion, Encoded, Resource, ResourceVersion},
};

/// The published state: `None` until the first complete read of every feed.
///
/// Until then a server stays silent: a sink keeps what it has, while an early empty answer would wipe its mesh.
pub type Receiver = watch::Receiver<Option<Arc<Snapshot>>>;

/// Every collection at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// When it was published.
    pub published: Instant,
    collections: BTreeMap<&'static str, Arc<Collection>>,
}

impl Snapshot {
    /// A snapshot of the given collections, published now.
    pub fn new(collections: BTreeMap<&'static str, Arc<Collection>>) -> Self {
        Self {
            published: Instant::now(),
            collections,
        }
    }

    /// The collection of that name, if it is one of ours.
    pub fn get(&self, name: &str) -> Option<&Arc<Collection>> {
        self.collections.get(name)
    }

    /// Every collection, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Arc<Collection>)> {
        self.collections
            .iter()
            .map(|(name, collection)| (*name, collection))
    }
}
