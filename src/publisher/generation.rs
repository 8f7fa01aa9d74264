//! What becomes of many hostnames: on all processors, if there is that much of it.

use std::{
    num::NonZero,
    thread::{self, ScopedJoinHandle},
};

use smallvec::SmallVec;

use crate::{
    istio::{Eras, Kind, validate::Invalid},
    model::Hostname,
    snapshot::Encoded,
    table::{RouteTable, Touched},
};

/// With fewer hostnames, starting a thread takes longer than it saves.
const WORTH_A_THREAD: usize = 256;

/// What is made of a hostname that has routes.
pub(super) struct Generated {
    pub(super) internal: bool,
    /// Of the kinds that can be different.
    pub(super) made: SmallVec<[Made; 3]>,
}

/// A hostname's resource of one kind.
pub(super) struct Made {
    pub(super) kind: Kind,
    pub(super) encoded: Eras<Option<Encoded>>,
    /// Why it is not served, or not as the foundation has it.
    pub(super) reasons: Vec<Invalid>,
}

/// Generates what can be different of each hostname, in their order; `None` where no route has it any more.
pub(super) fn generate_all(
    table: &RouteTable,
    hosts: &[(&Hostname, Touched)],
    keep_empty: bool,
) -> Vec<Option<Generated>> {
    let one_after_the_other = |hosts: &[(&Hostname, Touched)]| {
        let generated = hosts.iter();
        let generated =
            generated.map(|(host, touched)| generate(table, host, *touched, keep_empty));
        generated.collect::<Vec<_>>()
    };
    if hosts.len() <= WORTH_A_THREAD {
        return one_after_the_other(hosts);
    }
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = hosts.len().div_ceil(threads).max(WORTH_A_THREAD);
    let mut shares = hosts.chunks(share);
    let own = shares.next().unwrap_or_default();
    thread::scope(|scope| {
        let others: Vec<_> = shares
            .map(|hosts| {
                let thread = thread::Builder::new().name("generation".to_owned());
                let spawned = thread.spawn_scoped(scope, move || one_after_the_other(hosts));
                (hosts, spawned)
            })
            .collect();
        let mut generated = one_after_the_other(own);
        for (hosts, spawned) in others {
            match spawned.map(ScopedJoinHandle::join) {
                Ok(Ok(more)) => generated.extend(more),
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                // The system has no thread to spare.
                Err(_) => generated.extend(one_after_the_other(hosts)),
            }
        }
        generated
    })
}

fn generate(
    table: &RouteTable,
    name: &Hostname,
    touched: Touched,
    keep_empty: bool,
) -> Option<Generated> {
    let host = table.host(name)?;
    let kinds = Kind::ALL.into_iter();
    let made = kinds
        .filter(|kind| kind.depends_on(touched, &host))
        .map(|kind| {
            let (encoded, reasons) = match kind.generate(&host, keep_empty) {
                Ok(encoded) => (encoded, kind.remarks(&host)),
                Err(invalid) => (Eras::Same(None), vec![invalid]),
            };
            Made {
                kind,
                encoded,
                reasons,
            }
        });
    Some(Generated {
        internal: host.is_internal(),
        made: made.collect(),
    })
}
