//! The gRPC service `envoy.service.discovery.v3.AggregatedDiscoveryService`.

use tonic::Status;

use super::{delta::Delta, state_of_the_world::StateOfTheWorld};
use crate::delivery::{Body, Call, Methods, Service};

const STREAM: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
const DELTA: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// Its two methods.
#[derive(Debug)]
pub(super) struct AggregatedDiscovery;

impl Methods for AggregatedDiscovery {
    const SERVICE: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";

    fn open(service: &Service<Self>, path: &str, call: Call) -> Result<Body, Status> {
        match path {
            STREAM => service.open::<StateOfTheWorld>(call),
            DELTA => service.open::<Delta>(call),
            _ => Err(Status::unimplemented("no such method")),
        }
    }
}
