//! What is wrong with JSON, without a word of it: it may be a secret.

use serde_json::error::Category;

/// What is wrong with a JSON text, and where.
///
/// The parser's own errors quote what they found in the place of what they expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{} at line {line} column {column}", self.what())]
pub struct InvalidJson {
    category: Category,
    line: usize,
    column: usize,
}

impl InvalidJson {
    fn what(&self) -> &'static str {
        match self.category {
            Category::Eof => "the JSON breaks off",
            Category::Syntax | Category::Io => "no well-formed JSON",
            Category::Data => "JSON of another shape",
        }
    }

    /// Whether there is to be more of it.
    pub fn is_eof(&self) -> bool {
        self.category == Category::Eof
    }
}

impl From<serde_json::Error> for InvalidJson {
    fn from(error: serde_json::Error) -> Self {
        Self {
            category: error.classify(),
            line: error.line(),
            column: error.column(),
        }
    }
}
