//! Writes the router's certificates to where the gateway tells its proxies to find them.

mod access;
mod files;

use std::{
    collections::HashSet,
    fmt, io,
    path::{Path, PathBuf},
};

use self::access::Access;
use crate::{
    config::{BackendPems, Keypair, Librarian},
    feed::chain,
    istio::{self, BackendTls, CHAIN_FILE, KEY_FILE, Place, validate::Invalid},
};

/// Why a certificate could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// None of its names is its own and one that is served.
    #[error("the gateway has no use for it")]
    Unused(#[source] Option<Invalid>),
    /// The folder of a certificate is for that alone.
    #[error("{} is in the folder of a certificate of the router", .0.display())]
    Shared(PathBuf),
    /// Two files are to be in one place.
    #[error("two of its files are to be {}", .0.display())]
    Twice(PathBuf),
    /// There is no such group on this machine.
    #[error("IstioCertGroup: there is no group {0:?}")]
    NoGroup(String),
    /// Something else is where the folder is to be: through a link it could be anywhere.
    #[error("{} is there and is no folder", .0.display())]
    InTheWay(PathBuf),
    /// The file system refuses.
    #[error("{doing} {}", .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it cannot be done.
        source: io::Error,
    },
}

/// What became of a pair.
#[derive(Debug)]
pub enum Outcome {
    /// It is there now, with the right modes.
    Written,
    /// It was there already.
    Unchanged,
    /// It is not there.
    Refused(Error),
}

/// What became of each pair, under the name of its folder, or else the first name of its certificate, in the order of
/// the file; and before them, under `BackendTLS`, of what proxies need to reach instances.
#[derive(Debug)]
pub struct Report {
    /// The pairs.
    pub pairs: Vec<(String, Outcome)>,
}

impl Report {
    /// Whether every pair is there.
    pub fn is_complete(&self) -> bool {
        let is_refused = |(_, outcome): &(_, _)| matches!(outcome, Outcome::Refused(_));
        !self.pairs.iter().any(is_refused)
    }
}

/// One line for each pair.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, outcome) in &self.pairs {
            // Whoever asked for the certificate chose its names.
            let name = name.escape_debug();
            match outcome {
                Outcome::Written => writeln!(f, "written {name}")?,
                Outcome::Unchanged => writeln!(f, "unchanged {name}")?,
                Outcome::Refused(error) => writeln!(f, "refused {name}: {}", chain(error))?,
            }
        }
        Ok(())
    }
}

/// Writes every pair that is not there yet to where the gateway names it. One that is refused does not stop the others.
///
/// # Errors
/// The root folder can neither be found nor made, or there is no such group.
pub fn run(settings: &Librarian) -> Result<Report, Error> {
    let access = Access::new(settings.group.as_deref())?;
    files::make_root(settings.root.path(), access)?;
    let _alone = files::lock(settings.root.path())?;
    let places = istio::places(settings.keypairs.iter().map(|pair| &pair.certificate));
    let mut taken = HashSet::new();
    let mut frontend = Vec::new();
    for (pair, place) in settings.keypairs.iter().zip(places) {
        match place.folder {
            Some(name) if place.is_used() => {
                let folder = PathBuf::from(settings.root.folder(name));
                let written = write(&folder, pair, access);
                frontend.push((name.to_owned(), written.into()));
                taken.insert(folder);
            }
            _ => frontend.push((pair.certificate.names[0].clone(), unused(place))),
        }
    }
    let mut pairs = Vec::new();
    if let Some((tls, pems)) = &settings.backend {
        let written = write_backend(&taken, tls, pems, access);
        pairs.push(("BackendTLS".to_owned(), written.into()));
    }
    pairs.extend(frontend);
    Ok(Report { pairs })
}

fn unused(place: Place<'_>) -> Outcome {
    let reason = place.left_out.into_iter().next();
    Outcome::Refused(Error::Unused(reason.map(|(_, invalid)| invalid)))
}

/// From whether anything had to be changed.
impl From<Result<bool, Error>> for Outcome {
    fn from(written: Result<bool, Error>) -> Self {
        match written {
            Ok(true) => Self::Written,
            Ok(false) => Self::Unchanged,
            Err(error) => Self::Refused(error),
        }
    }
}

/// Whether anything had to be changed. An operator has chosen the folders: those that are there stay as they are.
fn write_backend(
    taken: &HashSet<PathBuf>,
    tls: &BackendTls,
    pems: &BackendPems,
    access: Access,
) -> Result<bool, Error> {
    // CAs first: whoever presents what the new one has signed is known by then. For the pair see `write`.
    let mut files = vec![(PathBuf::from(tls.ca.as_str()), pems.ca.as_str())];
    if let (Some(paths), Some((chain, key))) = (&tls.identity, &pems.pair) {
        files.push((paths.key.as_str().into(), key.expose()));
        files.push((paths.chain.as_str().into(), chain));
    }
    let mut seen = HashSet::new();
    for (path, _) in &files {
        let folder = path.parent().unwrap_or(path);
        if taken.contains(folder) {
            return Err(Error::Shared(path.clone()));
        }
        if !seen.insert(path) {
            return Err(Error::Twice(path.clone()));
        }
        files::make_root(folder, access)?;
    }
    files::replace(&files, access)
}

/// Whether anything had to be changed.
fn write(folder: &Path, pair: &Keypair, access: Access) -> Result<bool, Error> {
    let has_changed = files::make_folder(folder, access)?;
    // The certificate comes last: whoever sees a new one finds its key in place. In between they do not fit, which
    // proxies refuse as a whole, so both are complete on the disk before the first takes its place.
    let files = [
        (folder.join(KEY_FILE), pair.key.expose()),
        (folder.join(CHAIN_FILE), pair.chain.as_str()),
    ];
    Ok(files::replace(&files, access)? | has_changed)
}
