//! From the table to Istio's resources: one pure function for each kind, and the validation of what they make.
//!
//! Names are those of the original Copilot, so that the two are interchangeable. An internal hostname's resources are
//! in the namespace `internal`, the others in none.

mod certificate;
mod destination_rule;
mod endpoint;
mod era;
mod gateway;
mod instance_tls;
mod service_entry;
mod sidecar;
mod subset;
pub mod validate;
mod virtual_service;
mod weights;

use crate::{
    model::Hostname,
    snapshot::Encoded,
    table::{HostView, Touched},
};

use self::validate::{Invalid, Validate};
pub use self::{
    certificate::{CHAIN_FILE, CertificateRoot, FrontendCertificate, KEY_FILE, NotAbsolute},
    era::{Era, Eras},
    gateway::{Served, gateway},
    instance_tls::{
        BackendTls, InternalTls, NoProxyPath, NoVerify, ProxyIdentity, ProxyPath, Verify,
    },
    sidecar::{DEFAULT_SIDECAR, default_sidecar, sidecar},
};

/// The ingress gateway, which the external hostnames' VirtualServices name.
pub const GATEWAY: &str = "cloudfoundry-ingress";

/// A kind of resource that is generated for each hostname.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Which requests go where.
    VirtualService,
    /// The subsets that a VirtualService names.
    DestinationRule,
    /// The ports and endpoints.
    ServiceEntry,
}

/// The collection of the gateway.
pub const GATEWAYS: &str = "istio/networking/v1alpha3/gateways";
/// The collection of the Sidecars.
pub const SIDECARS: &str = "istio/networking/v1alpha3/sidecars";

/// 2018-01-01: what stands for no route is as old as the project. Constant, because sinks order by it.
const CREATED_AT: i64 = 1_514_764_800;

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [
        Self::VirtualService,
        Self::DestinationRule,
        Self::ServiceEntry,
    ];

    /// The MCP collection of this kind.
    pub fn collection(self) -> &'static str {
        match self {
            Self::VirtualService => "istio/networking/v1alpha3/virtualservices",
            Self::DestinationRule => "istio/networking/v1alpha3/destinationrules",
            Self::ServiceEntry => "istio/networking/v1alpha3/serviceentries",
        }
    }

    /// The name of a hostname's resource of this kind.
    pub fn name(self, host: &Hostname, internal: bool) -> String {
        let namespace = if internal { "internal/" } else { "" };
        let prefix = match self {
            Self::VirtualService => "copilot-service-for",
            Self::DestinationRule => "copilot-rule-for",
            Self::ServiceEntry => "copilot-service-entry-for",
        };
        format!("{namespace}{prefix}-{host}")
    }

    /// Whether the hostname's resource of this kind can be different after such a change.
    ///
    /// Instances appear in ServiceEntries only, with one exception: where apps share a route and its owner set no
    /// weights, the VirtualService splits by the number of their instances, or leaves out those that have none.
    pub fn depends_on(self, touched: Touched, host: &HostView<'_>) -> bool {
        match (touched, self) {
            (Touched::Routing, _) | (Touched::Endpoints, Self::ServiceEntry) => true,
            (Touched::Endpoints, Self::DestinationRule) => false,
            (Touched::Endpoints, Self::VirtualService) => host
                .routes
                .iter()
                .any(|route| weights::by_instances(&route.destinations)),
        }
    }

    /// Generates, validates and encodes the hostname's resource of this kind. `None`: there is nothing to serve.
    ///
    /// With `keep_empty`, istiods are served the ServiceEntry of a hostname without endpoints too.
    ///
    /// # Errors
    /// Istio would discard it.
    pub fn generate(
        self,
        host: &HostView<'_>,
        keep_empty: bool,
    ) -> Result<Eras<Option<Encoded>>, Invalid> {
        match self {
            Self::VirtualService => {
                self.encode(host, Eras::Same(virtual_service::virtual_service(host)))
            }
            Self::DestinationRule => self.encode(host, destination_rule::destination_rule(host)),
            Self::ServiceEntry => self.encode(host, service_entry::service_entry(host, keep_empty)),
        }
    }

    /// What is wrong with the hostname although its resource of this kind is served.
    pub fn remark(self, host: &HostView<'_>) -> Option<Invalid> {
        match self {
            Self::VirtualService => {
                virtual_service::shadowed(host).or_else(|| virtual_service::rounded_away(host))
            }
            Self::DestinationRule => destination_rule::overruled(host),
            Self::ServiceEntry => endpoint::unreachable(host),
        }
    }

    fn encode<M: Validate + prost::Message + prost::Name>(
        self,
        host: &HostView<'_>,
        bodies: Eras<Option<M>>,
    ) -> Result<Eras<Option<Encoded>>, Invalid> {
        let encode = |body: M, era| {
            body.validate(era)?;
            let name = self.name(host.name, host.is_internal());
            Ok(Encoded::new(&name, host.created_at(), &body))
        };
        bodies.try_map(|body, era| body.map(|body| encode(body, era)).transpose())
    }
}

#[cfg(test)]
mod tests;
