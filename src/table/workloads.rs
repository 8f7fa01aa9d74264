//! What instances are instances of.

use std::collections::BTreeSet;

use smallvec::SmallVec;

use crate::model::{InstanceGuid, Workload};

/// What an instance is one of: a workload mostly, none or several sometimes. Sorted.
pub(super) type Workloads = SmallVec<[Workload; 1]>;

/// Instances that are of other workloads now.
#[derive(Debug)]
pub(super) struct Moved {
    pub(super) instances: BTreeSet<InstanceGuid>,
    pub(super) from: Workloads,
    pub(super) to: Workloads,
}
