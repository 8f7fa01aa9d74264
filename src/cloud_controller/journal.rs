//! What is newer than the BulkSyncs that are under way.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::Instant;

use super::{Refused, change::Change};

/// Cloud Controller reads its database for seconds before it opens the stream.
pub(super) const READ: Duration = Duration::from_secs(10);

/// Changes while a BulkSync is read and received: a thousand a second.
const MAX_CHANGES: usize = 10_000;

/// Stands for a BulkSync while it is under way. Its changes are kept until it is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    /// Counts up.
    pub(super) number: u64,
    _alive: Arc<()>,
}

/// A BulkSync carries what Cloud Controller read from its database before it opened the stream. A change that comes
/// after that is newer, and would be undone by a BulkSync that replaces everything; so each is noted, and made again
/// on top of those that were under way, or opened within [`READ`].
///
/// When the database was read is not said, so a change may also be older than that. Making it again does no harm but
/// where Cloud Controller has undone it since without a call: what it names then stays until the next BulkSync.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// In the order in which they were opened.
    open: Vec<Open>,
    /// How many were opened up to now.
    opened: u64,
    /// The latest, in the order in which they were made. The oldest one makes room where they are too many.
    changes: VecDeque<(Instant, Change)>,
    /// How many changes were made and are no longer kept.
    forgotten: usize,
}

/// Changes are named by how many were made before them.
#[derive(Debug)]
struct Open {
    number: u64,
    alive: Weak<()>,
    /// The first change that may be newer than it.
    first: usize,
    /// The first change since it was opened, which is newer.
    since: usize,
    is_overtaken: bool,
}

impl Journal {
    /// A BulkSync begins.
    pub(super) fn open(&mut self) -> Ticket {
        let alive = Arc::new(());
        let number = self.opened;
        let now = Instant::now();
        let old = |(at, _): &(Instant, Change)| now.duration_since(*at) > READ;
        self.opened += 1;
        self.open.push(Open {
            number,
            alive: Arc::downgrade(&alive),
            first: self.forgotten + self.changes.partition_point(old),
            since: self.forgotten + self.changes.len(),
            is_overtaken: false,
        });
        Ticket {
            number,
            _alive: alive,
        }
    }

    /// The number of the ticket that is next.
    pub(super) fn next_number(&self) -> u64 {
        self.opened
    }

    /// How many BulkSyncs are under way.
    pub(super) fn under_way(&mut self) -> usize {
        self.forget();
        self.open.len()
    }

    /// A change is made.
    pub(super) fn note(&mut self, change: &Change) {
        self.forget();
        if self.changes.len() == MAX_CHANGES {
            self.changes.pop_front();
            self.forgotten += 1;
        }
        self.changes.push_back((Instant::now(), change.clone()));
    }

    /// A BulkSync has arrived: what may have been changed since it was read. It is outdated only where a change that
    /// was made while it was under way is no longer kept: of what came before, nobody knows whether it is newer.
    pub(super) fn close(&mut self, ticket: &Ticket) -> Result<Vec<Change>, Refused> {
        let at = self
            .open
            .iter()
            .position(|open| open.number == ticket.number);
        let at = at.expect("a ticket that is held was opened and not yet closed");
        let open = self.open.remove(at);
        if open.is_overtaken {
            return Err(Refused::Overtaken);
        }
        if open.since < self.forgotten {
            return Err(Refused::Outdated);
        }
        let newer = self.changes.iter();
        let newer = newer.skip(open.first.saturating_sub(self.forgotten));
        Ok(newer.map(|(_, change)| change.clone()).collect())
    }

    /// A BulkSync counts: those that began before it read the database before it did.
    pub(super) fn overtake(&mut self, ticket: &Ticket) {
        for open in &mut self.open {
            open.is_overtaken |= open.number < ticket.number;
        }
    }

    /// Forgets calls that have ended, and changes that none needs, now or later.
    fn forget(&mut self) {
        self.open.retain(|open| open.alive.strong_count() > 0);
        let needed = self.open.iter().map(|open| open.first).min();
        let needed = needed.unwrap_or(usize::MAX);
        while let Some((at, _)) = self.changes.front()
            && self.forgotten < needed
            && at.elapsed() > READ
        {
            self.changes.pop_front();
            self.forgotten += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn change(name: &str) -> Change {
        Change::DeleteRoute(name.into())
    }

    const LATER: Duration = READ.saturating_add(Duration::from_millis(1));

    #[tokio::test(start_paused = true)]
    async fn a_bulk_sync_is_given_what_was_changed_since_it_may_have_been_read() {
        let mut journal = Journal::default();
        journal.note(&change("old"));
        advance(LATER).await;
        journal.note(&change("before"));
        let first = journal.open();
        advance(LATER).await;
        journal.note(&change("between"));
        let second = journal.open();
        journal.note(&change("after"));
        let newer = journal.close(&first).unwrap();
        assert_eq!(
            newer,
            [change("before"), change("between"), change("after")]
        );
        let newer = journal.close(&second).unwrap();
        assert_eq!(newer, [change("between"), change("after")]);
    }

    #[test]
    fn a_bulk_sync_that_began_before_one_that_counts_does_not_count() {
        let mut journal = Journal::default();
        let (first, second) = (journal.open(), journal.open());
        let third = journal.open();
        assert!(journal.close(&second).is_ok());
        journal.overtake(&second);
        assert!(matches!(journal.close(&first), Err(Refused::Overtaken)));
        assert!(journal.close(&third).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_for_a_call_that_has_ended() {
        let mut journal = Journal::default();
        let ticket = journal.open();
        journal.note(&change("newer"));
        advance(LATER).await;
        assert_eq!((journal.under_way(), journal.changes.len()), (1, 1));
        drop(ticket);
        assert_eq!((journal.under_way(), journal.changes.len()), (0, 0));
    }

    #[test]
    fn more_changes_than_it_keeps_spoil_the_bulk_syncs_that_are_under_way() {
        let mut journal = Journal::default();
        let ticket = journal.open();
        for _ in 0..=MAX_CHANGES {
            journal.note(&change("one"));
        }
        assert!(matches!(journal.close(&ticket), Err(Refused::Outdated)));
        let ticket = journal.open();
        journal.note(&change("newest"));
        let newer = journal.close(&ticket).unwrap();
        assert_eq!(newer.len(), MAX_CHANGES);
        assert_eq!(newer.last(), Some(&change("newest")));
    }
}
