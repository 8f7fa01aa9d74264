//! A connection that the listener can cut, whatever its peer is doing or not doing.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use super::admission::{Admitted, Allowance};
use crate::{crowd::Place, tls};

/// The connection that a call came on: an extension of its request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who is at its other end.
    pub peer: tls::Peer,
    /// When it was accepted.
    pub connected: Instant,
    /// Cuts it.
    pub cut: CancellationToken,
    /// What may be kept of its requests.
    pub allowance: Allowance,
}

/// A stream of bytes, encrypted or not.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Io for S {}

/// The length of what every client of HTTP/2 says first.
const PREFACE: usize = 24;
/// How long it may take for that. Only then the keepalive begins to watch over the connection.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);

/// What a client has yet to say before its connection counts as one of HTTP/2.
struct Preface {
    missing: usize,
    overdue: Pin<Box<Sleep>>,
    /// Until then others may need its place more.
    place: Option<(Place, Pin<Box<WaitForCancellationFutureOwned>>)>,
}

impl Preface {
    fn new(place: Option<Place>) -> Self {
        let lost = |place: Place| {
            let lost = Box::pin(place.lost());
            (place, lost)
        };
        Self {
            missing: PREFACE,
            overdue: Box::pin(sleep(PREFACE_TIMEOUT)),
            place: place.map(lost),
        }
    }

    /// Ready once it is complete, or is so too late.
    fn poll(&mut self, cx: &mut Context<'_>, read: usize) -> Poll<io::Result<()>> {
        self.missing = self.missing.saturating_sub(read);
        if self.missing == 0 {
            return Poll::Ready(Ok(()));
        }
        if let Some((_, lost)) = &mut self.place
            && lost.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        ready!(self.overdue.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// A connection that ends once its token is cancelled, or if its peer does not begin to speak.
///
/// HTTP/2 alone can do neither: it waits for its preface for ever, and where a peer stops reading, what is queued
/// before the goodbye never leaves.
pub(super) struct Severable {
    stream: Box<dyn Io>,
    /// Until it is complete.
    preface: Option<Preface>,
    caller: Caller,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _admitted: Admitted,
}

impl Severable {
    /// Makes `connection` end with `cut`; it is among those that are `admitted`.
    pub(super) fn new<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        connection: tls::Connection<S>,
        cut: CancellationToken,
        admitted: Admitted,
    ) -> Self {
        let caller = Caller {
            peer: connection.peer,
            connected: Instant::now(),
            cut: cut.clone(),
            allowance: admitted.allowance(),
        };
        Self {
            stream: Box::new(connection.stream),
            preface: Some(Preface::new(connection.place)),
            caller,
            cut: Box::pin(cut.cancelled_owned()),
            _admitted: admitted,
        }
    }

    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl Connected for Severable {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Severable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        let read = buf.filled().len() - before;
        if let Some(preface) = &mut self.preface
            && let Poll::Ready(complete) = preface.poll(cx, read)
        {
            complete?;
            self.preface = None;
        }
        polled
    }
}

impl AsyncWrite for Severable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;
    use crate::{crowd::Crowd, grpc::admission::Admission};

    fn connection() -> (DuplexStream, Severable) {
        let (client, connection, _) = connection_in(&Crowd::new(1));
        (client, connection)
    }

    fn connection_in(crowd: &Crowd) -> (DuplexStream, Severable, std::net::IpAddr) {
        let (client, stream) = duplex(1024);
        let peer = tls::Peer {
            address: ([127, 0, 0, 1], 1).into(),
            names: Arc::default(),
        };
        let ip = peer.address.ip();
        let admitted = Admission::new(1, 1, crate::grpc::Bytes::default()).admit(ip);
        let connection = tls::Connection {
            stream,
            peer,
            place: Some(crowd.enter(ip)),
        };
        let severable = Severable::new(connection, CancellationToken::new(), admitted.unwrap());
        (client, severable, ip)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_begin_to_speak_loses_its_connection() {
        let (mut client, mut server) = connection();
        client.write_all(&[0; PREFACE - 1]).await.unwrap();
        let begin = Instant::now();
        let error = server.read_exact(&mut [0; PREFACE]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begin.elapsed(), PREFACE_TIMEOUT);
    }

    #[tokio::test]
    async fn a_peer_that_does_not_begin_to_speak_makes_room_for_another_and_one_that_has_does_not()
    {
        for spoken in [PREFACE - 1, PREFACE] {
            let crowd = Crowd::new(1);
            let (mut client, mut server, ip) = connection_in(&crowd);
            client.write_all(&vec![0; spoken]).await.unwrap();
            server.read_exact(&mut vec![0; spoken]).await.unwrap();
            let _other = crowd.enter(ip);
            if spoken == PREFACE {
                client.write_all(&[0]).await.unwrap();
            }
            let read = server.read_exact(&mut [0]).await;
            assert_eq!(read.is_ok(), spoken == PREFACE, "{read:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_has_begun_may_be_silent() {
        let (mut client, mut server) = connection();
        client.write_all(&[0; PREFACE]).await.unwrap();
        server.read_exact(&mut [0; PREFACE]).await.unwrap();
        let mut more = [0];
        let silence = tokio::time::timeout(2 * PREFACE_TIMEOUT, server.read(&mut more));
        assert!(silence.await.is_err(), "nothing has ended the connection");
    }
}
