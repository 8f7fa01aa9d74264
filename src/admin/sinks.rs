//! Who is served, how far each has come, and who is not served though they try.

use std::{
    cmp::Reverse,
    collections::BTreeSet,
    fmt,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    extract::{Query, State},
    response::Response,
};
use serde::{Deserialize, Serialize};

use super::{
    Sources,
    page::{At, Columns, Wants, ago, timestamp},
};
use crate::{
    delivery::{CollectionStatus, GoneSink, SinkStatus, Sinks},
    explain::Part,
    grpc::FailingPeer,
    snapshot::{Collection, Kind, Snapshot},
    xds,
};

/// A sink that is behind for longer does not answer: the time after which the alert of the same tells.
const STUCK: Duration = Duration::from_mins(1);

/// How far a sink has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Progress {
    /// It has acknowledged all that is published of what it asked for.
    Synced,
    /// It has asked for nothing.
    Silent,
    /// It is being sent something, or has not answered yet.
    Behind,
    /// It has rejected what it was sent last of a collection.
    Refused,
}

/// A sink, and how far it has come.
#[derive(Debug, Clone, Serialize)]
pub(super) struct SinkLine {
    peer: String,
    names: Vec<String>,
    node: String,
    #[serde(serialize_with = "timestamp")]
    connected: SystemTime,
    pub(super) progress: Progress,
    /// Since when it is behind, or refuses.
    since: Option<At>,
    /// Of which collection.
    pub(super) collection: Option<String>,
    /// The words of a refusal.
    pub(super) words: Option<String>,
}

impl SinkLine {
    fn new(sink: SinkStatus, versions: &BTreeSet<String>, published: SystemTime) -> Self {
        // What is never answered is never acknowledged.
        let collections = sink.collections.iter();
        let states = collections.filter(|(name, _)| *name != xds::MESH_CONFIG);
        let states = states.map(|(name, one)| (state(one, versions, published), name, one));
        // Of equals, the one that has waited longest.
        let worst = states.max_by_key(|((progress, since), ..)| (*progress, Reverse(*since)));
        let ((progress, since), collection, words) = match worst {
            Some((state, name, one)) => {
                let words = one.nack.as_ref().map(|nack| nack.message.clone());
                (state, Some(name.clone()), words)
            }
            None => ((Progress::Silent, Some(sink.connected)), None, None),
        };
        Self {
            peer: sink.peer,
            names: sink.names,
            node: sink.node,
            connected: sink.connected,
            progress,
            since: since.map(At),
            collection: collection.filter(|_| progress != Progress::Synced),
            words,
        }
    }

    /// Whether it has not answered for so long, or asked for nothing, that nothing is on its way to it.
    pub(super) fn is_stuck(&self) -> bool {
        let is_waited_for = matches!(self.progress, Progress::Behind | Progress::Silent);
        let since = self.since.map(|At(since)| since.elapsed());
        is_waited_for && since.is_some_and(|since| since.unwrap_or_default() > STUCK)
    }

    /// What it is called in a sentence.
    pub(super) fn name(&self) -> String {
        format!("{} ({})", self.peer, self.called())
    }

    fn called(&self) -> String {
        if self.node.is_empty() {
            self.names.join(" ")
        } else {
            self.node.clone()
        }
    }

    /// The state in capitals, and since when.
    pub(super) fn state(&self) -> String {
        let age = self.since.map(|At(since)| ago(since)).unwrap_or_default();
        match self.progress {
            Progress::Synced => "SYNCED".to_owned(),
            Progress::Silent => format!("SILENT {age}"),
            Progress::Behind => format!("BEHIND {age}"),
            Progress::Refused => format!("REFUSED {age}"),
        }
    }
}

fn state(
    one: &CollectionStatus,
    versions: &BTreeSet<String>,
    published: SystemTime,
) -> (Progress, Option<SystemTime>) {
    let acked = one.acked_version.as_ref();
    if let Some(nack) = &one.nack {
        (Progress::Refused, Some(nack.since))
    } else if let Some(pending) = &one.pending {
        (Progress::Behind, Some(pending.since))
    } else if acked.is_some_and(|acked| versions.contains(acked)) {
        (Progress::Synced, None)
    } else {
        (Progress::Behind, Some(published))
    }
}

/// Everybody who is served, was, or tries to be.
#[derive(Debug, Serialize)]
pub(super) struct Peers {
    pub(super) sinks: Vec<SinkLine>,
    pub(super) gone: Vec<GoneSink>,
    pub(super) failing: Vec<FailingPeer>,
    /// Whose lines were asked for, and of how many sinks.
    #[serde(skip)]
    chosen: Option<(String, usize)>,
}

impl Sources {
    pub(super) fn peers(&self) -> Peers {
        let snapshot = self.snapshots.borrow().clone();
        let versions = snapshot.as_deref().map(versions).unwrap_or_default();
        let published = snapshot.map_or_else(SystemTime::now, |snapshot| {
            SystemTime::now() - snapshot.published.elapsed()
        });
        let mut sinks: Vec<_> = self.sinks.iter().flat_map(Sinks::list).collect();
        sinks.sort_by_key(|sink| sink.id);
        let lines = sinks.into_iter();
        Peers {
            sinks: lines
                .map(|sink| SinkLine::new(sink, &versions, published))
                .collect(),
            gone: self.sinks.iter().flat_map(Sinks::gone).collect(),
            failing: self.failing.borrow().clone(),
            chosen: None,
        }
    }
}

/// The versions of all that is published, of both kinds of servers.
fn versions(snapshot: &Snapshot) -> BTreeSet<String> {
    let kinds = Kind::ALL.into_iter();
    let both = kinds.flat_map(|kind| [snapshot.get(kind), snapshot.xds(kind)]);
    let published = both.flatten().map(|collection| collection.version());
    // Of collections that are none of ours there is nothing.
    let nothing = Collection::default().version();
    let versions = published.chain([nothing]);
    versions.map(|version| version.to_string()).collect()
}

impl Peers {
    /// Leaves those with this in their address or name.
    fn choose(&mut self, peer: &Part) {
        self.chosen = Some((peer.to_string(), self.sinks.len()));
        let is_called = |address: &str, names: &[String], node: &str| {
            let mut texts = names.iter().map(String::as_str).chain([address, node]);
            texts.any(|text| peer.is_in(text))
        };
        self.sinks
            .retain(|sink| is_called(&sink.peer, &sink.names, &sink.node));
        self.gone
            .retain(|gone| is_called(&gone.peer, &gone.names, &gone.node));
        self.failing
            .retain(|one| peer.is_in(&IpAddr::to_string(&one.address)));
    }

    pub(super) fn columns(&self) -> Columns {
        let mut sinks =
            Columns::new(&["PEER", "SINK", "STATE", "CONNECTED", "COLLECTION", "WORDS"]);
        for sink in &self.sinks {
            let collection = sink.collection.as_deref().unwrap_or_default();
            let words = sink.words.as_deref().unwrap_or_default();
            let connected = ago(sink.connected);
            let (called, state) = (sink.called(), sink.state());
            sinks.row([&sink.peer, &called, &state, &connected, &collection, &words]);
        }
        for gone in &self.gone {
            let state = format!("GONE {}", ago(gone.left));
            let names = gone.names.join(" ");
            let called = if gone.node.is_empty() {
                &names
            } else {
                &gone.node
            };
            sinks.row([&gone.peer, called, &state, &"", &"", &""]);
        }
        for peer in &self.failing {
            let state = format!("NO HANDSHAKE {}", ago(peer.since));
            sinks.row([&peer.address, &"", &state, &"", &peer.listener, &peer.error]);
        }
        sinks
    }
}

impl fmt::Display for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.chosen {
            Some((peer, of)) if *of > 0 => {
                let is_none = self.sinks.is_empty() && self.gone.is_empty();
                if is_none && self.failing.is_empty() {
                    writeln!(f, "none of {of} sinks has {peer} in its address or name")?;
                }
            }
            _ if self.sinks.is_empty() => writeln!(f, "no sink is connected")?,
            _ => {}
        }
        self.columns().fmt(f)
    }
}

/// Whose lines to show.
#[derive(Debug, Deserialize)]
pub(super) struct Filter {
    peer: Option<Part>,
}

pub(super) async fn peers(
    State(sources): State<Arc<Sources>>,
    Query(filter): Query<Filter>,
    wants: Wants,
) -> Response {
    let mut peers = sources.peers();
    if let Some(peer) = filter.peer {
        peers.choose(&peer);
    }
    wants.page(&peers)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::delivery::PendingStatus;

    /// A sink that was sent something so long ago, and has not answered.
    fn waiting(seconds: u64) -> SinkLine {
        let since = SystemTime::now() - Duration::from_secs(seconds);
        let pending = CollectionStatus {
            incremental: false,
            sent_version: None,
            acked_version: None,
            pending: Some(PendingStatus {
                nonce: "1".to_owned(),
                since,
            }),
            nack: None,
            sent: 1,
            acks: 0,
            nacks: 0,
        };
        let later = PendingStatus {
            nonce: "2".to_owned(),
            since: SystemTime::now(),
        };
        let later = CollectionStatus {
            pending: Some(later),
            ..pending.clone()
        };
        let collections = [
            (Kind::ServiceEntry.collection().to_owned(), pending),
            (Kind::VirtualService.collection().to_owned(), later),
        ];
        SinkLine::new(silent(collections.into()), &BTreeSet::new(), since)
    }

    fn silent(collections: BTreeMap<String, CollectionStatus>) -> SinkStatus {
        SinkStatus {
            id: 1,
            peer: "10.0.0.1:1234".to_owned(),
            names: vec!["pilot".to_owned()],
            node: String::new(),
            user_agent: String::new(),
            connected: SystemTime::now() - Duration::from_secs(61),
            collections,
        }
    }

    fn worries(sink: SinkLine) -> Vec<String> {
        let peers = Peers {
            sinks: vec![sink],
            gone: Vec::new(),
            failing: Vec::new(),
            chosen: None,
        };
        peers.worries()
    }

    #[test]
    fn a_sink_that_has_not_answered_for_a_minute_is_told_with_the_collection() {
        assert_eq!(worries(waiting(59)), [""; 0]);
        let collection = Kind::ServiceEntry.collection();
        let expected = format!("10.0.0.1:1234 (pilot) is BEHIND 61 s of {collection}");
        assert_eq!(worries(waiting(61)), [expected]);
        let now = SystemTime::now();
        let silent = SinkLine::new(silent(BTreeMap::new()), &BTreeSet::new(), now);
        let expected = "10.0.0.1:1234 (pilot) is SILENT 61 s: it has asked for nothing";
        assert_eq!(worries(silent), [expected]);
    }
}
