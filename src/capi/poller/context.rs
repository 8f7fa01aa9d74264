//! What all parts of the poller work with: the way in, the way out, and what was sent.

use std::{collections::BTreeSet, ops::ControlFlow};

use tokio::time::Instant;
use tracing::info;

use super::{index::Index, pending::Pending};
use crate::{
    capi::{
        error::Error,
        http::Client,
        reads::batch::Batch,
        settings::{Io, Settings},
    },
    feed::Feed,
    model::{Basis, Refusal, RouteGuid, Update},
};

/// Whether the peers inside the process are still there.
pub(super) type Flow = ControlFlow<()>;

/// What each part of the poller is lent.
pub(super) struct Context {
    pub(super) settings: Settings,
    pub(super) io: Io,
    pub(super) client: Client,
    pub(super) index: Index,
    pub(super) pending: Pending,
}

impl Context {
    pub(super) async fn send(&self, update: Update, basis: Basis) -> Flow {
        match self.io.updates.send(update.on(basis)).await {
            Ok(()) => Flow::Continue(()),
            Err(_) => Flow::Break(()),
        }
    }

    /// Whether nothing is served yet.
    pub(super) fn is_starting(&self) -> bool {
        self.io.confirmations.borrow().is_starting
    }

    /// When a full read could confirm something that is held.
    pub(super) fn confirmation(&self) -> Option<Instant> {
        self.io.confirmations.borrow().routes
    }

    /// Withholds what is known of these routes, at once.
    pub(super) async fn refuse(
        &mut self,
        routes: impl IntoIterator<Item = RouteGuid>,
        why: Refusal,
    ) -> Flow {
        let refused: Vec<_> = routes
            .into_iter()
            // The publisher may know routes that no read has found yet.
            .filter(|guid| self.index.refuse(guid, why) || !self.index.contains(guid))
            .map(|guid| (guid, why))
            .collect();
        if refused.is_empty() {
            return Flow::Continue(());
        }
        info!(routes = refused.len(), ?why, "routes are withheld");
        self.send(Update::Refused(refused), Basis::Told).await
    }

    /// Reads these routes again.
    pub(super) fn read_again(&mut self, routes: BTreeSet<RouteGuid>) {
        if !routes.is_empty() {
            self.pending
                .changed(Batch::of_routes(routes), Instant::now());
        }
    }
}

pub(super) fn report(feed: &Feed, error: &Error) {
    feed.failed(error.kind(), error);
}
