//! Why a poll failed.

use url::Url;

use super::guard::Doubt;
use crate::{feed::Kind, outbound};

/// Why the policies could not be read, or are not believed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The policy server has not answered, or not well.
    #[error(transparent)]
    Http(#[from] outbound::Error),
    /// The answer counts other policies than it lists.
    #[error("{url} lists {listed} policies and says that there are {total}")]
    Short {
        /// What was asked for.
        url: Url,
        /// How many are listed.
        listed: usize,
        /// How many there are to be.
        total: usize,
    },
    /// The answer is not plausible.
    #[error(transparent)]
    Doubt(#[from] Doubt),
}

impl Error {
    /// What is wrong with the feed.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Http(error) => error.kind(),
            Self::Short { .. } => Kind::Truncated,
            Self::Doubt(doubt) => doubt.kind(),
        }
    }
}
