//! Where the router's certificates are: the librarian writes them there, and the gateway names them.

use std::{
    collections::{HashMap, hash_map::Entry},
    mem,
    path::Path,
    str::FromStr,
};

use super::validate::{Invalid, full_name};

/// The certificate chain in a certificate's folder.
pub const CHAIN_FILE: &str = "tls.crt";
/// The private key beside it.
pub const KEY_FILE: &str = "tls.key";

/// No name in a file system is longer.
const MAX_NAME: usize = 255;

/// A certificate of the router, as the `librarian` writes it on the router's VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontendCertificate {
    /// The subject alternative names: the hosts that it serves. Never empty.
    pub names: Vec<String>,
}

/// Where a certificate is, and what it is presented for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place<'a> {
    /// The name of its folder; `None` where it has no name for one, and so is presented for nothing.
    pub folder: Option<&'a str>,
    /// To whom it is presented: clients that ask for one of these names, in lower case.
    pub hosts: Vec<String>,
    /// Whether it is the one for clients that ask for a name of no certificate, or for none.
    pub is_default: bool,
    /// The names that it is not presented for although it has them.
    pub left_out: Vec<(String, Invalid)>,
}

impl Place<'_> {
    /// Whether it is presented to anybody.
    pub fn is_used(&self) -> bool {
        self.is_default || !self.hosts.is_empty()
    }
}

/// Where each of these certificates is.
///
/// A name is that of the first certificate which has it; a later one loses the name, and nothing else. A folder is
/// named after the first of the names that are its own, as that is written, a wildcard's star too.
///
/// The first certificate is presented to whoever asks for no name, or for one that no certificate has, as the gorouter
/// does. That takes in its own names, but for those that are below a wildcard of another certificate.
pub fn places<'a>(
    certificates: impl IntoIterator<Item = &'a FrontendCertificate>,
) -> Vec<Place<'a>> {
    let mut holders = HashMap::new();
    let certificates = certificates.into_iter().enumerate();
    let mut places: Vec<_> = certificates
        .map(|(index, certificate)| place(index, certificate, &mut holders))
        .collect();
    if let Some(default) = places.iter().position(|place| place.folder.is_some()) {
        let mut first = mem::take(&mut places[default]);
        first.is_default = true;
        let others: Vec<_> = places.iter().flat_map(|place| &place.hosts).collect();
        first.hosts.retain(|host| {
            let mut others = others.iter();
            others.any(|other| is_below(host, other))
        });
        places[default] = first;
    }
    places
}

/// `holders` has the names of the certificates before it.
fn place<'a>(
    index: usize,
    certificate: &'a FrontendCertificate,
    holders: &mut HashMap<String, usize>,
) -> Place<'a> {
    let mut place = Place::default();
    for name in &certificate.names {
        let host = name.to_lowercase();
        match holders.entry(host.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(index);
                place.folder = place.folder.or(is_folder(name).then_some(name));
                match full_name(&host) {
                    Ok(()) => place.hosts.push(host),
                    Err(invalid) => place.left_out.push((host, invalid)),
                }
            }
            Entry::Occupied(entry) if *entry.get() == index => {}
            Entry::Occupied(_) => {
                let rule = "certificate";
                let detail = "another certificate is for this name too".to_owned();
                place.left_out.push((host, Invalid { rule, detail }));
            }
        }
    }
    place
}

/// Whether it leads to a folder of its own, below where it is looked up.
fn is_folder(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && !name.starts_with('.')
        && !name.contains(|c: char| c == '/' || c.is_control())
}

/// Whether Envoy takes a client that asks for `host` for one of `wildcard`, unless it knows better: at any depth.
fn is_below(host: &str, wildcard: &str) -> bool {
    let suffix = wildcard.strip_prefix('*');
    suffix.is_some_and(|suffix| host != wildcard && host.ends_with(suffix))
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

    fn certificate(names: &[&str]) -> FrontendCertificate {
        FrontendCertificate {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    /// The folder and the hosts of each certificate; of the one for everybody else, with an asterisk before them.
    fn placed(certificates: &[FrontendCertificate]) -> Vec<(Option<&str>, String)> {
        let placed = places(certificates).into_iter().map(|place| {
            let default = place.is_default.then(|| "*".to_owned());
            let hosts: Vec<_> = default.into_iter().chain(place.hosts).collect();
            (place.folder, hosts.join(" "))
        });
        placed.collect()
    }

    #[test]
    fn a_certificate_has_the_folder_of_the_first_of_its_names_that_can_be_one_as_it_is() {
        let folder = |names: &[&str]| {
            let certificate = [certificate(names)];
            let places = places(&certificate);
            places[0].folder.map(str::to_owned)
        };
        for name in ["example.com", "*.Example.com", "a", &"a".repeat(255)] {
            let found = folder(&[name, "other.example.com"]);
            assert_eq!(found.as_deref(), Some(name));
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
            assert_eq!(folder(&[name]), None, "{name:?}");
            let next = folder(&[name, "other.example.com"]);
            assert_eq!(next.as_deref(), Some("other.example.com"), "{name:?}");
        }
    }

    #[test]
    fn a_name_of_two_certificates_is_the_firsts_and_the_second_has_the_folder_of_the_next() {
        let certificates = [
            certificate(&["one.example.com"]),
            certificate(&["A.example.com", "b.example.com"]),
            certificate(&[
                "a.example.com",
                "b.example.com",
                "c.example.com",
                "d.example.com",
            ]),
            certificate(&["B.example.com"]),
        ];
        assert_eq!(
            placed(&certificates),
            [
                (Some("one.example.com"), "*".to_owned()),
                (
                    Some("A.example.com"),
                    "a.example.com b.example.com".to_owned()
                ),
                (
                    Some("c.example.com"),
                    "c.example.com d.example.com".to_owned()
                ),
                (None, String::new()),
            ]
        );
        assert!(!places(&certificates)[3].is_used());
    }

    #[test]
    fn the_first_is_for_everybody_else_and_keeps_what_another_ones_wildcard_would_take() {
        let first = certificate(&["*.apps.example.com", "example.org", "x.y.example.com"]);
        let others = certificate(&["*.example.com", "*.org.example"]);
        assert_eq!(
            placed(&[first.clone(), others.clone()]),
            [
                (
                    Some("*.apps.example.com"),
                    "* *.apps.example.com x.y.example.com".to_owned()
                ),
                (
                    Some("*.example.com"),
                    "*.example.com *.org.example".to_owned()
                ),
            ]
        );
        // The other way round, Envoy finds the more exact name by itself.
        assert_eq!(placed(&[others, first])[0].1, "*");
    }

    #[test]
    fn a_first_one_of_names_that_istio_refuses_is_for_everybody_else_all_the_same() {
        let certificates = [certificate(&["localhost"]), certificate(&["example.com"])];
        let expected = ["*", "example.com"].map(str::to_owned);
        let placed = placed(&certificates).into_iter().map(|(_, hosts)| hosts);
        assert_eq!(placed.collect::<Vec<_>>(), expected);
        let unusable = [certificate(&["../up"]), certificate(&["example.com"])];
        assert!(places(&unusable)[1].is_default);
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
