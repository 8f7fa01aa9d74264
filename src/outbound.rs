//! The one HTTPS client of the feeds: what a peer is asked, at which of its addresses, and what went wrong.
//!
//! ```text
//! feed ─ Request ─▶ Peer ─▶ Transport: addresses of a name, a pool of connections to one of them
//!      ◀─ Answer ──┘ one address after the other      └─ Sockets (reqwest), or whatever a test gives
//! ```

mod answer;
mod credentials;
mod error;
mod invalid_json;
mod json;
mod sockets;
mod transport;

use std::{
    future::{Future, pending},
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::Method;
use rustls::ClientConfig;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tracing::warn;
use url::Url;

use self::credentials::Credentials;
pub use self::{
    answer::Answer,
    error::Error,
    invalid_json::InvalidJson,
    json::json,
    sockets::Sockets,
    transport::{Body, Pool, Request, Response, Target, Transport},
};
use crate::{
    feed::{Kind, chain},
    repeats::Repeats,
    tls::{self, Identity},
};

const CHANGED: &str = "another address answers";

/// How long an address is used before the name is looked up again: it may not be the peer's any more.
const LOOK_UP_EVERY: Duration = Duration::from_mins(1);
/// How many pings a peer may miss in a row: one is lost easily, and what is asked again elsewhere is a large list.
const PINGS: usize = 2;

/// Where a peer is, and how long to wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its scheme, name and port; the rest does not matter.
    pub address: Url,
    /// The CAs that its certificate is verified against.
    pub ca: PathBuf,
    /// What is presented to it.
    pub identity: Option<Identity>,
    /// How long a connection may take, and then a ping of a peer that has not answered yet.
    pub connect_timeout: Duration,
    /// How long a request may take, with its answer.
    pub request_timeout: Duration,
}

/// A question that a peer answers at once, however busy it is, and whose answer says nothing but that somebody is there.
#[derive(Debug, Clone)]
pub struct Ping {
    /// How it is asked.
    pub method: Method,
    /// Where.
    pub path: &'static str,
}

/// One peer, by its name.
#[derive(Debug)]
pub struct Peer {
    name: &'static str,
    address: Url,
    credentials: Arc<Credentials>,
    ping: Ping,
    connect_timeout: Duration,
    request_timeout: Duration,
    transport: Arc<dyn Transport>,
    place: watch::Sender<Place>,
    changed: Repeats<IpAddr>,
}

/// Where the peer is asked.
#[derive(Debug, Clone, Default)]
struct Place {
    used: Option<Used>,
    /// Where it was asked in vain: that address's turn comes last.
    left: Option<SocketAddr>,
}

/// The address that is used, until it fails.
#[derive(Debug, Clone)]
struct Used {
    address: SocketAddr,
    pool: Arc<dyn Pool>,
    /// What its connections go by.
    tls: Arc<ClientConfig>,
    looked_up: Instant,
    /// Whether there is another to go on with.
    has_others: bool,
}

impl Peer {
    /// Reads the certificates; connects to nothing yet. `name` is what operators call the peer.
    pub fn new(
        name: &'static str,
        ping: Ping,
        settings: &Settings,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, tls::Error> {
        let credentials = Credentials::load(&settings.ca, settings.identity.as_ref())?;
        Ok(Self {
            name,
            address: bare(&settings.address),
            credentials: Arc::new(credentials),
            ping,
            connect_timeout: settings.connect_timeout.min(settings.request_timeout),
            request_timeout: settings.request_timeout,
            transport,
            place: watch::Sender::default(),
            changed: Repeats::warn(CHANGED, name),
        })
    }

    /// Another peer that is asked like this one.
    #[must_use]
    pub fn elsewhere(&self, name: &'static str, address: &Url) -> Self {
        Self {
            name,
            address: bare(address),
            credentials: Arc::clone(&self.credentials),
            ping: self.ping.clone(),
            connect_timeout: self.connect_timeout,
            request_timeout: self.request_timeout,
            transport: Arc::clone(&self.transport),
            place: watch::Sender::default(),
            changed: Repeats::warn(CHANGED, name),
        }
    }

    /// Whether `url` is of this peer.
    pub fn is_at(&self, url: &Url) -> bool {
        self.address.origin() == url.origin()
    }

    /// `path` at this peer.
    pub fn url(&self, path: &str) -> Url {
        at(&self.address, path)
    }

    /// Ends `work` with this peer, requests and reading of answers, when it has taken as long as a request may.
    pub async fn within<T, E: From<Error>>(
        &self,
        url: &Url,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.within_at_most(Duration::MAX, url, work).await
    }

    /// The same, or earlier, for what does not take longer when there is more to say.
    pub async fn within_at_most<T, E: From<Error>>(
        &self,
        limit: Duration,
        url: &Url,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let limit = limit.min(self.request_timeout);
        timeout(limit, work).await.unwrap_or_else(|_| {
            let url = url.clone();
            Err(Error::Timeout { url, limit }.into())
        })
    }

    /// The beginning of the answer, from the first of the peer's addresses that gives one. Takes as long as it takes.
    pub async fn send(&self, request: Request) -> Result<Answer, Error> {
        // A query may be long, and says nothing of what went wrong.
        let asked = at(&request.url, request.url.path());
        let mut tried = Vec::new();
        let mut failed: Option<Error> = None;
        loop {
            let used = match self.choose(&tried).await {
                Ok(used) => used,
                Err(error) => {
                    return Err(failed.unwrap_or_else(|| self.unanswered(&asked, error)));
                }
            };
            match self.ask(&used, &asked, request.clone()).await {
                Ok(response) => {
                    if let Some(error) = failed {
                        self.tell(&used, &error);
                    }
                    return Ok(Answer::new(self.name, asked, used, response));
                }
                Err(error) => {
                    self.leave(used.address);
                    tried.push(used.address);
                    // That others do not listen says nothing; a standby does not.
                    failed = failed
                        .filter(|error| error.kind() != Kind::Connect)
                        .or(Some(error));
                }
            }
        }
    }

    fn tell(&self, used: &Used, error: &Error) {
        if self.changed.begins(used.address.ip()) {
            let (peer, error) = (self.name, chain(error));
            warn!(peer, address = %used.address, error, "{CHANGED}");
        }
    }

    /// The address that is in use, or the next one that was not tried.
    async fn choose(&self, tried: &[SocketAddr]) -> io::Result<Used> {
        let tls = self.credentials.current(self.name);
        let goes_by = |used: &Used| Arc::ptr_eq(&used.tls, &tls);
        if !self.place.borrow().used.as_ref().is_none_or(goes_by) {
            self.renew();
        }
        let Place { used, left } = self.place.borrow().clone();
        let used = used.filter(|used| !tried.contains(&used.address));
        if let Some(used) = &used
            && used.looked_up.elapsed() < LOOK_UP_EVERY
        {
            return Ok(used.clone());
        }
        let mut addresses = match (self.look_up().await, used.clone()) {
            (Ok(addresses), _) => addresses,
            // Names are out of order; the peer is not.
            (Err(_), Some(used)) => {
                self.looked_up(used.address);
                return Ok(used);
            }
            (Err(error), None) => return Err(error),
        };
        let has_others = addresses.len() > 1;
        addresses.retain(|address| !tried.contains(address));
        addresses.sort_by_key(|address| {
            let is_used = used.as_ref().is_some_and(|used| used.address == *address);
            (!is_used, left == Some(*address))
        });
        let address = *addresses.first().ok_or(io::ErrorKind::NotFound)?;
        let (pool, tls) = match used {
            Some(used) if used.address == address => (used.pool, used.tls),
            _ => (self.pool(address, &tls)?, tls),
        };
        let used = Used {
            address,
            pool,
            tls,
            looked_up: Instant::now(),
            has_others,
        };
        self.place
            .send_modify(|place| place.used = Some(used.clone()));
        Ok(used)
    }

    fn pool(&self, address: SocketAddr, tls: &Arc<ClientConfig>) -> io::Result<Arc<dyn Pool>> {
        self.transport.pool(&Target {
            host: self.address.host_str().unwrap_or_default(),
            address,
            tls,
            connect_timeout: self.connect_timeout,
        })
    }

    /// Later requests are made on another connection, to the same address.
    pub fn renew(&self) {
        self.place.send_if_modified(|place| {
            let tls = self.credentials.current(self.name);
            if let Some(used) = &mut place.used
                && let Ok(pool) = self.pool(used.address, &tls)
            {
                (used.pool, used.tls) = (pool, tls);
            }
            false
        });
    }

    /// There is nothing to look up for a while, also where that was in vain: it may have taken long.
    fn looked_up(&self, address: SocketAddr) {
        self.place.send_modify(|place| {
            let used = place.used.as_mut();
            if let Some(used) = used.filter(|used| used.address == address) {
                used.looked_up = Instant::now();
            }
        });
    }

    async fn look_up(&self) -> io::Result<Vec<SocketAddr>> {
        let host = self.address.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = self.address.port_or_known_default().unwrap_or_default();
        timeout(self.connect_timeout, self.transport.resolve(host, port))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Asks at one address. Where there are others, a peer that has not answered for a while has to show that it is
    /// there: a large list takes its time, and says nothing of who is dead.
    async fn ask(&self, used: &Used, asked: &Url, request: Request) -> Result<Response, Error> {
        let mut patience = Patience {
            peer: self,
            address: used.address,
            since: Instant::now(),
            is_alive: false,
        };
        let mut answer = used.pool.send(request);
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => {
                    patience.is_alive = answer.is_ok();
                    return answer.map_err(|error| self.unanswered(asked, error));
                }
                is_alive = self.is_alive(used), if used.has_others => {
                    if !is_alive {
                        let (url, address) = (asked.clone(), used.address.ip());
                        return Err(Error::Silent { url, address });
                    }
                    patience.is_alive = true;
                }
            }
        }
    }

    /// Waits for a while, then for the answer to a ping, whatever that is, and whichever of them it is to.
    async fn is_alive(&self, used: &Used) -> bool {
        sleep(self.connect_timeout).await;
        let mut pings = FuturesUnordered::new();
        for _ in 0..PINGS {
            let Ping { method, path } = self.ping.clone();
            pings.push(used.pool.send(Request {
                method,
                ..Request::get(self.url(path))
            }));
            let answered = async {
                while let Some(answer) = pings.next().await {
                    if answer.is_ok() {
                        return;
                    }
                }
                pending::<()>().await;
            };
            if timeout(self.connect_timeout, answered).await.is_ok() {
                return true;
            }
        }
        false
    }

    /// Ends when the address that gave an answer leaves pings unanswered; it is left then. The rest of the answer would
    /// never come. Does not end where there is no other address.
    pub fn silence<'a>(&'a self, answer: &Answer) -> impl Future<Output = Error> + use<'a> {
        let (used, url) = (answer.used.clone(), answer.url.clone());
        async move {
            if !used.has_others {
                return pending().await;
            }
            while self.is_alive(&used).await {}
            self.leave(used.address);
            let address = used.address.ip();
            Error::Silent { url, address }
        }
    }

    /// Later requests begin with another address, if there is one, and with another connection in any case.
    fn leave(&self, address: SocketAddr) {
        self.place.send_if_modified(|place| {
            let left = place.used.take_if(|used| used.address == address);
            place.left = left.as_ref().map_or(place.left, |_| Some(address));
            left.is_some()
        });
    }

    fn unanswered(&self, url: &Url, source: io::Error) -> Error {
        let url = url.clone();
        Error::tls(self.name, &url, source).unwrap_or_else(|source| Error::Connect { url, source })
    }
}

/// An address that is waited for. Where its request's time is over before it has shown that it is alive, it is left.
#[derive(Debug)]
struct Patience<'a> {
    peer: &'a Peer,
    address: SocketAddr,
    since: Instant,
    is_alive: bool,
}

impl Drop for Patience<'_> {
    fn drop(&mut self) {
        // What was asked just before the end of the time, or was called off at once, says nothing of the address.
        let had_time = self.since.elapsed() >= self.peer.connect_timeout / 2;
        if had_time && !self.is_alive {
            self.peer.leave(self.address);
        }
    }
}

/// `path` on the server of `base`.
fn at(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(path);
    url.set_query(None);
    url
}

fn nowhere() -> Url {
    Url::parse("https://invalid/").expect("a URL")
}

/// Without what is no address: above all without what may be a password.
fn bare(url: &Url) -> Url {
    let mut url = at(url, "/");
    url.set_fragment(None);
    // Where they cannot be taken off, whatever this is, it is the address of nobody.
    if url.set_username("").is_err() || url.set_password(None).is_err() {
        return nowhere();
    }
    url
}
