//! What an ingress listens to, as its Gateways say it, whatever they are called.

use std::collections::{BTreeMap, BTreeSet};

use crate::proto::istio::networking::v1alpha3::{Gateway, Server};

/// What a server listens with: the port, the protocol, and whether over TLS or only to HTTPS.
pub(super) type Listener = (u32, String);

/// The servers of Gateways, by the names of these.
#[derive(Debug, Default)]
pub(super) struct Gateways(BTreeMap<String, Vec<Server>>);

impl Gateways {
    pub(super) fn add(&mut self, name: &str, gateway: &Gateway) {
        let servers = self.0.entry(bare(name).to_owned()).or_default();
        servers.extend(gateway.servers.iter().cloned());
    }

    /// Every hostname of every server.
    pub(super) fn all(&self) -> BTreeSet<String> {
        let servers = self.0.values().flatten();
        let all = servers.flat_map(|server| {
            let (_, listener) = listener(server);
            let tls = server.tls.iter().filter(|tls| !tls.https_redirect);
            let certificate = tls.map(|tls| format!(", certificate {}", tls.server_certificate));
            let certificate: String = certificate.collect();
            let hosts = server.hosts.iter();
            hosts.map(move |host| format!("{listener} for {host}{certificate}"))
        });
        all.collect()
    }

    /// What there is at each port, whatever it is for.
    pub(super) fn ports(&self) -> BTreeMap<u32, BTreeSet<String>> {
        let mut ports: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for (port, listener) in self.0.values().flatten().map(listener) {
            ports.entry(port).or_default().insert(listener);
        }
        ports
    }

    /// Where requests for a hostname come in by the Gateways that it is bound to.
    pub(super) fn of(&self, gateways: &[String], host: &str) -> BTreeSet<Listener> {
        let bound = gateways.iter().filter_map(|name| self.0.get(bare(name)));
        let servers = bound.flatten();
        let leading = servers.filter(|server| server.hosts.iter().any(|of| meets(of, host)));
        leading.map(listener).collect()
    }
}

/// The name without its namespace.
fn bare(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn listener(server: &Server) -> Listener {
    let port = server.port.clone().unwrap_or_default();
    let how = match &server.tls {
        None => String::new(),
        Some(tls) if tls.https_redirect => ", redirected to HTTPS".to_owned(),
        Some(tls) => format!(", TLS {}", tls.mode().as_str_name()),
    };
    let protocol = port.protocol.to_ascii_uppercase();
    (port.number, format!("port {} {protocol}{how}", port.number))
}

/// Whether some name is meant by both: each is a name, or a wildcard.
fn meets(server: &str, host: &str) -> bool {
    let within = |name: &str, of: &str| {
        let suffix = of.strip_prefix('*');
        name == of || suffix.is_some_and(|suffix| name.ends_with(suffix))
    };
    within(host, server) || within(server, host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostname_comes_in_where_a_server_is_for_it_or_for_some_of_it() {
        for (server, host, expected) in [
            ("*", "shop.example.com", true),
            ("*.example.com", "shop.example.com", true),
            ("shop.example.com", "*.example.com", true),
            ("shop.example.com", "shop.example.com", true),
            ("*.example.com", "example.com", false),
            ("cart.example.com", "shop.example.com", false),
        ] {
            assert_eq!(meets(server, host), expected, "{server} {host}");
        }
    }
}
