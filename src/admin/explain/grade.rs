//! How bad something is, and what to do about it.

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Grade {
    /// All is well here.
    Good,
    /// Requests are answered, and not as Cloud Foundry has it.
    Partly,
    /// They are not answered, or by what is old, or sinks do not know.
    #[default]
    Wrong,
}

impl Grade {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Good => "GOOD",
            Self::Partly => "PARTLY",
            Self::Wrong => "WRONG",
        }
    }
}

/// What is wrong, in a word for programs and a line for people.
#[derive(Debug, Default, Serialize)]
pub(super) struct Verdict {
    pub(super) grade: Grade,
    /// From a small closed set; `good` if nothing is.
    pub(super) cause: &'static str,
    pub(super) what: String,
    /// What to do about it.
    pub(super) remedy: String,
}

impl Verdict {
    pub(super) fn new(
        cause: &'static str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            grade: Grade::Wrong,
            cause,
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}
