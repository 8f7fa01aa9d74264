//! Paging by key: each page begins where the last one ended, so that deletions meanwhile shift no row past the reader.

use std::{cmp::Ordering, collections::HashSet};

use crate::capi::{
    error::{BadPage, Contradiction},
    timestamp::Timestamp,
};

/// How often rows are read again because some of them were deleted meanwhile.
const MAX_RESTARTS: u32 = 3;

/// A read fails if more rows than this, and more than a tenth of what is still to come, vanish between two pages.
const MANY: u64 = 500;

/// What paging needs to know of a page.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// The hash of each row, readable or not.
    pub(crate) rows: Vec<u64>,
    /// The time of its last readable row.
    pub(crate) last: Option<Timestamp>,
    /// How many rows at its end are of that time.
    pub(crate) ties: usize,
    /// Whether the server says that there is more.
    pub(crate) has_next: bool,
    /// The number of the page that is next, where the server says it.
    pub(crate) next: Option<u64>,
    /// How many rows the server counts in all, from where the walk stands.
    pub(crate) total: u64,
}

/// Where a walk over rows in order of their time stands.
#[derive(Debug, Clone)]
pub(crate) struct Keyset {
    column: &'static str,
    per_page: u32,
    cursor: Option<Timestamp>,
    page: u32,
    /// What was counted at the page before, of the same second.
    total: u64,
    /// How many rows there are to be at least from the cursor on, if none was deleted meanwhile.
    expected: u64,
    restarts: u32,
    /// The rows that were read since the cursor was moved.
    seen: HashSet<u64>,
}

impl Keyset {
    /// Walks over `column` (`created_at` or `updated_at`) from `from` on.
    pub(crate) fn new(column: &'static str, per_page: u32, from: Option<Timestamp>) -> Self {
        Self {
            column,
            per_page,
            cursor: from,
            page: 1,
            total: 0,
            expected: 0,
            restarts: 0,
            seen: HashSet::new(),
        }
    }

    /// What the rows are sorted by.
    pub(crate) fn column(&self) -> &'static str {
        self.column
    }

    /// The parameters of the next page.
    pub(crate) fn query(&self) -> Vec<(String, String)> {
        let mut query = vec![
            ("order_by".to_owned(), self.column.to_owned()),
            ("per_page".to_owned(), self.per_page.to_string()),
        ];
        if let Some(cursor) = self.cursor {
            // Not `gt`: it skips what was committed late in the same second.
            query.push((format!("{}s[gte]", self.column), cursor.to_string()));
        }
        if self.page > 1 {
            query.push(("page".to_owned(), self.page.to_string()));
        }
        query
    }

    /// Takes note of a page. Whether another one is to be read. A page that contradicts itself is none, and can be asked
    /// for again.
    pub(crate) fn advance(&mut self, page: &Facts) -> Result<bool, BadPage> {
        if self.has_shifted(page.total) {
            return self.restart(page.total);
        }
        let seen = self.check(page)?;
        if !page.has_next {
            return Ok(false);
        }
        match page.last.cmp(&self.cursor) {
            Ordering::Greater => {
                let before = self.before(page.rows.len() - page.ties);
                self.cursor = page.last;
                self.page = 1;
                self.expected = page.total.saturating_sub(before);
                self.restarts = 0;
                self.seen.clear();
            }
            // More rows in one second than a page holds: on by page number within this second.
            _ if page.last.is_none() || page.last == self.cursor => {
                self.page += 1;
                self.total = page.total;
                self.seen.extend(seen);
            }
            _ => {
                return Err(BadPage::OutOfOrder {
                    cursor: display(self.cursor),
                    last: display(page.last),
                });
            }
        }
        Ok(true)
    }

    /// Whether rows were deleted since the page before, or are kept from us.
    ///
    /// Page numbers shift when rows are deleted between two pages: what was the first row of this page is then the
    /// last of the one before. A page beyond the end counts no rows at all, which tells the same.
    fn has_shifted(&self, total: u64) -> bool {
        if self.page > 1 {
            total < self.total
        } else {
            total < self.expected && (self.restarts < MAX_RESTARTS || self.lacks_much(total))
        }
    }

    /// Of the rows from the cursor on, those at the cursor itself were read before.
    fn lacks_much(&self, total: u64) -> bool {
        total == 0 || self.expected.saturating_sub(total) > MANY.max(self.expected / 10)
    }

    /// Reads from the cursor again. On a first page, what is counted twice is believed, unless many are lacking, or
    /// all: nobody deletes as much between two pages, and a page that lies may have moved the cursor past all that there is.
    fn restart(&mut self, total: u64) -> Result<bool, BadPage> {
        self.restarts += 1;
        if self.page == 1 {
            if self.lacks_much(total) {
                return Err(Contradiction::Shifts.into());
            }
            self.expected = total;
        } else if self.restarts > MAX_RESTARTS {
            return Err(Contradiction::Shifts.into());
        }
        self.page = 1;
        self.seen.clear();
        Ok(true)
    }

    /// How many rows from the cursor on come before the first one but `rows` of this page.
    fn before(&self, rows: usize) -> u64 {
        u64::from(self.page - 1) * u64::from(self.per_page) + rows as u64
    }

    /// Whether a page says one thing only. Its rows, but for those that were read since the cursor was moved.
    fn check(&self, page: &Facts) -> Result<HashSet<u64>, Contradiction> {
        let (rows, total) = (page.rows.len(), page.total);
        let end = self.before(rows);
        let mut seen: HashSet<_> = page.rows.iter().copied().collect();
        if seen.len() < rows {
            return Err(Contradiction::Repeats);
        }
        if page.has_next
            && page
                .next
                .is_some_and(|next| next != u64::from(self.page) + 1)
        {
            return Err(Contradiction::Next);
        }
        if page.has_next && (rows < self.per_page as usize || total <= end) {
            return Err(Contradiction::Short { rows, total });
        }
        seen.retain(|row| !self.seen.contains(row));
        // However much it counts: without a row that is new, the walk would come round for ever.
        if page.has_next && seen.is_empty() {
            return Err(Contradiction::Repeats);
        }
        let is_short = !page.has_next && ((self.seen.len() + seen.len()) as u64) < total;
        if is_short || !page.has_next && rows as u64 > total {
            return Err(Contradiction::Short { rows, total });
        }
        Ok(seen)
    }
}

fn display(timestamp: Option<Timestamp>) -> String {
    timestamp.map_or_else(|| "the beginning".to_owned(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn time(second: u64) -> Timestamp {
        let text = format!("\"1970-01-01T00:{:02}:{:02}Z\"", second / 60, second % 60);
        serde_json::from_str(&text).unwrap()
    }

    /// Rows in the server's order: by time, then by identity.
    type Rows = BTreeSet<(u64, u32)>;

    fn serve(rows: &Rows, keyset: &Keyset) -> (Vec<(u64, u32)>, Facts) {
        let from = keyset.cursor.map_or(0, Timestamp::unix_seconds);
        let matching: Vec<_> = rows
            .range((u64::try_from(from).unwrap(), 0)..)
            .copied()
            .collect();
        let size = keyset.per_page as usize;
        let start = size * (keyset.page as usize - 1);
        let page: Vec<_> = matching.iter().skip(start).take(size).copied().collect();
        let hash = |&(second, row): &(u64, u32)| second << 32 | u64::from(row);
        let last = page.last().map(|(second, _)| *second);
        let facts = Facts {
            rows: page.iter().map(hash).collect(),
            last: last.map(time),
            ties: page
                .iter()
                .filter(|(second, _)| Some(*second) == last)
                .count(),
            has_next: start + size < matching.len(),
            next: Some(u64::from(keyset.page) + 1),
            total: if page.is_empty() {
                0
            } else {
                matching.len() as u64
            },
        };
        (page, facts)
    }

    /// Reads everything; between pages, `deleted` rows go one by one. A walk that finds nothing where there was to be
    /// more is begun anew, as a failed read is.
    fn read(mut rows: Rows, per_page: u32, mut deleted: Vec<(u64, u32)>) -> (Rows, Rows) {
        let mut keyset = Keyset::new("created_at", per_page, None);
        let mut seen = Rows::new();
        for _ in 0..10_000 {
            let (page, facts) = serve(&rows, &keyset);
            seen.extend(page);
            match keyset.advance(&facts) {
                Ok(true) => {}
                Ok(false) => return (seen, rows),
                Err(BadPage::Contradicts(Contradiction::Shifts)) => {
                    keyset = Keyset::new("created_at", per_page, None);
                    seen.clear();
                }
                Err(error) => panic!("{error}"),
            }
            if let Some(row) = deleted.pop() {
                rows.remove(&row);
            }
        }
        panic!("the walk does not end");
    }

    proptest! {
        #[test]
        fn reads_every_row_whatever_the_ties(rows in prop::collection::btree_set((0..20_u64, 0..50_u32), 0..200), per_page in 1..20_u32) {
            let (seen, rows) = read(rows, per_page, Vec::new());
            prop_assert_eq!(seen, rows);
        }

        #[test]
        fn deletions_between_pages_lose_no_live_row(
            rows in prop::collection::btree_set((0..60_u64, 0..3_u32), 1..200),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        ) {
            let all: Vec<_> = rows.iter().copied().collect();
            let deleted = picks.iter().map(|pick| *pick.get(&all)).collect();
            let (seen, live) = read(rows, 5, deleted);
            prop_assert!(seen.is_superset(&live));
        }
    }

    #[test]
    fn a_deletion_among_the_rows_of_one_second_loses_none_of_them() {
        let rows: Rows = (0..25).map(|row| (7, row)).collect();
        let (seen, live) = read(rows, 10, vec![(7, 0), (7, 1)]);
        assert!(seen.is_superset(&live));
    }

    /// A page of these rows, which are all of different seconds.
    fn page(rows: std::ops::Range<u64>, total: u64, next: Option<u64>) -> Facts {
        Facts {
            last: rows.clone().last().map(time),
            ties: 1,
            rows: rows.collect(),
            has_next: next.is_some(),
            next,
            total,
        }
    }

    fn walk() -> Keyset {
        Keyset::new("created_at", 3, None)
    }

    #[test]
    fn a_server_that_does_not_sort_is_an_error() {
        let mut keyset = Keyset::new("created_at", 1, Some(time(9)));
        let error = keyset.advance(&page(3..4, 5, Some(2))).unwrap_err();
        assert!(matches!(error, BadPage::OutOfOrder { .. }));
    }

    #[test]
    fn a_page_that_contradicts_itself_is_none_and_can_be_asked_for_again() {
        let repeated = Facts {
            rows: vec![0, 1, 1],
            ..page(0..3, 5, Some(2))
        };
        let mut keyset = walk();
        for bad in [
            page(0..2, 5, None),    // Fewer than it counts.
            page(0..3, 5, None),    // And no next page.
            page(0..2, 5, Some(2)), // Short, with a next page.
            page(0..0, 0, Some(2)), // Empty, with a next page.
            page(0..3, 3, Some(2)), // A next page of nothing.
            page(0..3, 5, Some(1)), // It is its own next page.
            page(0..2, 1, None),    // More than it counts.
            repeated,
        ] {
            assert!(keyset.advance(&bad).is_err(), "{bad:?}");
        }
        assert!(keyset.advance(&page(0..3, 5, Some(2))).unwrap());
        assert!(!keyset.advance(&page(2..5, 3, None)).unwrap());
    }

    #[test]
    fn a_server_that_answers_every_page_alike_is_no_list() {
        let rows: Rows = (0..6).map(|row| (7, row)).collect();
        let mut keyset = walk();
        let (_, first) = serve(&rows, &keyset);
        assert!(keyset.advance(&first).unwrap());
        assert!(keyset.advance(&first).unwrap(), "the cursor was moved");
        let again = Facts {
            has_next: false,
            next: None,
            ..first
        };
        assert!(keyset.advance(&again).is_err());
    }

    #[test]
    fn rows_that_vanish_between_pages_are_asked_for_twice() {
        let mut keyset = walk();
        keyset.advance(&page(0..3, 9, Some(2))).unwrap();
        assert!(keyset.advance(&page(2..3, 1, None)).unwrap(), "once");
        assert!(!keyset.clone().advance(&page(2..3, 1, None)).unwrap());
        assert!(keyset.advance(&page(2..5, 7, Some(2))).unwrap(), "a lie");
    }

    #[test]
    fn a_page_from_the_future_does_not_make_all_before_it_vanish() {
        let mut keyset = walk();
        assert!(keyset.advance(&page(0..3, 90, Some(2))).unwrap());
        assert!(keyset.advance(&page(1000..1003, 4000, Some(2))).unwrap());
        let nothing = Facts {
            last: None,
            ..page(0..0, 0, None)
        };
        for again in 0..=MAX_RESTARTS {
            assert!(keyset.advance(&nothing).is_err(), "{again}");
        }
    }
}
