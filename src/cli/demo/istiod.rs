//! An istiod beside the Pilot: the same configuration over aggregated discovery.

use std::{fmt::Write as _, net::SocketAddr, time::Duration};

use anyhow::Context as _;
use tokio::sync::watch;

use super::table::{Client, Held, VERSION};
use crate::{
    istio::{Kind, OF_HOSTS},
    sim::{
        istiod::{Istiod, connect, types},
        sink::State,
    },
};

/// Whether both send every request to the same endpoints. What each is told in its own words is not compared: the case of
/// paths, how an instance is picked, and services without instances, which a Pilot discards.
fn agree(istiod: &State, pilot: &State) -> bool {
    let held = |state, client| Held { state, client }.effect();
    held(istiod, Client::Istiod) == held(pilot, Client::Pilot)
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

    /// Waits until it sends requests where a Pilot does: wherever that is by then, for either may skip a state.
    pub(super) async fn catch_up(
        &self,
        mut pilot: watch::Receiver<State>,
        patience: Duration,
    ) -> anyhow::Result<()> {
        let mut istiod = self.0.state();
        let same = async {
            while !agree(&istiod.borrow_and_update(), &pilot.borrow_and_update()) {
                tokio::select! {
                    changed = istiod.changed() => changed,
                    changed = pilot.changed() => changed,
                }?;
            }
            Ok::<_, watch::error::RecvError>(())
        };
        let in_time = tokio::time::timeout(patience, same).await;
        let ended = in_time.context("istiod does not send requests where Pilot does")?;
        ended.context("a stream ended")
    }

    /// What it holds, in numbers.
    pub(super) fn render(&self) -> String {
        let state = self.0.state();
        let asked = types(VERSION).len();
        let mut text = format!(
            "An istiod that asks for {asked} types over ADS sends requests where the Pilot does:\n"
        );
        for kind in OF_HOSTS.into_iter().chain([Kind::Gateway]) {
            let kind = kind.as_str();
            let type_url = format!("networking.istio.io/{VERSION}/{kind}");
            if let Some(replica) = state.borrow().collections.get(&type_url) {
                let (count, version) = (replica.resources.len(), &replica.version);
                writeln!(text, "  {count:>6} {kind:<16} {version}").expect("a String takes all");
            }
        }
        text
    }
}
