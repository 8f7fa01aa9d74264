//! The certificates that the config has or names, and when they end.

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{extract::State, response::Response};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use serde::Serialize;

use super::{
    Sources,
    page::{Columns, Wants, brief, timestamp},
};
use crate::{
    feed::chain,
    tls::{self, Place, Standing, Validity},
};

/// What is known of all certificates.
#[derive(Debug, Serialize)]
pub(super) struct Certificates(pub(super) Vec<Certificate>);

/// A certificate, or why there is none where there should be.
#[derive(Debug, Serialize)]
pub(super) struct Certificate {
    /// The key that has or names it.
    pub(super) key: String,
    /// `None` where it is in the config itself.
    file: Option<PathBuf>,
    #[serde(skip)]
    role: &'static str,
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
        /// Whether another authority has taken its place.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        replaced: bool,
    },
    Problem {
        problem: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
struct CertificateLabels {
    key: String,
    role: &'static str,
    subject: String,
}

impl Certificate {
    /// What somebody has to look at, if anything.
    pub(super) fn worry(&self) -> Option<String> {
        let (key, place) = (&self.key, self.place());
        match &self.found {
            Found::Problem { problem } => Some(format!("{key}: {problem}")),
            Found::Certificate {
                state, replaced, ..
            } if *state == Standing::Good || *replaced => None,
            Found::Certificate { subject, .. } => {
                Some(format!("{key}: {subject} in {place} {}", self.words()))
            }
        }
    }

    fn place(&self) -> String {
        self.file.as_ref().map_or_else(
            || "the config".to_owned(),
            |file| file.display().to_string(),
        )
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

impl Certificates {
    /// When they end, as metrics. Of authorities of one name, the last one counts: it takes the place of the others. Of
    /// others the first to end does.
    pub(super) fn register(&self, registry: &mut Registry) {
        let mut all = BTreeMap::new();
        for certificate in &self.0 {
            let Found::Certificate { subject, ends, .. } = &certificate.found else {
                continue;
            };
            let labels = CertificateLabels {
                key: certificate.key.clone(),
                role: certificate.role,
                subject: subject.clone(),
            };
            let known = all.entry(labels).or_insert(*ends);
            *known = match certificate.role {
                AUTHORITY => (*ends).max(*known),
                _ => (*ends).min(*known),
            };
        }
        let family = Family::<CertificateLabels, Gauge>::default();
        for (labels, ends) in all {
            let ends = ends.duration_since(UNIX_EPOCH).unwrap_or_default();
            let ends = i64::try_from(ends.as_secs()).unwrap_or(i64::MAX);
            family.get_or_create(&labels).set(ends);
        }
        registry.register(
            "copilot_certificate_end_timestamp_seconds",
            "When a certificate of the config ends, in Unix time",
            family,
        );
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
            let (words, place) = (certificate.words(), certificate.place());
            columns.row([&certificate.key, &subject, &words, &ends, &place]);
        }
        columns.fmt(f)
    }
}

/// The role of what signs others.
const AUTHORITY: &str = "authority";

impl Sources {
    /// Reads them as they are now.
    pub(super) async fn certificates(&self) -> Certificates {
        let sources = self.shown.certificates.clone();
        let read = tokio::task::spawn_blocking(move || sources.iter().flat_map(found).collect());
        Certificates(read.await.unwrap_or_default())
    }
}

fn found(source: &tls::Certificates) -> Vec<Certificate> {
    let certificate = |found| Certificate {
        key: source.key.clone(),
        file: match &source.place {
            Place::File(file) => Some(file.clone()),
            Place::Config(_) => None,
        },
        role: if source.are_authorities {
            AUTHORITY
        } else {
            "presented"
        },
        found,
    };
    match source.read() {
        Ok(validities) => validities
            .into_iter()
            .map(|validity| certificate(validity.into()))
            .collect(),
        Err(error) => vec![certificate(Found::Problem {
            problem: chain(&error),
        })],
    }
}

impl From<Validity> for Found {
    fn from(validity: Validity) -> Self {
        Self::Certificate {
            subject: validity.subject,
            ends: validity.ends,
            state: validity.standing,
            replaced: validity.is_replaced,
        }
    }
}

pub(super) async fn certificates(State(sources): State<Arc<Sources>>, wants: Wants) -> Response {
    wants.page(&sources.certificates().await)
}
