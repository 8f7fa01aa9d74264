//! A connection that the listener can cut, whatever its peer is doing or not doing.

use std::{
    collections::BTreeSet,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::OwnedSemaphorePermit,
    time::{Instant, Sleep, sleep},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Status, transport::server::Connected};

use crate::tls;

/// The connection that a call came on: an extension of its request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who is at its other end.
    pub peer: tls::Peer,
    /// When it was accepted.
    pub connected: Instant,
    /// Cuts it.
    pub cut: CancellationToken,
}

impl Caller {
    /// Refuses a caller that has none of the `allowed` names; without a list, everybody may call whose certificate
    /// the handshake has verified.
    ///
    /// # Errors
    /// UNAUTHENTICATED, with the names that it does have.
    pub fn authorize(&self, allowed: Option<&BTreeSet<String>>) -> Result<(), Status> {
        let names = &self.peer.names;
        if allowed.is_none_or(|allowed| names.iter().any(|name| allowed.contains(name))) {
            return Ok(());
        }
        Err(Status::unauthenticated(if names.is_empty() {
            "the certificate has no subject alternative name".to_owned()
        } else {
            format!("none of these names is allowed: {}", names.join(", "))
        }))
    }
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
}

impl Preface {
    fn new() -> Self {
        Self {
            missing: PREFACE,
            overdue: Box::pin(sleep(PREFACE_TIMEOUT)),
        }
    }

    /// Ready once it is complete, or for too long not.
    fn poll(&mut self, cx: &mut Context<'_>, read: usize) -> Poll<io::Result<()>> {
        self.missing = self.missing.saturating_sub(read);
        if self.missing == 0 {
            return Poll::Ready(Ok(()));
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
    _place: OwnedSemaphorePermit,
}

impl Severable {
    /// Makes `connection` end with `cut`; it holds its `place` among all connections.
    pub(super) fn new<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        connection: tls::Connection<S>,
        cut: CancellationToken,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let caller = Caller {
            peer: connection.peer,
            connected: Instant::now(),
            cut: cut.clone(),
        };
        Self {
            stream: Box::new(connection.stream),
            preface: Some(Preface::new()),
            caller,
            cut: Box::pin(cut.cancelled_owned()),
            _place: place,
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

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
        sync::Semaphore,
    };

    use super::*;

    fn connection() -> (DuplexStream, Severable) {
        let (client, stream) = duplex(1024);
        let peer = tls::Peer {
            address: ([127, 0, 0, 1], 1).into(),
            names: Arc::default(),
        };
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let connection = tls::Connection { stream, peer };
        let severable = Severable::new(connection, CancellationToken::new(), place);
        (client, severable)
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
