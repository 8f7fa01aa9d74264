//! By what a route is found among those of its hostname.

use std::{borrow::Cow, cmp::Reverse, sync::Arc};

use crate::model::Route;

/// The key of a route; nearly all have it for their path.
pub(super) fn shared_key(route: &Route) -> Arc<str> {
    match route.key() {
        Cow::Borrowed(key) if key.len() == route.path.len() => route.path.clone(),
        key => key.into(),
    }
}

/// The longest path first, so that the most exact match wins; then by bytes, so that the order is always the same.
pub(super) fn by_key(key: &str) -> (Reverse<usize>, &str) {
    (Reverse(key.len()), key)
}
