//! What one answer, and one read of many, may take.

use std::time::Duration;

use tokio::time::Instant;

/// Five thousand routes of the largest kind (a hundred destinations) are a tenth of this; it bounds what one
/// answer can take.
pub(super) const MAX_BODY: usize = 64 << 20;
/// From the first page of a read to its last.
const MAX_TIME: Duration = Duration::from_hours(1);
/// A row has a kilobyte or two.
const MAX_ROW: usize = 3 << 10;

/// What one read may take in all. A list that goes on for ever ends with it, as a failed read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    pages: usize,
    rows: usize,
    bytes: usize,
    until: Option<Instant>,
}

impl Budget {
    /// For so many rows. No page but one that was shifted has none that is new.
    pub(crate) fn new(rows: usize) -> Self {
        Self {
            pages: rows,
            rows,
            bytes: rows.saturating_mul(MAX_ROW).max(MAX_BODY),
            until: None,
        }
    }

    /// Takes a page off. Whether it was still within.
    pub(super) fn take(&mut self, rows: usize, bytes: usize) -> Option<()> {
        let now = Instant::now();
        self.pages = self.pages.checked_sub(1)?;
        self.rows = self.rows.checked_sub(rows)?;
        self.bytes = self.bytes.checked_sub(bytes)?;
        (now <= *self.until.get_or_insert(now + MAX_TIME)).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_read_may_take_so_many_rows_pages_and_bytes_and_so_much_time() {
        let mut budgets = [Budget::new(10); 4];
        let [rows, bytes, pages, time] = &mut budgets;
        let within = [
            rows.take(10, 0),
            bytes.take(0, MAX_BODY),
            (0..10).try_for_each(|_| pages.take(0, 0)),
            time.take(0, 0),
        ];
        assert_eq!(within, [Some(()); 4]);
        let beyond = [rows.take(1, 0), bytes.take(0, 1), pages.take(0, 0)];
        assert_eq!(beyond, [None; 3], "rows, bytes, pages");
        advance(MAX_TIME).await;
        assert_eq!(time.take(0, 0), Some(()), "it lasts from the first page on");
        advance(Duration::from_millis(1)).await;
        assert_eq!(time.take(0, 0), None);
    }
}
