//! Clients that run by themselves: they ask for their types in one burst and accept whatever comes.

use tokio::{sync::watch, task::JoinHandle};
use tonic::{Status, transport::Channel};

use super::{
    Delivered, DeltaStream, FullStream, MESH_CONFIG, Stream, delta_request, node, request,
};
use crate::{
    proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest},
    sim::sink::{Replica, State},
};

/// An istiod, as far as it reads a configuration source.
#[derive(Debug)]
pub struct Istiod {
    state: watch::Receiver<State>,
    task: JoinHandle<()>,
}

impl Istiod {
    /// Opens a stream and asks for the mesh config and these types. It answers every response with an ACK.
    ///
    /// # Errors
    /// The server refuses the stream.
    pub async fn open(channel: &Channel, types: &[String]) -> Result<Self, Status> {
        let stream = FullStream::open(channel).await?;
        let asked = [MESH_CONFIG].into_iter().chain(types.iter().map(|t| &**t));
        let mut requests: Vec<DiscoveryRequest> = asked.map(request).collect();
        // Only the first request of the stream says who is asking.
        requests[0].node = Some(node());
        let (sender, state) = watch::channel(State::default());
        let task = tokio::spawn(run(stream, requests, sender));
        Ok(Self { state, task })
    }

    /// One that takes deltas, and lists what it holds from an earlier stream. Today's istiod does not.
    ///
    /// # Errors
    /// The server refuses the stream.
    pub async fn open_delta(
        channel: &Channel,
        types: &[String],
        resume: State,
    ) -> Result<Self, Status> {
        let stream = DeltaStream::open(channel).await?;
        let requests = types.iter().map(|type_url| {
            let held = resume.collections.get(type_url);
            DeltaDiscoveryRequest {
                node: Some(node()),
                initial_resource_versions: held.map(Replica::versions).unwrap_or_default(),
                ..delta_request(type_url)
            }
        });
        let requests = requests.collect();
        let (sender, state) = watch::channel(resume);
        let task = tokio::spawn(run(stream, requests, sender));
        Ok(Self { state, task })
    }

    /// What it holds, to be read now or waited for.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }
}

impl Drop for Istiod {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run<R: Delivered>(
    mut stream: Stream<R::Request, R>,
    requests: Vec<R::Request>,
    state: watch::Sender<State>,
) {
    for request in requests {
        stream.send(request).await;
    }
    loop {
        let response = match stream.next().await {
            Ok(Some(response)) => response,
            Ok(None) => break state.send_modify(|state| state.ended = Some(Status::ok(""))),
            Err(status) => break state.send_modify(|state| state.ended = Some(status)),
        };
        let answer = response.ack();
        state.send_modify(|state| state.apply(response.unpack()));
        stream.send(answer).await;
    }
}
