//! Requests over TCP and TLS, by reqwest: one of its clients for each address.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use reqwest::redirect;

use super::transport::{Pool, Request, Response, Target, Transport};

/// A stream of events is silent in a quiet foundation, so only TCP can tell that its other end is gone.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How long sent bytes, probes among them, may stay unanswered.
const UNANSWERED: Duration = Duration::from_mins(1);

/// The network, with the names that the system knows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sockets;

impl Transport for Sockets {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) }.boxed()
    }

    fn pool(&self, target: &Target<'_>) -> io::Result<Arc<dyn Pool>> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(target.tls.as_ref().clone())
            .https_only(true)
            // The BBS takes the connection over for its stream: there is no HTTP/2.
            .http1_only()
            .no_proxy()
            // A redirect could lead a token anywhere.
            .redirect(redirect::Policy::none())
            .resolve_to_addrs(target.host, &[target.address])
            .connect_timeout(target.connect_timeout)
            .tcp_keepalive(KEEPALIVE)
            .tcp_keepalive_interval(KEEPALIVE / 3)
            .tcp_user_timeout(UNANSWERED)
            // A feed makes one request at a time; a stream's connection never comes back.
            .pool_max_idle_per_host(1)
            .user_agent(concat!("copilot/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(io::Error::other)?;
        Ok(Arc::new(Connections(client)))
    }
}

#[derive(Debug)]
struct Connections(reqwest::Client);

impl Pool for Connections {
    fn send(&self, request: Request) -> BoxFuture<'static, io::Result<Response>> {
        let mut sent = reqwest::Request::new(request.method, request.url);
        *sent.headers_mut() = request.headers;
        if !request.body.is_empty() {
            *sent.body_mut() = Some(request.body.into());
        }
        let answer = self.0.execute(sent);
        async move {
            let mut answer = answer.await.map_err(failed)?;
            let mut response = Response::new(stream::empty().boxed());
            *response.status_mut() = answer.status();
            *response.headers_mut() = std::mem::take(answer.headers_mut());
            *response.body_mut() = stream::try_unfold(answer, |mut answer| async {
                let chunk = answer.chunk().await.map_err(failed)?;
                Ok(chunk.map(|chunk| (chunk, answer)))
            })
            .boxed();
            Ok(response)
        }
        .boxed()
    }
}

/// Without the URL, which whoever asked for it says.
fn failed(error: reqwest::Error) -> io::Error {
    let kind = if error.is_timeout() {
        io::ErrorKind::TimedOut
    } else {
        io::ErrorKind::Other
    };
    io::Error::new(kind, error.without_url())
}
