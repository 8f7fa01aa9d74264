//! Why a poll failed.

use std::time::Duration;

use reqwest::StatusCode;
use url::Url;

use super::guard::Doubt;
use crate::tls;

/// Why the policies could not be read, or are not believed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificates cannot be used.
    #[error("reading the certificates for the policy server")]
    Certificates(#[from] tls::Error),
    /// The HTTP client cannot be made from the settings.
    #[error("making a client for the policy server")]
    Client(#[source] reqwest::Error),
    /// Nobody answers at the address.
    #[error("connecting to {url}")]
    Connect {
        /// What was asked for.
        url: Url,
        /// Why.
        source: reqwest::Error,
    },
    /// One side does not accept the other's certificate, or they share no version of TLS.
    #[error("TLS with {url}")]
    Tls {
        /// What was asked for.
        url: Url,
        /// The alert or the failed check.
        source: reqwest::Error,
    },
    /// The answer took too long.
    #[error("{url} took longer than {limit:?}")]
    Timeout {
        /// What was asked for.
        url: Url,
        /// How long it had.
        limit: Duration,
    },
    /// An answer other than 200.
    #[error("{url} answered {status}")]
    Status {
        /// What was asked for.
        url: Url,
        /// The answer's status.
        status: StatusCode,
    },
    /// The connection broke while the answer was read.
    #[error("reading from {url}")]
    Broken {
        /// What was asked for.
        url: Url,
        /// Why.
        source: reqwest::Error,
    },
    /// More than any foundation's policies can be.
    #[error("{url} answered more than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        url: Url,
        /// The bound.
        limit: usize,
    },
    /// The answer is not what the API promises.
    #[error("reading the answer of {url}")]
    Json {
        /// What was asked for.
        url: Url,
        /// Why.
        source: serde_json::Error,
    },
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
    /// What came of a request that got no answer, or not all of it.
    pub(super) fn http(url: &Url, limit: Duration, source: reqwest::Error) -> Self {
        let (url, source) = (url.clone(), source.without_url());
        if source.is_timeout() {
            Self::Timeout { url, limit }
        } else if tls::cause(&source).is_some() {
            // With TLS 1.3 the server's verdict on our certificate arrives after the handshake.
            Self::Tls { url, source }
        } else if source.is_body() || source.is_decode() {
            Self::Broken { url, source }
        } else {
            Self::Connect { url, source }
        }
    }

    /// From a small closed set: a metric label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Certificates(_) | Self::Client(_) => "settings",
            Self::Connect { .. } => "connect",
            Self::Tls { .. } => "tls",
            Self::Timeout { .. } => "timeout",
            Self::Status { .. } => "status",
            Self::Broken { .. } | Self::Short { .. } => "truncated",
            Self::TooLarge { .. } => "too_large",
            Self::Json { source, .. } if source.is_eof() => "truncated",
            Self::Json { .. } => "not_json",
            Self::Doubt(doubt) => doubt.kind(),
        }
    }
}
