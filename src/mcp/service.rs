//! The gRPC service `istio.mcp.v1alpha1.ResourceSource`.

use tonic::Status;

use super::connection::Mcp;
use crate::delivery::{Body, Call, Methods, Service};

const METHOD: &str = "/istio.mcp.v1alpha1.ResourceSource/EstablishResourceStream";

/// Its one method.
#[derive(Debug)]
pub(super) struct ResourceSource;

impl Methods for ResourceSource {
    const SERVICE: &'static str = "istio.mcp.v1alpha1.ResourceSource";

    fn open(service: &Service<Self>, path: &str, call: Call) -> Result<Body, Status> {
        if path != METHOD {
            return Err(Status::unimplemented("no such method"));
        }
        service.open::<Mcp>(call)
    }
}
