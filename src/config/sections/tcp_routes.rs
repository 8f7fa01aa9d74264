//! TCP routes: their domains, and the ports of the ingress that they may have.

use std::{collections::BTreeSet, ops::RangeInclusive, str::FromStr, time::Duration};

use super::capi::patterns;
use crate::{
    capi::{DomainPattern, TcpSettings},
    config::reader::Section,
    istio::validate::Invalid,
    model::Hostname,
};

const SECOND: Duration = Duration::from_secs(1);

/// Where router groups have their ports (Routing API, `reservable_ports`).
const RESERVABLE: RangeInclusive<u16> = 1024..=u16::MAX;
/// Each is a listener of every ingress.
const MAX_PORTS: usize = 1000;

/// Where proxies of all Istios listen themselves, whatever they are told ("Ports used by Istio" in its documentation, and
/// the probes of their agents).
const OF_PROXIES: [u16; 11] = [
    15000, 15001, 15002, 15004, 15006, 15008, 15009, 15020, 15021, 15053, 15090,
];

/// Where a gateway between networks listens, for istiod and for other clusters: ours would take them from the mesh's own,
/// and lead them to a tenant. istiod's others (15010, 15014) are on its own machine, and no matter of the ingress.
const BETWEEN_NETWORKS: [u16; 3] = [15012, 15017, 15443];

/// What is configured of TCP routes; nothing where there are to be none.
#[derive(Debug, Default)]
pub(crate) struct TcpRoutes {
    /// What is read of Cloud Controller.
    pub(super) polled: Option<TcpSettings>,
    /// Its domains, by their names.
    pub(super) names: BTreeSet<Hostname>,
    /// The ports of the ingress.
    pub(super) ports: BTreeSet<u16>,
    /// Those of the configured that it cannot listen at, by their key, and why.
    pub(super) left_out: Vec<(String, Invalid)>,
}

/// `TCPRoutes`: who polls takes the domains, who publishes the ports.
pub(crate) fn read(root: &mut Section<'_>) -> TcpRoutes {
    const PORTS: &str = "Ports";
    let Some(object) = root.object("TCPRoutes") else {
        return TcpRoutes::default();
    };
    let mut section = root.section("TCPRoutes", object);
    let domains = section.required("Domains", Section::strings);
    let domains = domains.and_then(|names| exact(&mut section, &names));
    let ranges = section.required(PORTS, Section::strings);
    let interval = section.duration("PollInterval", 10 * SECOND);
    let mut ports = BTreeSet::new();
    for (index, text) in ranges.iter().flatten().enumerate() {
        match text.parse() {
            Ok(Ports(range)) => ports.extend(range),
            Err(error) => section.problem(&format!("{PORTS}[{index}]"), error),
        }
    }
    if ports.len() > MAX_PORTS {
        let count = ports.len();
        let what =
            format!("{count} ports, and each is a listener of every ingress: at most {MAX_PORTS}");
        section.problem(PORTS, what);
    } else if ranges.is_some_and(|ranges| ranges.is_empty()) {
        section.problem(PORTS, "is empty: no TCP route would be served");
    }
    section.end();
    let reserved = [
        (&OF_PROXIES[..], "proxies"),
        (&BETWEEN_NETWORKS, "gateways between networks"),
    ];
    let mut left_out = Vec::new();
    for (of_istio, who) in reserved {
        for port in of_istio.iter().filter(|port| ports.remove(port)) {
            let invalid = Invalid {
                rule: "port",
                detail: format!("{who} listen at {port} themselves: no TCP route there is served"),
            };
            left_out.push((format!("TCPRoutes.Ports {port}"), invalid));
        }
    }
    let names = domains.iter().flatten().map(DomainPattern::domain);
    TcpRoutes {
        names: names.cloned().collect(),
        left_out,
        ports,
        polled: domains.map(|domains| TcpSettings {
            domains,
            interval,
            gather: 2 * SECOND,
        }),
    }
}

/// Domains by their names: a list of all would fail where the Routing API does, for HTTP domains too.
fn exact(section: &mut Section<'_>, names: &[String]) -> Option<Vec<DomainPattern>> {
    let domains = patterns(section, "Domains", names)?;
    if domains.is_empty() {
        section.problem("Domains", "is empty: no TCP route would be served");
        return None;
    }
    for domain in &domains {
        if matches!(domain, DomainPattern::Suffix(_)) {
            section.problem(
                "Domains",
                format_args!("{domain}: TCP domains are named one by one"),
            );
        }
    }
    Some(domains)
}

/// A port or a range of ports.
struct Ports(RangeInclusive<u16>);

#[derive(Debug, thiserror::Error)]
#[error("expected a port or a range of ports within 1024 and 65535, such as 1024-1123")]
struct NoPorts;

impl FromStr for Ports {
    type Err = NoPorts;

    fn from_str(text: &str) -> Result<Self, NoPorts> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| text.trim().parse().map_err(|_| NoPorts);
        let (first, last) = (port(first)?, port(last)?);
        if RESERVABLE.contains(&first) && first <= last {
            Ok(Self(first..=last))
        } else {
            Err(NoPorts)
        }
    }
}
