//! What somebody asks about, as it is pasted: a hostname, or the URL of a browser or a log.

use std::{fmt, str::FromStr};

use serde::Deserialize;

use crate::model::{Hostname, InvalidHostname};

/// A hostname, a port and a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) host: Hostname,
    /// One that could be a TCP route's.
    pub(crate) port: Option<u16>,
    /// As it was written; empty if it was not.
    pub(crate) path: String,
}

impl FromStr for Asked {
    type Err = InvalidHostname;

    fn from_str(text: &str) -> Result<Self, InvalidHostname> {
        let (host, port, path) = split(text);
        Ok(Self {
            host: Hostname::parse(host)?,
            port: port.parse().ok(),
            path: path.to_owned(),
        })
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.host.as_str())?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(&self.path)
    }
}

/// A part of a hostname, as it is pasted.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "String")]
pub(crate) struct Part(String);

impl From<String> for Part {
    fn from(text: String) -> Self {
        let text = text.trim();
        // Of what is no URL a part may well have a slash or a colon in it.
        let part = if text.contains("://") {
            split(text).0
        } else {
            text
        };
        Self(part.trim_end_matches('.').to_ascii_lowercase())
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Part {
    /// Whether the name of something has it.
    pub(crate) fn is_in(&self, name: &str) -> bool {
        name.to_ascii_lowercase().contains(&self.0)
    }
}

/// The hostname, the port and the path.
fn split(text: &str) -> (&str, &str, &str) {
    let text = text.trim();
    let text = text.split(['?', '#']).next().unwrap_or(text);
    let url = match text.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => rest,
        _ => text,
    };
    let (authority, path) = url.find('/').map_or((url, ""), |at| url.split_at(at));
    // Before it are a name and a password, which are nobody's business.
    let host = authority.rsplit('@').next().unwrap_or(authority);
    let (host, port) = host.split_once(':').unwrap_or((host, ""));
    (host.trim_end_matches('.'), port, path)
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_paste_is_a_hostname_and_a_path() {
        for (pasted, expected) in [
            ("shop.example.com", "shop.example.com"),
            ("Shop.Example.COM.", "shop.example.com"),
            ("shop.example.com.:8443", "shop.example.com:8443"),
            ("shop.example.com:", "shop.example.com"),
            (" https://shop.example.com\n", "shop.example.com"),
            ("HTTPS://shop.example.com/", "shop.example.com/"),
            (
                "https://shop.example.com/Cart?a=/b#c",
                "shop.example.com/Cart",
            ),
            ("https://shop.example.com?a=http://b/", "shop.example.com"),
            (
                "wss://me:secret@shop.example.com.:443/a",
                "shop.example.com:443/a",
            ),
            (
                "shop.example.com/to/http://a/b",
                "shop.example.com/to/http://a/b",
            ),
            ("*.example.com/a", "*.example.com/a"),
        ] {
            let asked: Asked = pasted.parse().unwrap();
            assert_eq!(asked.to_string(), expected, "{pasted:?}");
        }
    }

    #[test]
    fn a_part_of_a_hostname_may_be_pasted_in_the_same_ways() {
        for (pasted, name) in [
            ("shop", "shop.example.com"),
            ("SHOP.", "shop.example.com"),
            ("https://Shop.example.com/a?b", "shop.example.com"),
            ("", "shop.example.com"),
            ("tcp.example.com:1024", "tcp.example.com:1024"),
            ("TLSPems[0]", "TLSPems[0].CertChain"),
        ] {
            assert!(Part::from(pasted.to_owned()).is_in(name), "{pasted:?}");
        }
        assert!(!Part::from("cart".to_owned()).is_in("shop.example.com"));
    }

    #[test]
    fn what_is_no_hostname_is_an_error_without_what_stands_before_it() {
        for pasted in ["", "https://", "/cart", "shop example.com", "?", "://a"] {
            assert!(pasted.parse::<Asked>().is_err(), "{pasted:?}");
        }
        let error = "https://me:secret@a b".parse::<Asked>().unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
