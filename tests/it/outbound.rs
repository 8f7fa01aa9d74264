//! Names with several addresses, some of which are of no use.

use std::{
    collections::{BTreeMap, VecDeque},
    future::{pending, ready},
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use copilot::{
    outbound::{Error, Peer, Ping, Pool, Request, Response, Settings, Sockets, Target, Transport},
    sim::pki::Pki,
};
use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, join_all},
    stream,
};
use http::Method;
use serde_json::json;
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::watch, time::Instant};
use url::Url;

use crate::mesh::{Daemon, foundation, with};

/// The address of a name that is of no use; the one that is, is the loopback's.
const SILENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// The network, with names of these two addresses, which are asked in this order.
#[derive(Debug)]
pub struct TwoAddresses(pub [Ipv4Addr; 2]);

impl Transport for TwoAddresses {
    fn resolve<'a>(
        &'a self,
        _host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let addresses = self.0.map(|ip| (ip, port).into());
        ready(Ok(addresses.to_vec())).boxed()
    }

    fn pool(&self, target: &Target<'_>) -> io::Result<Arc<dyn Pool>> {
        Sockets.pool(target)
    }
}

/// Somebody who accepts connections and never answers. How many there were.
async fn silence(port: u16) -> watch::Receiver<usize> {
    let listener = TcpListener::bind((SILENT, port)).await.unwrap();
    let (accepted, seen) = watch::channel(0);
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            open.push(connection);
            accepted.send_modify(|accepted| *accepted += 1);
        }
    });
    seen
}

#[tokio::test]
async fn each_feed_goes_on_where_the_first_address_accepts_and_says_nothing() {
    let (foundation, _) = foundation().await;
    let mut config = foundation.config();
    let mut silent = Vec::new();
    for (key, address) in [
        ("/CAPI/Address", foundation.capi.url()),
        ("/BBS/Address", foundation.bbs.address()),
        ("/PolicyServerAddress", foundation.policies.url()),
    ] {
        let port = address.port().unwrap();
        silent.push(silence(port).await);
        let named = format!("https://localhost:{port}");
        config = with(config, &[(key, json!(named))]);
    }
    let daemon = Daemon::start_over(
        Arc::new(TwoAddresses([SILENT, Ipv4Addr::LOCALHOST])),
        config,
    )
    .await;
    let feeds = ["capi_routes", "bbs_lists", "bbs_events", "policies"];
    join_all(feeds.map(|feed| daemon.recovers(feed))).await;
    daemon.ready().await;
    for mut accepted in silent {
        accepted.wait_for(|accepted| *accepted > 0).await.unwrap();
    }
}

/// What an address does with requests other than pings.
#[derive(Debug, Clone, Copy)]
enum Manner {
    Answers(Duration),
    /// Nor with pings.
    Silent,
    /// With the beginning of an answer; nor with pings.
    Stalls,
    Refuses,
}

/// Peers within the process: no sockets, and no time that passes.
#[derive(Debug, Clone)]
struct Within(Arc<Mutex<World>>);

#[derive(Debug)]
struct World {
    addresses: Vec<SocketAddr>,
    manners: BTreeMap<SocketAddr, Manner>,
    /// Where something other than a ping was asked.
    asked: Vec<SocketAddr>,
    pings: usize,
    /// How many pools of connections there were.
    pools: usize,
    /// How long the answers to the next pings take, if any come; later ones come at once.
    pongs: VecDeque<Option<Duration>>,
    names_hang: bool,
}

impl Within {
    fn new(manners: impl IntoIterator<Item = Manner>) -> Self {
        let manners: BTreeMap<_, _> = (1..).map(address).zip(manners).collect();
        Self(Arc::new(Mutex::new(World {
            addresses: manners.keys().copied().collect(),
            manners,
            asked: Vec::new(),
            pings: 0,
            pools: 0,
            pongs: VecDeque::new(),
            names_hang: false,
        })))
    }

    fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }
}

/// The first, the second ….
fn address(number: u8) -> SocketAddr {
    (Ipv4Addr::new(192, 0, 2, number), 443).into()
}

impl Transport for Within {
    fn resolve<'a>(
        &'a self,
        _host: &'a str,
        _port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let world = self.world();
        if world.names_hang {
            return pending().boxed();
        }
        ready(Ok(world.addresses.clone())).boxed()
    }

    fn pool(&self, target: &Target<'_>) -> io::Result<Arc<dyn Pool>> {
        self.world().pools += 1;
        Ok(Arc::new(At {
            address: target.address,
            within: self.clone(),
        }))
    }
}

#[derive(Debug)]
struct At {
    address: SocketAddr,
    within: Within,
}

impl Pool for At {
    fn send(&self, request: Request) -> BoxFuture<'static, io::Result<Response>> {
        let is_ping = request.url.path() == "/ping";
        let mut world = self.within.world();
        if is_ping {
            world.pings += 1;
        } else {
            world.asked.push(self.address);
        }
        let manner = world.manners[&self.address];
        let pong = match manner {
            Manner::Answers(_) if is_ping => world.pongs.pop_front(),
            _ => None,
        };
        async move {
            match pong {
                Some(Some(after)) => tokio::time::sleep(after).await,
                Some(None) => pending().await,
                None => {}
            }
            match manner {
                Manner::Answers(after) if !is_ping => tokio::time::sleep(after).await,
                Manner::Answers(_) => {}
                Manner::Stalls if !is_ping => return Ok(Response::new(stream::pending().boxed())),
                Manner::Silent | Manner::Stalls => pending().await,
                Manner::Refuses => return Err(io::ErrorKind::ConnectionRefused.into()),
            }
            let body = stream::iter([Ok("all".into())]).boxed();
            Ok(Response::new(body))
        }
        .boxed()
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The peer, and the folder with its CA.
fn peer(within: &Within, request_timeout: Duration) -> (Peer, TempDir) {
    let folder = TempDir::new().unwrap();
    let pki = Pki::new(folder.path(), "peer").unwrap();
    let settings = Settings {
        address: Url::parse("https://user:secret@peer.example.com/").unwrap(),
        ca: pki.ca().to_owned(),
        identity: None,
        connect_timeout: CONNECT_TIMEOUT,
        request_timeout,
    };
    let ping = Ping {
        method: Method::GET,
        path: "/ping",
    };
    let peer = Peer::new("the peer", ping, &settings, Arc::new(within.clone())).unwrap();
    (peer, folder)
}

async fn ask(peer: &Peer) -> Result<Vec<u8>, Error> {
    let url = peer.url("/list");
    peer.within(&url, async {
        let mut answer = peer.send(Request::get(url.clone())).await?;
        answer.whole(100).await
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_peer_is_asked_on_another_connection_at_the_same_address_where_that_is_wanted() {
    let within = Within::new([Manner::Answers(Duration::ZERO); 2]);
    let (peer, _folder) = peer(&within, LONG);
    peer.renew();
    for pools in [1, 1, 2] {
        if pools == 2 {
            peer.renew();
        }
        ask(&peer).await.unwrap();
        assert_eq!(within.world().pools, pools);
    }
    assert_eq!(within.world().asked, [address(1); 3]);
}

/// What is asked of a peer of today within a minute.
const LONG: Duration = Duration::from_mins(1);

#[tokio::test(start_paused = true)]
async fn a_list_that_takes_its_time_is_waited_for_as_long_as_pings_are_answered() {
    let slow = Manner::Answers(Duration::from_secs(22));
    let within = Within::new([slow, Manner::Answers(Duration::ZERO)]);
    let (peer, _folder) = peer(&within, LONG);
    let started = Instant::now();
    assert_eq!(ask(&peer).await.unwrap(), b"all");
    assert_eq!(started.elapsed(), Duration::from_secs(22));
    assert_eq!(within.world().asked, [address(1)]);
    assert_eq!(within.world().pings, 4);
}

#[tokio::test(start_paused = true)]
async fn an_only_address_is_waited_for_without_a_ping() {
    let within = Within::new([Manner::Answers(Duration::from_secs(22))]);
    let (peer, _folder) = peer(&within, LONG);
    assert_eq!(ask(&peer).await.unwrap(), b"all");
    assert_eq!(within.world().pings, 0);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_answers_nothing_is_left_and_stays_left() {
    let within = Within::new([Manner::Silent, Manner::Answers(Duration::ZERO)]);
    let (peer, _folder) = peer(&within, LONG);
    let started = Instant::now();
    ask(&peer).await.unwrap();
    assert_eq!(started.elapsed(), 3 * CONNECT_TIMEOUT);
    ask(&peer).await.unwrap();
    assert_eq!(started.elapsed(), 3 * CONNECT_TIMEOUT);
    let asked = [address(1), address(2), address(2)];
    assert_eq!(within.world().asked, asked);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_answers_nothing_after_it_began_is_left_too() {
    let within = Within::new([Manner::Stalls, Manner::Answers(Duration::ZERO)]);
    let (peer, _folder) = peer(&within, LONG);
    let request = || Request::get(peer.url("/list"));
    let started = Instant::now();
    let stalled = peer.send(request()).await.unwrap();
    let error = peer.silence(&stalled).await;
    assert_eq!(error.kind().as_str(), "timeout");
    assert_eq!(started.elapsed(), 3 * CONNECT_TIMEOUT);
    let answer = peer.send(request()).await.unwrap();
    assert_eq!(within.world().asked, [1, 2].map(address));
    let alive = tokio::time::timeout(LONG, peer.silence(&answer));
    alive.await.expect_err("it answers pings");
}

#[tokio::test(start_paused = true)]
async fn an_address_that_takes_all_of_a_requests_time_comes_last_with_the_next() {
    let within = Within::new([Manner::Silent, Manner::Answers(Duration::ZERO)]);
    let (peer, _folder) = peer(&within, Duration::from_secs(4));
    let error = ask(&peer).await.unwrap_err();
    assert_eq!(error.kind().as_str(), "timeout");
    ask(&peer).await.unwrap();
    assert_eq!(within.world().asked, [address(1), address(2)]);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_hangs_says_more_than_one_where_nobody_listens() {
    let within = Within::new([Manner::Refuses, Manner::Silent, Manner::Refuses]);
    let (peer, _folder) = peer(&within, LONG);
    let error = ask(&peer).await.unwrap_err();
    assert_eq!(error.kind().as_str(), "timeout", "{error}");
    assert!(error.to_string().contains("192.0.2.2"), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
    let asked = [address(1), address(2), address(3)];
    assert_eq!(within.world().asked, asked);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_has_moved_is_followed_within_a_minute() {
    let at_once = Manner::Answers(Duration::ZERO);
    let within = Within::new([at_once, at_once]);
    let (peer, _folder) = peer(&within, LONG);
    ask(&peer).await.unwrap();
    within.world().addresses.remove(0);
    ask(&peer).await.unwrap();
    tokio::time::advance(Duration::from_mins(1)).await;
    ask(&peer).await.unwrap();
    let asked = [address(1), address(1), address(2)];
    assert_eq!(within.world().asked, asked);
}

/// How long a request of a feed may take.
const LIMIT: Duration = Duration::from_secs(30);
/// How long a large list takes.
const SLOW: Manner = Manner::Answers(Duration::from_secs(22));

#[tokio::test(start_paused = true)]
async fn an_address_that_answers_pings_is_not_left_because_a_list_takes_too_long() {
    let within = Within::new([Manner::Silent, SLOW]);
    let (peer, _folder) = peer(&within, LIMIT);
    // The silent one takes half of its time.
    assert_eq!(ask(&peer).await.unwrap_err().kind().as_str(), "timeout");
    ask(&peer).await.unwrap();
    let longer = Manner::Answers(Duration::from_secs(31));
    within.world().manners.insert(address(2), longer);
    assert_eq!(ask(&peer).await.unwrap_err().kind().as_str(), "timeout");
    within.world().manners.insert(address(2), SLOW);
    ask(&peer).await.unwrap();
    let asked = [1, 2, 2, 2, 2].map(address);
    assert_eq!(within.world().asked, asked);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_has_no_time_left_to_answer_is_not_left() {
    let soon = Manner::Answers(Duration::from_secs(2));
    let within = Within::new([Manner::Silent, soon]);
    let (peer, _folder) = peer(&within, 3 * CONNECT_TIMEOUT + Duration::from_secs(1));
    assert_eq!(ask(&peer).await.unwrap_err().kind().as_str(), "timeout");
    ask(&peer).await.unwrap();
    assert_eq!(within.world().asked, [1, 2, 2].map(address));
}

#[tokio::test(start_paused = true)]
async fn one_lost_ping_does_not_ask_for_a_list_twice() {
    let within = Within::new([SLOW, Manner::Answers(Duration::ZERO)]);
    let (peer, _folder) = peer(&within, LIMIT);
    within.world().pongs.push_back(None);
    let started = Instant::now();
    ask(&peer).await.unwrap();
    assert_eq!(started.elapsed(), Duration::from_secs(22));
    assert_eq!(within.world().asked, [address(1)]);
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_to_a_ping_counts_although_the_next_is_lost() {
    let within = Within::new([SLOW, Manner::Answers(Duration::ZERO)]);
    let (peer, _folder) = peer(&within, LIMIT);
    let late = CONNECT_TIMEOUT + Duration::from_secs(2);
    within.world().pongs.extend([Some(late), None]);
    ask(&peer).await.unwrap();
    assert_eq!(within.world().asked, [address(1)]);
}

#[tokio::test(start_paused = true)]
async fn names_that_hang_hold_up_one_request_a_minute() {
    let at_once = Manner::Answers(Duration::ZERO);
    let within = Within::new([at_once, at_once]);
    let (peer, _folder) = peer(&within, LIMIT);
    ask(&peer).await.unwrap();
    within.world().names_hang = true;
    tokio::time::advance(Duration::from_mins(1)).await;
    let started = Instant::now();
    ask(&peer).await.unwrap();
    ask(&peer).await.unwrap();
    assert_eq!(started.elapsed(), CONNECT_TIMEOUT);
    within.world().names_hang = false;
    within.world().addresses.remove(0);
    tokio::time::advance(Duration::from_mins(1)).await;
    ask(&peer).await.unwrap();
    assert_eq!(within.world().asked, [1, 1, 1, 2].map(address));
}

#[tokio::test(start_paused = true)]
async fn what_a_peer_names_in_turn_is_asked_at_all_of_its_addresses_too() {
    let within = Within::new([Manner::Silent, Manner::Answers(Duration::ZERO)]);
    let (peer, _folder) = peer(&within, LIMIT);
    let uaa = Url::parse("https://uaa.example.com/").unwrap();
    let uaa = peer.elsewhere("UAA", &uaa);
    ask(&uaa).await.unwrap();
    // Each has addresses of its own to leave.
    ask(&peer).await.unwrap();
    assert_eq!(within.world().asked, [1, 2, 1, 2].map(address));
}
