//! Maps and sets whose keys are guids, which Cloud Controller and Diego choose, or begin with one: a user who also chooses
//! the rest, as of a workload the process type, has few of them. The hash is seeded, and not made to withstand an attacker.
//! What users choose freely, such as hostnames, stays in the maps of the standard library.

use std::collections;

use foldhash::fast::RandomState;

/// A map from guids, or from what is made of guids.
pub(crate) type GuidMap<K, V> = collections::HashMap<K, V, RandomState>;

/// A set of guids, or of what is made of guids.
pub(crate) type GuidSet<K> = collections::HashSet<K, RandomState>;
