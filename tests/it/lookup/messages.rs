//! Istio's messages as its programs read them, by the numbers of their fields and not by ours in `proto/`.
//!
//! Fields that do not decide where a request goes are opaque; those that could and that nothing here understands are
//! left out, and [`decode`] refuses a message that has one.

use std::collections::BTreeMap;

use prost::{Message, Oneof};

/// Decodes a message of which everything is understood.
pub fn decode<M: Message + Default + std::fmt::Debug>(name: &str, bytes: &[u8]) -> M {
    let message = M::decode(bytes).unwrap();
    assert!(
        message.encode_to_vec() == bytes,
        "{name} says more than its reader knows: {message:#?}"
    );
    message
}

#[derive(Clone, PartialEq, Message)]
pub struct Gateway {
    #[prost(message, repeated, tag = "1")]
    pub servers: Vec<Server>,
    #[prost(btree_map = "string, string", tag = "2")]
    pub selector: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Server {
    #[prost(message, optional, tag = "1")]
    pub port: Option<Port>,
    #[prost(string, repeated, tag = "2")]
    pub hosts: Vec<String>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub tls: Option<Vec<u8>>,
}

/// Of a Gateway's server and of a ServiceEntry.
#[derive(Clone, PartialEq, Message)]
pub struct Port {
    #[prost(uint32, tag = "1")]
    pub number: u32,
    #[prost(string, tag = "2")]
    pub protocol: String,
    #[prost(string, tag = "3")]
    pub name: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct VirtualService {
    #[prost(string, repeated, tag = "1")]
    pub hosts: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub gateways: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    pub http: Vec<HttpRoute>,
}

#[derive(Clone, PartialEq, Message)]
pub struct HttpRoute {
    #[prost(message, repeated, tag = "1")]
    pub matches: Vec<HttpMatchRequest>,
    #[prost(message, repeated, tag = "2")]
    pub route: Vec<HttpRouteDestination>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub rewrite: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "6")]
    pub timeout: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "7")]
    pub retries: Option<Vec<u8>>,
    #[prost(message, optional, tag = "8")]
    pub fault: Option<HttpFaultInjection>,
    #[prost(bytes = "vec", optional, tag = "16")]
    pub headers: Option<Vec<u8>>,
    #[prost(string, tag = "17")]
    pub name: String,
    #[prost(message, optional, tag = "21")]
    pub direct_response: Option<HttpDirectResponse>,
}

#[derive(Clone, PartialEq, Message)]
pub struct HttpMatchRequest {
    #[prost(message, optional, tag = "1")]
    pub uri: Option<StringMatch>,
    #[prost(message, optional, tag = "4")]
    pub authority: Option<StringMatch>,
    #[prost(bool, tag = "10")]
    pub ignore_uri_case: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct StringMatch {
    #[prost(oneof = "MatchType", tags = "1, 2, 3")]
    pub match_type: Option<MatchType>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum MatchType {
    #[prost(string, tag = "1")]
    Exact(String),
    #[prost(string, tag = "2")]
    Prefix(String),
    #[prost(string, tag = "3")]
    Regex(String),
}

#[derive(Clone, PartialEq, Message)]
pub struct HttpRouteDestination {
    #[prost(message, optional, tag = "1")]
    pub destination: Option<Destination>,
    #[prost(int32, tag = "2")]
    pub weight: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct Destination {
    #[prost(string, tag = "1")]
    pub host: String,
    #[prost(string, tag = "2")]
    pub subset: String,
    #[prost(message, optional, tag = "3")]
    pub port: Option<PortSelector>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct PortSelector {
    #[prost(uint32, tag = "1")]
    pub number: u32,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct HttpFaultInjection {
    #[prost(message, optional, tag = "2")]
    pub abort: Option<Abort>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Abort {
    #[prost(int32, optional, tag = "2")]
    pub http_status: Option<i32>,
    #[prost(message, optional, tag = "5")]
    pub percentage: Option<Percent>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Percent {
    #[prost(double, tag = "1")]
    pub value: f64,
}

#[derive(Clone, PartialEq, Message)]
pub struct HttpDirectResponse {
    #[prost(uint32, tag = "1")]
    pub status: u32,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub body: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ServiceEntry {
    #[prost(string, repeated, tag = "1")]
    pub hosts: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub addresses: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    pub ports: Vec<Port>,
    /// `MESH_INTERNAL` is 1.
    #[prost(int32, tag = "4")]
    pub location: i32,
    /// `STATIC` is 1.
    #[prost(int32, tag = "5")]
    pub resolution: i32,
    #[prost(message, repeated, tag = "6")]
    pub endpoints: Vec<WorkloadEntry>,
}

#[derive(Clone, PartialEq, Message)]
pub struct WorkloadEntry {
    #[prost(string, tag = "1")]
    pub address: String,
    #[prost(btree_map = "string, uint32", tag = "2")]
    pub ports: BTreeMap<String, u32>,
    #[prost(btree_map = "string, string", tag = "3")]
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct DestinationRule {
    #[prost(string, tag = "1")]
    pub host: String,
    #[prost(message, optional, tag = "2")]
    pub traffic_policy: Option<TrafficPolicy>,
    #[prost(message, repeated, tag = "3")]
    pub subsets: Vec<Subset>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Subset {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(btree_map = "string, string", tag = "2")]
    pub labels: BTreeMap<String, String>,
    #[prost(message, optional, tag = "3")]
    pub traffic_policy: Option<TrafficPolicy>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TrafficPolicy {
    #[prost(message, optional, tag = "1")]
    pub load_balancer: Option<LoadBalancerSettings>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub tls: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub struct LoadBalancerSettings {
    #[prost(oneof = "LbPolicy", tags = "1, 2")]
    pub lb_policy: Option<LbPolicy>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum LbPolicy {
    /// Whose numbers mean other things to other readers.
    #[prost(int32, tag = "1")]
    Simple(i32),
    #[prost(message, tag = "2")]
    ConsistentHash(ConsistentHashLb),
}

#[derive(Clone, PartialEq, Message)]
pub struct ConsistentHashLb {
    #[prost(string, optional, tag = "1")]
    pub http_header_name: Option<String>,
    #[prost(message, optional, tag = "2")]
    pub http_cookie: Option<HttpCookie>,
}

#[derive(Clone, PartialEq, Message)]
pub struct HttpCookie {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub path: String,
    #[prost(message, optional, tag = "3")]
    pub ttl: Option<prost_types::Duration>,
}
