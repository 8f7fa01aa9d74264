//! Guids. Cloud Controller's and Diego's are UUIDs, held as sixteen bytes; any other text is kept as it is.

use std::{fmt, sync::Arc};

/// A UUID in its canonical form, or any other text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Guid {
    Uuid([u8; 16]),
    Other(Arc<str>),
}

/// Length of a UUID's canonical text.
const UUID_LEN: usize = 36;

impl Guid {
    fn parse(text: &str) -> Self {
        parse_uuid(text.as_bytes()).map_or_else(|| Self::Other(text.into()), Self::Uuid)
    }
}

fn parse_uuid(text: &[u8]) -> Option<[u8; 16]> {
    if text.len() != UUID_LEN {
        return None;
    }
    let mut uuid = [0; 16];
    let mut at = 0;
    for byte in &mut uuid {
        if matches!(at, 8 | 13 | 18 | 23) {
            if text[at] != b'-' {
                return None;
            }
            at += 1;
        }
        *byte = hex(text[at])? << 4 | hex(text[at + 1])?;
        at += 2;
    }
    Some(uuid)
}

/// Lower case only: an upper-case UUID would not print as it came.
fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        match self {
            Self::Other(text) => f.write_str(text),
            Self::Uuid(uuid) => {
                let mut text = [b'-'; UUID_LEN];
                let mut at = 0;
                for byte in uuid {
                    if matches!(at, 8 | 13 | 18 | 23) {
                        at += 1;
                    }
                    text[at] = DIGITS[usize::from(byte >> 4)];
                    text[at + 1] = DIGITS[usize::from(byte & 15)];
                    at += 2;
                }
                f.write_str(std::str::from_utf8(&text).expect("hexadecimal digits are UTF-8"))
            }
        }
    }
}

macro_rules! guids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Guid);

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Guid::parse(text))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    )*};
}

guids! {
    /// An app's guid.
    AppGuid;
    /// A process's guid in Cloud Controller, without the version that Diego appends.
    CapiProcessGuid;
    /// A domain's guid.
    DomainGuid;
    /// An app instance's guid: new for every start, the same while it is evacuated.
    InstanceGuid;
    /// A route's guid.
    RouteGuid;
}

impl AppGuid {
    /// The guid by which the push API's processes are known where apps are meant.
    pub(super) fn standing_for(process: &CapiProcessGuid) -> Self {
        Self(process.0.clone())
    }

    /// Whether a process of which nobody says more is this app's: it has the app's guid until the first rolling
    /// deployment.
    pub fn is_probably_of(&self, process: &CapiProcessGuid) -> bool {
        self.0 == process.0
    }
}

/// A process's guid in Diego: the guid in Cloud Controller, a dash, and the version of the process.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DiegoProcessGuid {
    process: CapiProcessGuid,
    version: Option<Guid>,
}

impl DiegoProcessGuid {
    /// The process's guid in Cloud Controller: the first 36 characters, as Cloud Controller itself recovers it.
    pub fn capi_process(&self) -> &CapiProcessGuid {
        &self.process
    }
}

impl From<&str> for DiegoProcessGuid {
    fn from(text: &str) -> Self {
        match (
            text.get(..UUID_LEN),
            text.get(UUID_LEN..).and_then(|rest| rest.strip_prefix('-')),
        ) {
            (Some(process), Some(version)) => Self {
                process: process.into(),
                version: Some(Guid::parse(version)),
            },
            _ => Self {
                process: text.into(),
                version: None,
            },
        }
    }
}

impl fmt::Display for DiegoProcessGuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.process.fmt(f)?;
        self.version
            .as_ref()
            .map_or(Ok(()), |version| write!(f, "-{version}"))
    }
}

impl fmt::Debug for DiegoProcessGuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DiegoProcessGuid({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROCESS: &str = "6a901b7c-9417-4dc1-8189-d3234aa0ab82";
    const VERSION: &str = "e9df685c-0464-4aa7-b5f0-8ed843077c13";

    #[test]
    fn a_diego_process_guid_begins_with_the_capi_process_guid() {
        let guid = DiegoProcessGuid::from(format!("{PROCESS}-{VERSION}").as_str());
        assert_eq!(guid.capi_process(), &CapiProcessGuid::from(PROCESS));
        assert_eq!(guid.to_string(), format!("{PROCESS}-{VERSION}"));
    }

    #[test]
    fn a_uuid_takes_no_allocation_and_an_upper_case_one_stays_as_it_came() {
        assert!(matches!(RouteGuid::from(PROCESS).0, Guid::Uuid(_)));
        assert_eq!(
            RouteGuid::from(PROCESS.to_uppercase().as_str()).to_string(),
            PROCESS.to_uppercase()
        );
    }

    proptest! {
        #[test]
        fn prints_what_it_was_read_from(text in "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|.{0,80}|[0-9a-fA-F-]{36,73}") {
            prop_assert_eq!(RouteGuid::from(text.as_str()).to_string(), text.clone());
            prop_assert_eq!(DiegoProcessGuid::from(text.as_str()).to_string(), text);
        }
    }
}
