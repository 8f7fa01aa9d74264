//! The protocol's requests and responses, as what they mean for a stream's state.

use std::time::Instant;

use super::collections;
use crate::{
    delivery::{Heard, Held, Interest, Protocol, Refusal, Response, StreamState, shortened},
    proto::istio::mcp::v1alpha1::{RequestResources, Resources},
    snapshot::{Form, Kind},
};

/// A pseudo collection by which some sinks probe the server; their answer to it is meant for nobody.
const TRIGGER: &str = "$triggerCollection";
/// gRPC's code of that answer.
const UNIMPLEMENTED: i32 = 12;

/// The Mesh Configuration Protocol.
#[derive(Debug)]
pub(super) struct Mcp;

impl Protocol for Mcp {
    type Request = RequestResources;
    type Header = Resources;
    /// `initial_resource_versions`.
    const LISTS: &'static [u32] = &[3];
    const FORM: Form = Form::Mcp;

    fn kind(collection: &str) -> Option<Kind> {
        Kind::from_collection(collection)
    }

    fn label(name: &str) -> &'static str {
        collections::label(name)
    }

    fn asked(request: &RequestResources) -> &str {
        &request.collection
    }

    fn hear(
        stream: &mut StreamState,
        mut request: RequestResources,
        now: Instant,
    ) -> Result<Heard, Refusal> {
        if let Some(node) = request.sink_node.take() {
            stream.introduce(node.id);
        }
        let error = request
            .error_detail
            .take()
            .map(|status| (status.code, shortened(status.message)));
        let name = &request.collection;
        if name == TRIGGER && matches!(error, Some((UNIMPLEMENTED, _))) {
            return Ok(Heard::Ignored);
        }
        // "New" by the protocol: no nonce; an error in such a request means nothing.
        if !request.response_nonce.is_empty() {
            return Ok(stream.answer(
                name,
                &request.response_nonce,
                error,
                request.incremental,
                now,
            ));
        }
        if stream.renew(name, request.incremental, now) {
            return Ok(Heard::Renewed);
        }
        // Only the first request of a stream lists what its sink holds; an empty list says that it is nothing.
        let listed = request.initial_resource_versions;
        let held = if stream.has_room_for(&listed) {
            Held::Listed(listed)
        } else {
            Held::Unknown
        };
        let everything = Interest::everything();
        stream.subscribe(
            &request.collection,
            request.incremental,
            everything,
            held,
            now,
        )?;
        Ok(Heard::Subscribed)
    }

    fn header(response: &Response, removed_resources: Vec<String>) -> Resources {
        Resources {
            system_version_info: response.version.to_string(),
            collection: response.collection.as_ref().to_owned(),
            nonce: response.nonce.to_string(),
            incremental: response.incremental,
            removed_resources,
            resources: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
