//! The types that istiod asks for, as collections of ours.

use crate::{
    delivery::{Found, OTHER, Refusal, shortened},
    snapshot::Snapshot,
};

/// The kinds of ours, with their collections.
const OURS: [(&str, &str); 5] = [
    (
        "DestinationRule",
        "istio/networking/v1alpha3/destinationrules",
    ),
    ("Gateway", "istio/networking/v1alpha3/gateways"),
    ("ServiceEntry", "istio/networking/v1alpha3/serviceentries"),
    ("Sidecar", "istio/networking/v1alpha3/sidecars"),
    (
        "VirtualService",
        "istio/networking/v1alpha3/virtualservices",
    ),
];
/// The collections alone.
pub(super) const COLLECTIONS: [&str; 5] = [OURS[0].1, OURS[1].1, OURS[2].1, OURS[3].1, OURS[4].1];
/// Their API group. Of its versions any will do: istiod asks for v1alpha3 up to 1.23 and for v1 from 1.24 on, the
/// resources are the same, and to answer the next version with nothing would wipe its mesh.
const NETWORKING: &str = "networking.istio.io";

/// The mesh config, which some istiods ask for and none waits for. An answer would be an offer to replace theirs.
const MESH_CONFIG: &str = "core/v1alpha1/MeshConfig";

/// Checks that a type URL is one of a configuration source.
///
/// Everything of that shape is answered, since istiod is ready only when all that it asked for was. An Envoy that was
/// led here asks for `type.googleapis.com/…`; it learns of its mistake, where an empty answer would wipe its listeners.
pub(super) fn check(type_url: &str) -> Result<(), Refusal> {
    let mut parts = type_url.split('/');
    let is_config = parts.clone().count() == 3 && parts.all(|part| !part.is_empty());
    if is_config {
        return Ok(());
    }
    Err(Refusal::Type(shortened(type_url.to_owned())))
}

/// What a type URL stands for in a snapshot.
pub(super) fn find<'a>(snapshot: &'a Snapshot, type_url: &str) -> Found<'a> {
    if type_url == MESH_CONFIG {
        return Found::Silence;
    }
    let Some(name) = collection(type_url) else {
        return Found::Nothing;
    };
    match snapshot.xds(name) {
        Some(collection) => Found::Published(collection),
        None if snapshot.withholds(name) => Found::Silence,
        None => Found::Nothing,
    }
}

/// The metric label of a type URL: the collection's name, whatever the version.
pub(super) fn label(type_url: &str) -> &'static str {
    collection(type_url).unwrap_or(OTHER)
}

fn collection(type_url: &str) -> Option<&'static str> {
    let (_, kind) = type_url
        .strip_prefix(NETWORKING)?
        .strip_prefix('/')?
        .split_once('/')?;
    let ours = OURS.into_iter().find(|(ours, _)| *ours == kind);
    ours.map(|(_, collection)| collection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_the_same_collection_in_each_of_its_versions() {
        for version in ["v1alpha3", "v1beta1", "v1", "v2"] {
            let type_url = format!("networking.istio.io/{version}/ServiceEntry");
            assert_eq!(
                collection(&type_url),
                Some("istio/networking/v1alpha3/serviceentries")
            );
        }
        for other in [
            "networking.istio.io/v1/EnvoyFilter",
            "security.istio.io/v1/ServiceEntry",
        ] {
            assert_eq!(collection(other), None);
            assert_eq!(label(other), OTHER);
        }
    }

    #[test]
    fn a_type_that_is_no_group_version_and_kind_is_refused() {
        assert_eq!(check("telemetry.istio.io/v1/Telemetry"), Ok(()));
        for other in [
            "",
            "a/b",
            "a//c",
            "a/b/c/d",
            "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        ] {
            let refused = Refusal::Type(other.to_owned());
            assert_eq!(check(other), Err(refused));
        }
    }
}
