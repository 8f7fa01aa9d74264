//! `DeltaAggregatedResources`: every response is what has changed of its type since the last one that was accepted.

use std::time::Instant;

use super::types;
use crate::{
    delivery::{Heard, Held, Interest, Protocol, Refusal, Response, StreamState, shortened},
    proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
    snapshot::{Form, Kind},
};

/// The protocol of deltas.
#[derive(Debug)]
pub(super) struct Delta;

impl Protocol for Delta {
    type Request = DeltaDiscoveryRequest;
    type Header = DeltaDiscoveryResponse;
    /// `resource_names_subscribe`, `resource_names_unsubscribe` and `initial_resource_versions`.
    const LISTS: &'static [u32] = &[3, 4, 5];
    const FORM: Form = Form::DeltaAds;

    const SILENT: Option<&'static str> = Some(types::MESH_CONFIG);

    fn kind(type_url: &str) -> Option<Kind> {
        types::kind(type_url)
    }

    fn asked(request: &DeltaDiscoveryRequest) -> &str {
        &request.type_url
    }

    fn hear(
        stream: &mut StreamState,
        mut request: DeltaDiscoveryRequest,
        now: Instant,
    ) -> Result<Heard, Refusal> {
        types::check(&request.type_url)?;
        if let Some(node) = request.node.take() {
            stream.introduce(node.id);
        }
        if !stream.is_subscribed(&request.type_url) {
            return first(stream, request, now);
        }
        let name = &request.type_url;
        let changes = !request.resource_names_subscribe.is_empty()
            || !request.resource_names_unsubscribe.is_empty();
        let event = if request.response_nonce.is_empty() {
            Heard::Ignored
        } else {
            let error = request
                .error_detail
                .map(|status| (status.code, shortened(status.message)));
            stream.answer(name, &request.response_nonce, error, true, now)
        };
        // A request may change what is wanted beside answering, and counts even where its nonce does not.
        if changes {
            let wanted = request.resource_names_subscribe;
            stream.change(name, wanted, request.resource_names_unsubscribe, now)?;
        }
        Ok(match event {
            Heard::Ignored | Heard::Stale if changes => Heard::Subscribed,
            event => event,
        })
    }

    fn header(response: &Response, removed_resources: Vec<String>) -> DeltaDiscoveryResponse {
        DeltaDiscoveryResponse {
            system_version_info: response.version.to_string(),
            type_url: response.collection.as_ref().to_owned(),
            nonce: response.nonce.to_string(),
            removed_resources,
            resources: Vec::new(),
        }
    }
}

/// The first request of a type on a stream is a new one whatever nonce it has; only this one lists what its sink holds.
fn first(
    stream: &mut StreamState,
    request: DeltaDiscoveryRequest,
    now: Instant,
) -> Result<Heard, Refusal> {
    let listed = request.initial_resource_versions;
    if !stream.has_room_for(&listed) {
        return Err(Refusal::Resources);
    }
    let interest = Interest::of(request.resource_names_subscribe);
    let held = Held::Listed(listed);
    stream.subscribe(&request.type_url, true, interest, held, now)?;
    Ok(Heard::Subscribed)
}

#[cfg(test)]
mod tests;
