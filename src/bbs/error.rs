//! Why a read failed, or the event stream ended.

use url::Url;

use super::DOMAIN;
use crate::{feed::Kind, outbound};

/// Why a first list is not believed yet: there is nothing to compare it with, and whoever routes by it may hold more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Doubt {
    /// The BBS does not vouch for it.
    #[error(
        "the domain {DOMAIN} is not fresh, the first list is not believed yet: is Cloud Controller's diego_sync running?"
    )]
    NotFresh,
    /// It has nothing, and nothing is to run.
    #[error("the first list has no instances; a second one has to confirm it")]
    Nothing,
    /// It has fewer than half of what is to run.
    #[error(
        "{running} of {wanted} instances run by the first list; three lists over a minute have to say so"
    )]
    Few {
        /// The routable instances.
        running: usize,
        /// How many are to run.
        wanted: usize,
    },
    /// Of what it says to run, fewer than half is to.
    #[error(
        "{unwanted} of {running} instances that run are not to by the first list; three lists over a minute have to say so"
    )]
    Unwanted {
        /// The routable instances.
        running: usize,
        /// How many of them nothing wants.
        unwanted: usize,
    },
    /// Many of its rows cannot be read.
    #[error("{unreadable} rows of the first list cannot be read, {listed} can")]
    Unreadable {
        /// The good rows.
        listed: usize,
        /// The others.
        unreadable: usize,
    },
}

/// What went wrong with the BBS.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// It has not answered, or not well.
    #[error(transparent)]
    Http(#[from] outbound::Error),
    /// The answer has a good status, but something other than the BBS wrote it.
    #[error("{url} answered with {found}")]
    Foreign {
        /// What was asked for.
        url: Url,
        /// What gave it away.
        found: String,
    },
    /// The BBS reports an error inside its answer.
    #[error("{url} reports error {code}: {message}")]
    Response {
        /// What was asked for.
        url: Url,
        /// Its type.
        code: i32,
        /// Its text.
        message: String,
    },
    /// The event stream ended in order: the BBS stops, or has dropped us for being slow.
    #[error("the BBS ended the event stream")]
    Ended,
    /// What arrived is not in the BBS's format.
    #[error("decoding {what}: {detail}")]
    Malformed {
        /// What was read.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// No foundation is that large.
    #[error("{url} lists more than {limit} rows")]
    TooMany {
        /// What was asked for.
        url: Url,
        /// The bound.
        limit: usize,
    },
    /// Events arrived faster than they were merged.
    #[error("{0} events are waiting, the stream is begun anew")]
    Overflow(usize),
    /// The event stream is ended from here.
    #[error("the event stream is begun anew, since lists fail or bring what no event announced")]
    Abandoned,
    /// The first list is not believed yet.
    #[error(transparent)]
    Doubt(#[from] Doubt),
}

impl Error {
    /// What is wrong with the feed.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Http(error) => error.kind(),
            Self::Foreign { .. } => Kind::Foreign,
            Self::Response { .. } => Kind::ServerError,
            Self::Ended | Self::Abandoned => Kind::StreamEnded,
            Self::Malformed { .. } => Kind::Malformed,
            Self::TooMany { .. } => Kind::TooLarge,
            Self::Overflow(_) => Kind::Overflow,
            Self::Doubt(Doubt::Unreadable { .. }) => Kind::Unreadable,
            Self::Doubt(_) => Kind::Unconfirmed,
        }
    }
}
