//! Which domains belong to the mesh, as the configuration says.

use std::str::FromStr;

use crate::model::{Hostname, InvalidHostname};

/// Which domains belong to the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DomainPattern {
    /// This one.
    Exact(Hostname),
    /// All below this one, at any depth.
    Suffix(Hostname),
}

/// Why a text is no domain pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDomainPattern {
    /// Not even a hostname.
    #[error(transparent)]
    Hostname(#[from] InvalidHostname),
    /// An asterisk elsewhere than in front.
    #[error("domain pattern {0:?} has an asterisk that is not its first label")]
    Asterisk(String),
}

impl FromStr for DomainPattern {
    type Err = InvalidDomainPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, suffix) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        let hostname = Hostname::parse(name)?;
        if name.contains('*') {
            return Err(InvalidDomainPattern::Asterisk(text.to_owned()));
        }
        Ok(if suffix {
            Self::Suffix(hostname)
        } else {
            Self::Exact(hostname)
        })
    }
}

impl DomainPattern {
    /// Whether it is the name of a domain of the mesh.
    pub(super) fn matches(&self, name: &Hostname) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Suffix(suffix) => name
                .as_str()
                .strip_suffix(suffix.as_str())
                .is_some_and(|head| head.len() > 1 && head.ends_with('.')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_matches_what_is_below_it_and_not_itself() {
        let pattern: DomainPattern = "*.Example.com".parse().unwrap();
        let matches = |name| pattern.matches(&Hostname::parse(name).unwrap());
        assert!(matches("a.example.com"));
        assert!(matches("a.b.example.com"));
        assert!(!matches("example.com"));
        assert!(!matches("badexample.com"));
        assert!(!matches(".example.com"));
    }

    #[test]
    fn an_exact_name_matches_itself_only() {
        let pattern: DomainPattern = "Apps.example.com".parse().unwrap();
        assert!(pattern.matches(&Hostname::parse("apps.example.com").unwrap()));
        assert!(!pattern.matches(&Hostname::parse("a.apps.example.com").unwrap()));
    }

    #[test]
    fn an_asterisk_elsewhere_than_in_front_is_refused() {
        for text in ["", "*.", "*", "a.*.com", "*.*.com", "*a.com", "a b.com"] {
            assert!(text.parse::<DomainPattern>().is_err(), "{text:?}");
        }
    }
}
