//! Writes the router's certificates to where the gateway tells its proxies to find them.

mod files;

use std::{fmt, io, path::PathBuf};

use crate::{
    config::{Keypair, Librarian},
    feed::chain,
    istio::{self, CHAIN_FILE, CertificateRoot, KEY_FILE, validate::Invalid},
};

/// Why a certificate could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// None of its names is its own and one that is served.
    #[error("the gateway has no use for it")]
    Unused(#[source] Option<Invalid>),
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
/// the file.
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
/// The root folder can neither be found nor made.
pub fn run(settings: &Librarian) -> Result<Report, Error> {
    files::make_root(settings.root.path())?;
    let _alone = files::lock(settings.root.path())?;
    let places = istio::places(settings.keypairs.iter().map(|pair| &pair.certificate));
    let pairs = settings.keypairs.iter().zip(places);
    let pairs = pairs.map(|(pair, place)| match place.folder {
        Some(folder) if place.is_used() => {
            let outcome = match write(&settings.root, pair, folder) {
                Ok(true) => Outcome::Written,
                Ok(false) => Outcome::Unchanged,
                Err(error) => Outcome::Refused(error),
            };
            (folder.to_owned(), outcome)
        }
        _ => {
            let reason = place.left_out.into_iter().next();
            let error = Error::Unused(reason.map(|(_, invalid)| invalid));
            let name = pair.certificate.names[0].clone();
            (name, Outcome::Refused(error))
        }
    });
    Ok(Report {
        pairs: pairs.collect(),
    })
}

/// Whether anything had to be changed.
fn write(root: &CertificateRoot, pair: &Keypair, folder: &str) -> Result<bool, Error> {
    let folder = PathBuf::from(root.folder(folder));
    let has_changed = files::make_folder(&folder)?;
    // The certificate comes last: whoever sees a new one finds its key in place. In between they do not fit, which
    // proxies refuse as a whole, so both are complete on the disk before the first takes its place.
    let texts = [
        (KEY_FILE, pair.key.expose()),
        (CHAIN_FILE, pair.chain.as_str()),
    ];
    Ok(files::replace(&folder, &texts)? | has_changed)
}
