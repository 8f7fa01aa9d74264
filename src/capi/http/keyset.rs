//! Paging by key: each page begins where the last one ended, so that deletions meanwhile shift no row past the reader.

use std::cmp::Ordering;

use crate::capi::{error::OutOfOrder, timestamp::Timestamp};

/// How often rows of one second are read again because some of them were deleted meanwhile.
const MAX_RESTARTS: u32 = 3;

/// What paging needs to know of a page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    /// How many rows it has, readable or not.
    pub(crate) rows: usize,
    /// The time of its last readable row.
    pub(crate) last: Option<Timestamp>,
    /// Whether the server says that there is more.
    pub(crate) has_next: bool,
    /// How many rows the server counts in all.
    pub(crate) total: Option<u64>,
}

/// Where a walk over rows in order of their time stands.
#[derive(Debug, Clone)]
pub(crate) struct Keyset {
    column: &'static str,
    per_page: u32,
    cursor: Option<Timestamp>,
    page: u32,
    total: Option<u64>,
    restarts: u32,
}

impl Keyset {
    /// Walks over `column` (`created_at` or `updated_at`) from `from` on.
    pub(crate) fn new(column: &'static str, per_page: u32, from: Option<Timestamp>) -> Self {
        Self {
            column,
            per_page,
            cursor: from,
            page: 1,
            total: None,
            restarts: 0,
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

    /// Takes note of a page. Whether another one is to be read.
    pub(crate) fn advance(&mut self, page: Facts) -> Result<bool, OutOfOrder> {
        if self.has_shifted(page.total) {
            self.restarts += 1;
            self.page = 1;
            self.total = None;
            return Ok(true);
        }
        if !page.has_next || page.rows < self.per_page as usize {
            return Ok(false);
        }
        match page.last.cmp(&self.cursor) {
            Ordering::Greater => {
                self.cursor = page.last;
                self.page = 1;
                self.total = None;
                self.restarts = 0;
            }
            // More rows in one second than a page holds: on by page number within this second.
            _ if page.last.is_none() || page.last == self.cursor => {
                self.page += 1;
                self.total = page.total;
            }
            _ => {
                return Err(OutOfOrder {
                    cursor: display(self.cursor),
                    last: display(page.last),
                });
            }
        }
        Ok(true)
    }

    /// Page numbers shift when rows are deleted between two pages: what was the first row of this page is then the
    /// last of the one before. A page beyond the end counts no rows at all, which tells the same.
    fn has_shifted(&self, total: Option<u64>) -> bool {
        self.page > 1 && total < self.total && self.restarts < MAX_RESTARTS
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
        let facts = Facts {
            rows: page.len(),
            last: page.last().map(|(second, _)| time(*second)),
            has_next: start + size < matching.len(),
            total: Some(if page.is_empty() {
                0
            } else {
                matching.len() as u64
            }),
        };
        (page, facts)
    }

    /// Reads everything; between pages, `deleted` rows go one by one.
    fn read(mut rows: Rows, per_page: u32, mut deleted: Vec<(u64, u32)>) -> (Rows, Rows) {
        let mut keyset = Keyset::new("created_at", per_page, None);
        let mut seen = Rows::new();
        for _ in 0..10_000 {
            let (page, facts) = serve(&rows, &keyset);
            seen.extend(page);
            if !keyset.advance(facts).unwrap() {
                return (seen, rows);
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

    #[test]
    fn a_server_that_does_not_sort_is_an_error() {
        let mut keyset = Keyset::new("created_at", 1, Some(time(9)));
        let page = Facts {
            rows: 1,
            last: Some(time(3)),
            has_next: true,
            total: Some(5),
        };
        assert!(keyset.advance(page).is_err());
    }
}
