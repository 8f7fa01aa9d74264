//! How many files and connections the process may have open, and how many may wait to be.

use std::{io, net::SocketAddr};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket};
use tracing::{info, warn};

/// Connections that wait to be accepted: as many as the kernel lets wait, which is `net.core.somaxconn`. Whoever comes
/// beyond is not told, and tries again after a second.
const BACKLOG: u32 = 65_535;

/// Listens at an address.
///
/// # Errors
/// The address is in use, or not this machine's.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // The ends of a former process's connections do not hold up the next one.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Raises the limit as far as the process may by itself, and says what it is.
pub fn raise() {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: before.maximum,
        ..before
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => info!(limit = limit(), before = before.current, "open files"),
        Err(error) => warn!(%error, limit = limit(), "open files cannot be more"),
    }
}

/// The limit that is in force.
pub fn limit() -> usize {
    let current = getrlimit(Resource::Nofile).current;
    let current = current.map(usize::try_from);
    current.and_then(Result::ok).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::{net::TcpStream, time::Duration};

    use super::*;

    #[tokio::test]
    async fn more_connections_wait_to_be_accepted_than_by_default() {
        raise();
        let listener = listen(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
        let most: usize = most.trim().parse().unwrap();
        let many = most.min(limit() / 2).min(2000);
        let connect = |_| TcpStream::connect_timeout(&address, Duration::from_secs(10));
        let waiting: Vec<_> = (0..many).map(connect).collect::<Result<_, _>>().unwrap();
        assert_eq!(waiting.len(), many);
    }
}
