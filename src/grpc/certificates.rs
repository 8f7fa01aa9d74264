//! The certificates of a listener: what the files held when they were last good.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::ServerConfig;
use tokio::{
    sync::watch,
    task::{JoinError, spawn_blocking},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    feed::{Feed, Feeds, Kind},
    tls::{self, HTTP_2, ServerFiles},
};

/// How long reading the files may take before the feed counts as stuck, on top of the time between two looks.
const READING: Duration = Duration::from_mins(1);

/// Where the certificates are.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) identity: tls::Identity,
    pub(super) clients: Option<tls::Clients>,
}

impl Source {
    fn read(&self) -> Result<ServerFiles, tls::Error> {
        ServerFiles::read(&self.identity, self.clients.as_ref())
    }
}

/// The certificates that new connections are greeted with.
#[derive(Debug)]
pub(super) struct Certificates {
    source: Source,
    every: Duration,
    served: ServerFiles,
    config: watch::Sender<Arc<ServerConfig>>,
    feed: Feed,
}

impl Certificates {
    /// Reads the files for the first time, and registers the feed `name` that tells of the other times.
    pub(super) fn load(
        source: Source,
        every: Duration,
        feeds: &mut Feeds,
        name: &'static str,
    ) -> Result<Self, tls::Error> {
        let served = source.read()?;
        let config = served.config(HTTP_2)?;
        Ok(Self {
            source,
            every,
            served,
            config: watch::Sender::new(Arc::new(config)),
            feed: feeds.register(name, READING + 2 * every),
        })
    }

    /// What a handshake goes by, as it changes.
    pub(super) fn config(&self) -> watch::Receiver<Arc<ServerConfig>> {
        self.config.subscribe()
    }

    /// Looks at the files until `shutdown`, and takes what is new and good.
    ///
    /// The contents are read and compared, and not the file system's events waited for: certificates are swapped by
    /// writing, by renaming, and by turning a symbolic link some folders above, on file systems that tell of none of
    /// it.
    pub(super) async fn follow(mut self, shutdown: CancellationToken) {
        let mut looks = interval(self.every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut again = tls::to_be_read_again();
        loop {
            let is_asked = tokio::select! {
                () = shutdown.cancelled() => return,
                _ = looks.tick() => false,
                Ok(()) = again.changed() => true,
            };
            self.feed.turned();
            let begin = Instant::now();
            let source = self.source.clone();
            let reading = spawn_blocking(move || source.read());
            let Some(read) = shutdown.run_until_cancelled(reading).await else {
                return;
            };
            match self.take(read) {
                Ok(is_new) => {
                    if is_asked && !is_new {
                        let cert = self.source.identity.cert.display();
                        info!(%cert, "certificates are as before");
                    }
                    self.feed.succeeded(begin.elapsed());
                }
                // Also between the writing of a certificate and that of its key: the next look finds both.
                Err(error) => self.feed.failed(kind(&error), &error),
            }
        }
    }

    /// Whether they are new.
    fn take(
        &mut self,
        read: Result<Result<ServerFiles, tls::Error>, JoinError>,
    ) -> Result<bool, tls::Error> {
        let files = read.expect("reading files does not panic, and nobody aborts it")?;
        if files == self.served {
            return Ok(false);
        }
        let config = files.config(HTTP_2)?;
        self.config.send_replace(Arc::new(config));
        self.served = files;
        info!(cert = %self.source.identity.cert.display(), "new certificates are in force");
        Ok(true)
    }
}

fn kind(error: &tls::Error) -> Kind {
    match error {
        tls::Error::Read { .. } => Kind::Read,
        tls::Error::NoCertificate(_) => Kind::Empty,
        tls::Error::BadCa { .. } | tls::Error::Verifier { .. } => Kind::Ca,
        tls::Error::Pair { .. } | tls::Error::Key(_) => Kind::Pair,
    }
}
