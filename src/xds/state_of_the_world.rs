//! `StreamAggregatedResources`: every response is the full state of its type, as istiod wants it.

use std::time::Instant;

use super::types;
use crate::{
    delivery::{Heard, Held, Interest, Protocol, Refusal, Response, StreamState, shortened},
    proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse},
    snapshot::{Form, Kind},
};

/// The protocol of full states.
#[derive(Debug)]
pub(super) struct StateOfTheWorld;

impl Protocol for StateOfTheWorld {
    type Request = DiscoveryRequest;
    type Header = DiscoveryResponse;
    /// `resource_names`.
    const LISTS: &'static [u32] = &[3];
    const FORM: Form = Form::Ads;

    const SILENT: Option<&'static str> = Some(types::MESH_CONFIG);

    fn kind(type_url: &str) -> Option<Kind> {
        types::kind(type_url)
    }

    fn asked(request: &DiscoveryRequest) -> &str {
        &request.type_url
    }

    // `resource_names` are not looked at: istiod sends none, and a configuration source has everything for everyone.
    fn hear(
        stream: &mut StreamState,
        request: DiscoveryRequest,
        now: Instant,
    ) -> Result<Heard, Refusal> {
        types::check(&request.type_url)?;
        if let Some(node) = request.node {
            stream.introduce(node.id);
        }
        let name = &request.type_url;
        // The first request of a type on a stream is a new one whatever nonce it has: istiod sends a text of its own.
        if !stream.is_subscribed(name) {
            stream.subscribe(name, false, Interest::everything(), Held::Unknown, now)?;
            return Ok(Heard::Subscribed);
        }
        if request.response_nonce.is_empty() {
            stream.renew(name, false, now);
            return Ok(Heard::Renewed);
        }
        let error = request
            .error_detail
            .map(|status| (status.code, shortened(status.message)));
        Ok(stream.answer(name, &request.response_nonce, error, false, now))
    }

    fn header(response: &Response, _: Vec<String>) -> DiscoveryResponse {
        DiscoveryResponse {
            version_info: response.version.to_string(),
            type_url: response.collection.as_ref().to_owned(),
            nonce: response.nonce.to_string(),
            resources: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
