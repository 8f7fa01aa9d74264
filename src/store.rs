//! The state file: what was served last, so that a restart knows what it may have to lose.
//!
//! ```text
//! magic │ version │ length │ checksum │ copilot.state.State
//! ```

#[cfg(test)]
mod tests;
mod wire;
mod writer;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use prost::Message as _;
use xxhash_rust::xxh3::xxh3_128;

pub use self::writer::{Receiver, State, Writer};
use crate::{
    model::{Association, Policy, Process, Route, Workload},
    proto::state,
};

/// The first bytes of every state file.
const MAGIC: &[u8; 8] = b"copilot\n";
/// What can be read differently has another one.
const VERSION: u32 = 1;
/// Magic, version, length and checksum.
const HEADER: usize = 8 + 4 + 8 + 16;
/// No foundation has a larger one.
const MAX_FILE: u64 = 1 << 30;

/// What was served at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    /// The routes.
    pub routes: Vec<Arc<Route>>,
    /// What Cloud Controller said of processes that the BBS does not describe.
    pub processes: Vec<Process>,
    /// The associations of the push API.
    pub associations: Vec<Association>,
    /// The network policies, if they were known.
    pub policies: Option<Vec<Policy>>,
    /// How many instances there were of what.
    pub instances: Vec<(Workload, u32)>,
}

/// Where a state file is, and what it may be used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The file.
    pub path: PathBuf,
    /// What it has to be of: Cloud Controller's address and the mesh's domains.
    pub foundation: String,
    /// How old it may be to be of use.
    pub max_age: Duration,
    /// How long a source may be silent at the start before the file stands in for it.
    pub after: Duration,
}

/// Why there is nothing to go by.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be read.
    #[error("reading the state file {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what was written.
    #[error("the state file is damaged")]
    Damaged,
    /// Another build wrote it, in another format.
    #[error("the state file has version {0}, and this daemon reads {VERSION}")]
    Version(u32),
    /// It is of another foundation.
    #[error("the state file is of another foundation: {0}")]
    Foundation(String),
    /// It says too little of what there is now.
    #[error("the state file is {0:?} old")]
    TooOld(Duration),
}

impl Error {
    /// What the file is called that was set aside for it.
    fn word(&self) -> &'static str {
        match self {
            Self::Io { .. } | Self::Damaged => "damaged",
            Self::Version(_) => "version",
            Self::Foundation(_) => "foundation",
            Self::TooOld(_) => "old",
        }
    }
}

impl Settings {
    /// What was served last, and when; `None` if there is no file. One that is of no use is set aside beside itself, under its
    /// name and a word that says why; one that cannot be read may be good.
    ///
    /// # Errors
    /// Why it is of no use.
    pub fn read(&self) -> Result<Option<(Saved, SystemTime)>, Error> {
        let read = self.read_file();
        if let Err(error) = &read
            && !matches!(error, Error::Io { .. })
        {
            let mut aside = self.path.clone().into_os_string();
            aside.push(".");
            aside.push(error.word());
            // Where that fails, the next write replaces it.
            fs::rename(&self.path, aside).ok();
        }
        read
    }

    fn read_file(&self) -> Result<Option<(Saved, SystemTime)>, Error> {
        let mut bytes = Vec::new();
        let read =
            File::open(&self.path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                let path = self.path.clone();
                return Err(Error::Io { path, source });
            }
        }
        let state = decode(&bytes)?;
        if state.foundation != self.foundation {
            return Err(Error::Foundation(state.foundation));
        }
        let written_at = SystemTime::UNIX_EPOCH + Duration::from_millis(state.written_at);
        // One from the future is as new as can be.
        let age = written_at.elapsed().unwrap_or_default();
        if age > self.max_age {
            return Err(Error::TooOld(age));
        }
        let saved = Saved::from_wire(state).ok_or(Error::Damaged)?;
        Ok(Some((saved, written_at)))
    }

    /// Writes the file, whole or not at all: a reader, also after a crash, finds the one before or this one.
    ///
    /// # Errors
    /// It could not be written; the one before is there.
    pub fn write(&self, saved: &Saved, now: SystemTime) -> io::Result<()> {
        let state = saved.to_wire(&self.foundation, now);
        let bytes = encode(&state);
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut temporary = self.path.clone().into_os_string();
        temporary.push(".new");
        let temporary = PathBuf::from(temporary);
        // What a crash left there may have another mode.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        File::open(folder)?.sync_all()
    }
}

fn encode(state: &state::State) -> Vec<u8> {
    let body = state.encode_to_vec();
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_be_bytes());
    bytes.extend((body.len() as u64).to_be_bytes());
    bytes.extend(xxh3_128(&body).to_be_bytes());
    bytes.extend(body);
    bytes
}

fn decode(bytes: &[u8]) -> Result<state::State, Error> {
    let (magic, rest) = bytes.split_first_chunk().ok_or(Error::Damaged)?;
    let (version, rest) = rest.split_first_chunk().ok_or(Error::Damaged)?;
    if magic != MAGIC {
        return Err(Error::Damaged);
    }
    match u32::from_be_bytes(*version) {
        VERSION => {}
        other => return Err(Error::Version(other)),
    }
    let (length, rest) = rest.split_first_chunk().ok_or(Error::Damaged)?;
    let (checksum, body) = rest.split_first_chunk().ok_or(Error::Damaged)?;
    let is_whole = u64::from_be_bytes(*length) == body.len() as u64
        && u128::from_be_bytes(*checksum) == xxh3_128(body);
    if !is_whole {
        return Err(Error::Damaged);
    }
    state::State::decode(body).map_err(|_| Error::Damaged)
}

/// A state file, and what it would hold with the right checksum.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(bytes: &[u8]) {
    decode(bytes).ok().and_then(Saved::from_wire);
    let body = bytes.get(HEADER..).unwrap_or_default();
    state::State::decode(body).ok().and_then(Saved::from_wire);
}
