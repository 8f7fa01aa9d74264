//! The subsets of an internal hostname: which of its endpoints belong to which destination.

use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh3::xxh3_64;

use super::destinations;
use crate::{
    istio::validate::is_dns_label,
    model::{AppGuid, AppPort, Workload},
    proto::istio::networking::v1alpha3::Subset,
    table::HostView,
};

/// Label of an endpoint: the subset of its workload. The original's name for it.
pub(in crate::istio) const APP: &str = "cfapp";
/// Comes before the port in the name of a subset for one of several ports.
const PORT: &str = "port-";

/// The destinations of a hostname, as subsets of its endpoints.
pub(super) struct Subsets<'a> {
    /// At which container ports the hostname reaches each workload.
    ports: BTreeMap<&'a Workload, BTreeSet<AppPort>>,
}

impl<'a> Subsets<'a> {
    pub(super) fn of(host: HostView<'a>) -> Self {
        let mut ports: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for to in destinations(host) {
            ports.entry(&to.workload).or_default().insert(to.port);
        }
        Self { ports }
    }

    /// The name of a workload's subset at a port.
    pub(super) fn name(&self, workload: &Workload, port: AppPort) -> String {
        let name = workload_name(workload);
        if self.is_split(workload) {
            split_name(&name, port)
        } else {
            name
        }
    }

    /// All of them, with the labels that select their endpoints, by name.
    pub(super) fn subsets(&self) -> Vec<Subset> {
        let mut subsets = BTreeMap::new();
        for (workload, ports) in &self.ports {
            for port in ports {
                let one = BTreeSet::from([*port]);
                subsets.insert(self.name(workload, *port), self.labels(workload, one));
            }
        }
        let subsets = subsets.into_iter();
        subsets
            .map(|(name, labels)| Subset { name, labels })
            .collect()
    }

    /// The labels of an endpoint of the workload that has these container ports.
    pub(super) fn labels(
        &self,
        workload: &Workload,
        ports: BTreeSet<AppPort>,
    ) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([(APP.to_owned(), workload_name(workload))]);
        if self.is_split(workload) {
            labels.extend(ports.into_iter().map(port_label));
        }
        labels
    }

    /// Whether the hostname reaches the workload at several ports. Each then has a subset of its own: Istio sends to
    /// the service's port number where an endpoint does not name its port, which would be wrong for an instance
    /// without a mapping of that port.
    fn is_split(&self, workload: &Workload) -> bool {
        self.ports
            .get(workload)
            .is_some_and(|ports| ports.len() > 1)
    }
}

/// The subset of a workload at one of several ports.
fn split_name(workload: &str, port: AppPort) -> String {
    label(format!("{workload}-{PORT}{}", port.number()))
}

fn port_label(port: AppPort) -> (String, String) {
    (format!("cfport-{}", port.number()), "true".to_owned())
}

/// The app's guid; for other process types than web, with the type.
fn workload_name(workload: &Workload) -> String {
    let app = &workload.app;
    match workload.process_type.as_str() {
        "web" => web_name(app),
        // Not to be taken for a subset of another process at one of its ports.
        other if other.contains(PORT) => hash(&format!("{app}-{other}")),
        other => label(format!("{app}-{other}")),
    }
}

/// The subset of an app's web process.
pub(in crate::istio) fn web_name(app: &AppGuid) -> String {
    label(app.to_string())
}

/// Subset names are DNS labels; what is not one is replaced by its hash.
fn label(name: String) -> String {
    if is_dns_label(&name) {
        name
    } else {
        hash(&name)
    }
}

fn hash(name: &str) -> String {
    format!("cf-{:016x}", xxh3_64(name.as_bytes()))
}
