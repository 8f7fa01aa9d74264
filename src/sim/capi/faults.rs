//! What goes wrong, and when.

use std::fmt;

use super::{lies::Lie, log::Endpoint, state::State};

/// A way to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// 401, and every token is revoked.
    Revoked,
    /// 403: the client lacks the scope.
    Forbidden,
    /// 404 as the router answers when Cloud Controller has no route.
    UnknownRoute,
    /// 404 as Cloud Controller answers to a path that it does not have.
    UnknownPath,
    /// 404 as it answers where an object is gone.
    ResourceNotFound,
    /// 429, with `Retry-After` in seconds.
    RateLimited(u64),
    /// 500 as Cloud Controller answers when the Routing API is down.
    UnknownError,
    /// 502 in HTML.
    BadGateway,
    /// 503 in plain text, while the database is backed up.
    Maintenance,
    /// A good answer that ends half-way, and with it the connection.
    Truncated,
    /// The connection ends before an answer.
    Reset,
    /// An answer without end.
    Endless,
    /// No answer at all.
    Hang,
    /// A list that is wrong in this way.
    Lie(Lie),
    /// A list of nothing.
    Empty,
    /// 200 with something that is no JSON.
    Garbage,
    /// 200 with this text.
    Says(&'static str),
    /// A full page of rows that nobody has seen, and always one more.
    Unending,
    /// 200 with JSON that is no list.
    NoList,
}

type Change = Box<dyn FnOnce(&mut State) + Send>;

struct Plan<T> {
    endpoint: Endpoint,
    after: usize,
    times: usize,
    what: T,
}

/// The faults and changes to come.
#[derive(Default)]
pub(super) struct Script {
    faults: Vec<Plan<Fault>>,
    changes: Vec<Plan<Change>>,
}

impl Script {
    pub(super) fn inject(&mut self, endpoint: Endpoint, after: usize, times: usize, what: Fault) {
        self.faults.push(Plan {
            endpoint,
            after,
            times,
            what,
        });
    }

    pub(super) fn before(&mut self, endpoint: Endpoint, after: usize, what: Change) {
        self.changes.push(Plan {
            endpoint,
            after,
            times: 1,
            what,
        });
    }

    /// What happens to the next request.
    pub(super) fn next(&mut self, endpoint: Endpoint) -> (Option<Fault>, Vec<Change>) {
        let fault = due(&mut self.faults, endpoint).into_iter().next();
        let fault = fault.map(|at| self.faults[at].what);
        let changes = due(&mut self.changes, endpoint);
        let changes = changes
            .into_iter()
            .rev()
            .map(|at| self.changes.remove(at).what)
            .collect();
        self.faults.retain(|plan| plan.times > 0);
        (fault, changes)
    }
}

/// Counts a request; which plans it meets.
fn due<T>(plans: &mut [Plan<T>], endpoint: Endpoint) -> Vec<usize> {
    let mut due = Vec::new();
    for (at, plan) in plans.iter_mut().enumerate() {
        if plan.endpoint != endpoint {
            continue;
        }
        if plan.after > 0 {
            plan.after -= 1;
        } else {
            plan.times -= 1;
            due.push(at);
        }
    }
    due
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<_> = self.faults.iter().map(|plan| plan.what).collect();
        f.debug_struct("Script")
            .field("faults", &faults)
            .field("changes", &self.changes.len())
            .finish()
    }
}
