//! What is presented to a peer, and what it is verified against: as the files were when they were last good.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::ClientConfig;
use tokio::{sync::watch, time::Instant};
use tracing::{info, warn};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    feed::chain,
    tls::{self, Identity},
};

/// From one look at the files to the next, as at the listeners' own.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The files, and what was made of them.
#[derive(Debug)]
pub(super) struct Credentials {
    ca: PathBuf,
    identity: Option<Identity>,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    config: Arc<ClientConfig>,
    /// The hash of what the files had at the last look.
    contents: u128,
    looked: Instant,
    /// An operator's word that it is to be looked at again.
    again: watch::Receiver<u64>,
}

impl Credentials {
    /// Reads the files for the first time.
    pub(super) fn load(ca: &Path, identity: Option<&Identity>) -> Result<Self, tls::Error> {
        // Before they are used: what changes in between is seen at the next look.
        let contents = hash(ca, identity);
        let config = Arc::new(tls::client(ca, identity)?);
        Ok(Self {
            ca: ca.to_owned(),
            identity: identity.cloned(),
            seen: Mutex::new(Seen {
                config,
                contents,
                looked: Instant::now(),
                again: tls::to_be_read_again(),
            }),
        })
    }

    /// What new connections to a peer go by. What is new in the files and good counts from then on; what is broken changes
    /// nothing.
    pub(super) fn current(&self, peer: &'static str) -> Arc<ClientConfig> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_asked = seen.again.has_changed().unwrap_or(false);
        if is_asked || seen.looked.elapsed() >= LOOK_EVERY {
            seen.again.mark_unchanged();
            seen.looked = Instant::now();
            let contents = hash(&self.ca, self.identity.as_ref());
            if contents != seen.contents {
                seen.contents = contents;
                match tls::client(&self.ca, self.identity.as_ref()) {
                    Ok(config) => {
                        info!(peer, "new certificates are in force");
                        seen.config = Arc::new(config);
                    }
                    Err(error) => {
                        let error = chain(&error);
                        warn!(
                            peer,
                            error, "new certificates are broken: the old ones stay"
                        );
                    }
                }
            } else if is_asked {
                info!(peer, "certificates are as before");
            }
        }
        Arc::clone(&seen.config)
    }
}

/// Of the files' contents; one that cannot be read has none.
fn hash(ca: &Path, identity: Option<&Identity>) -> u128 {
    let mut hash = Xxh3::new();
    let identity = identity.map(|identity| [&identity.cert, &identity.key]);
    let files = identity.into_iter().flatten().map(PathBuf::as_path);
    for file in files.chain([ca]) {
        let contents = fs::read(file).unwrap_or_default();
        hash.update(&contents.len().to_be_bytes());
        hash.update(&contents);
    }
    hash.digest128()
}
