//! A peer below gRPC: it opens a stream with windows as wide as they get, and reads nothing by itself.

use std::{net::SocketAddr, sync::Arc};

use copilot::sim::sink;
use prost::Message as _;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// The type of the frame that ends a connection.
pub(super) const GOAWAY: u8 = 7;
const WIDEST: u32 = i32::MAX as u32;

/// Opens a stream that asks for `collection`. What comes back fills the socket's buffers and no more, unless the
/// caller reads.
pub(super) async fn open(
    address: SocketAddr,
    mut config: ClientConfig,
    collection: &str,
) -> TlsStream<TcpStream> {
    config.alpn_protocols = vec![b"h2".to_vec()];
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let stream = socket.connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, stream).await.unwrap();

    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS_INITIAL_WINDOW_SIZE, then WINDOW_UPDATE for the connection.
    let settings = [&[0, 4], &WIDEST.to_be_bytes()[..]].concat();
    bytes.extend(frame(4, 0, 0, &settings));
    bytes.extend(frame(8, 0, 0, &(WIDEST - 65_535).to_be_bytes()));
    let headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "localhost"),
        (
            ":path",
            "/istio.mcp.v1alpha1.ResourceSource/EstablishResourceStream",
        ),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let block: Vec<u8> = headers.into_iter().flat_map(literal).collect();
    // HEADERS with END_HEADERS, then DATA.
    bytes.extend(frame(1, 4, 1, &block));
    let request = sink::request(collection).encode_to_vec();
    let len = u32::try_from(request.len()).unwrap().to_be_bytes();
    bytes.extend(frame(0, 0, 1, &[&[0], &len[..], &request].concat()));
    stream.write_all(&bytes).await.unwrap();
    stream.flush().await.unwrap();
    stream
}

/// Reads frames until there is one of that kind.
pub(super) async fn read_until(stream: &mut TlsStream<TcpStream>, kind: u8) {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; len as usize];
        stream.read_exact(&mut payload).await.unwrap();
        if head[3] == kind {
            return;
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// HPACK: a literal without indexing, its name a literal too.
fn literal((name, value): (&str, &str)) -> Vec<u8> {
    let string = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [vec![0], string(name), string(value)].concat()
}
