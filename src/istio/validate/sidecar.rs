//! Istio's rules for Sidecars.

use super::{Invalid, Validate, full_name, is_dns_label, labels, require, unique};
use crate::{istio::Era, proto::istio::networking::v1alpha3::Sidecar};

impl Validate for Sidecar {
    fn validate(&self, _: Era) -> Result<(), Invalid> {
        if let Some(selector) = &self.workload_selector {
            require(!selector.labels.is_empty(), "label", || {
                "a selector without labels".to_owned()
            })?;
            labels(&selector.labels)?;
        }
        // Ours have no ports, and of those Istio takes one.
        require(self.egress.len() == 1, "egress", || {
            format!("{} egress listeners without a port", self.egress.len())
        })?;
        let hosts = self.egress.iter().flat_map(|listener| &listener.hosts);
        require(hosts.clone().next().is_some(), "egress", || {
            "no egress hosts".to_owned()
        })?;
        unique(hosts.clone(), "host", "egress hosts")?;
        hosts.into_iter().try_for_each(|host| egress_host(host))
    }
}

fn egress_host(host: &str) -> Result<(), Invalid> {
    let Some((namespace, name)) = host.split_once('/') else {
        return Err(Invalid {
            rule: "host",
            detail: format!("egress host {host:?} without a namespace"),
        });
    };
    require(
        matches!(namespace, "*" | "." | "~") || is_dns_label(namespace),
        "host",
        || format!("namespace {namespace:?} of an egress host is not a DNS label"),
    )?;
    if name == "*" { Ok(()) } else { full_name(name) }
}
