//! A connection to an ingress.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::TlsConnector;
use tonic::body::Body;

use super::{Ask, Failure, Over, Sni, broken};

/// A connection, and whose it is.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sender: Sender,
    /// The server's own certificate.
    pub(super) certificate: Option<Bytes>,
}

/// Where requests are handed in.
#[derive(Debug)]
pub(super) enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

/// Why a request was not answered, and the request if none of it was sent.
pub(super) type Unanswered = (hyper::Error, Option<Request<Body>>);

impl Connection {
    /// The same connection for one more request at a time, where that can be.
    pub(super) fn share(&self) -> Option<Self> {
        match &self.sender {
            Sender::Http1(_) => None,
            Sender::Http2(sender) => Some(Self {
                sender: Sender::Http2(sender.clone()),
                certificate: self.certificate.clone(),
            }),
        }
    }
}

impl Sender {
    /// Resolves when one more request can be sent.
    pub(super) async fn ready(&mut self) -> hyper::Result<()> {
        match self {
            Self::Http1(sender) => sender.ready().await,
            Self::Http2(sender) => sender.ready().await,
        }
    }

    pub(super) async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, Unanswered> {
        let sent = match self {
            Self::Http1(sender) => sender.try_send_request(request).await,
            Self::Http2(sender) => sender.try_send_request(request).await,
        };
        sent.map_err(|mut error: TrySendError<_>| {
            let unsent = error.take_message();
            (error.into_error(), unsent)
        })
    }
}

async fn connect(from: Option<Ipv4Addr>, to: SocketAddr) -> io::Result<TcpStream> {
    let Some(from) = from else {
        return TcpStream::connect(to).await;
    };
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(to).await
}

/// Connects to `ingress`, from a certain address if there is one, with TLS for the given host if there is a configuration.
pub(super) async fn open(
    (from, ingress): (Option<Ipv4Addr>, SocketAddr),
    tls: Option<(ClientConfig, &str)>,
    ask: &Ask,
) -> Result<Connection, Failure> {
    let tcp = connect(from, ingress).await.map_err(Failure::Connect)?;
    tcp.set_nodelay(true).map_err(Failure::Connect)?;
    let Some((mut config, host)) = tls else {
        return Ok(Connection {
            sender: hand_in(tcp, ask.over).await?,
            certificate: None,
        });
    };
    config.enable_sni = ask.sni != Sni::None;
    config.alpn_protocols = vec![match ask.over {
        Over::Http2 | Over::Grpc => b"h2".to_vec(),
        _ => b"http/1.1".to_vec(),
    }];
    let invalid = |_| Failure::Handshake(std::io::ErrorKind::InvalidInput.into());
    let name = ServerName::try_from(host.to_owned()).map_err(invalid)?;
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, tcp).await;
    let stream = stream.map_err(Failure::Handshake)?;
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let leaf = certificates.first();
    let certificate = leaf.map(|leaf| Bytes::copy_from_slice(leaf));
    Ok(Connection {
        sender: hand_in(stream, ask.over).await?,
        certificate,
    })
}

async fn hand_in<S>(stream: S, over: Over) -> Result<Sender, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    // A connection's end is seen by the requests that it had.
    Ok(match over {
        Over::Http2 | Over::Grpc => {
            let shaken = http2::handshake(TokioExecutor::new(), io).await;
            let (sender, connection) = shaken.map_err(broken)?;
            tokio::spawn(connection);
            Sender::Http2(sender)
        }
        Over::Http10 | Over::Http11 | Over::WebSocket => {
            let (sender, connection) = http1::handshake(io).await.map_err(broken)?;
            tokio::spawn(connection.with_upgrades());
            Sender::Http1(sender)
        }
    })
}
