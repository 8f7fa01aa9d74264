//! The certificates of the config's files, and when they end.

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{extract::State, response::Response};
use serde::Serialize;

use super::{
    Sources,
    page::{Columns, Wants, brief, timestamp},
};
use crate::{feed::chain, tls};

/// What is left of a certificate that is to be replaced soon.
const SOON: Duration = Duration::from_hours(30 * 24);

/// What is known of a file's certificates.
#[derive(Debug, Serialize)]
pub(super) struct Certificates(pub(super) Vec<Certificate>);

/// A certificate of a file, or why the file has none.
#[derive(Debug, Serialize)]
pub(super) struct Certificate {
    /// The key that names the file.
    pub(super) key: String,
    file: PathBuf,
    #[serde(flatten)]
    found: Found,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Found {
    Certificate {
        subject: String,
        #[serde(serialize_with = "timestamp")]
        ends: SystemTime,
        state: Standing,
    },
    Problem {
        problem: String,
    },
}

/// How a certificate fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Standing {
    Good,
    EndsSoon,
    Ended,
    NotYet,
}

impl Standing {
    fn of(validity: &tls::Validity, now: SystemTime) -> Self {
        if now < validity.begins {
            return Self::NotYet;
        }
        match validity.ends.duration_since(now) {
            Err(_) => Self::Ended,
            Ok(left) if left < SOON => Self::EndsSoon,
            Ok(_) => Self::Good,
        }
    }
}

impl Certificate {
    /// What somebody has to look at, if anything.
    pub(super) fn worry(&self) -> Option<String> {
        let (key, file) = (&self.key, self.file.display());
        match &self.found {
            Found::Problem { problem } => Some(format!("{key}: {problem}")),
            Found::Certificate { state, .. } if *state == Standing::Good => None,
            Found::Certificate { subject, .. } => {
                Some(format!("{key}: {subject} in {file} {}", self.words()))
            }
        }
    }

    fn words(&self) -> String {
        match &self.found {
            Found::Problem { problem } => problem.clone(),
            Found::Certificate { state, ends, .. } => match state {
                Standing::NotYet => "IS NOT VALID YET".to_owned(),
                Standing::Ended => {
                    format!("ENDED {} ago", brief(ends.elapsed().unwrap_or_default()))
                }
                Standing::Good | Standing::EndsSoon => {
                    let left = ends.duration_since(SystemTime::now());
                    format!("ends in {}", brief(left.unwrap_or_default()))
                }
            },
        }
    }
}

impl fmt::Display for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut columns = Columns::new(&["KEY", "CERTIFICATE", "STATE", "ENDS", "FILE"]);
        for certificate in &self.0 {
            let (subject, ends) = match &certificate.found {
                Found::Certificate { subject, ends, .. } => (
                    subject.as_str(),
                    humantime::format_rfc3339_seconds(*ends).to_string(),
                ),
                Found::Problem { .. } => ("", String::new()),
            };
            let (words, file) = (certificate.words(), certificate.file.display());
            columns.row([&certificate.key, &subject, &words, &ends, &file]);
        }
        columns.fmt(f)
    }
}

impl Sources {
    /// Reads the files as they are now.
    pub(super) async fn certificates(&self) -> Certificates {
        let files = self.shown.certificates.clone();
        let read = tokio::task::spawn_blocking(move || {
            let files = files.into_iter();
            files.flat_map(|(key, file)| of_file(&key, &file)).collect()
        });
        Certificates(read.await.unwrap_or_default())
    }
}

fn of_file(key: &str, file: &std::path::Path) -> Vec<Certificate> {
    let certificate = |found| Certificate {
        key: key.to_owned(),
        file: file.to_owned(),
        found,
    };
    let now = SystemTime::now();
    match tls::validities(file) {
        Ok(validities) => validities
            .into_iter()
            .map(|validity| {
                certificate(Found::Certificate {
                    state: Standing::of(&validity, now),
                    ends: validity.ends,
                    subject: validity.subject,
                })
            })
            .collect(),
        Err(error) => vec![certificate(Found::Problem {
            problem: chain(&error),
        })],
    }
}

pub(super) async fn certificates(State(sources): State<Arc<Sources>>, wants: Wants) -> Response {
    wants.page(&sources.certificates().await)
}
