//! The gRPC service `istio.mcp.v1alpha1.ResourceSource`.

use std::collections::BTreeSet;

use tonic::Status;

use super::connection::Mcp;
use crate::{
    delivery::{Body, Call, Methods, Service},
    grpc::Caller,
};

const METHOD: &str = "/istio.mcp.v1alpha1.ResourceSource/EstablishResourceStream";

/// Its one method, and the names of which a caller needs one; none if `None`.
#[derive(Debug)]
pub(super) struct ResourceSource {
    pub(super) allowed_names: Option<BTreeSet<String>>,
}

impl Methods for ResourceSource {
    const SERVICE: &'static str = "istio.mcp.v1alpha1.ResourceSource";

    fn authorize(&self, caller: &Caller) -> Result<(), Status> {
        caller.authorize(self.allowed_names.as_ref())
    }

    fn open(service: &Service<Self>, path: &str, call: Call) -> Result<Body, Status> {
        if path != METHOD {
            return Err(Status::unimplemented("no such method"));
        }
        service.open::<Mcp>(call)
    }
}
