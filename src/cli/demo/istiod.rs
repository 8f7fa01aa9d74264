//! An istiod beside the Pilot: the same configuration over aggregated discovery.

use std::{fmt::Write as _, net::SocketAddr, time::Duration};

use anyhow::Context as _;
use tokio::sync::watch;

use crate::{
    istio::{GATEWAYS, Kind},
    sim::{
        istiod::{Istiod, connect, types},
        sink::State,
    },
};

/// The version of the networking types that today's istiod asks for.
const VERSION: &str = "v1";

/// The kinds that both clients hold, with the Pilot's collections.
fn kinds() -> [(&'static str, &'static str); 4] {
    [
        ("VirtualService", Kind::VirtualService.collection()),
        ("DestinationRule", Kind::DestinationRule.collection()),
        ("ServiceEntry", Kind::ServiceEntry.collection()),
        ("Gateway", GATEWAYS),
    ]
}

/// What a client holds of a name, in which version.
fn held<'a>(state: &'a State, name: &str) -> Option<(usize, &'a str)> {
    let replica = state.collections.get(name)?;
    Some((replica.resources.len(), &replica.version))
}

fn holds_the_same(istiod: &State, pilot: &State) -> bool {
    kinds().into_iter().all(|(kind, collection)| {
        let type_url = format!("networking.istio.io/{VERSION}/{kind}");
        held(istiod, &type_url) == held(pilot, collection)
    })
}

/// A running istiod.
pub(super) struct Beside(Istiod);

impl Beside {
    /// Connects it to a daemon; it asks for all its types at once.
    pub(super) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let channel = connect(address).await?;
        let istiod = Istiod::open(&channel, &types(VERSION)).await?;
        Ok(Self(istiod))
    }

    /// Waits until it holds what a Pilot holds: whatever that is by then, for either may skip a state.
    pub(super) async fn catch_up(
        &self,
        mut pilot: watch::Receiver<State>,
        patience: Duration,
    ) -> anyhow::Result<()> {
        let mut istiod = self.0.state();
        let same = async {
            while !holds_the_same(&istiod.borrow_and_update(), &pilot.borrow_and_update()) {
                tokio::select! {
                    changed = istiod.changed() => changed,
                    changed = pilot.changed() => changed,
                }?;
            }
            Ok::<_, watch::error::RecvError>(())
        };
        let in_time = tokio::time::timeout(patience, same).await;
        let ended = in_time.context("istiod does not hold what Pilot does")?;
        ended.context("a stream ended")
    }

    /// What it holds, in numbers.
    pub(super) fn render(&self) -> String {
        let state = self.0.state();
        let asked = types(VERSION).len();
        let mut text =
            format!("An istiod that asks for {asked} types over ADS holds what the Pilot holds:\n");
        for (kind, _) in kinds() {
            let type_url = format!("networking.istio.io/{VERSION}/{kind}");
            if let Some((count, version)) = held(&state.borrow(), &type_url) {
                writeln!(text, "  {count:>6} {kind:<16} {version}").expect("a String takes all");
            }
        }
        text
    }
}
