//! What becomes of many hostnames: on all processors, if there is that much of it.

use std::{
    collections::HashSet,
    num::NonZero,
    sync::Arc,
    thread::{self, ScopedJoinHandle},
};

use smallvec::SmallVec;

use super::hold::Place;
use crate::{
    istio::{self, Ended, Held, Made, Options, Services},
    model::Hostname,
    table::{HostView, RouteTable, Touched},
};

/// With fewer hostnames, starting a thread takes longer than it saves.
const WORTH_A_THREAD: usize = 256;

/// What decides, beside the table, what is made of a hostname.
#[derive(Clone, Copy)]
pub(super) struct By<'a> {
    pub(super) options: &'a Options,
    /// How routes are divided that are held.
    pub(super) held: &'a Held,
    /// The names of instances that have ended.
    pub(super) ended: &'a Ended,
    /// The routes with services whose rules have other names now.
    pub(super) renamed: &'a HashSet<Place>,
}

/// What is made of a hostname: of that which can be different.
pub(super) enum Generated {
    /// A VirtualService, and services for each route.
    External {
        virtual_service: Option<Made>,
        /// By the keys of the routes; `None` of a route that is gone.
        routes: SmallVec<[(Arc<str>, Option<Services>); 1]>,
    },
    /// One service.
    Internal(SmallVec<[Made; 3]>),
    /// No route has it any more.
    Gone,
}

/// Generates what can be different of each hostname, in their order.
pub(super) fn generate_all(
    table: &RouteTable,
    hosts: &[(&Hostname, &Touched)],
    by: By<'_>,
) -> Vec<Generated> {
    let one_after_the_other = |hosts: &[(&Hostname, &Touched)]| {
        let generated = hosts.iter();
        let generated = generated.map(|(host, touched)| generate(table, host, touched, by));
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

fn generate(table: &RouteTable, name: &Hostname, touched: &Touched, by: By<'_>) -> Generated {
    match table.host(name) {
        None => Generated::Gone,
        Some(host) if host.is_internal() => internal(host, touched, by.options),
        Some(host) => external(host, touched, by),
    }
}

fn external(host: HostView<'_>, touched: &Touched, by: By<'_>) -> Generated {
    // A service that comes or goes is seen by the lookup.
    let rules = touched.options() || touched.lookup();
    let services = |key: &Arc<str>| {
        let pool = host.pool(key);
        let is_renamed = || by.renamed.contains(&(host.name.clone(), key.clone()));
        let rules = rules || (!by.renamed.is_empty() && is_renamed());
        let services = pool.map(|pool| istio::services(&pool, by.options, rules, by.ended));
        (key.clone(), services)
    };
    Generated::External {
        virtual_service: touched
            .lookup()
            .then(|| istio::virtual_service(host, by.held, by.options)),
        routes: touched.services().map(services).collect(),
    }
}

fn internal(host: HostView<'_>, touched: &Touched, options: &Options) -> Generated {
    let mut made = SmallVec::new();
    if touched.lookup() {
        made.extend(istio::internal_lookup(host, options));
    }
    if touched.services().next().is_some() {
        made.push(istio::internal_service(host, options));
    }
    Generated::Internal(made)
}
