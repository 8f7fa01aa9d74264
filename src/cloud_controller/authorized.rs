//! Who may call.

use std::{collections::BTreeSet, sync::Arc};

use tonic::{Request, Status, service::Interceptor};

use crate::grpc::Caller;

/// Lets clients call whose verified certificate has one of some subject alternative names.
#[derive(Debug, Clone)]
pub struct Authorized {
    /// Every verified client, if `None`.
    names: Option<Arc<BTreeSet<String>>>,
}

impl Authorized {
    pub(super) fn new(names: Option<Arc<BTreeSet<String>>>) -> Self {
        Self { names }
    }
}

impl Interceptor for Authorized {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(allowed) = &self.names {
            let caller = request.extensions().get::<Caller>();
            let caller = caller.ok_or_else(|| Status::unauthenticated("no TLS connection"))?;
            caller.authorize(Some(allowed))?;
        }
        Ok(request)
    }
}
