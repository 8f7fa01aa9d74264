//! Why a well-formed answer is not believed yet.

use crate::feed::Kind;

/// Why a read is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Doubt {
    /// The first read finds no route, while sinks may hold those of an earlier process.
    #[error("the first full read found no routes; another has to confirm it")]
    Nothing,
    /// The first read does not find all domains.
    #[error("the first full read found no domain {0}; another has to confirm it")]
    Domains(String),
    /// The first read finds rows and can read few of them, or none; no second one helps.
    #[error(
        "the first full read could not read {unreadable} rows; it counts once most rows can be read"
    )]
    Unreadable {
        /// How many rows.
        unreadable: usize,
    },
    /// Bindings that cannot be read may be those of any route.
    #[error(
        "{unreadable} bindings to route services could not be read; no route counts as unbound until they can"
    )]
    UnreadableBindings {
        /// How many rows.
        unreadable: usize,
    },
    /// Domains that enforced route policies do not say so any more.
    #[error(
        "domain {domain}{} no longer says that it enforces route policies; another read has to confirm it",
        if *.others == 0 { String::new() } else { format!(" (and {others} others)") }
    )]
    Opened {
        /// One of them.
        domain: String,
        /// How many others there are.
        others: usize,
    },
}

impl Doubt {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Nothing | Self::Domains(_) | Self::Opened { .. } => Kind::Unconfirmed,
            Self::Unreadable { .. } | Self::UnreadableBindings { .. } => Kind::Unreadable,
        }
    }
}
