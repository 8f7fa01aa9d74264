//! The forms in which the protocols send one and the same resource.

use std::borrow::Cow;

use bytes::BytesMut;
use prost::{Message as _, Name as _};
use prost_types::Any;

use super::{Era, ResourceVersion};
use crate::proto::{
    envoy::service::discovery::v3::{self as discovery, DeltaDiscoveryResponse, DiscoveryResponse},
    istio::mcp::v1alpha1::Resource as Message,
};

/// The namespace, for istiod, of what has none.
const NAMESPACE: &str = "cloudfoundry/";

/// How a protocol names a resource, and writes it into a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// An entry of `resources` of an MCP response.
    Mcp,
    /// An entry of `resources` of a `DiscoveryResponse`.
    Ads,
    /// An entry of `resources` of a `DeltaDiscoveryResponse`.
    DeltaAds,
}

impl Form {
    /// Who reads it: each era has forms of its own, and is served what is for it.
    pub fn era(self) -> Era {
        match self {
            Self::Mcp => Era::Classic,
            Self::Ads | Self::DeltaAds => Era::Xds,
        }
    }

    /// The name that a resource of ours has in this form. istiod skips resources whose names have not exactly one
    /// slash.
    pub fn name(self, own: &str) -> Cow<'_, str> {
        match self {
            Self::Ads | Self::DeltaAds if !own.contains('/') => {
                Cow::Owned(format!("{NAMESPACE}{own}"))
            }
            Self::Mcp | Self::Ads | Self::DeltaAds => Cow::Borrowed(own),
        }
    }

    /// Our own name of a resource that has `name` in this form; `None` where none of ours can have it.
    pub fn own(self, name: &str) -> Option<&str> {
        match self {
            Self::Mcp => Some(name),
            Self::Ads | Self::DeltaAds => {
                let own = name.strip_prefix(NAMESPACE).unwrap_or(name);
                (self.name(own) == name).then_some(own)
            }
        }
    }

    /// Writes a resource for one of Envoy's protocols, from what it is in an MCP response.
    pub(super) fn write(
        self,
        own_name: &str,
        version: ResourceVersion,
        mut message: Message,
        buffer: &mut BytesMut,
    ) {
        let name = self.name(own_name).into_owned();
        if let Some(metadata) = &mut message.metadata {
            metadata.name.clone_from(&name);
        }
        let any = Any {
            type_url: Message::type_url(),
            value: message.encode_to_vec(),
        };
        // A response with nothing but the one entry is that entry: key, length, message.
        let written = if self == Self::DeltaAds {
            let entry = discovery::Resource {
                version: version.to_string(),
                resource: Some(any),
                name,
            };
            DeltaDiscoveryResponse {
                resources: vec![entry],
                ..DeltaDiscoveryResponse::default()
            }
            .encode(buffer)
        } else {
            DiscoveryResponse {
                resources: vec![any],
                ..DiscoveryResponse::default()
            }
            .encode(buffer)
        };
        written.expect("a BytesMut takes all that is written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_exactly_one_slash_for_istiod_and_leads_back_to_our_own() {
        for (own, name) in [("a", "cloudfoundry/a"), ("internal/a", "internal/a")] {
            for form in [Form::Ads, Form::DeltaAds] {
                assert_eq!(form.name(own), name);
                assert_eq!(form.own(name), Some(own));
            }
            assert_eq!(Form::Mcp.name(own), own);
            assert_eq!(Form::Mcp.own(own), Some(own));
        }
    }

    #[test]
    fn a_name_that_none_of_ours_has_leads_nowhere() {
        for name in ["a", "", "cloudfoundry/internal/a"] {
            assert_eq!(Form::Ads.own(name), None, "{name:?}");
        }
    }
}
