//! A sink of the Mesh Configuration Protocol, as Pilot has one: a stream to script, and a sink that runs by itself.

mod pilot;
mod replica;

use std::net::SocketAddr;

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tonic::{
    Status, Streaming,
    transport::{Channel, Error},
};

pub use self::{
    pilot::pilots,
    replica::{Replica, State},
};
use crate::{
    grpc,
    proto::{
        google::rpc,
        istio::mcp::v1alpha1::{
            RequestResources, Resources, SinkNode, resource_source_client::ResourceSourceClient,
        },
    },
};

/// Requests that wait to be sent: a Pilot asks for all its collections before it reads anything.
const REQUESTS: usize = 64;
/// As `--mcpMaxMsgSize` would have to be for the largest foundations.
const MAX_MESSAGE: usize = 1 << 30;

/// Connects to a server whose certificate names `localhost`, with any kind of TLS that `config` describes.
///
/// # Errors
/// There is no connection, or no handshake.
pub async fn connect(address: SocketAddr, config: ClientConfig) -> Result<Channel, Error> {
    let name = ServerName::try_from("localhost").expect("localhost is a DNS name");
    grpc::connect(address, name, config).await
}

/// A stream whose every request is the caller's.
#[derive(Debug)]
pub struct Stream {
    requests: mpsc::Sender<RequestResources>,
    responses: Streaming<Resources>,
}

impl Stream {
    /// Opens a stream.
    ///
    /// # Errors
    /// The server refuses it.
    pub async fn open(channel: &Channel) -> Result<Self, Status> {
        let (requests, outgoing) = mpsc::channel(REQUESTS);
        let responses = ResourceSourceClient::new(channel.clone())
            .max_decoding_message_size(MAX_MESSAGE)
            .establish_resource_stream(tokio_stream::wrappers::ReceiverStream::new(outgoing))
            .await?
            .into_inner();
        Ok(Self {
            requests,
            responses,
        })
    }

    /// Sends a request; one that the stream's end has overtaken is lost, as on any connection.
    pub async fn send(&self, request: RequestResources) {
        if self.requests.send(request).await.is_err() {
            tracing::debug!("request after the end of the stream");
        }
    }

    /// Asks for the full states of a collection.
    pub async fn subscribe(&self, collection: &str) {
        self.send(request(collection)).await;
    }

    /// Says that a response was applied.
    pub async fn ack(&self, response: &Resources) {
        self.send(ack(response)).await;
    }

    /// Says that a response was rejected.
    pub async fn nack(&self, response: &Resources, code: i32, message: &str) {
        self.send(nack(response, code, message)).await;
    }

    /// The next response; `None` when the server has ended the stream well.
    ///
    /// # Errors
    /// The stream has failed.
    pub async fn next(&mut self) -> Result<Option<Resources>, Status> {
        self.responses.message().await
    }

    /// Says that no request will follow, and waits for the server's end.
    ///
    /// # Errors
    /// The stream has failed.
    pub async fn half_close(self) -> Result<(), Status> {
        let Self {
            requests,
            mut responses,
        } = self;
        drop(requests);
        while responses.message().await?.is_some() {}
        Ok(())
    }
}

/// A subscription to a collection.
pub fn request(collection: &str) -> RequestResources {
    RequestResources {
        collection: collection.to_owned(),
        ..RequestResources::default()
    }
}

/// The ACK of a response.
pub fn ack(response: &Resources) -> RequestResources {
    RequestResources {
        response_nonce: response.nonce.clone(),
        ..request(&response.collection)
    }
}

/// The NACK of a response.
pub fn nack(response: &Resources, code: i32, message: &str) -> RequestResources {
    RequestResources {
        error_detail: Some(rpc::Status {
            code,
            message: message.to_owned(),
        }),
        ..ack(response)
    }
}

/// What a running sink does with a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Applies it and says so.
    Ack,
    /// Rejects it.
    Nack {
        /// The gRPC code.
        code: i32,
        /// The reason.
        message: String,
    },
    /// Applies it and says nothing.
    Silence,
}

/// What a running sink asks for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What it calls itself.
    pub node: String,
    /// The collections.
    pub collections: Vec<String>,
    /// Whether it takes deltas.
    pub incremental: bool,
    /// What it holds from an earlier stream.
    pub resume: State,
}

/// A sink that runs by itself.
#[derive(Debug)]
pub struct Sink {
    state: watch::Receiver<State>,
    task: JoinHandle<()>,
}

impl Sink {
    /// Opens a stream, asks for every collection, and answers each response as `answer` says.
    ///
    /// # Errors
    /// The server refuses the stream.
    pub async fn open(
        channel: &Channel,
        options: Options,
        answer: impl FnMut(&Resources) -> Answer + Send + 'static,
    ) -> Result<Self, Status> {
        let stream = Stream::open(channel).await?;
        let (sender, state) = watch::channel(options.resume.clone());
        let task = tokio::spawn(run(stream, options, answer, sender));
        Ok(Self { state, task })
    }

    /// What it holds, to be read now or waited for.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    mut stream: Stream,
    options: Options,
    mut answer: impl FnMut(&Resources) -> Answer,
    state: watch::Sender<State>,
) {
    for collection in &options.collections {
        let request = options.request(collection);
        stream.send(request).await;
    }
    loop {
        let response = match stream.next().await {
            Ok(Some(response)) => response,
            Ok(None) => break state.send_modify(|state| state.ended = Some(Status::ok(""))),
            Err(status) => break state.send_modify(|state| state.ended = Some(status)),
        };
        let answer = answer(&response);
        let reply = match &answer {
            Answer::Nack { code, message } => nack(&response, *code, message),
            Answer::Ack | Answer::Silence => ack(&response),
        };
        if !matches!(answer, Answer::Nack { .. }) {
            state.send_modify(|state| state.apply(response));
        }
        if answer != Answer::Silence {
            stream.send(options.signed(reply)).await;
        }
    }
}

impl Options {
    fn request(&self, collection: &str) -> RequestResources {
        let held = self.resume.collections.get(collection);
        RequestResources {
            initial_resource_versions: held
                .filter(|_| self.incremental)
                .map(Replica::versions)
                .unwrap_or_default(),
            ..self.signed(request(collection))
        }
    }

    /// What every request of this sink says of it.
    fn signed(&self, request: RequestResources) -> RequestResources {
        RequestResources {
            sink_node: Some(SinkNode {
                id: self.node.clone(),
            }),
            incremental: self.incremental,
            ..request
        }
    }
}
