//! The attacks, on a runtime of their own.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use anyhow::Result;
use clap::ValueEnum;
use tokio::runtime::{Builder, Runtime};

use crate::{connections, platform::Platform, scene::Scene, streams};

/// What is done to the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Attack {
    /// 700 silent connections a second to the Pilots' listener
    Silent,
    /// 5,000 silent connections at once there, again and again
    Bursts,
    /// 1,000 half-sent requests to the admin surface, again and again
    Halves,
    /// Certificates of the right CA with a name that is not allowed
    Names,
    /// 64 requests of 15 MiB without an end on four connections of istiods
    Requests,
    /// 1,000 streams a second that are refused
    Streams,
    /// Answers of Cloud Controller and the policy server, and events of the BBS, that are junk, large, or without an end
    Junk,
    /// An app on 10,000 routes that comes and goes 47 times a second
    Flaps,
    /// A hostname with 60,000 paths, one of which comes and goes every second
    Paths,
}

impl Attack {
    /// Those that were asked for, or all.
    pub fn chosen(only: &[Self]) -> Vec<Self> {
        if only.is_empty() {
            Self::value_variants().to_vec()
        } else {
            only.to_vec()
        }
    }

    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// How often something was done.
#[derive(Debug, Clone, Default)]
pub struct Tally(Arc<AtomicU64>);

impl Tally {
    pub fn count(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// What attacks, until it is stopped.
pub struct Attackers {
    runtime: Runtime,
    tallies: BTreeMap<Attack, Tally>,
}

impl Attackers {
    pub fn start(scene: &Scene, attacks: &[Attack]) -> Result<Self> {
        // One thread: what they take of this machine, the daemon has not.
        let threads = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        // Before anybody attacks: meanwhile that thread would do nothing else.
        let platform = Platform::new(&scene.foundation);
        let mut tallies = BTreeMap::new();
        let (mcp, xds) = (scene.address("mcp_address")?, scene.address("xds_address")?);
        let admin = scene.address("admin_address")?;
        for attack in attacks {
            let tally = Tally::default();
            tallies.insert(*attack, tally.clone());
            match attack {
                Attack::Silent => drop(threads.spawn(connections::silent(mcp, tally))),
                Attack::Bursts => drop(threads.spawn(connections::bursts(mcp, tally))),
                Attack::Halves => drop(threads.spawn(connections::halves(admin, tally))),
                Attack::Names => {
                    let tls = connections::stranger(&scene.foundation.pki)?;
                    threads.spawn(connections::names(mcp, tls, tally));
                }
                Attack::Requests => drop(threads.spawn(streams::unfinished(xds, tally))),
                Attack::Streams => drop(threads.spawn(streams::refused(xds, tally))),
                Attack::Junk => drop(threads.spawn(platform.clone().lie(tally))),
                Attack::Flaps => drop(threads.spawn(scene.tenants.flap(tally))),
                Attack::Paths => drop(threads.spawn(scene.tenants.map_paths(tally))),
            }
        }
        Ok(Self {
            runtime: threads,
            tallies,
        })
    }

    /// What was done.
    pub fn stop(self) -> Done {
        self.runtime.shutdown_background();
        let counted = |(attack, tally): (Attack, Tally)| (attack, tally.0.load(Relaxed));
        Done(self.tallies.into_iter().map(counted).collect())
    }
}

/// How often each attack was made.
pub struct Done(BTreeMap<Attack, u64>);

impl Done {
    /// What should not be so: nothing is shown of an attack that was not made.
    pub fn wrong(&self) -> impl Iterator<Item = String> {
        let never = self.0.iter().filter(|(_, count)| **count == 0);
        never.map(|(attack, _)| format!("{} was not done even once", attack.name()))
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (attack, count) in &self.0 {
            writeln!(f, "{:<28} {count:>14} times", attack.name())?;
        }
        Ok(())
    }
}
