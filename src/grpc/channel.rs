//! Connections to servers of gRPC.

use std::{io, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Error, Uri};

use crate::tls::HTTP_2;

/// Longer than any server needs that answers at all.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Pilot's own interval and timeout.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// Connects to a server whose certificate has `name`, with any kind of TLS that `config` describes.
///
/// # Errors
/// There is no connection, or no handshake.
pub async fn connect(
    address: impl ToSocketAddrs + Clone + Send + Sync + 'static,
    name: ServerName<'static>,
    mut config: ClientConfig,
) -> Result<Channel, Error> {
    config.alpn_protocols = vec![HTTP_2.to_vec()];
    let tls = TlsConnector::from(Arc::new(config));
    let connector = tower::service_fn(move |_: Uri| {
        let (tls, name, address) = (tls.clone(), name.clone(), address.clone());
        async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok::<_, io::Error>(TokioIo::new(tls.connect(name, stream).await?))
        }
    });
    // Who is connected to is the connector's; this is the authority that requests name.
    Endpoint::from_static("http://localhost")
        .connect_timeout(CONNECT_WITHIN)
        .http2_keep_alive_interval(KEEPALIVE.0)
        .keep_alive_timeout(KEEPALIVE.1)
        .connect_with_connector(connector)
        .await
}

/// Connects in the clear.
///
/// # Errors
/// The address is none, or there is no connection.
pub async fn connect_in_the_clear(authority: &str) -> Result<Channel, Error> {
    Endpoint::from_shared(format!("http://{authority}"))?
        .connect_timeout(CONNECT_WITHIN)
        .connect()
        .await
}
