//! Why a poll failed.

use url::Url;

use crate::{feed::Kind, outbound};

/// Why a first answer is not believed: it has nothing to be compared with, while sinks may hold the Sidecars of an earlier
/// process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Doubt {
    /// It is empty.
    #[error("the first answer has no policies; another has to confirm it")]
    Nothing,
    /// It has policies and few of them can be read, or none; no second answer helps.
    #[error("{unreadable} policies of the first answer cannot be read; it counts once most can")]
    Unreadable {
        /// How many.
        unreadable: usize,
    },
}

/// Why the policies could not be read, or are not believed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
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
    /// The answer lists more than there can be.
    #[error("{url} lists {listed} policies, and no more than {limit} are read")]
    TooMany {
        /// What was asked for.
        url: Url,
        /// How many are listed.
        listed: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The answer is not believed yet.
    #[error(transparent)]
    Doubt(#[from] Doubt),
}

impl Error {
    /// What is wrong with the feed.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Http(error) => error.kind(),
            Self::Short { .. } => Kind::Truncated,
            Self::TooMany { .. } => Kind::TooLarge,
            Self::Doubt(Doubt::Nothing) => Kind::Unconfirmed,
            Self::Doubt(Doubt::Unreadable { .. }) => Kind::Unreadable,
        }
    }
}
