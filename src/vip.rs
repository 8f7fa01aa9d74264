//! `api.VIPResolverCopilot`: the virtual addresses of internal hostnames, for the DNS servers of the platform.

use tokio::sync::watch;
use tonic::{Request, Response, Status, async_trait};

use crate::{
    model::Hostname,
    proto::api::{
        GetVipByNameRequest, GetVipByNameResponse, HealthRequest, HealthResponse,
        vip_resolver_copilot_server::{VipResolverCopilot, VipResolverCopilotServer},
    },
    snapshot::Vips,
};

/// Longest part of a name that is repeated in an answer: a domain name has no more bytes.
const MAX_NAME: usize = 253;
/// Longest request: a name, with room for clients that know more fields. Many may be unfinished at a time.
const MAX_REQUEST: usize = 1 << 10;

/// The service.
pub fn service(vips: Receiver) -> VipResolverCopilotServer<Resolver> {
    VipResolverCopilotServer::new(Resolver { vips }).max_decoding_message_size(MAX_REQUEST)
}

/// The addresses, once routes are known.
pub type Receiver = watch::Receiver<Option<Vips>>;

/// Looks hostnames up by what routes say: of instances it needs nothing.
#[derive(Debug)]
pub struct Resolver {
    vips: Receiver,
}

#[async_trait]
impl VipResolverCopilot for Resolver {
    /// Healthy once routes are known: until then no name can be looked up.
    async fn health(&self, _: Request<HealthRequest>) -> Result<Response<HealthResponse>, Status> {
        let healthy = self.vips.borrow().is_some();
        Ok(Response::new(HealthResponse { healthy }))
    }

    async fn get_vip_by_name(
        &self,
        request: Request<GetVipByNameRequest>,
    ) -> Result<Response<GetVipByNameResponse>, Status> {
        let fqdn = request.into_inner().fqdn;
        // The root's dot, as resolvers write names.
        let name = fqdn.strip_suffix('.').unwrap_or(&fqdn);
        if name.is_empty() {
            return Err(Status::invalid_argument("no hostname"));
        }
        let Some(vips) = self.vips.borrow().clone() else {
            return Err(Status::unavailable("routes are not known yet"));
        };
        let host = Hostname::parse(name).ok();
        match host.and_then(|host| vips.get(&host)) {
            Some(vip) => Ok(Response::new(GetVipByNameResponse {
                ip: vip.to_string(),
            })),
            None => Err(Status::not_found(format!(
                "no internal route has the hostname {:?}",
                &name[..name.floor_char_boundary(MAX_NAME)]
            ))),
        }
    }
}
