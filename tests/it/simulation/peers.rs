//! What carries the requests of a daemon to the foundation's peers, in whatever weather.

use std::{
    collections::BTreeMap,
    future::{pending, ready},
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
    time::{Instant, sleep},
};

use super::lies;

/// The names of the peers.
pub(super) const CAPI: &str = "capi.test";
pub(super) const BBS: &str = "bbs.test";
pub(super) const POLICIES: &str = "policies.test";

const EVENTS: &str = "/v1/events/lrp_instances.r1";
/// How old an answer of a replica is at most that lags.
pub(super) const LAG: Duration = Duration::from_secs(15);

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
enum Fate {
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
    capi: Capi,
    bbs: Bbs,
    policies: PolicyServer,
    state: Mutex<State>,
    /// Streams of an earlier number have ended.
    streams: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    rng: Rng,
    weather: BTreeMap<&'static str, Weather>,
    /// What was answered lately, by what was asked.
    answered: BTreeMap<String, (Instant, Whole)>,
}

/// An answer whose body has arrived.
#[derive(Debug, Clone)]
struct Whole {
    head: http::Response<()>,
    body: Vec<u8>,
}

impl Network {
    pub(super) fn new(rng: Rng, capi: &Capi, bbs: &Bbs, policies: &PolicyServer) -> Self {
        Self(Arc::new(Shared {
            capi: capi.clone(),
            bbs: bbs.clone(),
            policies: policies.clone(),
            state: Mutex::new(State {
                rng,
                weather: BTreeMap::new(),
                answered: BTreeMap::new(),
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

    fn fate(&self, peer: &str) -> (Fate, Duration) {
        let mut state = self.state();
        let weather = state.weather.get(peer).copied().unwrap_or(Weather::Fine);
        let rng = &mut state.rng;
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

    async fn carry(self, request: Request) -> io::Result<Response> {
        let host = request.url.host_str().unwrap_or_default().to_owned();
        let (fate, time) = self.fate(&host);
        sleep(time / 2).await;
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
        let asked = format!("{} {:?}", request.url, request.body);
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
            whole = self.perhaps_stale(asked, whole, fate);
        }
        if fate == Fate::Lie {
            lies::tell(&mut self.state().rng, &path, &mut whole.body);
        }
        sleep(time / 2).await;
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

    /// A stream that the weather ends, delays, and robs of events.
    fn events(&self, body: Body) -> Body {
        let number = *self.0.streams.borrow();
        let ended = self.0.streams.subscribe();
        let start = (body, ended, self.clone(), 0);
        let events = stream::unfold(
            start,
            move |(mut body, mut ended, network, mut id)| async move {
                loop {
                    let event = tokio::select! {
                        biased;
                        _ = ended.wait_for(|current| *current > number) => return None,
                        event = body.next() => event?,
                    };
                    let (fate, time) = network.fate(BBS);
                    let is_flaky = network.weather(BBS) == Weather::Flaky;
                    if is_flaky {
                        sleep(time).await;
                        match fate {
                            Fate::Refused => return None,
                            Fate::Failed => continue,
                            _ => {}
                        }
                    }
                    let event = event.map(|event| renumbered(&event, id));
                    id += 1;
                    return Some((event, (body, ended, network, id)));
                }
            },
        );
        events.boxed()
    }

    fn weather(&self, peer: &str) -> Weather {
        let state = self.state();
        state.weather.get(peer).copied().unwrap_or(Weather::Fine)
    }
}

/// As the first line of an event has it.
fn renumbered(event: &Bytes, id: u32) -> Bytes {
    let text = String::from_utf8_lossy(event);
    let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
    format!("id: {id}\n{rest}").into()
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
