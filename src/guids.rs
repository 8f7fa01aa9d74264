//! Maps and sets whose keys are guids, which Cloud Controller and Diego choose: hashing them need not withstand an
//! attacker. What users choose, such as hostnames, stays in the maps of the standard library.

use std::collections;

use foldhash::fast::RandomState;

/// A map from guids, or from what is made of guids.
pub(crate) type GuidMap<K, V> = collections::HashMap<K, V, RandomState>;

/// A set of guids, or of what is made of guids.
pub(crate) type GuidSet<K> = collections::HashSet<K, RandomState>;
