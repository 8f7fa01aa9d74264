//! How the instances behind a route share its requests.

use std::{fmt, sync::Arc};

/// How an instance is picked for a request, where a route's owner chose it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LoadBalancing {
    /// One after the other.
    RoundRobin,
    /// The one with the fewest requests under way.
    LeastConnection,
    /// Always the same one for the same value of this header.
    Hash(HeaderName),
}

impl fmt::Display for LoadBalancing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RoundRobin => f.write_str("round-robin"),
            Self::LeastConnection => f.write_str("least-connection"),
            Self::Hash(header) => write!(f, "hash of {header}"),
        }
    }
}

/// The name of an HTTP header, lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
