//! Connections that say too little, or the wrong thing. Each attacker has an address of its own, in the network of the good ones.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Result;
use copilot::{sim::pki::Pki, tls};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{interval, sleep, timeout},
};
use tokio_rustls::TlsConnector;

use crate::attackers::Tally;

/// Connections of an attacker that may be open, so that this process has files left.
const OPEN: usize = 6000;
/// How long an attacker holds a connection that is left to it.
const HELD: Duration = Duration::from_secs(10);

/// A connection from 127.0.0.`from`.
pub async fn connect(from: u8, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, from], 0).into())?;
    socket.connect(to).await
}

/// Says this and nothing more, until it is closed.
async fn hold(from: u8, to: SocketAddr, say: &'static [u8], tally: Tally) -> io::Result<()> {
    let mut stream = connect(from, to).await?;
    tally.count();
    stream.write_all(say).await?;
    let closed = timeout(HELD, stream.read(&mut [0; 1024])).await;
    closed.map_or(Ok(()), |read| read.map(drop))
}

/// Begins as many as there are to be, and waits for some where there are too many.
async fn hold_many(
    holding: &mut JoinSet<io::Result<()>>,
    many: usize,
    (from, to): (u8, SocketAddr),
    say: &'static [u8],
    tally: &Tally,
) {
    for _ in 0..many {
        while holding.len() >= OPEN {
            holding.join_next().await;
        }
        holding.spawn(hold(from, to, say, tally.clone()));
    }
    while holding.try_join_next().is_some() {}
}

/// 700 a second.
pub async fn silent(mcp: SocketAddr, tally: Tally) {
    let mut holding = JoinSet::new();
    let mut ticks = interval(Duration::from_millis(10));
    loop {
        ticks.tick().await;
        hold_many(&mut holding, 7, (66, mcp), b"", &tally).await;
    }
}

/// 5,000 at once.
pub async fn bursts(mcp: SocketAddr, tally: Tally) {
    let mut holding = JoinSet::new();
    loop {
        hold_many(&mut holding, 5000, (67, mcp), b"", &tally).await;
        sleep(HELD).await;
    }
}

/// 1,000 halves of requests.
pub async fn halves(admin: SocketAddr, tally: Tally) {
    let mut holding = JoinSet::new();
    loop {
        let half = b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-";
        hold_many(&mut holding, 1000, (68, admin), half, &tally).await;
        sleep(HELD).await;
    }
}

/// A certificate of the right CA, and no name that is allowed.
pub fn stranger(pki: &Pki) -> Result<ClientConfig> {
    let stranger = pki.issue("stranger", &["stranger"])?;
    let mut config = tls::client(pki.ca(), Some(&stranger))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Shakes hands again and again, 100 times a second.
pub async fn names(mcp: SocketAddr, config: ClientConfig, tally: Tally) {
    let connector = TlsConnector::from(Arc::new(config));
    let mut ticks = interval(Duration::from_millis(10));
    let mut shaking = JoinSet::new();
    loop {
        ticks.tick().await;
        while shaking.try_join_next().is_some() {}
        if shaking.len() < OPEN / 10 {
            shaking.spawn(shake(mcp, connector.clone(), tally.clone()));
        }
    }
}

async fn shake(mcp: SocketAddr, connector: TlsConnector, tally: Tally) -> io::Result<()> {
    let stream = connect(69, mcp).await?;
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let mut stream = connector.connect(name, stream).await?;
    tally.count();
    // The alert, in TLS 1.3, comes after the client is done.
    timeout(HELD, stream.read(&mut [0; 1024])).await??;
    Ok(())
}
