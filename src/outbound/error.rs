//! Why a peer was asked in vain.

use std::{io, net::IpAddr, time::Duration};

use http::StatusCode;
use rustls::AlertDescription;
use url::Url;

use super::invalid_json::InvalidJson;
use crate::{feed::Kind, tls};

/// Why there is no answer, or none that can be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers.
    #[error("connecting to {url}")]
    Connect {
        /// What was asked for.
        url: Url,
        /// Why.
        source: io::Error,
    },
    /// An address takes connections and does nothing with them.
    #[error("asking for {url}: {address} answers nothing, not even a ping")]
    Silent {
        /// What was asked for.
        url: Url,
        /// Where.
        address: IpAddr,
    },
    /// One side does not accept the other's certificate, or they share no version of TLS.
    #[error("TLS with {url}: {advice}")]
    Tls {
        /// What was asked for.
        url: Url,
        /// What an operator may look at.
        advice: Box<str>,
        /// The alert or the failed check.
        source: io::Error,
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
    #[error("{url} answered {status}{}", .detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default())]
    Status {
        /// What was asked for.
        url: Url,
        /// The answer.
        status: StatusCode,
        /// The peer's name for it, or that of a router in between.
        detail: Option<String>,
    },
    /// The connection broke while the answer was read.
    #[error("reading from {url}")]
    Broken {
        /// What was asked for.
        url: Url,
        /// Why.
        source: io::Error,
    },
    /// More than any good answer can be.
    #[error("{url} answered more than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        url: Url,
        /// The bound.
        limit: usize,
    },
    /// The answer is not what the peer promises.
    #[error("reading the answer of {url}")]
    Json {
        /// What was asked for.
        url: Url,
        /// Why.
        source: InvalidJson,
    },
}

impl Error {
    /// What is wrong with the feed that asked.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Connect { source, .. } if source.kind() == io::ErrorKind::TimedOut => {
                Kind::Timeout
            }
            Self::Connect { .. } => Kind::Connect,
            Self::Tls { .. } => Kind::Tls,
            Self::Silent { .. } | Self::Timeout { .. } => Kind::Timeout,
            Self::Status { status, .. } => status_kind(*status),
            Self::Broken { .. } => Kind::Truncated,
            Self::TooLarge { .. } => Kind::TooLarge,
            Self::Json { source, .. } if source.is_eof() => Kind::Truncated,
            Self::Json { .. } => Kind::Malformed,
        }
    }

    /// Tells certificates from networks. With TLS 1.3 the peer's verdict on our certificate only arrives after the
    /// handshake, where it looks like a broken connection.
    pub(super) fn tls(peer: &str, url: &Url, source: io::Error) -> Result<Self, io::Error> {
        match tls::cause(&source).map(|cause| advice(peer, cause).into()) {
            Some(advice) => Ok(Self::Tls {
                url: url.clone(),
                advice,
                source,
            }),
            None => Err(source),
        }
    }
}

fn status_kind(status: StatusCode) -> Kind {
    match status {
        StatusCode::UNAUTHORIZED => Kind::Unauthorized,
        StatusCode::FORBIDDEN => Kind::Forbidden,
        StatusCode::NOT_FOUND => Kind::NotFound,
        StatusCode::TOO_MANY_REQUESTS => Kind::RateLimited,
        status if status.is_server_error() => Kind::ServerError,
        status if status.is_client_error() => Kind::BadRequest,
        // A redirect, say: no API of ours has any.
        _ => Kind::Foreign,
    }
}

fn advice(peer: &str, error: &rustls::Error) -> String {
    match error {
        rustls::Error::AlertReceived(AlertDescription::CertificateExpired) => {
            format!("{peer} says that our client certificate has expired")
        }
        rustls::Error::AlertReceived(alert) if tls::refuses_certificate(*alert) => {
            format!("{peer} refuses our client certificate; it must be issued by {peer}'s CA")
        }
        rustls::Error::InvalidCertificate(_) => {
            format!("{peer}'s certificate does not fit the configured CA or the address")
        }
        _ => format!("no common ground; check that this is {peer}'s port"),
    }
}
