//! How the instances behind a route share its requests.

use std::{fmt, sync::Arc, time::Duration};

/// How an instance is picked for a request, where a route's owner chose it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LoadBalancing {
    /// One after the other.
    RoundRobin,
    /// The one with the fewest requests under way.
    LeastConnection,
    /// Always the same one for the same value of this header.
    Hash(HeaderName),
    /// Always the same one for a client, which is given this cookie.
    Cookie(Cookie),
}

/// A cookie by which a client is known again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cookie {
    /// Its name.
    pub name: CookieName,
    /// How long a client keeps it, in whole seconds; zero until its session ends.
    pub ttl: Duration,
}

impl LoadBalancing {
    /// Whether one client's requests all lead to one instance.
    pub fn keeps(&self) -> bool {
        matches!(self, Self::Hash(_) | Self::Cookie(_))
    }
}

impl fmt::Display for LoadBalancing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RoundRobin => f.write_str("round-robin"),
            Self::LeastConnection => f.write_str("least-connection"),
            Self::Hash(header) => write!(f, "hash of {header}"),
            Self::Cookie(cookie) if cookie.ttl.is_zero() => {
                write!(f, "cookie {}", cookie.name.as_str())
            }
            Self::Cookie(cookie) => {
                write!(f, "cookie {} for {:?}", cookie.name.as_str(), cookie.ttl)
            }
        }
    }
}

/// Whether a text is 1 to 64 letters, digits, dashes, dots and underscores: what every client, proxy and Istio reads alike, as
/// the name of a cookie, a region or a zone.
pub fn is_plain_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=MAX_COOKIE).contains(&text.len()) && text.bytes().all(allowed)
}

/// The name of a cookie, which has a case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CookieName(Arc<str>);

/// What is no name of a cookie.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cookie {0:?} is not 1 to {MAX_COOKIE} letters, digits, dashes, dots and underscores")]
pub struct InvalidCookieName(String);

/// No cookie in use is longer.
const MAX_COOKIE: usize = 64;

impl CookieName {
    /// Takes in a name.
    ///
    /// # Errors
    /// It is empty or long, or has other characters than every client and proxy reads alike.
    pub fn parse(name: &str) -> Result<Self, InvalidCookieName> {
        if is_plain_name(name) {
            Ok(Self(name.into()))
        } else {
            Err(InvalidCookieName(name.chars().take(MAX_COOKIE).collect()))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of an HTTP header, lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HeaderName(Arc<str>);

/// What is no name of a header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("header {0:?} is not 1 to {MAX_NAME} letters, digits, dashes and underscores")]
pub struct InvalidHeaderName(String);

/// No header in use is longer. Each is in every proxy's configuration.
const MAX_NAME: usize = 128;

impl HeaderName {
    /// Lower-cases `name`: case does not matter in it (RFC 9110, section 5.1).
    ///
    /// # Errors
    /// It is empty or long, or has other characters than Istio takes in the name of a header.
    pub fn parse(name: &str) -> Result<Self, InvalidHeaderName> {
        if Self::is_valid(name) {
            Ok(Self(name.to_ascii_lowercase().into()))
        } else {
            Err(InvalidHeaderName(name.to_owned()))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether that is the name of a header.
    pub fn is_valid(name: &str) -> bool {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allowed)
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_that_are_kept_for_other_times_are_told_apart() {
        let said = |ttl| {
            let name = CookieName::parse("SHOP").unwrap();
            LoadBalancing::Cookie(Cookie { name, ttl }).to_string()
        };
        assert_eq!(said(Duration::ZERO), "cookie SHOP");
        assert_eq!(said(Duration::from_mins(1)), "cookie SHOP for 60s");
    }

    #[test]
    fn a_header_has_a_name_that_istio_takes_in_lower_case() {
        assert_eq!(
            HeaderName::parse("X-User_1").unwrap().to_string(),
            "x-user_1"
        );
        for bad in ["", ":path", "a b", "a:b", "é", "a\n", &"a".repeat(129)] {
            assert!(HeaderName::parse(bad).is_err(), "{bad:?}");
        }
        assert!(HeaderName::parse(&"a".repeat(128)).is_ok());
    }
}
