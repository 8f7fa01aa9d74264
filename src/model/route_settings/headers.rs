//! Headers that a route's owner puts in or takes out, and those that are nobody's to touch.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{super::HeaderName, shown};

/// Headers that are put in, or taken out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct HeaderChanges {
    /// By their names, in place of what was there.
    pub set: BTreeMap<HeaderName, Arc<str>>,
    /// By their names.
    pub removed: BTreeSet<HeaderName>,
}

/// Each is in the configuration of every proxy, once for each hostname that goes on to the route.
const MAX_HEADERS: usize = 20;
const MAX_VALUE: usize = 256;
/// What is around a name and a value in a VirtualService.
const AROUND: usize = 10;

/// Headers that say what a request is for, how it is framed, who its client is, or to which trace it belongs.
const FOREIGN: [&str; 25] = [
    "b3",
    "baggage",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "front-end-https",
    "grpc-trace-bin",
    "host",
    "http2-settings",
    "keep-alive",
    "set-cookie",
    "set-cookie2",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-client-trace-id",
    "x-cloud-trace-context",
    "x-host",
    "x-rewrite-url",
    "x-scheme",
];

/// The same, by how they begin: also what proxies and the gorouter say of a request.
const FOREIGN_BEGINNINGS: [&str; 18] = [
    "cf-",
    "proxy-",
    "sec-",
    "ssl-",
    "sw8",
    "uber",
    "x-amzn-",
    "x-b3-",
    "x-cf-",
    "x-datadog-",
    "x-envoy-",
    "x-goog-",
    "x-istio-",
    "x-original",
    "x-ot-",
    "x-request-",
    "x-ssl-",
    "x-vcap-",
];

/// The same, by what is somewhere in them: what load balancers say of who a client is.
const FOREIGN_PARTS: [&str; 20] = [
    "auth-request",
    "authenticated-user",
    "authorization",
    "client-addr",
    "client-cert",
    "client-dn",
    "client-ip",
    "client-principal",
    "client-verify",
    "clientcert",
    "clientip",
    "connecting-ip",
    "forwarded",
    "originating",
    "real-ip",
    "remote-addr",
    "remote-ip",
    "remote-user",
    "socketip",
    "user-ip",
];

impl HeaderChanges {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.removed.is_empty()
    }

    /// At most what they take in a VirtualService.
    pub(super) fn bytes(&self) -> usize {
        let set = self.set.iter();
        let set = set.map(|(name, value)| name.as_str().len() + value.len() + AROUND);
        let removed = self.removed.iter();
        let removed = removed.map(|name| name.as_str().len() + AROUND);
        set.chain(removed).sum()
    }
}

/// Lines of a name, a colon and a value.
pub(super) fn set(text: &str) -> Result<BTreeMap<HeaderName, Arc<str>>, String> {
    let mut headers = BTreeMap::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| format!("{:?} is no name, colon and value", shown(line)))?;
        let (name, value) = (own(name.trim())?, value.trim());
        // Envoy reads what is between percent signs, and refuses a whole configuration for what it does not know.
        let allowed = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'%';
        if value.is_empty() || value.len() > MAX_VALUE || !value.bytes().all(allowed) {
            return Err(format!(
                "the value of {name} is not 1 to {MAX_VALUE} printable ASCII characters other than %"
            ));
        }
        if headers.insert(name.clone(), value.into()).is_some() {
            return Err(format!("header {name} is there twice"));
        }
    }
    few(headers.len())?;
    Ok(headers)
}

/// Names with commas.
pub(super) fn removed(text: &str) -> Result<BTreeSet<HeaderName>, String> {
    let names = text.split(',').map(|name| own(name.trim()));
    let names: BTreeSet<_> = names.collect::<Result<_, _>>()?;
    few(names.len())?;
    Ok(names)
}

fn few(count: usize) -> Result<(), String> {
    match count {
        1..=MAX_HEADERS => Ok(()),
        _ => Err(format!("{count} headers are not 1 to {MAX_HEADERS}")),
    }
}

/// A header that is a route's own business.
fn own(name: &str) -> Result<HeaderName, String> {
    let parsed = HeaderName::parse(name)
        .map_err(|_| format!("header {:?} is no name of one", shown(name)))?;
    // Some proxies and apps take an underscore for a dash.
    let plain = parsed.as_str().replace('_', "-");
    let is_foreign = FOREIGN.contains(&&*plain)
        || FOREIGN_BEGINNINGS
            .iter()
            .any(|begin| plain.starts_with(begin))
        || FOREIGN_PARTS.iter().any(|part| plain.contains(part));
    if is_foreign {
        return Err(format!("header {parsed} is not for a route to change"));
    }
    Ok(parsed)
}
