//! Istio's own rules, the strictest of all supported versions.
//!
//! Pilot and istiod drop an invalid resource without a word to whoever served it, so this is the only place where an
//! operator can learn why a route does not work.

mod destination_rule;
mod settings;
mod sidecar;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use super::Era;
use crate::{
    model::hostname::domain_name,
    proto::istio::networking::v1alpha3::{
        Destination, Gateway, HttpFaultInjection, HttpMatchRequest, HttpRoute, Server,
        ServerTlsSettings, ServiceEntry, ServicePort, TcpRoute, VirtualService, WorkloadEntry,
        http_fault_injection::abort::ErrorType, server_tls_settings::TlSmode,
        string_match::MatchType,
    },
};

pub use crate::model::hostname::is_dns_label;

/// Istio takes no longer regular expression.
const MAX_REGEX: usize = 1024;

/// The rule that a resource breaks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{detail}")]
pub struct Invalid {
    /// From a small closed set: a metric label.
    pub rule: &'static str,
    /// What exactly is wrong.
    pub detail: String,
}

/// What is not served as the foundation has it, by collection and hostname (of a Sidecar, its app), and why: at least
/// one reason each. Routes that are left out are under `routes`, by their hostname or their app.
pub type Rejected = BTreeMap<(&'static str, String), Vec<Invalid>>;

pub(super) fn require(
    valid: bool,
    rule: &'static str,
    detail: impl FnOnce() -> String,
) -> Result<(), Invalid> {
    if valid {
        Ok(())
    } else {
        Err(Invalid {
            rule,
            detail: detail(),
        })
    }
}

/// A resource that Istio validates before it takes it in.
pub trait Validate {
    /// Checks every rule of an era. What both are served keeps to the classic one's, which are the stricter.
    ///
    /// # Errors
    /// The first rule that is broken.
    fn validate(&self, era: Era) -> Result<(), Invalid>;
}

/// A domain name, of which the first label may be `*`.
pub(super) fn domain(host: &str) -> Result<(), Invalid> {
    domain_name(host).map_err(|why| Invalid {
        rule: "host",
        detail: format!("hostname {host:?}: {why}"),
    })
}

fn port_number(number: u32) -> Result<(), Invalid> {
    require((1..=65_535).contains(&number), "port", || {
        format!("port {number} is not within 1 to 65535")
    })
}

fn unique<T: Ord + std::fmt::Debug>(
    items: impl IntoIterator<Item = T>,
    rule: &'static str,
    what: &str,
) -> Result<(), Invalid> {
    let mut seen = BTreeSet::new();
    for item in items {
        if seen.contains(&item) {
            return Err(Invalid {
                rule,
                detail: format!("two {what} {item:?}"),
            });
        }
        seen.insert(item);
    }
    Ok(())
}

impl Validate for VirtualService {
    fn validate(&self, _: Era) -> Result<(), Invalid> {
        require(!self.hosts.is_empty(), "host", || "no hosts".to_owned())?;
        self.hosts.iter().try_for_each(|host| domain(host))?;
        unique(&self.hosts, "host", "hosts")?;
        require(
            self.gateways.iter().all(|gateway| is_dns_label(gateway)),
            "gateway",
            || format!("a gateway of {:?} is not a DNS label", self.gateways),
        )?;
        let is_empty = self.http.is_empty() && self.tcp.is_empty();
        require(!is_empty, "routes", || "no routes".to_owned())?;
        self.tcp.iter().try_for_each(tcp_route)?;
        self.http.iter().try_for_each(http_route)
    }
}

fn tcp_route(route: &TcpRoute) -> Result<(), Invalid> {
    let ports = route.r#match.iter().map(|matched| matched.port);
    ports.into_iter().try_for_each(port_number)?;
    weights(route.route.iter().map(|to| to.weight))?;
    let mut destinations = route.route.iter().map(|to| to.destination.as_ref());
    destinations.try_for_each(destination)
}

fn http_route(route: &HttpRoute) -> Result<(), Invalid> {
    route.r#match.iter().try_for_each(match_request)?;
    weights(route.route.iter().map(|to| to.weight))?;
    route.fault.as_ref().map_or(Ok(()), fault)?;
    settings::asked_for(route)?;
    let mut destinations = route.route.iter().map(|to| to.destination.as_ref());
    destinations.try_for_each(destination)
}

fn weights(weights: impl Iterator<Item = i32>) -> Result<(), Invalid> {
    let weights: Vec<_> = weights.collect();
    require(!weights.is_empty(), "destination", || {
        "a route without destinations".to_owned()
    })?;
    require(
        weights.iter().all(|weight| (0..=100).contains(weight)),
        "weights",
        || format!("weights {weights:?} are not all within 0 to 100"),
    )?;
    require(
        weights.len() == 1 || weights.iter().sum::<i32>() == 100,
        "weights",
        || format!("weights {weights:?} do not sum to 100"),
    )
}

fn match_request(request: &HttpMatchRequest) -> Result<(), Invalid> {
    let [uri, authority] = [&request.uri, &request.authority]
        .map(|text| text.as_ref().and_then(|text| text.match_type.as_ref()));
    if let Some(MatchType::Exact(path) | MatchType::Prefix(path) | MatchType::Regex(path)) = uri {
        require(path.starts_with('/'), "path", || {
            format!("path {path:?} does not begin with a slash")
        })?;
        require(!path.chars().any(char::is_control), "path", || {
            format!("path {path:?} has a control character")
        })?;
    }
    for (rule, text) in [("path", uri), ("host", authority)] {
        if let Some(MatchType::Regex(regex)) = text {
            require(regex.len() <= MAX_REGEX, rule, || {
                let length = regex.len();
                format!("a pattern of {length} bytes, at most {MAX_REGEX} fit")
            })?;
        }
    }
    Ok(())
}

fn fault(fault: &HttpFaultInjection) -> Result<(), Invalid> {
    let status = fault.abort.as_ref().and_then(|abort| abort.error_type);
    let Some(ErrorType::HttpStatus(status)) = status else {
        return Err(Invalid {
            rule: "fault",
            detail: "a fault without a status".to_owned(),
        });
    };
    require((200..=599).contains(&status), "fault", || {
        format!("status {status} is not within 200 to 599")
    })?;
    // Which without a percentage is none or all of the requests, depending on the version.
    let percentage = fault.abort.as_ref().and_then(|abort| abort.percentage);
    require(
        percentage.is_some_and(|percent| (0.0..=100.0).contains(&percent.value)),
        "fault",
        || format!("percentage {percentage:?} is not within 0 to 100"),
    )
}

fn destination(to: Option<&Destination>) -> Result<(), Invalid> {
    let Some(to) = to else {
        return Err(Invalid {
            rule: "destination",
            detail: "a route to no destination".to_owned(),
        });
    };
    domain(&to.host)?;
    require(
        to.subset.is_empty() || is_dns_label(&to.subset),
        "subset",
        || format!("subset {:?} is not a DNS label", to.subset),
    )?;
    to.port
        .as_ref()
        .map_or(Ok(()), |port| port_number(port.number))
}

fn labels(labels: &BTreeMap<String, String>) -> Result<(), Invalid> {
    labels.iter().try_for_each(|(name, value)| {
        require(is_dns_label(name) && is_dns_label(value), "label", || {
            format!("label {name:?} with value {value:?}")
        })
    })
}

impl Validate for ServiceEntry {
    fn validate(&self, era: Era) -> Result<(), Invalid> {
        require(!self.hosts.is_empty(), "host", || "no hosts".to_owned())?;
        self.hosts.iter().try_for_each(|host| domain(host))?;
        self.addresses
            .iter()
            .try_for_each(|address| ipv4(address))?;
        require(!self.ports.is_empty(), "port", || "no ports".to_owned())?;
        unique(
            self.ports.iter().map(|port| &port.name),
            "port",
            "ports named",
        )?;
        unique(
            self.ports.iter().map(|port| port.number),
            "port",
            "ports numbered",
        )?;
        self.ports.iter().try_for_each(service_port)?;
        // Pilots up to 1.4 discard a static entry without endpoints.
        require(
            era == Era::Xds || !self.endpoints.is_empty(),
            "endpoint",
            || "no endpoints".to_owned(),
        )?;
        let ports: BTreeSet<_> = self.ports.iter().map(|port| port.name.as_str()).collect();
        let mut endpoints = self.endpoints.iter();
        endpoints.try_for_each(|endpoint| workload_entry(endpoint, &ports))
    }
}

/// An endpoint of a service with ports of these names.
fn workload_entry(endpoint: &WorkloadEntry, ports: &BTreeSet<&str>) -> Result<(), Invalid> {
    ipv4(&endpoint.address)?;
    labels(&endpoint.labels)?;
    for (name, number) in &endpoint.ports {
        port_number(*number)?;
        require(ports.contains(name.as_str()), "endpoint", || {
            format!("an endpoint has port {name:?}, which the service has not")
        })?;
    }
    Ok(())
}

fn service_port(port: &ServicePort) -> Result<(), Invalid> {
    port_number(port.number)?;
    require(is_dns_label(&port.name), "port", || {
        format!("port name {:?} is not a DNS label", port.name)
    })?;
    require(
        matches!(port.protocol.as_str(), "http" | "http2" | "tcp"),
        "port",
        || {
            format!(
                "protocol {:?} is none of http, http2 and tcp",
                port.protocol
            )
        },
    )
}

/// Pilots up to 1.4 take IPv4 only.
fn ipv4(address: &str) -> Result<(), Invalid> {
    require(address.parse::<Ipv4Addr>().is_ok(), "address", || {
        format!("{address:?} is not an IPv4 address")
    })
}

impl Validate for Gateway {
    fn validate(&self, _: Era) -> Result<(), Invalid> {
        require(!self.servers.is_empty(), "server", || {
            "no servers".to_owned()
        })?;
        unique(
            self.servers
                .iter()
                .filter_map(|server| Some(&server.port.as_ref()?.name)),
            "port",
            "ports named",
        )?;
        let is_https = |server: &&Server| {
            let tls = server.tls.as_ref();
            tls.is_some_and(|tls| !tls.https_redirect)
        };
        let https = self.servers.iter().filter(is_https);
        unique(
            https.flat_map(|server| &server.hosts),
            "host",
            "TLS servers for",
        )?;
        self.servers.iter().try_for_each(server)
    }
}

/// A hostname that gateways and Sidecars take: with a dot.
pub(super) fn full_name(host: &str) -> Result<(), Invalid> {
    domain(host)?;
    require(host.contains('.'), "host", || {
        format!("hostname {host:?} is a short name")
    })
}

fn server(server: &Server) -> Result<(), Invalid> {
    let Some(port) = &server.port else {
        return Err(Invalid {
            rule: "port",
            detail: "a server without a port".to_owned(),
        });
    };
    port_number(port.number)?;
    require(!port.name.is_empty(), "port", || {
        "a port without a name".to_owned()
    })?;
    require(!server.hosts.is_empty(), "host", || {
        "a server without hosts".to_owned()
    })?;
    let named = server.hosts.iter().filter(|host| *host != "*");
    named.into_iter().try_for_each(|host| full_name(host))?;
    let redirect = ServerTlsSettings {
        https_redirect: true,
        ..ServerTlsSettings::default()
    };
    let is_redirect = server.tls.as_ref() == Some(&redirect);
    let is_fit = match port.protocol.as_str() {
        "https" => server.tls.is_some() && !is_redirect,
        _ => server.tls.is_none() || is_redirect,
    };
    require(is_fit, "tls", || {
        "HTTPS needs TLS settings, HTTP has none but a redirect".to_owned()
    })?;
    server.tls.as_ref().map_or(Ok(()), |tls| {
        let files = !tls.server_certificate.is_empty() && !tls.private_key.is_empty();
        require(tls.mode() != TlSmode::Simple || files, "tls", || {
            "mode SIMPLE needs a certificate and a key".to_owned()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::istio::networking::v1alpha3::HttpRouteDestination;

    #[test]
    fn hosts_that_cloud_foundry_allows_and_istio_refuses_are_named_with_the_reason() {
        for (host, why) in [
            (
                "under_score.example.com",
                r#"hostname "under_score.example.com": "under_score" is not a DNS label"#,
            ),
            (
                "-lead.example.com",
                r#"hostname "-lead.example.com": "-lead" is not a DNS label"#,
            ),
            (
                "a.example.1234",
                r#"hostname "a.example.1234": the last label is a number"#,
            ),
            ("*", r#"hostname "*": "*" is not a DNS label"#),
            (
                "a*.example.com",
                r#"hostname "a*.example.com": "a*" is not a DNS label"#,
            ),
            ("a..com", r#"hostname "a..com": "" is not a DNS label"#),
        ] {
            assert_eq!(domain(host).unwrap_err().to_string(), why);
        }
        for host in ["a.example.com", "*.example.com", "single", "1.2.3.example"] {
            domain(host).unwrap();
        }
        assert!(domain(&format!("{}.com", "a".repeat(64))).is_err());
    }

    #[test]
    fn a_diego_process_guid_is_too_long_for_a_subset() {
        let guid = "6a901b7c-9417-4dc1-8189-d3234aa0ab82";
        assert!(is_dns_label(guid));
        assert!(!is_dns_label(&format!("{guid}-{guid}")));
    }

    #[test]
    fn weights_of_several_destinations_sum_to_one_hundred() {
        let to = |weight| HttpRouteDestination {
            destination: Some(Destination {
                host: "a.example.com".to_owned(),
                ..Default::default()
            }),
            weight,
        };
        let route = |weights: &[i32]| HttpRoute {
            route: weights.iter().map(|weight| to(*weight)).collect(),
            ..HttpRoute::default()
        };
        http_route(&route(&[33, 67])).unwrap();
        assert_eq!(
            http_route(&route(&[33, 33, 33])).unwrap_err().rule,
            "weights"
        );
        assert_eq!(http_route(&route(&[])).unwrap_err().rule, "destination");
    }

    #[test]
    fn a_service_entry_with_two_ports_of_one_name_is_refused() {
        let port = |number| ServicePort {
            number,
            protocol: "http".to_owned(),
            name: "http".to_owned(),
        };
        let entry = ServiceEntry {
            hosts: vec!["a.example.com".to_owned()],
            ports: vec![port(8080), port(9090)],
            ..ServiceEntry::default()
        };
        assert_eq!(
            entry.validate(Era::Xds).unwrap_err().detail,
            r#"two ports named "http""#
        );
    }
}
