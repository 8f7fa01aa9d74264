//! One address in front of several servers: whoever connects gets the next of them that accepts.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::timeout,
};

/// How long a server may take to accept; they are on loopback.
const PATIENCE: Duration = Duration::from_secs(1);

/// A TCP balancer, until it is dropped.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Balancer {
    /// Listens on a free port of the loopback interface.
    pub async fn start(servers: Vec<SocketAddr>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Ok(Self {
            address: listener.local_addr()?,
            task: tokio::spawn(balance(listener, servers)),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn balance(listener: TcpListener, servers: Vec<SocketAddr>) {
    // Its connections end with it.
    let mut connections = JoinSet::new();
    for first in (0..servers.len()).cycle() {
        let Ok((client, _)) = listener.accept().await else {
            return;
        };
        while connections.try_join_next().is_some() {}
        let turn = (0..servers.len()).map(|step| servers[(first + step) % servers.len()]);
        connections.spawn(pass(client, turn.collect()));
    }
}

async fn pass(mut client: TcpStream, servers: Vec<SocketAddr>) {
    for server in servers {
        if let Ok(Ok(mut server)) = timeout(PATIENCE, TcpStream::connect(server)).await {
            // Which side has ended it is of no interest.
            drop(copy_bidirectional(&mut client, &mut server).await);
            return;
        }
    }
}
