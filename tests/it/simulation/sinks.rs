//! Pilots within the process.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use copilot::{
    grpc::Entrance,
    proto::istio::mcp::v1alpha1::{RequestResources, Resources},
    sim::sink::{self, Replica, State, Stream},
    tls::{Connection, Peer},
};
use fastrand::Rng;
use hyper_util::rt::TokioIo;
use tokio::{
    io::duplex,
    time::{Instant, sleep, sleep_until},
};
use tonic::transport::{Channel, Endpoint, Error, Uri};

use super::oracle::Oracle;
use crate::mesh::collections;

/// The ways into the daemons that run.
pub(super) type Doors = Arc<Mutex<Vec<Entrance>>>;

/// One Pilot.
pub(super) struct Pilot {
    pub(super) number: usize,
    pub(super) doors: Doors,
    pub(super) oracle: Oracle,
    pub(super) rng: Rng,
    pub(super) is_incremental: bool,
}

async fn connect(entrance: Entrance) -> Result<Channel, Error> {
    let connector = tower::service_fn(move |_: Uri| {
        let entrance = entrance.clone();
        async move {
            let (ours, stream) = duplex(64 << 10);
            let peer = Peer {
                address: ([192, 0, 2, 9], 9).into(),
                names: Arc::default(),
            };
            let connection = Connection {
                stream,
                peer,
                place: None,
            };
            let entered = entrance.send(Ok(connection)).await;
            entered.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
            Ok::<_, io::Error>(TokioIo::new(ours))
        }
    });
    Endpoint::from_static("http://localhost")
        .connect_with_connector(connector)
        .await
}

impl Pilot {
    /// Reads from one daemon after the other, for ever.
    pub(super) async fn run(mut self) {
        let mut state = State::default();
        let mut last = None;
        loop {
            let door = self.rng.usize(..self.doors.lock().unwrap().len());
            if last.replace(door) != Some(door) {
                self.oracle.moves(self.number);
            }
            let entrance = self.doors.lock().unwrap()[door].clone();
            if let Ok(channel) = connect(entrance).await
                && let Ok(stream) = Stream::open(&channel).await
            {
                self.follow(stream, &mut state).await;
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// Until the stream ends, or the sink has had enough of it.
    async fn follow(&mut self, mut stream: Stream, state: &mut State) {
        for collection in collections() {
            let request = self.request(&collection, state.collections.get(&collection));
            stream.send(request).await;
        }
        let enough = Instant::now() + Duration::from_secs(self.rng.u64(60..600));
        let mut answered = BTreeSet::new();
        let mut unanswered: Vec<(Instant, Resources)> = Vec::new();
        loop {
            let next = unanswered.iter().map(|(at, _)| *at).min();
            tokio::select! {
                biased;
                () = sleep_until(enough) => return,
                () = sleep_until(next.unwrap_or(enough)) => {
                    for (_, response) in unanswered.extract_if(.., |(at, _)| *at <= Instant::now()) {
                        stream.send(self.signed(sink::ack(&response))).await;
                    }
                }
                response = stream.next() => {
                    let Ok(Some(response)) = response else { return };
                    self.take(&response, &mut answered, state, &unanswered);
                    let at = Instant::now() + Duration::from_millis(self.rng.u64(0..500));
                    unanswered.push((at, response));
                }
            }
        }
    }

    fn take(
        &self,
        response: &Resources,
        answered: &mut BTreeSet<String>,
        state: &mut State,
        unanswered: &[(Instant, Resources)],
    ) {
        let collection = &response.collection;
        if unanswered
            .iter()
            .any(|(_, other)| other.collection == *collection)
        {
            let number = self.number;
            self.oracle.fails(&format!(
                "sink {number}: two responses of {collection} at a time"
            ));
        }
        answered.insert(collection.clone());
        state.apply(response.clone());
        let is_whole = answered.len() == collections().len();
        self.oracle.look(self.number, state, is_whole);
    }

    fn request(&self, collection: &str, held: Option<&Replica>) -> RequestResources {
        let held = held.filter(|_| self.is_incremental);
        RequestResources {
            initial_resource_versions: held.map(Replica::versions).unwrap_or_default(),
            ..self.signed(sink::request(collection))
        }
    }

    fn signed(&self, request: RequestResources) -> RequestResources {
        RequestResources {
            incremental: self.is_incremental,
            ..request
        }
    }
}
