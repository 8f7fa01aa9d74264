//! A config file: a JSON object, or why it cannot be used.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::reader::Problem;
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

/// The object that a config file holds.
pub(super) fn read(path: &Path) -> Result<Map<String, Value>, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_str(&text).map_err(|source| Error::Json {
        path: path.to_owned(),
        source: source.into(),
    })
}
