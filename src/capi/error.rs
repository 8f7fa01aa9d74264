//! Why a read failed.

use std::time::Duration;

use reqwest::StatusCode;

use super::{guard::Doubt, keyset::OutOfOrder, wire::MALFORMED};

/// Why something could not be read from Cloud Controller or UAA.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The TLS material is unusable.
    #[error("preparing TLS for Cloud Controller")]
    Tls(#[from] crate::tls::Error),
    /// The HTTP client cannot be built.
    #[error("preparing the HTTP client for Cloud Controller")]
    Client(#[source] reqwest::Error),
    /// The address has a path, a user or a query.
    #[error("the address of cloud controller at {0} has more than scheme, host and port")]
    Address(String),
    /// No answer, or not all of it.
    #[error("requesting {url}")]
    Http {
        /// What was asked for.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// An answer other than 200.
    #[error("{url} answered {status}{}", .detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default())]
    Status {
        /// What was asked for.
        url: String,
        /// The answer.
        status: StatusCode,
        /// Cloud Controller's name for it, or the router's.
        detail: Option<String>,
        /// Whether it is Cloud Controller's notice of maintenance.
        maintenance: bool,
    },
    /// Too many requests.
    #[error("{url} is rate limited for {retry_after:?}")]
    RateLimited {
        /// What was asked for.
        url: String,
        /// How long to leave it alone.
        retry_after: Option<Duration>,
    },
    /// More than any page can be.
    #[error("{url} answered more than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// The bound.
        limit: usize,
    },
    /// The answer is not what the API promises.
    #[error("reading the answer of {url}")]
    Json {
        /// What was asked for.
        url: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The row that says where a list ends at present.
    #[error("reading the newest row of {url}")]
    NewestRow {
        /// What was asked for.
        url: String,
    },
    /// The rows did not come in the order asked for.
    #[error("paging {url}")]
    OutOfOrder {
        /// What was asked for.
        url: String,
        /// How.
        source: OutOfOrder,
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
    /// A full read is not plausible.
    #[error(transparent)]
    Doubt(#[from] Doubt),
}

impl Error {
    /// From a small closed set: a metric label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Tls(_) => "tls",
            Self::Client(_) | Self::Address(_) => "connect",
            Self::Http { source, .. } => http_kind(source),
            Self::Status {
                maintenance: true, ..
            } => "maintenance",
            Self::Status { status, .. } => status_kind(*status),
            Self::RateLimited { .. } => "rate_limited",
            Self::TooLarge { .. } => "too_large",
            Self::Json { source, .. } if source.is_eof() => "truncated",
            Self::Json { .. } | Self::Token => "not_json",
            Self::NewestRow { .. } => MALFORMED,
            Self::OutOfOrder { .. } => "out_of_order",
            Self::NoUaa | Self::Uaa(_) => "uaa",
            Self::Doubt(doubt) => doubt.kind(),
        }
    }

    /// Whether Cloud Controller itself, and no router in front of it, does not know the path that was asked for.
    pub(super) fn is_unknown_path(&self) -> bool {
        matches!(
            self,
            Self::Status { status: StatusCode::NOT_FOUND, detail: Some(title), .. } if title == "CF-NotFound"
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

fn http_kind(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "timeout"
    } else if is_tls(error) {
        "tls"
    } else if error.is_body() || error.is_decode() {
        "truncated"
    } else {
        "connect"
    }
}

fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    if error.is::<rustls::Error>() {
        return true;
    }
    // An I/O error hides what it wraps from its sources.
    let wrapped = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref);
    match wrapped {
        Some(wrapped) => is_tls(wrapped),
        None => error.source().is_some_and(is_tls),
    }
}

fn status_kind(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "unauthorized",
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::NOT_FOUND => "not_found",
        status if status.is_server_error() => "server_error",
        _ => "bad_request",
    }
}
