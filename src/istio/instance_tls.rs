//! TLS from proxies to instances. Every path is of a file on the proxies' machines, which this daemon never sees.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    str::FromStr,
    sync::Arc,
    time::Instant,
};

/// TLS to the instances of external routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendTls {
    /// What the proxies present; nothing where the instances ask for nothing.
    pub identity: Option<ProxyIdentity>,
    /// The CAs, of which one has signed each instance's certificate.
    pub ca: ProxyPath,
    /// What else is verified of it.
    pub verify: Verify,
}

/// A certificate chain and its private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyIdentity {
    /// The chain, leaf first.
    pub chain: ProxyPath,
    /// The key.
    pub key: ProxyPath,
}

/// What is verified of an instance's certificate, beside its CA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verify {
    /// That it is of one of the route's instances: it has the guid of one among its names.
    #[default]
    Instance,
    /// Nothing. An address that another app has now is not noticed.
    Ca,
}

/// The names of instances that have ended, by their services, which have them in their rules for a while: each until when, the
/// oldest first.
pub type Ended = HashMap<Arc<str>, VecDeque<(String, Instant)>>;

/// TLS to the instances of internal routes. Their proxies ask for no certificate, and present one for the hostname.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InternalTls {
    /// The CAs, of which one has signed each instance's certificate.
    pub ca: ProxyPath,
}

/// The absolute path of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyPath(String);

impl ProxyPath {
    /// The path as it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProxyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no path of a file for proxies.
#[derive(Debug, thiserror::Error)]
pub enum NoProxyPath {
    /// It would depend on where a proxy runs.
    #[error("expected the absolute path of a file")]
    Relative,
    /// It ends as a folder does.
    #[error("expected the path of a file, not of a folder")]
    Folder,
    /// istiods join two paths with a tilde to one name (`file-cert:CERT~KEY`).
    #[error("a path with {0:?} cannot be told to proxies")]
    Character(char),
}

impl FromStr for ProxyPath {
    type Err = NoProxyPath;

    fn from_str(path: &str) -> Result<Self, NoProxyPath> {
        if !path.starts_with('/') {
            return Err(NoProxyPath::Relative);
        }
        if path.ends_with('/') {
            return Err(NoProxyPath::Folder);
        }
        match path.chars().find(|c| *c == '~' || c.is_control()) {
            Some(character) => Err(NoProxyPath::Character(character)),
            None => Ok(Self(path.to_owned())),
        }
    }
}

/// A text that names no way of verification.
#[derive(Debug, thiserror::Error)]
#[error("expected instance or ca")]
pub struct NoVerify;

impl FromStr for Verify {
    type Err = NoVerify;

    fn from_str(text: &str) -> Result<Self, NoVerify> {
        match text {
            "instance" => Ok(Self::Instance),
            "ca" => Ok(Self::Ca),
            _ => Err(NoVerify),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_absolute_of_a_file_and_can_be_joined_to_another() {
        let path = |text: &str| text.parse::<ProxyPath>().map(|path| path.to_string());
        assert_eq!(path("/etc/istio/ca.crt").unwrap(), "/etc/istio/ca.crt");
        for bad in [
            "",
            "ca.crt",
            "./ca.crt",
            "/etc/istio/",
            "/",
            "/a~b",
            "/a\nb",
        ] {
            assert!(path(bad).is_err(), "{bad:?}");
        }
    }
}
