//! Responses in the words of MCP, so that what any client holds can be compared.

use prost::Name as _;
use prost_types::Any;

use crate::proto::{
    envoy::service::discovery::v3::{
        self as discovery, DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest,
        DiscoveryResponse,
    },
    istio::mcp::v1alpha1::{Resource, Resources},
};

/// A response of either method.
pub trait Delivered: Sized {
    /// What answers it.
    type Request;

    /// The answer of a client that has applied it.
    fn ack(&self) -> Self::Request;

    /// What istiod makes of it: it skips a resource of another type, or whose name has not exactly one slash.
    fn unpack(self) -> Resources;
}

impl Delivered for DiscoveryResponse {
    type Request = DiscoveryRequest;

    fn ack(&self) -> DiscoveryRequest {
        super::ack(self)
    }

    fn unpack(self) -> Resources {
        Resources {
            system_version_info: self.version_info,
            collection: self.type_url,
            nonce: self.nonce,
            resources: self.resources.iter().filter_map(resource).collect(),
            incremental: false,
            removed_resources: Vec::new(),
        }
    }
}

impl Delivered for DeltaDiscoveryResponse {
    type Request = DeltaDiscoveryRequest;

    fn ack(&self) -> DeltaDiscoveryRequest {
        super::delta_ack(self)
    }

    fn unpack(self) -> Resources {
        let any = |entry: &discovery::Resource| resource(entry.resource.as_ref()?);
        Resources {
            system_version_info: self.system_version_info,
            collection: self.type_url,
            nonce: self.nonce,
            resources: self.resources.iter().filter_map(any).collect(),
            incremental: true,
            removed_resources: self.removed_resources,
        }
    }
}

fn resource(any: &Any) -> Option<Resource> {
    if any.type_url != Resource::type_url() {
        return None;
    }
    let resource: Resource = prost::Message::decode(any.value.as_slice()).ok()?;
    let (namespace, name) = resource.metadata.as_ref()?.name.split_once('/')?;
    let is_named = !namespace.is_empty() && !name.is_empty() && !name.contains('/');
    is_named.then_some(resource)
}
