//! Who reads what is published, and what each of them takes in.
//!
//! Pilot and istiod discard what breaks their rules without a word to the source, so a reader says what it discards.

mod valid;

use copilot::{
    proto::istio::mcp::v1alpha1::Resource,
    sim::sink::State,
    snapshot::{Collection, Kind, Snapshot},
};
use prost::Message;

use self::valid::{Valid, destination_rule, service_entry, virtual_service};
use super::messages::{DestinationRule, Gateway, ServiceEntry, VirtualService, decode};

/// A reader of one of the eras.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// Pilot 1.x, over classic MCP.
    Pilot(u8),
    /// The istiod of today, over MCP-over-xDS.
    Istiod,
}

impl Reader {
    /// One for each set of rules: 1.2 learned to ignore the case of paths, 1.4 has RE2, 1.5 takes services without
    /// endpoints, 1.6 tells wildcard services from specific ones.
    pub const ALL: [Self; 6] = [
        Self::Pilot(1),
        Self::Pilot(3),
        Self::Pilot(4),
        Self::Pilot(5),
        Self::Pilot(8),
        Self::Istiod,
    ];

    /// Whether it is a Pilot not newer than that.
    pub fn is_up_to(self, newest: u8) -> bool {
        matches!(self, Self::Pilot(minor) if minor <= newest)
    }

    /// Whether `ignoreUriCase` is a field to it, and no unknown one that is skipped.
    pub fn ignores_case_where_told(self) -> bool {
        !self.is_up_to(1)
    }

    /// Whether regular expressions are those of C++ (ECMAScript), and not of RE2.
    pub fn has_ecma_expressions(self) -> bool {
        self.is_up_to(3)
    }

    /// Whether a wildcard service loses its endpoints to a more specific service.
    pub fn confuses_wildcards(self) -> bool {
        self.is_up_to(5)
    }
}

/// A resource with what its metadata say.
#[derive(Debug, Clone)]
pub struct Named<M> {
    /// With the namespace, where it has one.
    pub name: String,
    pub created_at: i64,
    pub body: M,
}

impl<M> Named<M> {
    /// Its namespace, and its name in it.
    pub fn parts(&self) -> (&str, &str) {
        self.name.split_once('/').unwrap_or(("", &self.name))
    }
}

/// What a reader holds.
#[derive(Debug, Clone, Default)]
pub struct Config {
    pub gateways: Vec<Named<Gateway>>,
    pub services: Vec<Named<VirtualService>>,
    pub entries: Vec<Named<ServiceEntry>>,
    pub rules: Vec<Named<DestinationRule>>,
    /// What it was sent and discarded, and why.
    pub discarded: Vec<String>,
}

/// What is read.
const KINDS: [Kind; 4] = [
    Kind::Gateway,
    Kind::VirtualService,
    Kind::ServiceEntry,
    Kind::DestinationRule,
];

impl Config {
    /// What readers of the same era are sent of a snapshot, with what some of them discard.
    pub fn sent(snapshot: &Snapshot, reader: Reader) -> Self {
        let decoded =
            |collection: &Collection| collection.iter().map(|each| each.decode()).collect();
        Self::new(KINDS.map(|kind| match reader {
            Reader::Pilot(_) => snapshot.get(kind).map(|held| decoded(held)),
            Reader::Istiod => snapshot.xds(kind).map(|held| decoded(held)),
        }))
    }

    /// What a sink of the reader's era has been sent.
    pub fn of_sink(state: &State, reader: Reader) -> Self {
        let names = KINDS.map(|kind| match reader {
            Reader::Pilot(_) => kind.collection().to_owned(),
            Reader::Istiod => format!("networking.istio.io/v1/{}", kind.as_str()),
        });
        let held = |name: String| Some(state.collections.get(&name)?.resources.values());
        Self::new(names.map(|name| held(name).map(|resources| resources.cloned().collect())))
    }

    fn new(collections: [Option<Vec<Resource>>; 4]) -> Self {
        let [gateways, services, entries, rules] = collections.map(Option::unwrap_or_default);
        Self {
            gateways: decoded(gateways),
            services: decoded(services),
            entries: decoded(entries),
            rules: decoded(rules),
            discarded: Vec::new(),
        }
    }

    /// What the reader makes of it.
    pub fn taken_in_by(mut self, reader: Reader) -> Self {
        let discarded = &mut self.discarded;
        take_in(&mut self.services, discarded, |service| {
            virtual_service(service, reader)
        });
        take_in(&mut self.entries, discarded, |entry| {
            service_entry(entry, reader)
        });
        take_in(&mut self.rules, discarded, destination_rule);
        self
    }
}

/// What is older comes first where two want the same.
fn decoded<M: Message + Default + std::fmt::Debug>(resources: Vec<Resource>) -> Vec<Named<M>> {
    let named = resources.into_iter().map(|resource| {
        let metadata = resource.metadata.unwrap();
        Named {
            body: decode(&metadata.name, &resource.body.unwrap().value),
            name: metadata.name,
            created_at: metadata.create_time.unwrap().seconds,
        }
    });
    let mut named: Vec<Named<M>> = named.collect();
    named.sort_by(|a, b| (a.created_at, &a.name).cmp(&(b.created_at, &b.name)));
    named
}

fn take_in<M>(
    resources: &mut Vec<Named<M>>,
    discarded: &mut Vec<String>,
    valid: impl Fn(&M) -> Valid,
) {
    resources.retain(|resource| match valid(&resource.body) {
        Ok(()) => true,
        Err(why) => {
            discarded.push(format!("{}: {why}", resource.name));
            false
        }
    });
}
