//! What Cloud Controller may send, taken in as it comes.

use serde_json::value::RawValue;

use super::wire::{self, AnnotationPrefix, DomainKind, KnownDomain, MeshDomain};
use crate::model::Hostname;

/// The rows of a list, of whatever kind.
pub(crate) fn rows(bytes: &[u8]) {
    let Ok(rows) = serde_json::from_slice::<Vec<&RawValue>>(bytes) else {
        return;
    };
    let domain = |kind| MeshDomain {
        name: Hostname::parse("example.com").expect("a hostname"),
        kind,
    };
    let (http, tcp) = (domain(DomainKind::Http), domain(DomainKind::Tcp));
    for row in rows {
        wire::guid(row);
        wire::route(row, &AnnotationPrefix::default(), |guid| {
            match guid.to_string().as_str() {
                "outside" => KnownDomain::Outside,
                "unknown" => KnownDomain::Unknown,
                "tcp" => KnownDomain::Mesh(&tcp),
                _ => KnownDomain::Mesh(&http),
            }
        })
        .ok();
        wire::domain(row).ok();
        wire::binding(row).ok();
        wire::process(row).ok();
    }
}

/// A page of a list.
pub(crate) fn page(bytes: &[u8]) {
    super::http::fuzz_page(bytes);
}
