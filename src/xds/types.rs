//! The types that istiod asks for, as kinds of ours.

use crate::{
    delivery::{Refusal, shortened},
    snapshot::Kind,
};

/// The API group of our kinds. Of its versions any will do: istiod asks for v1alpha3 up to 1.23 and for v1 from 1.24 on, the
/// resources are the same, and to answer the next version with nothing would wipe its mesh.
const NETWORKING: &str = "networking.istio.io";

/// The mesh config, which some istiods ask for and none waits for. An answer would be an offer to replace theirs.
pub const MESH_CONFIG: &str = "core/v1alpha1/MeshConfig";

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

/// The kind of ours that a type URL means, whatever the version.
pub(super) fn kind(type_url: &str) -> Option<Kind> {
    let (group, version_and_kind) = type_url.split_once('/')?;
    let (_, kind) = version_and_kind.split_once('/')?;
    Kind::from_name(kind).filter(|_| group == NETWORKING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_the_same_collection_in_each_of_its_versions() {
        for version in ["v1alpha3", "v1beta1", "v1", "v2"] {
            let type_url = format!("networking.istio.io/{version}/ServiceEntry");
            assert_eq!(kind(&type_url), Some(Kind::ServiceEntry));
        }
        for other in [
            "networking.istio.io/v1/EnvoyFilter",
            "security.istio.io/v1/ServiceEntry",
        ] {
            assert_eq!(kind(other), None);
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
