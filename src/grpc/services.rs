//! What a listener serves: its own services, and beside them what tells of them.

use std::convert::Infallible;

use axum::response::IntoResponse;
use http::Request;
use tonic::{body::Body, server::NamedService, service::Routes};
use tonic_reflection::server::Builder;
use tower::Service;

use super::health::Health;

/// Longest request of reflection: a symbol's name.
const MAX_REQUEST: usize = 1 << 10;

/// The services of a listener.
#[derive(Debug)]
pub struct Services {
    routes: Routes,
    names: Vec<&'static str>,
    descriptors: &'static [u8],
}

impl Services {
    /// None yet; reflection will describe them by these encoded descriptors.
    pub fn new(descriptors: &'static [u8]) -> Self {
        Self {
            routes: Routes::default(),
            names: Vec::new(),
            descriptors,
        }
    }

    /// Adds a service.
    #[must_use]
    pub fn with<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        self.names.push(S::NAME);
        self.routes = self.routes.add_service(service);
        self
    }

    /// All that there is to serve: with health, and with reflection in both versions, for clients use either.
    pub(super) fn with_health_and_reflection(self, health: &Health) -> Routes {
        let health = health.service(self.names.clone());
        let reflection = |version| {
            let own = self.names.iter().copied();
            own.chain(["grpc.health.v1.Health", version]).fold(
                Builder::configure()
                    .register_encoded_file_descriptor_set(self.descriptors)
                    .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET),
                Builder::with_service_name,
            )
        };
        let v1 = reflection("grpc.reflection.v1.ServerReflection").build_v1();
        let v1alpha = reflection("grpc.reflection.v1alpha.ServerReflection").build_v1alpha();
        let is_compiled_in = "the descriptors are those that the build has made";
        self.routes
            .add_service(health)
            .add_service(
                v1.expect(is_compiled_in)
                    .max_decoding_message_size(MAX_REQUEST),
            )
            .add_service(
                v1alpha
                    .expect(is_compiled_in)
                    .max_decoding_message_size(MAX_REQUEST),
            )
    }
}
