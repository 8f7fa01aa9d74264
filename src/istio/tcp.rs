//! TCP routes: a port of the ingress for each, all of whose connections go to the route's service.

use std::collections::BTreeSet;

use super::{
    CREATED_AT, Era, Held,
    division::current_division,
    service::service,
    validate::{Invalid, Validate as _},
};
use crate::{
    proto::istio::networking::v1alpha3::{
        Destination, Gateway, L4MatchAttributes, Port, PortSelector, RouteDestination, Server,
        TcpRoute, VirtualService,
    },
    snapshot::Encoded,
    table::{HostView, Unserved},
};

/// The gateway of all TCP routes, apart from that of HTTP: neither is another when the other is.
pub const TCP_GATEWAY: &str = "cloudfoundry-ingress-tcp";

/// The gateway: each port of the configured ranges, whether a route has it or not. A proxy listens at those that a
/// VirtualService tells of; so a route that comes or goes is no other gateway.
///
/// # Errors
/// Istio would discard the gateway.
pub(super) fn gateway(ports: &BTreeSet<u16>) -> Result<Encoded, Invalid> {
    let servers = ports.iter().map(|port| Server {
        port: Some(Port {
            number: (*port).into(),
            protocol: "tcp".to_owned(),
            name: format!("tcp-{port}"),
        }),
        hosts: vec!["*".to_owned()],
        tls: None,
    });
    let gateway = Gateway {
        servers: servers.collect(),
        ..Gateway::default()
    };
    gateway.validate(Era::Classic)?;
    Ok(Encoded::new(TCP_GATEWAY, CREATED_AT, &gateway))
}

/// Why the routes at a port are not served, if they are not.
pub(super) fn unserved(host: HostView<'_>) -> Option<Invalid> {
    let detail = match host.unserved()? {
        Unserved::Outside(port) => {
            format!("port {port} is none of TCPRoutes.Ports, at which the ingress listens")
        }
        Unserved::Taken(port, holder) => {
            let route = &holder.routes[0];
            format!(
                "port {port} of the ingress is taken by {}, of the older route {}",
                holder.name, route.guid
            )
        }
    };
    let rule = "port";
    Some(Invalid { rule, detail })
}

/// Where the connections to a port go; nowhere where its route is refused: there is no request that could be answered.
///
/// Its host is the name of the service: Istio wants one that is a domain name, and looks at it no further where there is
/// no TLS that names another.
pub(super) fn virtual_service(host: HostView<'_>, held: &Held) -> Option<VirtualService> {
    let port = host.name.port()?;
    let pool = host.pool("").filter(|pool| pool.refused().is_none())?;
    let division = current_division(&pool, held).into_iter();
    let route = division.map(|(host, percentage)| RouteDestination {
        destination: Some(Destination {
            host,
            subset: String::new(),
            port: Some(PortSelector {
                number: port.into(),
            }),
        }),
        weight: i32::try_from(percentage).expect("at most 100"),
    });
    Some(VirtualService {
        hosts: vec![service(host.name, "")],
        gateways: vec![TCP_GATEWAY.to_owned()],
        http: Vec::new(),
        tcp: vec![TcpRoute {
            r#match: vec![L4MatchAttributes { port: port.into() }],
            route: route.collect(),
        }],
    })
}
