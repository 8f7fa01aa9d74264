//! An answer, read piece by piece or whole.

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, StatusCode};
use url::Url;

use super::{
    Used,
    error::Error,
    transport::{Body, Response},
};

/// The beginning of an answer; the rest arrives while it is read.
pub struct Answer {
    /// What was asked for.
    pub url: Url,
    /// What the peer says to it.
    pub status: StatusCode,
    /// The fields of its head.
    pub headers: HeaderMap,
    pub(super) used: Used,
    peer: &'static str,
    body: Body,
}

impl Answer {
    pub(super) fn new(peer: &'static str, url: Url, used: Used, response: Response) -> Self {
        let (head, body) = response.into_parts();
        Self {
            url,
            status: head.status,
            headers: head.headers,
            used,
            peer,
            body,
        }
    }

    /// A field of the head, as text.
    pub fn header(&self, name: &str) -> Option<String> {
        let value = self.headers.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    /// The answer, if it is a good one.
    pub fn accepted(self) -> Result<Self, Error> {
        match self.status {
            StatusCode::OK => Ok(self),
            _ => Err(self.refusal(None)),
        }
    }

    /// That it is no good one, with what the peer says of it.
    pub fn refusal(&self, detail: Option<String>) -> Error {
        Error::Status {
            url: self.url.clone(),
            status: self.status,
            detail,
        }
    }

    /// The next bytes; `None` at the end. May be cancelled without a loss.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let next = self.body.next().await.transpose();
        next.map_err(|source| {
            let url = self.url.clone();
            Error::tls(self.peer, &url, source)
                .unwrap_or_else(|source| Error::Broken { url, source })
        })
    }

    /// All bytes, if there are no more than `limit`.
    pub async fn whole(&mut self, limit: usize) -> Result<Vec<u8>, Error> {
        let mut whole = Vec::new();
        while let Some(bytes) = self.next().await? {
            if bytes.len() > limit - whole.len() {
                let url = self.url.clone();
                return Err(Error::TooLarge { url, limit });
            }
            whole.extend_from_slice(&bytes);
        }
        Ok(whole)
    }
}
