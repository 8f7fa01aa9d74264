//! Hostnames of routes.

use std::{borrow::Borrow, fmt, sync::Arc};

/// The full name of a route: host and domain, lower case.
///
/// Holds whatever Cloud Controller allows, which is more than DNS does (`under_score`); whether Istio accepts it
/// is for the validation to say. It never holds a character that would change the meaning of a resource name.
///
/// TCP routes have no name but their domain's, and are told apart by their ports. So the port is part of theirs, as in
/// Cloud Controller's URLs: `tcp.example.com:1024`, which no other route can have.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hostname(Arc<str>);

/// Why a text is no hostname.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHostname {
    /// Nothing there.
    #[error("empty hostname")]
    Empty,
    /// Longer than a domain name can be.
    #[error("hostname of {0} bytes, at most 253 fit")]
    TooLong(usize),
    /// A character that no route's hostname has.
    #[error("hostname {name:?} has the character {character:?}")]
    Character {
        /// The hostname as it came.
        name: String,
        /// The first bad character.
        character: char,
    },
}

impl Hostname {
    /// Lower-cases `name`.
    ///
    /// # Errors
    /// It is empty, longer than 253 bytes, or has other characters than letters, digits, `.`, `-`, `_` and `*`.
    pub fn parse(name: &str) -> Result<Self, InvalidHostname> {
        if name.is_empty() {
            return Err(InvalidHostname::Empty);
        }
        if name.len() > 253 {
            return Err(InvalidHostname::TooLong(name.len()));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '*');
        if let Some(character) = name.chars().find(|c| !allowed(*c)) {
            return Err(InvalidHostname::Character {
                name: name.to_owned(),
                character,
            });
        }
        Ok(Self(name.to_ascii_lowercase().into()))
    }

    /// That of the TCP routes at a port of this domain.
    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        Self(format!("{self}:{port}").into())
    }

    /// A name that one of these functions has made.
    ///
    /// # Errors
    /// Nothing that it could be made of.
    pub fn parse_any(name: &str) -> Result<Self, InvalidHostname> {
        let tcp = name.rsplit_once(':');
        let tcp = tcp.and_then(|(domain, port)| Some((domain, port.parse().ok()?)));
        match tcp {
            Some((domain, port)) => Ok(Self::parse(domain)?.with_port(port)),
            None => Self::parse(name),
        }
    }

    /// The domain and the port of TCP routes.
    pub fn tcp(&self) -> Option<(&str, u16)> {
        let (domain, port) = self.0.split_once(':')?;
        Some((domain, port.parse().ok()?))
    }

    /// The port of TCP routes.
    pub fn port(&self) -> Option<u16> {
        self.tcp().map(|(_, port)| port)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for all names below a domain that nobody has.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }

    /// Whether it is a domain name, and so one that Istio takes.
    pub fn is_domain_name(&self) -> bool {
        domain_name(&self.0).is_ok()
    }

    /// The wildcards that the gorouter goes on to where nothing else is found: each one label wider.
    pub fn wider(&self) -> impl Iterator<Item = String> + use<'_> {
        let name = self.0.strip_prefix("*.").unwrap_or(&self.0);
        name.match_indices('.')
            .map(|(at, _)| format!("*{}", &name[at..]))
    }
}

/// Why a text is no domain name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoDomainName {
    /// Longer than names are.
    #[error("longer than 255 bytes")]
    TooLong,
    /// Something between its dots.
    #[error("{0:?} is not a DNS label")]
    Label(String),
    /// Which addresses have.
    #[error("the last label is a number")]
    Number,
}

/// A domain name, by Istio's rules: DNS labels, the first of which may be `*` where there are more; the last is not a
/// number.
///
/// # Errors
/// The first rule that is broken.
pub fn domain_name(text: &str) -> Result<(), NoDomainName> {
    if text.len() > 255 {
        return Err(NoDomainName::TooLong);
    }
    let name = text.strip_prefix("*.").unwrap_or(text);
    if let Some(label) = name.split('.').find(|label| !is_dns_label(label)) {
        return Err(NoDomainName::Label(label.to_owned()));
    }
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    if name.rsplit('.').next().is_some_and(is_number) {
        return Err(NoDomainName::Number);
    }
    Ok(())
}

/// At most 63 of lower-case letters, digits and `-`, with neither end a `-`. Istio takes upper case too, but
/// whatever we name is lower case.
pub fn is_dns_label(label: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&label.len())
        && label.bytes().all(allowed)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Equal to its text and hashed like it.
impl Borrow<str> for Hostname {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_lower_case_and_keeps_what_cloud_controller_allows() {
        assert_eq!(
            Hostname::parse("Shop.Example.COM").unwrap().as_str(),
            "shop.example.com"
        );
        for name in [
            "*.example.com",
            "under_score.example.com",
            "-lead.example.com",
        ] {
            assert_eq!(Hostname::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn of_tcp_routes_has_a_port_and_is_found_again() {
        let host = Hostname::parse("TCP.example.com").unwrap().with_port(1024);
        assert_eq!(host.as_str(), "tcp.example.com:1024");
        assert_eq!(host.tcp(), Some(("tcp.example.com", 1024)));
        assert_eq!(
            Hostname::parse_any("tcp.example.com:1024"),
            Ok(host.clone())
        );
        assert!(
            Hostname::parse(host.as_str()).is_err(),
            "no HTTP route has it"
        );
        for other in [
            "a.example.com:",
            "a.example.com:x",
            "a:1:2",
            "a.example.com:70000",
        ] {
            assert!(Hostname::parse_any(other).is_err(), "{other}");
        }
        assert_eq!(Hostname::parse("tcp.example.com").unwrap().tcp(), None);
    }

    #[test]
    fn goes_on_to_wildcards_that_are_one_label_wider_each() {
        let wider = |name: &str| {
            let host = Hostname::parse(name).unwrap();
            host.wider().collect::<Vec<_>>()
        };
        assert_eq!(
            wider("a.b.example.com"),
            ["*.b.example.com", "*.example.com", "*.com"]
        );
        assert_eq!(wider("*.example.com"), ["*.com"]);
        assert!(wider("single").is_empty());
    }

    #[test]
    fn refuses_what_would_change_the_meaning_of_a_resource_name() {
        for name in [
            "",
            "a/b.example.com",
            "a b.example.com",
            "a\n.example.com",
            "é.example.com",
        ] {
            assert!(Hostname::parse(name).is_err(), "{name:?}");
        }
        assert_eq!(
            Hostname::parse(&"a".repeat(254)),
            Err(InvalidHostname::TooLong(254))
        );
    }
}
