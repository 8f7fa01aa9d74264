//! The config file: JSON with the original's keys and new ones beside them, into validated settings of every module.

mod go_duration;
mod reader;
mod sections;

use std::{
    fmt, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

pub use self::reader::Problem;
use self::reader::Section;
use crate::{bbs, capi, mcp, publisher, telemetry};

/// Everything that the daemon needs to know, validated.
#[derive(Debug)]
pub struct Config {
    /// What is logged.
    pub log_level: telemetry::Level,
    /// Where Pilots connect.
    pub mcp_address: SocketAddr,
    /// How they are served.
    pub mcp: mcp::Settings,
    /// Where operators look.
    pub admin_address: SocketAddr,
    /// Where routes come from.
    pub capi: capi::Settings,
    /// Where instances come from.
    pub bbs: bbs::Settings,
    /// How both become Istio's configuration.
    pub publisher: publisher::Settings,
}

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
        source: serde_json::Error,
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

impl Config {
    /// Reads a config file, and the certificates that it names.
    ///
    /// # Errors
    /// All that is wrong with it, each with its key.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        let object = serde_json::from_str(&text).map_err(|source| Error::Json {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(object).map_err(|problems| Error::Invalid {
            path: path.to_owned(),
            problems,
        })
    }

    /// Validates the object of a config file.
    ///
    /// # Errors
    /// All that is wrong with it, each with its key.
    pub fn parse(object: Map<String, Value>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut root = Section::new("", object, &mut problems);
        let config = Self::read(&mut root);
        root.end();
        // A section that could not be read has reported why.
        config.filter(|_| problems.is_empty()).ok_or(problems)
    }

    fn read(root: &mut Section<'_>) -> Option<Self> {
        let log_level = root.parsed("LogLevel");
        let mcp_address = root.required("ListenAddressForMCP", Section::address);
        let mcp = sections::mcp(root);
        let admin_address = root.address("AdminListenAddress");
        let capi = sections::capi(root);
        let bbs = sections::bbs(root);
        let publisher = sections::publisher(root);
        Some(Self {
            log_level: log_level.unwrap_or_default(),
            mcp_address: mcp_address?,
            mcp: mcp?,
            admin_address: admin_address.unwrap_or(sections::ADMIN_ADDRESS),
            capi: capi?,
            bbs: bbs?,
            publisher: publisher?,
        })
    }
}

#[cfg(test)]
mod tests;
