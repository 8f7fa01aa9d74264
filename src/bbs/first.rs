//! Whether a first list is believed: there is nothing to compare it with, and whoever routes by it may hold more.

use std::time::Duration;

use tokio::time::Instant;

use super::{Error, client::Read, merge::Merge};

/// Rows that cannot be read and are bad rows, left out one by one; more are a format that we do not know.
const MAX_UNREADABLE: usize = 10;
/// A cold start of Diego has fewer than half of its instances running, and cells report every half minute.
const DOUBTED: Duration = Duration::from_mins(1);
/// How many lists in a row have to say so.
const DOUBTED_READS: u32 = 3;

/// The lists until one is believed.
#[derive(Debug)]
pub(super) struct FirstList {
    confirm_after: Duration,
    /// Since when they have been doubted.
    since: Option<Instant>,
    /// How many have been.
    reads: u32,
}

impl FirstList {
    /// A list that the BBS does not vouch for is believed after a while.
    pub(super) fn new(confirm_after: Duration) -> Self {
        Self {
            confirm_after,
            since: None,
            reads: 0,
        }
    }

    /// Judges a list.
    ///
    /// A BBS whose database was lost lists nothing at first, then some, and does not vouch for it; so what it does not
    /// vouch for is believed after a while only, and nothing never. Of what it vouches for, nothing has to be said twice,
    /// and fewer than half of what is to run three times.
    pub(super) fn judge(&mut self, read: Read) -> Result<Read, Error> {
        let (listed, unreadable) = (read.list.instances.len(), read.dropped.len());
        let is_much = unreadable > MAX_UNREADABLE && unreadable * 10 > listed + unreadable;
        if is_much || listed == 0 && unreadable > 0 {
            return Err(Error::Unreadable { listed, unreadable });
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        self.reads += 1;
        let (running, wanted) = amounts(&read);
        if !read.list.fresh {
            let is_patient = listed > 0 && since.elapsed() >= self.confirm_after;
            return if is_patient {
                Ok(read)
            } else {
                Err(Error::NotFresh)
            };
        }
        if running * 2 < wanted {
            let has_lasted = since.elapsed() >= DOUBTED && self.reads >= DOUBTED_READS;
            return if has_lasted {
                Ok(read)
            } else {
                Err(Error::Doubtful { running, wanted })
            };
        }
        if listed == 0 && self.reads < 2 {
            return Err(Error::Nothing);
        }
        Ok(read)
    }

    /// When the next list could be believed.
    pub(super) fn retry(error: &Error) -> Option<Duration> {
        match error {
            Error::Nothing => Some(Duration::ZERO),
            Error::Doubtful { .. } => Some(DOUBTED / 2),
            _ => None,
        }
    }
}

/// How many instances run, and how many are to.
fn amounts(read: &Read) -> (usize, usize) {
    let mut once = Merge::default();
    once.list(read.list.clone(), once.mark(), Instant::now());
    let wanted = usize::try_from(once.wanted()).unwrap_or(usize::MAX);
    (once.served(), wanted)
}
