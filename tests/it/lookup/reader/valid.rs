//! What a reader takes in: the rules of `pilot/pkg/model/validation.go` of Istio 1.1.17, and of `pkg/config/validation`
//! of today's.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use super::Reader;
use crate::lookup::messages::{
    Abort, DestinationRule, HttpRoute, HttpRouteDestination, MatchType, Port, ServiceEntry,
    StringMatch, TrafficPolicy, VirtualService, WorkloadEntry,
};

/// Or why not.
pub type Valid = Result<(), String>;

fn require(valid: bool, why: impl FnOnce() -> String) -> Valid {
    if valid { Ok(()) } else { Err(why()) }
}

fn label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// `ValidateWildcardDomain`.
fn domain(host: &str) -> Valid {
    let (first, rest) = host.split_once('.').unwrap_or((host, ""));
    let first_label = first.strip_prefix('*').map_or(first, |end| {
        if end.is_empty() {
            "any"
        } else {
            end.trim_start_matches('-')
        }
    });
    let rest_labels = rest.split('.').all(label) || rest.is_empty() && !host.contains('.');
    let numeric = rest
        .rsplit('.')
        .next()
        .is_some_and(|top| top.parse::<i64>().is_ok());
    require(
        host.len() <= 255 && label(first_label) && rest_labels && !numeric,
        || format!("hostname {host:?}"),
    )
}

pub fn virtual_service(service: &VirtualService, reader: Reader) -> Valid {
    require(!service.hosts.is_empty(), || "no hosts".to_owned())?;
    service.hosts.iter().try_for_each(|host| domain(host))?;
    let hosts: BTreeSet<_> = service.hosts.iter().collect();
    require(hosts.len() == service.hosts.len(), || {
        "duplicate hosts".to_owned()
    })?;
    for gateway in &service.gateways {
        let (namespace, name) = gateway.split_once('/').unwrap_or(("any", gateway));
        require(label(namespace) && label(name), || {
            format!("gateway {gateway:?}")
        })?;
    }
    require(!service.http.is_empty(), || "no http routes".to_owned())?;
    service
        .http
        .iter()
        .try_for_each(|route| http_route(route, reader))
}

fn http_route(route: &HttpRoute, reader: Reader) -> Valid {
    // Older ones skip a direct response as a field that they do not know.
    let direct = route
        .direct_response
        .as_ref()
        .filter(|_| reader == Reader::Istiod);
    require(direct.is_some() == route.route.is_empty(), || {
        "neither or both of route and directResponse".to_owned()
    })?;
    if let Some(direct) = direct {
        require(route.fault.is_none(), || {
            "directResponse and fault".to_owned()
        })?;
        require((200..600).contains(&direct.status), || {
            format!("status {}", direct.status)
        })?;
    }
    if let Some(abort) = route.fault.and_then(|fault| fault.abort) {
        abort_valid(abort)?;
    }
    route
        .matches
        .iter()
        .flat_map(|request| [&request.uri, &request.authority])
        .try_for_each(|text| pattern(text.as_ref(), reader))?;
    let weights: Vec<_> = route.route.iter().map(|to| to.weight).collect();
    let sum: i32 = weights.iter().sum();
    let valid = match reader {
        Reader::Pilot(_) => {
            weights.iter().all(|weight| (0..=100).contains(weight))
                && (weights.len() < 2 || sum == 100)
        }
        Reader::Istiod => {
            weights.iter().all(|weight| *weight >= 0) && (weights.len() < 2 || sum > 0)
        }
    };
    require(valid, || format!("weights {weights:?}"))?;
    route.route.iter().try_for_each(destination)
}

fn abort_valid(abort: Abort) -> Valid {
    let status = abort.http_status.unwrap_or_default();
    require((200..600).contains(&status), || format!("status {status}"))?;
    let percent = abort.percentage.map_or(0.0, |percent| percent.value);
    require((0.0..=100.0).contains(&percent), || {
        format!("percentage {percent}")
    })
}

fn pattern(text: Option<&StringMatch>, reader: Reader) -> Valid {
    let Some(MatchType::Regex(regex)) = text.and_then(|text| text.match_type.as_ref()) else {
        return Ok(());
    };
    // Only istiod looks; to a Pilot's proxy it is one error for all routes, so it has to be right all the more.
    assert!(
        reader == Reader::Istiod || !regex.is_empty(),
        "an empty regular expression"
    );
    require(!regex.is_empty() && regex.len() <= 1024, || {
        format!("regex {regex:?}")
    })
}

fn destination(to: &HttpRouteDestination) -> Valid {
    let to = to.destination.as_ref().ok_or("no destination")?;
    require(to.host != "*", || "destination *".to_owned())?;
    domain(&to.host)?;
    require(to.subset.is_empty() || label(&to.subset), || {
        format!("subset {:?}", to.subset)
    })?;
    to.port.map_or(Ok(()), |port| port_number(port.number))
}

fn port_number(number: u32) -> Valid {
    require((1..=65_535).contains(&number), || format!("port {number}"))
}

pub fn service_entry(entry: &ServiceEntry, reader: Reader) -> Valid {
    require(!entry.hosts.is_empty(), || "no hosts".to_owned())?;
    entry.hosts.iter().try_for_each(|host| domain(host))?;
    entry
        .addresses
        .iter()
        .try_for_each(|address| ip(address, reader))?;
    let names: BTreeSet<_> = entry.ports.iter().map(|port| &port.name).collect();
    let numbers: BTreeSet<_> = entry.ports.iter().map(|port| port.number).collect();
    require(
        names.len() == entry.ports.len() && numbers.len() == entry.ports.len(),
        || "two ports of one name or number".to_owned(),
    )?;
    entry.ports.iter().try_for_each(port)?;
    require(entry.resolution == 1, || {
        format!("resolution {}", entry.resolution)
    })?;
    require(!reader.is_up_to(4) || !entry.endpoints.is_empty(), || {
        "no endpoints".to_owned()
    })?;
    for endpoint in &entry.endpoints {
        workload_entry(endpoint, reader)?;
        let undefined = endpoint.ports.keys().find(|name| !names.contains(name));
        require(undefined.is_none(), || {
            format!("endpoint port {undefined:?}")
        })?;
    }
    Ok(())
}

fn port(port: &Port) -> Valid {
    port_number(port.number)?;
    require(label(&port.name), || format!("port {:?}", port.name))?;
    let known = ["http", "http2", "grpc", "https", "tls", "tcp"];
    let protocol = port.protocol.to_ascii_lowercase();
    require(known.contains(&&*protocol), || {
        format!("protocol {protocol:?}")
    })
}

fn workload_entry(endpoint: &WorkloadEntry, reader: Reader) -> Valid {
    ip(&endpoint.address, reader)?;
    endpoint
        .ports
        .values()
        .try_for_each(|number| port_number(*number))?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let mut values = endpoint.labels.iter();
    let bad = values.find(|(key, value)| !label(key) || !value.bytes().all(allowed));
    require(bad.is_none(), || format!("label {bad:?}"))
}

/// Up to Pilot 1.4, IPv4 only.
fn ip(address: &str, reader: Reader) -> Valid {
    let valid = if reader.is_up_to(4) {
        address.parse::<Ipv4Addr>().is_ok()
    } else {
        address.parse::<IpAddr>().is_ok()
    };
    require(valid, || format!("address {address:?}"))
}

pub fn destination_rule(rule: &DestinationRule) -> Valid {
    domain(&rule.host)?;
    let names: BTreeSet<_> = rule.subsets.iter().map(|subset| &subset.name).collect();
    require(
        names.len() == rule.subsets.len() && names.into_iter().all(|name| label(name)),
        || "subset names".to_owned(),
    )?;
    let policies = rule.subsets.iter().map(|subset| &subset.traffic_policy);
    let empty = policies
        .chain([&rule.traffic_policy])
        .any(|policy| *policy == Some(TrafficPolicy::default()));
    require(!empty, || "an empty traffic policy".to_owned())
}
