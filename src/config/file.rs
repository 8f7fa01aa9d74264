//! A config file: a JSON object, or why it cannot be used.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{json, reader::Problem};
use crate::outbound::InvalidJson;

/// Why a config file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("reading {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its bytes are no text that JSON is written in.
    #[error("{} {what}", .path.display())]
    Encoding {
        /// The file.
        path: PathBuf,
        /// What they are, and what to do.
        what: &'static str,
    },
    /// It has a comment.
    #[error("{} has a comment in line {line}, which JSON has not: take it out", .path.display())]
    Comment {
        /// The file.
        path: PathBuf,
        /// Where.
        line: usize,
    },
    /// It is not a JSON object.
    #[error("{} is not a JSON object", .path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where it stops being one.
        source: InvalidJson,
    },
    /// Keys are missing, unknown or have bad values.
    #[error("{}: {}", .path.display(), Listed(.problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// All of them, in the order of the sections.
        problems: Vec<Problem>,
    },
}

struct Listed<'a>(&'a [Problem]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

/// The object that a config file holds, and the keys that are in it twice.
pub(super) fn read(path: &Path) -> Result<(Map<String, Value>, Vec<Problem>), Error> {
    let path = || path.to_owned();
    let bytes = fs::read(path()).map_err(|source| Error::Read {
        path: path(),
        source,
    })?;
    let unusable = |what| Error::Encoding { path: path(), what };
    let text = json::text(&bytes).map_err(unusable)?;
    if text.trim().is_empty() {
        return Err(unusable("is empty"));
    }
    json::object(text).map_err(|source| {
        // It was read to its end.
        if source.line() == 0 {
            return unusable("is JSON, and no object: that begins with {");
        }
        if json::is_comment(text, &source) {
            let line = source.line();
            return Error::Comment { path: path(), line };
        }
        Error::Json {
            path: path(),
            source: source.into(),
        }
    })
}
