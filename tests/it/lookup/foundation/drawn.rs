//! Foundations and changes as they are drawn: few names, so that they meet.

use copilot::model::{Asked, HeaderName, LoadBalancing, Protocol, Refusal};
use proptest::{collection::vec, prelude::*, sample::Index};

/// Exact names, wildcards over one another, a bare domain, names that Istio refuses, and an internal one.
const HOSTS: [&str; 16] = [
    "*.example.com",
    "*.apps.example.com",
    "*.deep.apps.example.com",
    "apps.example.com",
    "shop.apps.example.com",
    "Shop.deep.apps.example.com",
    "a.b.apps.example.com",
    "x-1.apps.example.com",
    "x-1.example.com",
    "other.example.com",
    "under_score.apps.example.com",
    "*.My_team.apps.example.com",
    "shop.my_team.apps.example.com",
    "-deep.deep.apps.example.com",
    LONG,
    "shop.apps.internal",
];
/// Near what a domain name can have.
const LONG: &str = "a-name-as-long-as-a-label-of-a-domain-name-can-be-if-it-has-to.\
    a-name-as-long-as-a-label-of-a-domain-name-can-be-if-it-has-to.another-one.apps.example.com";
/// As long as Cloud Controller allows.
const LONGEST: &str = "/A-path/of-128-characters/which-is-as-long-as-Cloud-Controller-allows/\
    and-has-letters-of-both-sorts/and-some/more/of-them/abcdef";

/// Paths within one another; in another case, with a slash or two at the end; with what means something in a regular
/// expression.
const PATHS: [&str; 23] = [
    "",
    "",
    "",
    "/p",
    "/p/q",
    "/p/q/r",
    "/P2",
    "/p2/",
    "/t/",
    "/a%20b",
    "/Caf%C3%A9",
    "/x.y",
    "/a;b",
    "/~u",
    "/a+b",
    "/p(1)",
    "/.*",
    "/$a",
    "//",
    "/P/",
    "/p//",
    "/p/q//r",
    LONGEST,
];

/// A foundation as drawn.
#[derive(Debug, Clone)]
pub struct Drawn {
    pub is_pushed: bool,
    /// How many instances each app has.
    pub apps: Vec<u8>,
    pub routes: Vec<RouteSpec>,
}

#[derive(Debug, Clone)]
pub struct RouteSpec {
    pub host: usize,
    pub path: usize,
    pub to: Vec<To>,
    /// Where they were asked for, one for each destination.
    pub weights: Option<[u8; 4]>,
    pub choice: Option<LoadBalancing>,
    /// What its owner asks for in annotations.
    pub asked: Asked,
    pub refused: Option<Refusal>,
}

impl RouteSpec {
    /// Host and path; internal ones have no paths.
    pub fn url(&self) -> (&'static str, &'static str) {
        let host = HOSTS[self.host];
        let is_internal = host.ends_with(".internal");
        (host, if is_internal { "" } else { PATHS[self.path] })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct To {
    pub app: usize,
    /// That every instance has, or some.
    pub on_second_port: bool,
    pub protocol: Protocol,
}

/// Something that happens.
#[derive(Debug, Clone)]
pub enum Change {
    Start(Index),
    Crash(Index),
    Stop(Index),
    /// An instance comes back elsewhere, under its guid.
    Move(Index),
    Create(RouteSpec),
    Delete(Index),
    Map(Index, To),
    Unmap(Index, Index),
    Weigh(Index, Option<[u8; 4]>),
    Choose(Index, Option<LoadBalancing>),
    Ask(Index, Asked),
    Refuse(Index, Option<Refusal>),
    /// Everything is read anew.
    Read,
}

/// How many apps there are.
pub const APPS: usize = 6;

fn any_to() -> impl Strategy<Value = To> {
    (
        0..APPS,
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.25),
    )
        .prop_map(|(app, on_second_port, http2)| To {
            app,
            on_second_port,
            protocol: if http2 {
                Protocol::Http2
            } else {
                Protocol::Http1
            },
        })
}

fn any_weights() -> impl Strategy<Value = Option<[u8; 4]>> {
    let weight = prop_oneof![1 => Just(0), 2 => Just(1), 6 => 1u8..100];
    prop_oneof![3 => Just(None), 1 => prop::array::uniform4(weight).prop_map(Some)]
}

fn any_choice() -> impl Strategy<Value = Option<LoadBalancing>> {
    let hash = LoadBalancing::Hash(HeaderName::parse("x-tenant").unwrap());
    prop_oneof![
        6 => Just(None),
        1 => Just(Some(LoadBalancing::RoundRobin)),
        1 => Just(Some(LoadBalancing::LeastConnection)),
        1 => Just(Some(hash)),
    ]
}

/// Nothing that changes where a request goes: a cookie beside a choice, and what Envoy does on the way.
fn any_asked() -> impl Strategy<Value = Asked> {
    let texts = proptest::sample::subsequence(
        vec![
            ("timeout", "5s"),
            ("path-rewrite", "/other"),
            ("session-affinity", "SHOP"),
        ],
        0..=3,
    );
    prop_oneof![4 => Just(Asked::default()), 1 => texts.prop_map(Asked::parse)]
}

fn any_refusal() -> impl Strategy<Value = Option<Refusal>> {
    prop_oneof![
        8 => Just(None),
        1 => Just(Some(Refusal::RoutePolicies)),
        1 => Just(Some(Refusal::RouteService)),
    ]
}

fn any_route() -> impl Strategy<Value = RouteSpec> {
    (
        0..HOSTS.len(),
        0..PATHS.len(),
        prop_oneof![1 => vec(any_to(), 0..1), 6 => vec(any_to(), 1..2), 3 => vec(any_to(), 2..5)],
        any_weights(),
        any_choice(),
        any_asked(),
        any_refusal(),
    )
        .prop_map(
            |(host, path, to, weights, choice, asked, refused)| RouteSpec {
                host,
                path,
                to,
                weights,
                choice,
                asked,
                refused,
            },
        )
}

pub fn any_foundation() -> impl Strategy<Value = Drawn> {
    let instances = prop_oneof![2 => Just(0), 3 => Just(1), 2 => 2u8..5];
    (
        prop::bool::weighted(0.3),
        vec(instances, APPS),
        vec(any_route(), 0..14),
    )
        .prop_map(|(is_pushed, apps, routes)| Drawn {
            is_pushed,
            apps,
            routes,
        })
}

pub fn any_change() -> impl Strategy<Value = Change> {
    let index = any::<Index>;
    prop_oneof![
        3 => index().prop_map(Change::Start),
        2 => index().prop_map(Change::Crash),
        2 => index().prop_map(Change::Stop),
        1 => index().prop_map(Change::Move),
        3 => any_route().prop_map(Change::Create),
        2 => index().prop_map(Change::Delete),
        3 => (index(), any_to()).prop_map(|(route, to)| Change::Map(route, to)),
        2 => (index(), index()).prop_map(|(route, to)| Change::Unmap(route, to)),
        1 => (index(), any_weights()).prop_map(|(route, weights)| Change::Weigh(route, weights)),
        1 => (index(), any_choice()).prop_map(|(route, choice)| Change::Choose(route, choice)),
        1 => (index(), any_asked()).prop_map(|(route, asked)| Change::Ask(route, asked)),
        1 => (index(), any_refusal()).prop_map(|(route, refused)| Change::Refuse(route, refused)),
        1 => Just(Change::Read),
    ]
}
