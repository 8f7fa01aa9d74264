//! Why a read failed.

use std::time::Duration;

use http::StatusCode;
use url::Url;

use super::doubt::Doubt;
use crate::{feed::Kind, outbound};

/// A page that is no part of a list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadPage {
    /// Rows came before rows that are older.
    #[error("a page that should begin at {cursor} ends at {last}")]
    OutOfOrder {
        /// Where it was to begin.
        cursor: String,
        /// Where it ends.
        last: String,
    },
    /// It says two things.
    #[error(transparent)]
    Contradicts(#[from] Contradiction),
}

/// How an answer contradicts itself, or the one before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Contradiction {
    /// There are to be more rows, or fewer.
    #[error("a page of {rows} rows does not fit to the {total} that it counts")]
    Short {
        /// How many rows it has.
        rows: usize,
        /// How many there are to be.
        total: u64,
    },
    /// More rows than any page has.
    #[error("a page of {0} rows")]
    TooMany(usize),
    /// A row is there twice, or all of a page were on the ones before.
    #[error("a page has rows that were there already")]
    Repeats,
    /// The walk would come round for ever.
    #[error("a page names another one than the next as its next")]
    Next,
    /// Rows vanish whenever the next page is asked for, or many do at once.
    #[error("rows that were counted vanish from page to page")]
    Shifts,
}

/// Why something could not be read from Cloud Controller or UAA.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It has not answered, or not well.
    #[error(transparent)]
    Http(#[from] outbound::Error),
    /// While its database is backed up or restored, nginx answers in Cloud Controller's place.
    #[error("{url} is down for maintenance")]
    Maintenance {
        /// What was asked for.
        url: Url,
    },
    /// Too many requests.
    #[error("{url} is rate limited for {retry_after:?}")]
    RateLimited {
        /// What was asked for.
        url: Url,
        /// How long to leave it alone.
        retry_after: Option<Duration>,
    },
    /// The row that says where a list ends at present.
    #[error("reading the newest row of {url}")]
    NewestRow {
        /// What was asked for.
        url: Url,
    },
    /// A page does not belong to the list, or contradicts itself.
    #[error("paging {url}")]
    Page {
        /// What was asked for.
        url: Url,
        /// How.
        source: Box<BadPage>,
    },
    /// The read has taken more pages, rows, bytes or time than any list needs.
    #[error("{url} has no end")]
    Endless {
        /// What was asked for.
        url: Url,
    },
    /// Cloud Controller names no UAA.
    #[error("cloud controller names no UAA in its links")]
    NoUaa,
    /// The token contains what no header can.
    #[error("the token fits into no header")]
    Token,
    /// UAA gave no token.
    #[error("getting a token from UAA")]
    Uaa(#[source] Box<Error>),
    /// What was read is not believed yet.
    #[error(transparent)]
    Doubt(#[from] Doubt),
}

impl Error {
    /// What is wrong with the feed.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Http(error) => error.kind(),
            Self::Maintenance { .. } => Kind::Maintenance,
            Self::RateLimited { .. } => Kind::RateLimited,
            Self::Token | Self::NewestRow { .. } => Kind::Malformed,
            Self::Page { source, .. } => match **source {
                BadPage::OutOfOrder { .. } => Kind::OutOfOrder,
                BadPage::Contradicts(Contradiction::TooMany(_)) => Kind::TooLarge,
                BadPage::Contradicts(_) => Kind::Truncated,
            },
            Self::NoUaa | Self::Uaa(_) => Kind::Uaa,
            Self::Endless { .. } => Kind::TooLarge,
            Self::Doubt(doubt) => doubt.kind(),
        }
    }

    /// Whether Cloud Controller itself, and no router in front of it, does not know the path that was asked for.
    pub(super) fn is_unknown_path(&self) -> bool {
        matches!(
            self,
            Self::Http(outbound::Error::Status { status: StatusCode::NOT_FOUND, detail: Some(title), .. })
                if title == "CF-NotFound"
        )
    }

    /// How long the peer wants to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } => *retry_after,
            Self::Uaa(source) => source.retry_after(),
            _ => None,
        }
    }
}
