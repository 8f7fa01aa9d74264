//! What carries the requests of a daemon to the foundation's peers, in whatever weather.

use std::{
    collections::BTreeMap,
    future::{pending, ready},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use copilot::{
    outbound::{Body, Pool, Request, Response, Target, Transport},
    sim::{bbs::Bbs, capi::Capi, policy::PolicyServer},
};
use fastrand::Rng;
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use http::StatusCode;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    clock, lies,
    oracle::LACKS_TCP,
    trace::Trace,
    world::{TCP_DOMAIN, World},
};

/// The names of the peers.
pub(super) const CAPI: &str = "capi.test";
pub(super) const BBS: &str = "bbs.test";
pub(super) const POLICIES: &str = "policies.test";

/// How a question about all that runs ends.
const OF_THE_DOMAIN: &str = "cf-apps\"";
const EVENTS: &str = "/v1/events/lrp_instances.r1";
/// How old an answer of a replica is at most that lags.
pub(super) const LAG: Duration = Duration::from_secs(15);
/// By how many milliseconds an event is late at most.
const LATE: u64 = 3000;

/// How many reads in a row have a lie at most.
const MAX_LIES: u32 = 2;

/// How a peer fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    Fine,
    /// Some requests fail, in all ways.
    Flaky,
    /// Answers are of a while ago, often.
    Lagging,
    Down,
    Silent,
    /// Answers are well-formed, and wrong.
    Lying,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Answered,
    Stale,
    Lie,
    Refused,
    Unanswered,
    Failed,
    CutShort,
}

/// What a daemon asks, and all that it is answered.
#[derive(Debug, Clone)]
pub(super) struct Network(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    trace: Trace,
    seed: u64,
    capi: Capi,
    bbs: Bbs,
    policies: PolicyServer,
    /// The guid of the domain of TCP routes.
    tcp_domain: String,
    state: Mutex<State>,
    /// Streams of an earlier number have ended.
    streams: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    weather: BTreeMap<&'static str, Weather>,
    /// What was answered lately, by what was asked.
    answered: BTreeMap<String, (Instant, Whole)>,
    /// By what is read.
    lies: BTreeMap<String, Lies>,
    /// When the policies were told last.
    told_policies: Option<Instant>,
    /// When the daemon began, if it found no state file.
    began_empty: Option<Instant>,
    /// Whether it serves something, or has a state file.
    serves: bool,
    /// Whether it serves something.
    has_published: bool,
}

/// The lies in complete reads of something.
#[derive(Debug, Default)]
struct Lies {
    /// How many reads in a row had one, before the present one.
    reads: u32,
    /// Whether the present one has.
    is_lie: bool,
    /// Whether it ended, and has none.
    is_true: bool,
    /// Whether one was told since the last true read to who asked for something by name.
    has_named: bool,
}

impl Lies {
    fn begin(&mut self) {
        if self.is_lie {
            self.reads += 1;
        } else if self.is_true {
            (self.reads, self.has_named) = (0, false);
        }
        (self.is_lie, self.is_true) = (false, false);
    }
}

/// Which part of what read a request is.
#[derive(Debug)]
struct Part {
    read: String,
    begins: bool,
    ends: bool,
    is_named: bool,
}

impl Part {
    fn of(asked: &str, tcp_domain: &str) -> Self {
        let has = |text: &str| asked.contains(text);
        let is_tcp = has(TCP_DOMAIN) || has(tcp_domain);
        let is_named = [
            "&guids=",
            "?guids=",
            "app_guids=",
            "route_guids=",
            "updated_ats",
        ];
        let is_of_one_process = has("/v1/actual_lrps") && !asked.ends_with(OF_THE_DOMAIN);
        let is_named = is_named.into_iter().any(has) || is_of_one_process;
        let (read, begins, ends) =
            if has("/v3/domains") || has("/v3/routes") || has("/v3/service_route_bindings") {
                let read = if is_tcp { "TCP routes" } else { "routes" };
                (read, has("/v3/domains?names="), has("/v3/routes"))
            } else if has("/v1/") {
                ("instances", has("/v1/actual_lrps"), has("/v1/domains"))
            } else {
                // Each is a read of its own.
                (asked, true, true)
            };
        Self {
            read: read.to_owned(),
            begins: begins && !is_named,
            ends,
            is_named,
        }
    }
}

/// An answer whose body has arrived.
#[derive(Debug, Clone)]
struct Whole {
    head: http::Response<()>,
    body: Vec<u8>,
}

impl Network {
    pub(super) fn new(seed: u64, trace: Trace, world: &World) -> Self {
        Self(Arc::new(Shared {
            trace,
            capi: world.capi.clone(),
            bbs: world.bbs.clone(),
            policies: world.policies.clone(),
            tcp_domain: world.tcp_domain().to_string(),
            seed,
            state: Mutex::new(State {
                weather: BTreeMap::new(),
                answered: BTreeMap::new(),
                lies: BTreeMap::new(),
                told_policies: None,
                began_empty: None,
                serves: true,
                has_published: true,
            }),
            streams: watch::Sender::new(0),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    pub(super) fn set(&self, peer: &'static str, weather: Weather) {
        self.state().weather.insert(peer, weather);
        if peer == BBS && matches!(weather, Weather::Down) {
            self.0.streams.send_modify(|number| *number += 1);
        }
    }

    /// Another daemon begins, and finds no state file or a whole one.
    pub(super) fn begins(&self, has_file: bool) {
        let mut state = self.state();
        state.began_empty = (!has_file).then(Instant::now);
        state.serves = has_file;
        state.has_published = false;
    }

    /// It serves something.
    pub(super) fn serves(&self) {
        let mut state = self.state();
        (state.serves, state.has_published) = (true, true);
    }

    /// Whether the daemon has nothing to compare an answer with.
    pub(super) fn knows_nothing(&self, host: &str, asked: &str) -> bool {
        let state = self.state();
        // Of what kind domains are is in no file.
        if asked.contains("/v3/domains") && !state.has_published {
            return true;
        }
        let Some(began) = state.began_empty else {
            return false;
        };
        let is_of_tcp = asked.contains(&self.0.tcp_domain);
        !state.serves
            || host == POLICIES && state.told_policies <= Some(began)
            || is_of_tcp && began.elapsed() < LACKS_TCP
    }

    /// When the policies were told last.
    pub(super) fn told_policies(&self) -> Option<Instant> {
        self.state().told_policies
    }

    /// Chance that follows from what is asked, and when: it is the same whoever else asks something at that time.
    fn rng(&self, asked: &str) -> Rng {
        let mut hasher = DefaultHasher::new();
        let at = clock::now();
        (self.0.seed, at, asked).hash(&mut hasher);
        Rng::with_seed(hasher.finish())
    }

    /// What becomes of something that a peer says of itself, and chance for how.
    pub(super) fn fate_of(&self, peer: &str, said: &str) -> (Fate, Rng) {
        let mut rng = self.rng(said);
        let (fate, _) = self.fate(peer, &mut rng);
        let knows_nothing = self.knows_nothing(peer, said);
        (self.after_lies(fate, said, knows_nothing), rng)
    }

    fn fate(&self, peer: &str, rng: &mut Rng) -> (Fate, Duration) {
        let weather = self.weather(peer);
        let slow = Duration::from_millis(rng.u64(1..3000));
        let quick = Duration::from_millis(rng.u64(1..50));
        let draw = rng.u32(0..100);
        match weather {
            Weather::Flaky => {
                let fate = match draw {
                    0..10 => Fate::Refused,
                    10..15 => Fate::Unanswered,
                    15..30 => Fate::Failed,
                    30..40 => Fate::CutShort,
                    _ => Fate::Answered,
                };
                (fate, slow)
            }
            Weather::Lagging if draw < 60 => (Fate::Stale, slow),
            Weather::Lying if draw < 60 => (Fate::Lie, quick),
            Weather::Fine | Weather::Lagging | Weather::Lying => (Fate::Answered, quick),
            Weather::Down => (Fate::Refused, quick),
            Weather::Silent => (Fate::Unanswered, quick),
        }
    }

    /// Who tells the same lie three times is believed: that is what agreeing reads are for. So nobody does, in whatever parts
    /// of a read it lies; what is asked for by name is one of the three.
    fn after_lies(&self, fate: Fate, asked: &str, knows_nothing: bool) -> Fate {
        let mut state = self.state();
        let part = Part::of(asked, &self.0.tcp_domain);
        let lies = state.lies.entry(part.read).or_default();
        if part.begins {
            lies.begin();
        }
        if part.is_named {
            lies.has_named |= fate == Fate::Lie;
            return fate;
        }
        let most = MAX_LIES - u32::from(lies.has_named);
        // To who knows nothing, that nothing runs, and nothing is to, is what an empty BBS says.
        let is_over =
            lies.reads >= most || knows_nothing && lies.is_lie && asked.contains("/v1/desired");
        let fate = if fate == Fate::Lie && is_over {
            Fate::Answered
        } else {
            fate
        };
        lies.is_lie |= fate == Fate::Lie;
        lies.is_true |= part.ends && fate == Fate::Answered;
        fate
    }

    async fn carry(self, request: Request) -> io::Result<Response> {
        let host = request.url.host_str().unwrap_or_default().to_owned();
        let asked = format!("{} {:?}", request.url, request.body);
        let mut rng = self.rng(&asked);
        let (fate, time) = self.fate(&host, &mut rng);
        let knows_nothing = self.knows_nothing(&host, &asked);
        let fate = if request.url.path() == EVENTS {
            fate
        } else {
            self.after_lies(fate, &asked, knows_nothing)
        };
        self.0.trace.note(format!("{fate:?} {asked}"));
        clock::wait(time / 2, 0).await;
        match fate {
            Fate::Refused => return Err(io::ErrorKind::ConnectionRefused.into()),
            Fate::Unanswered => pending().await,
            Fate::Failed => {
                let mut response = Response::new(stream::empty().boxed());
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                return Ok(response);
            }
            _ => {}
        }
        let (path, is_get) = (
            request.url.path().to_owned(),
            request.method == http::Method::GET,
        );
        let response = match host.as_str() {
            CAPI => self.0.capi.answer(request).await,
            BBS => self.0.bbs.answer(&path, &request.body),
            _ => self.0.policies.answer(request).await,
        };
        if path == EVENTS {
            return Ok(response.map(|body| self.events(body)));
        }
        let mut whole = Whole::read(response).await?;
        if is_get || host == BBS {
            whole = self.perhaps_stale(asked.clone(), whole, fate);
        }
        if fate == Fate::Lie {
            lies::tell(&mut rng, &path, &mut whole.body, knows_nothing);
        }
        clock::wait(time / 2, 0).await;
        if host == POLICIES && matches!(fate, Fate::Answered | Fate::Stale) {
            self.state().told_policies = Some(Instant::now());
        }
        Ok(whole.send(fate == Fate::CutShort))
    }

    fn perhaps_stale(&self, asked: String, whole: Whole, fate: Fate) -> Whole {
        let mut state = self.state();
        let now = Instant::now();
        if let Some((at, old)) = state.answered.get(&asked)
            && *at + LAG > now
        {
            let earlier = (fate == Fate::Stale).then(|| old.clone());
            return earlier.unwrap_or(whole);
        }
        state.answered.insert(asked, (now, whole.clone()));
        whole
    }

    /// A stream that the weather ends, delays, and robs of events. In any weather some of them are late, or come twice: the
    /// BBS sends each from a task of its own after the commit, so that it may be older than what was sent or listed before.
    fn events(&self, body: Body) -> Body {
        let events = Events {
            body,
            number: *self.0.streams.borrow(),
            ended: self.0.streams.subscribe(),
            network: self.clone(),
            late: BTreeMap::new(),
            taken: 0,
            sent: 0,
        };
        stream::unfold(events, Events::next).boxed()
    }

    fn weather(&self, peer: &str) -> Weather {
        let state = self.state();
        state.weather.get(peer).copied().unwrap_or(Weather::Fine)
    }
}

/// A stream of events.
struct Events {
    body: Body,
    network: Network,
    /// It ends with what has this number.
    number: u64,
    ended: watch::Receiver<u64>,
    /// Those that come later than they happened, by when and by their number.
    late: BTreeMap<(Instant, u32), Bytes>,
    taken: u32,
    sent: u32,
}

impl Events {
    async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        loop {
            let number = self.number;
            let due = self.late.keys().next().map(|(at, _)| *at);
            let event = tokio::select! {
                biased;
                _ = self.ended.wait_for(|current| *current > number) => return None,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => None,
                event = self.body.next() => Some(event?),
            };
            let Some(event) = event else {
                let (_, event) = self.late.pop_first()?;
                break Some((Ok(self.numbered(&event)), self));
            };
            let Ok(event) = event else {
                break Some((event, self));
            };
            self.taken += 1;
            let mut rng = self.network.rng(&self.taken.to_string());
            let (fate, time) = self.network.fate(BBS, &mut rng);
            if self.network.weather(BBS) == Weather::Flaky {
                clock::wait(time, 0).await;
                match fate {
                    Fate::Refused => return None,
                    Fate::Failed => continue,
                    _ => {}
                }
            }
            let later = clock::after(Duration::from_millis(rng.u64(1..LATE)), 0);
            let draw = rng.u32(0..100);
            if draw < 20 {
                self.late.insert((later, self.taken), event.clone());
            }
            if draw >= 15 {
                break Some((Ok(self.numbered(&event)), self));
            }
        }
    }

    /// As the first line of an event has it.
    fn numbered(&mut self, event: &Bytes) -> Bytes {
        let text = String::from_utf8_lossy(event);
        let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
        let id = self.sent;
        self.sent += 1;
        format!("id: {id}\n{rest}").into()
    }
}

impl Whole {
    async fn read(response: Response) -> io::Result<Self> {
        let (head, mut pieces) = response.into_parts();
        let mut body = Vec::new();
        while let Some(piece) = pieces.next().await {
            body.extend_from_slice(&piece?);
        }
        Ok(Self {
            head: http::Response::from_parts(head, ()),
            body,
        })
    }

    fn send(self, is_cut_short: bool) -> Response {
        let mut body = self.body;
        let mut pieces = Vec::new();
        if is_cut_short {
            body.truncate(body.len() / 2);
            pieces.push(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        pieces.insert(0, Ok(body.into()));
        self.head.map(|()| stream::iter(pieces).boxed())
    }
}

impl Transport for Network {
    fn resolve<'a>(
        &'a self,
        _host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        ready(Ok(vec![([192, 0, 2, 1], port).into()])).boxed()
    }

    fn pool(&self, _target: &Target<'_>) -> io::Result<Arc<dyn Pool>> {
        Ok(Arc::new(self.clone()))
    }
}

impl Pool for Network {
    fn send(&self, request: Request) -> BoxFuture<'static, io::Result<Response>> {
        self.clone().carry(request).boxed()
    }
}
