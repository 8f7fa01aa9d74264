//! The table of what was tried, one row as soon as it is known, and the verdict over all of them.

use std::fmt::Write as _;

use crate::{known, scenario::Row};

/// How many kinds of failures a row names.
const FAILURES: usize = 8;

/// What becomes of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Holds,
    Wrong,
    /// It could not be tried.
    Skipped,
    /// It fails as it is known to.
    Known,
    /// It is known to fail, and holds.
    Mended,
}

/// The table, as far as it goes.
#[derive(Debug, Default)]
pub struct Table {
    group: &'static str,
    rows: usize,
    known: usize,
    skipped: usize,
    wrong: Vec<&'static str>,
}

impl Table {
    /// The lines of one more row.
    pub fn add(&mut self, row: &Row) -> String {
        let mut text = String::new();
        if self.group != row.scenario.group {
            self.group = row.scenario.group;
            text += &head(self.group);
        }
        let reason = known::reason(row.scenario.name);
        let verdict = match (&row.wrong, reason) {
            _ if row.tally.skipped.is_some() => Verdict::Skipped,
            (None, None) => Verdict::Holds,
            (Some(_), None) => Verdict::Wrong,
            (Some(_), Some(_)) => Verdict::Known,
            (None, Some(_)) => Verdict::Mended,
        };
        self.rows += 1;
        match verdict {
            Verdict::Holds => {}
            Verdict::Known => self.known += 1,
            Verdict::Skipped => self.skipped += 1,
            Verdict::Wrong | Verdict::Mended => self.wrong.push(row.scenario.name),
        }
        text += &line(row, verdict);
        for (how, count) in row.tally.failures.iter().take(FAILURES) {
            append(&mut text, format_args!("    {count} × {how}\n"));
        }
        for note in &row.tally.notes {
            append(&mut text, format_args!("    {note}\n"));
        }
        if let Some(wrong) = &row.wrong {
            for line in wrong.lines() {
                append(&mut text, format_args!("    {line}\n"));
            }
        }
        if let Some(why) = &row.tally.skipped {
            append(&mut text, format_args!("    {why}\n"));
        }
        match (verdict, reason) {
            (Verdict::Known, Some(reason)) => {
                append(&mut text, format_args!("    known: {reason}\n"));
            }
            (Verdict::Mended, _) => text += "    it holds: take it off the list of known rows\n",
            _ => {}
        }
        text
    }

    /// The last lines, and whether all is as it should be.
    pub fn end(&self) -> (String, bool) {
        let Self {
            rows,
            known,
            skipped,
            wrong,
            ..
        } = self;
        let holds = rows - known - skipped - wrong.len();
        let mut text = format!(
            "\n{rows} rows: {holds} hold, {known} are known not to, {skipped} skipped, {} wrong\n",
            wrong.len()
        );
        for name in wrong {
            append(&mut text, format_args!("  wrong: {name}\n"));
        }
        (text, wrong.is_empty() && *rows > 0)
    }
}

fn head(group: &str) -> String {
    format!(
        "\n{group:<58} {:>8} {:>8} {:>9}  answers\n",
        "requests", "failures", "slowest"
    )
}

fn line(row: &Row, verdict: Verdict) -> String {
    let tally = &row.tally;
    let mark = match verdict {
        Verdict::Holds => "ok",
        Verdict::Wrong => "WRONG",
        Verdict::Skipped => "SKIP",
        Verdict::Known => "known",
        Verdict::Mended => "MENDED",
    };
    let counts: Vec<_> = tally
        .answers
        .iter()
        .map(|(by, count)| format!("{by} {count}"))
        .collect();
    format!(
        "{mark:<6} {:<51} {:>8} {:>8} {:>6} ms  {}\n",
        row.scenario.name,
        tally.requests(),
        tally.failures(),
        tally.slowest.as_millis(),
        counts.join(", "),
    )
}

fn append(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments)
        .expect("a String takes everything");
}
