//! How many files and connections the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// Raises the limit as far as the process may by itself, and says what it is.
pub fn raise() {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: before.maximum,
        ..before
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => info!(limit = limit(), before = before.current, "open files"),
        Err(error) => warn!(%error, limit = limit(), "open files cannot be more"),
    }
}

/// The limit that is in force.
pub fn limit() -> usize {
    let current = getrlimit(Resource::Nofile).current;
    let current = current.map(usize::try_from);
    current.and_then(Result::ok).unwrap_or(usize::MAX)
}
