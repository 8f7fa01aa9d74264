//! UAA's tokens: one at a time, renewed before it expires.

use std::time::Duration;

use http::HeaderValue;
use serde::Deserialize;
use tokio::time::Instant;

use crate::capi::error::Error;

/// The share of its lifetime after which a token is renewed, in percent: a request that starts just before that
/// still ends in time.
const RENEW_AT_PERCENT: u32 = 80;
/// Where UAA does not say how long a token lives.
const DEFAULT_LIFETIME: u64 = 600;

#[derive(Deserialize)]
pub(crate) struct TokenResponse {
    access_token: String,
    expires_in: Option<u64>,
}

/// What a request presents.
#[derive(Debug)]
pub(crate) struct Token {
    header: HeaderValue,
    renew_at: Instant,
    expires_at: Instant,
}

impl Token {
    pub(crate) fn new(response: &TokenResponse, now: Instant) -> Result<Self, Error> {
        let mut header = HeaderValue::try_from(format!("bearer {}", response.access_token))
            .map_err(|_| Error::Token)?;
        header.set_sensitive(true);
        // A day at most: what lives longer is no less valid for being renewed.
        let seconds = response.expires_in.unwrap_or(DEFAULT_LIFETIME).min(86_400);
        let lifetime = Duration::from_secs(seconds);
        Ok(Self {
            header,
            renew_at: now + lifetime * RENEW_AT_PERCENT / 100,
            expires_at: now + lifetime,
        })
    }

    /// The value of the `Authorization` header.
    pub(crate) fn value(&self) -> HeaderValue {
        self.header.clone()
    }

    /// UAA gives no new one at present: this one does for a while, if it has not expired.
    pub(crate) fn renew_later(&mut self, now: Instant, after: Duration) -> Option<HeaderValue> {
        self.renew_at = self.expires_at.min(now + after);
        self.is_fresh(now).then(|| self.value())
    }

    /// Whether it need not be renewed yet.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        now < self.renew_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_renewed_at_four_fifths_of_its_lifetime() {
        let now = Instant::now();
        let granted: TokenResponse =
            serde_json::from_str(r#"{"access_token":"abc","expires_in":100}"#).unwrap();
        let token = Token::new(&granted, now).unwrap();
        assert!(token.is_fresh(now + Duration::from_secs(79)));
        assert!(!token.is_fresh(now + Duration::from_secs(80)));
    }

    #[test]
    fn does_until_it_expires_when_there_is_no_new_one() {
        let now = Instant::now();
        let granted: TokenResponse =
            serde_json::from_str(r#"{"access_token":"abc","expires_in":100}"#).unwrap();
        let mut token = Token::new(&granted, now).unwrap();
        let at = |seconds| now + Duration::from_secs(seconds);
        let later = Duration::from_secs(10);
        assert!(token.renew_later(at(85), later).is_some());
        assert!(token.is_fresh(at(94)) && !token.is_fresh(at(95)));
        assert!(token.renew_later(at(95), later).is_some());
        assert!(!token.is_fresh(at(100)), "expired");
        assert!(token.renew_later(at(100), later).is_none());
    }

    #[test]
    fn is_not_printed() {
        let granted: TokenResponse = serde_json::from_str(r#"{"access_token":"abc"}"#).unwrap();
        let token = Token::new(&granted, Instant::now()).unwrap();
        assert!(!format!("{token:?}").contains("abc"));
    }
}
