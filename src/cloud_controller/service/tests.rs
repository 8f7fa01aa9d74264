//! What a BulkSync holds, and for how long.

use std::time::Duration;

use futures_util::stream;
use prometheus_client::registry::Registry;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    cloud_controller::{self, Io},
    feed::Feeds,
};

fn start() -> RegistrarHandle {
    let settings = Settings {
        max_bulk_sync_bytes: 1000,
    };
    let io = Io {
        updates: mpsc::channel(8).0,
        confirmations: watch::Sender::default().subscribe(),
        feed: Feeds::new(&mut Registry::default()).register("push", Duration::from_mins(1)),
        synced: None,
    };
    let (service, registrar) = cloud_controller::new(settings, io);
    tokio::spawn(registrar.run(CancellationToken::new()));
    service.registrar().unwrap().clone()
}

/// Begins a BulkSync and goes away when all of it was received and is to be parsed.
async fn cancel_when_received(registrar: &RegistrarHandle) {
    let ended = Notify::new();
    let chunks = stream::poll_fn(|_| {
        ended.notify_one();
        std::task::Poll::Ready(None)
    });
    tokio::select! {
        biased;
        outcome = registrar.bulk_sync(chunks) => panic!("{outcome:?}"),
        () = ended.notified() => {}
    }
}

#[test]
fn a_cancelled_bulk_sync_keeps_its_place_while_it_is_parsed() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let registrar = start();
        // Holds up the parsing of all.
        let (release, released) = std::sync::mpsc::channel::<()>();
        let blocker = tokio::task::spawn_blocking(move || released.recv());
        for _ in 0..BULK_SYNCS {
            cancel_when_received(&registrar).await;
        }
        let third = registrar.bulk_sync(stream::empty());
        let third = tokio::time::timeout(Duration::from_secs(20), third).await;
        let third = third.expect("it is not parsed");
        assert!(matches!(third, Err(Refused::Busy)), "{third:?}");

        release.send(()).unwrap();
        blocker.await.unwrap().unwrap();
        let all = u32::try_from(BULK_SYNCS).unwrap();
        let all = tokio::time::timeout(
            Duration::from_secs(20),
            registrar.bulk_syncs.acquire_many(all),
        );
        drop(all.await.unwrap().unwrap());
        assert_eq!(registrar.bulk_sync(stream::empty()).await.unwrap(), 0);
    });
}
