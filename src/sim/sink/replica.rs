//! What a sink holds, as the responses that it applied made it.

use std::collections::BTreeMap;

use tonic::Status;

use crate::proto::istio::mcp::v1alpha1::{Resource, Resources};

/// Everything that a sink holds.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// By collection; those that were answered.
    pub collections: BTreeMap<String, Replica>,
    /// How the stream ended, once it has.
    pub ended: Option<Status>,
}

/// One collection as a sink holds it.
#[derive(Debug, Clone, Default)]
pub struct Replica {
    /// The version of the response that was applied last.
    pub version: String,
    /// How many were applied.
    pub applied: u64,
    /// The resources by name.
    pub resources: BTreeMap<String, Resource>,
}

impl State {
    /// Applies a response to its collection.
    pub fn apply(&mut self, response: Resources) {
        self.collections
            .entry(response.collection.clone())
            .or_default()
            .apply(response);
    }

    /// The names that it holds of a collection; `None` before the first response.
    pub fn names(&self, collection: &str) -> Option<Vec<&str>> {
        let replica = self.collections.get(collection)?;
        Some(replica.resources.keys().map(String::as_str).collect())
    }
}

impl Replica {
    /// Applies a response: a full state replaces everything; a delta first sets, then removes, and to remove what is
    /// not there is no error.
    pub fn apply(&mut self, response: Resources) {
        if !response.incremental {
            self.resources.clear();
        }
        for resource in response.resources {
            let name = resource.metadata.as_ref().map(|metadata| &metadata.name);
            self.resources
                .insert(name.cloned().unwrap_or_default(), resource);
        }
        for name in &response.removed_resources {
            self.resources.remove(name);
        }
        self.version = response.system_version_info;
        self.applied += 1;
    }

    /// The versions by name.
    pub fn versions(&self) -> BTreeMap<String, String> {
        self.resources
            .iter()
            .map(|(name, resource)| {
                let metadata = resource.metadata.as_ref();
                let version = metadata.map(|metadata| metadata.version.clone());
                (name.clone(), version.unwrap_or_default())
            })
            .collect()
    }
}
