//! The rows that are known to fail, each with the reason and who mends it. The list only shrinks: a row of it that holds
//! fails the run.

/// The name of a scenario, and why it does not hold yet.
const KNOWN: &[(&str, &str)] = &[
    (
        "upper case in the path",
        "paths are compared as they are written; issue 14 makes a route a service, whatever the case",
    ),
    (
        "http2 beside http1 on one port",
        "a hostname has one service for each port, which speaks HTTP/1.1 if anyone there does; issue 14 divides by protocol",
    ),
    (
        "ready with Istio's own mutual TLS left on",
        "services are MESH_INTERNAL and say nothing of TLS, so that proxies wait for workload certificates; issue 12 has them say it",
    ),
    (
        "HTTPS without SNI",
        "no certificate is for clients that name no server; issue 13 gives them the first, as the gorouter does",
    ),
    (
        "map and unmap",
        "a subset goes in the same push as the route that names it, and Envoy drops the cluster first; issue 14 makes before it breaks",
    ),
    ("blue-green by mapping", "as for \"map and unmap\""),
    (
        "20 changes a second",
        "every change is sent at once, so that istiod waits for the last; issue 12 keeps states at a distance",
    ),
    (
        "addresses that other apps get at once",
        "an address and port is no proof of who answers there; issue 15 asks for one by TLS",
    ),
];

/// Why a scenario is known to fail.
pub fn reason(name: &str) -> Option<&'static str> {
    let (_, reason) = KNOWN.iter().find(|(known, _)| *known == name)?;
    Some(reason)
}

/// Names on the list that no scenario has: such a row could never be taken off.
pub fn unknown<'n>(scenarios: impl Iterator<Item = &'n str>) -> Vec<&'static str> {
    let scenarios: Vec<_> = scenarios.collect();
    let listed = KNOWN.iter().map(|(name, _)| *name);
    listed.filter(|name| !scenarios.contains(name)).collect()
}
