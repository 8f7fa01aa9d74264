//! The interop harness's own parts, against each other over real sockets.

mod client;
mod instances;
mod load;
mod oracle;
mod ports;
mod process;

use std::net::SocketAddr;

use copilot::sim::pki::Pki;
use tempfile::TempDir;

use crate::harness::instances::{Clients, Credentials, Endpoint, Instance, Protocol, Spec};

/// An address that nothing else has: tests bind ports of 127.0.0.1 only.
fn address(last: u8) -> SocketAddr {
    ([127, 12, 0, last], 8080).into()
}

fn spec(app: &str) -> Spec {
    Spec {
        app: app.to_owned(),
        guid: format!("{app}-0"),
    }
}

fn endpoint(protocol: Protocol, address: SocketAddr) -> Endpoint {
    Endpoint {
        port: 8080,
        protocol,
        address,
        tls: None,
    }
}

async fn plain(app: &str, protocol: Protocol, address: SocketAddr) -> Instance {
    let endpoints = [endpoint(protocol, address)];
    Instance::start(spec(app), &endpoints).await.unwrap()
}

/// The certificates of a cell and of its routers.
struct Cell {
    _folder: TempDir,
    pki: Pki,
}

impl Cell {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let pki = Pki::new(folder.path(), "cell").unwrap();
        Self {
            _folder: folder,
            pki,
        }
    }

    fn credentials(&self, guid: &str) -> Credentials {
        Credentials {
            identity: self.pki.issue(guid, &[guid]).unwrap(),
            clients: Some(Clients {
                ca: self.pki.ca().to_owned(),
                names: vec!["router".to_owned()],
            }),
        }
    }
}
