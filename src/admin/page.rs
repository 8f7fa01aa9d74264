//! One answer, as JSON for programs and as text for people.

use std::{
    convert::Infallible,
    fmt::{self, Display, Write as _},
    time::{Duration, SystemTime},
};

use axum::{
    Json,
    extract::FromRequestParts,
    http::{HeaderName, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use serde::{Serialize, Serializer};

/// What whoever asks wants to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    Json,
    /// They ask for `text/plain` before all else.
    Text,
}

impl<S: Sync> FromRequestParts<S> for Wants {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let accept = parts.headers.get(header::ACCEPT);
        let is_text = accept.is_some_and(|accept| accept.as_bytes().starts_with(b"text/plain"));
        Ok(if is_text { Self::Text } else { Self::Json })
    }
}

impl Wants {
    /// The answer in the form that is wanted.
    pub(super) fn page<T: Serialize + Display>(self, answer: &T) -> Response {
        match self {
            Self::Json => Json(answer).into_response(),
            Self::Text => answer.to_string().into_response(),
        }
    }
}

/// How many things somebody has to look at: what a script is told of an answer.
const WORRIES: HeaderName = HeaderName::from_static("copilot-worries");

/// The answer with a count of what somebody has to look at.
pub(super) fn worrying(mut answer: Response, worries: usize) -> Response {
    answer.headers_mut().insert(WORRIES, worries.into());
    answer
}

/// Why there is no answer, in a line.
pub(super) type Refusal = (StatusCode, String);

/// Rows of a table, aligned.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) head: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Columns {
    pub(super) fn new(head: &[&'static str]) -> Self {
        Self {
            head: head.to_vec(),
            rows: Vec::new(),
        }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [&dyn Display; N]) {
        self.rows
            .push(cells.map(|cell| one_line(&cell.to_string())).into());
    }
}

impl Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head: Vec<_> = self.head.iter().map(ToString::to_string).collect();
        let rows = || std::iter::once(&head).chain(&self.rows);
        let width = |column: usize| {
            let cells = rows().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..head.len()).map(width).collect();
        for row in rows() {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                write!(line, "{cell:width$}  ")?;
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// The name of a collection, without what all begin with.
pub(super) fn short(collection: &str) -> &str {
    collection.rsplit('/').next().unwrap_or(collection)
}

/// A text of a peer's, which may have anything in it, as a part of one line.
pub(super) fn one_line(text: &str) -> String {
    let escaped = text.chars().map(|c| {
        if c.is_control() {
            c.escape_debug().to_string()
        } else {
            c.to_string()
        }
    });
    escaped.collect()
}

/// How many there are of what is named in the singular.
pub(super) fn counted(count: u64, of: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {of}{plural}")
}

/// A time in JSON.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct At(#[serde(serialize_with = "timestamp")] pub(super) SystemTime);

/// How long ago something was, in a number that is taken in at once.
pub(super) fn ago(time: SystemTime) -> String {
    brief(time.elapsed().unwrap_or_default())
}

/// A duration in its largest unit.
pub(super) fn brief(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

pub(super) fn timestamp<S: Serializer>(
    time: &SystemTime,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_seconds(*time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut columns = Columns::new(&["HOST", "N"]);
        columns.row([&"shop.example.com", &2]);
        columns.row([&"a", &10]);
        assert_eq!(
            columns.to_string(),
            "HOST              N\nshop.example.com  2\na                 10\n"
        );
    }

    #[test]
    fn a_duration_has_one_unit() {
        let seconds = [0, 119, 120, 7200, 200_000];
        let words = seconds.map(|seconds| brief(Duration::from_secs(seconds)));
        assert_eq!(words, ["0 s", "119 s", "2 min", "2 h", "2 d"]);
    }
}
