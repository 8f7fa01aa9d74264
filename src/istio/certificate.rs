//! Where the router's certificates are: the librarian writes them there, and the gateway names them.

use std::{path::Path, str::FromStr};

/// The certificate chain in a certificate's folder.
pub const CHAIN_FILE: &str = "tls.crt";
/// The private key beside it.
pub const KEY_FILE: &str = "tls.key";

/// No name in a file system is longer.
const MAX_NAME: usize = 255;

/// A certificate of the router, as the `librarian` writes it on the router's VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontendCertificate {
    /// The subject alternative names: the hosts that it serves. The first names its folder. Never empty.
    pub names: Vec<String>,
}

impl FrontendCertificate {
    /// The name of its folder: its first name as it is, a wildcard's star too. `None` where that would lead elsewhere.
    pub fn folder(&self) -> Option<&str> {
        let name = self.names[0].as_str();
        let is_folder = (1..=MAX_NAME).contains(&name.len())
            && !name.starts_with('.')
            && !name.contains(|c: char| c == '/' || c.is_control());
        is_folder.then_some(name)
    }
}

/// The folder that holds a folder for each certificate: an absolute path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRoot(String);

impl CertificateRoot {
    /// The folder itself.
    pub fn path(&self) -> &Path {
        Path::new(&self.0)
    }

    /// The path of a certificate's folder.
    pub fn folder(&self, name: &str) -> String {
        format!("{}/{name}", self.0.trim_end_matches('/'))
    }
}

impl Default for CertificateRoot {
    fn default() -> Self {
        Self("/etc/istio".to_owned())
    }
}

/// The gateway's paths are read by another process than the one that makes them.
#[derive(Debug, thiserror::Error)]
#[error("expected an absolute path")]
pub struct NotAbsolute;

impl FromStr for CertificateRoot {
    type Err = NotAbsolute;

    fn from_str(path: &str) -> Result<Self, NotAbsolute> {
        if path.starts_with('/') {
            Ok(Self(path.to_owned()))
        } else {
            Err(NotAbsolute)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_has_the_folder_of_its_first_name_as_it_is() {
        let folder = |name: &str| {
            let names = vec![name.to_owned(), "other.example.com".to_owned()];
            FrontendCertificate { names }.folder().map(str::to_owned)
        };
        for name in ["example.com", "*.Example.com", "a", &"a".repeat(255)] {
            assert_eq!(folder(name).as_deref(), Some(name));
        }
        for name in [
            "",
            ".",
            "..",
            ".hidden",
            "../up",
            "/etc",
            "a/b",
            "a\0b",
            "a\n",
            &"a".repeat(256),
        ] {
            assert_eq!(folder(name), None, "{name:?}");
        }
    }

    #[test]
    fn the_root_is_absolute() {
        let folder = |root: &str| root.parse::<CertificateRoot>().map(|root| root.folder("x"));
        assert_eq!(folder("/etc/istio").unwrap(), "/etc/istio/x");
        assert_eq!(folder("/etc/istio/").unwrap(), "/etc/istio/x");
        assert_eq!(folder("/").unwrap(), "/x");
        assert!(folder("etc/istio").is_err() && folder("").is_err());
    }
}
