//! The rows of the list of lies, and what looks like each of them and is true.

use std::ops::RangeInclusive;

use copilot::{
    proto::bbs::{ActualLrp, DesiredLrp},
    sim::{
        capi::{Endpoint, Fault, Lie},
        policy,
    },
};
use prost::Message as _;
use serde_json::json;

use super::{
    peers::{Part, Read},
    scene::{ALL, Foundation, Of},
};

/// How much is lost, and for how many seconds reads have to agree on it.
pub(super) type Shares = [(usize, u64)];

/// Ten are believed at once; up to a third, up to nine tenths, and more.
const ALL_SHARES: &Shares = &[(10, 0), (13, 20), (20, 60), (36, 60), (37, 600), (ALL, 600)];
const SHARES: &Shares = &[(13, 20), (20, 60), (ALL, 600)];
const EVERYTHING: &Shares = &[(ALL, 600)];

/// A way to lie to a daemon that runs.
pub(super) struct Told {
    pub(super) row: &'static str,
    pub(super) of: Of,
    /// The reads that lie.
    pub(super) read: Read,
    /// Lies of so many.
    pub(super) tell: fn(&Foundation, usize),
    pub(super) truth: Truth,
}

/// What looks like a lie and is true.
pub(super) enum Truth {
    /// So many are lost, and no event tells of it.
    Lost(fn(&Foundation, usize), &'static Shares),
    /// It never is: no read that says so is believed, and what is lost is lost as in this row.
    As(&'static str),
}

fn capi(foundation: &Foundation, lie: Lie) {
    let capi = &foundation.capi;
    capi.inject(Endpoint::Routes, 0, usize::MAX, Fault::Lie(lie));
}

/// Lists have other rows of the first instances.
fn rows(foundation: &Foundation, lost: usize, lie: fn(&mut ActualLrp)) {
    let lost = foundation.names(lost);
    foundation.bbs.lie(move |_, mut row| {
        let key = row.actual_lrp_key.clone().unwrap_or_default();
        if lost.contains(&key.process_guid) {
            row.modification_tag.get_or_insert_default().index += 1;
            lie(&mut row);
        }
        row.encode_to_vec()
    });
}

/// Lists have other rows of what is to run of the first.
fn desired(foundation: &Foundation, lost: usize, lie: fn(&mut DesiredLrp)) {
    let lost = foundation.names(lost);
    foundation.bbs.lie_of_desired(move |_, mut row| {
        if lost.contains(&row.process_guid) {
            row.modification_tag.get_or_insert_default().index += 1;
            lie(&mut row);
        }
        row.encode_to_vec()
    });
}

/// The first rows cannot be decoded.
fn garble(foundation: &Foundation, rows: usize) {
    foundation.bbs.lie(move |at, row| {
        let garbage = vec![0xff];
        if at < rows {
            garbage
        } else {
            row.encode_to_vec()
        }
    });
}

fn claim(foundation: &Foundation, lost: usize) {
    rows(foundation, lost, |row| "CLAIMED".clone_into(&mut row.state));
}

fn scale_to_nothing(foundation: &Foundation, lost: usize) {
    desired(foundation, lost, |row| row.instances = 0);
}

fn stop(foundation: &Foundation, lost: usize) {
    foundation.withhold(Read::Desired, Part::Rows, lost);
}

fn forget(foundation: &Foundation, lost: usize) {
    for subject in foundation.first(lost) {
        foundation
            .bbs
            .forget(std::slice::from_ref(&subject.instance));
    }
}

fn delete(foundation: &Foundation, lost: usize) {
    for subject in foundation.first(lost) {
        foundation
            .capi
            .state()
            .delete_route_silently(&subject.route);
    }
}

fn unmap(foundation: &Foundation, lost: usize) {
    for subject in foundation.first(lost) {
        let mut state = foundation.capi.state();
        state.unmap_silently(&subject.route, &subject.app);
    }
}

fn unbind(foundation: &Foundation, lost: usize) {
    for subject in foundation.first(lost) {
        foundation.capi.state().unbind_silently(&subject.route);
    }
}

fn forbid(foundation: &Foundation, lost: usize) {
    for (one, other) in foundation.pairs().take(lost) {
        foundation.policies.forbid(&one, &other);
    }
}

/// Their apps are written anew, so that their routes are asked for.
fn touch(foundation: &Foundation, count: usize) {
    for subject in foundation.first(count) {
        foundation.bbs.touch(&subject.process);
    }
}

/// They are said to have changed, so that they are asked for.
fn update(foundation: &Foundation, count: usize) {
    let mut state = foundation.capi.state();
    state.advance(1);
    for subject in foundation.first(count) {
        let route = subject.route.to_string();
        state.emit("audit.route.update", &route, &json!({"request": {}}));
    }
}

#[rustfmt::skip]
pub(super) const TOLD: [Told; 35] = [
    Told { row: "C1", of: Of::Routes, read: Read::Named,
        tell: |cf, lost| { cf.withhold(Read::Named, Part::Rows, lost); update(cf, lost); },
        truth: Truth::Lost(|cf, lost| { update(cf, lost); delete(cf, lost); }, SHARES) },
    Told { row: "C2", of: Of::Routes, read: Read::Named,
        tell: |cf, lost| { cf.withhold(Read::Named, Part::Rows, lost); touch(cf, lost); },
        truth: Truth::Lost(|cf, lost| { delete(cf, lost); touch(cf, lost); }, SHARES) },
    Told { row: "C3", of: Of::Routes, read: Read::Named,
        tell: |cf, lost| { cf.withhold(Read::Named, Part::Destinations, lost); touch(cf, lost); },
        truth: Truth::Lost(|cf, lost| { unmap(cf, lost); touch(cf, lost); }, SHARES) },
    Told { row: "C4", of: Of::Routes, read: Read::Routes,
        tell: |cf, lost| cf.withhold(Read::Routes, Part::Destinations, lost),
        truth: Truth::Lost(unmap, SHARES) },
    Told { row: "C5", of: Of::Routes, read: Read::Routes, tell: |cf, _| capi(cf, Lie::Rows(3, false)), truth: Truth::As("C11") },
    Told { row: "C6", of: Of::Routes, read: Read::Routes, tell: |cf, _| capi(cf, Lie::Rows(3, true)), truth: Truth::As("C11") },
    Told { row: "C7", of: Of::Routes, read: Read::Routes, tell: |cf, _| capi(cf, Lie::Rows(0, true)), truth: Truth::As("C11") },
    Told { row: "C8", of: Of::Routes, read: Read::Routes, tell: |cf, _| capi(cf, Lie::ItselfNext), truth: Truth::As("C11") },
    Told { row: "C9, hosts", of: Of::Routes, read: Read::Routes, tell: |cf, _| capi(cf, Lie::BlankHosts), truth: Truth::As("C11") },
    Told { row: "C9, paths", of: Of::Routes, read: Read::Routes, tell: |cf, _| capi(cf, Lie::PathsWithoutSlash), truth: Truth::As("C11") },
    Told { row: "C9, ports", of: Of::Routes, read: Read::Routes, tell: |cf, _| capi(cf, Lie::Ports), truth: Truth::As("C11") },
    Told { row: "C9, protocols", of: Of::Routes, read: Read::Routes, tell: |cf, _| capi(cf, Lie::Tcp), truth: Truth::As("C11") },
    Told { row: "C10", of: Of::Routes, read: Read::Routes, tell: |cf, _| capi(cf, Lie::Nothing), truth: Truth::As("C11") },
    Told { row: "C11", of: Of::Routes, read: Read::Routes,
        tell: |cf, lost| cf.withhold(Read::Routes, Part::Rows, lost),
        truth: Truth::Lost(delete, ALL_SHARES) },
    Told { row: "a domain", of: Of::Routes, read: Read::Routes,
        tell: |cf, _| cf.capi.inject(Endpoint::Domains, 0, usize::MAX, Fault::Lie(Lie::Internal)),
        truth: Truth::Lost(|cf, _| cf.capi.state().delete_domain(&cf.domain), EVERYTHING) },
    Told { row: "TCP routes", of: Of::TcpRoutes, read: Read::TcpRoutes,
        tell: |cf, lost| cf.withhold(Read::TcpRoutes, Part::Rows, lost),
        truth: Truth::Lost(delete, SHARES) },
    Told { row: "few TCP routes", of: Of::FewTcpRoutes, read: Read::TcpRoutes,
        tell: |cf, lost| cf.withhold(Read::TcpRoutes, Part::Rows, lost),
        truth: Truth::Lost(delete, &[(10, 20)]) },
    Told { row: "B1, claimed", of: Of::Routes, read: Read::Instances, tell: claim, truth: Truth::Lost(claim, SHARES) },
    Told { row: "B1, empty", of: Of::Routes, read: Read::Instances,
        tell: |cf, lost| rows(cf, lost, |row| row.state.clear()), truth: Truth::As("B8") },
    Told { row: "B1, unknown", of: Of::Routes, read: Read::Instances,
        tell: |cf, lost| rows(cf, lost, |row| "ASLEEP".clone_into(&mut row.state)), truth: Truth::As("B8") },
    Told { row: "B2", of: Of::Routes, read: Read::Instances,
        tell: |cf, lost| rows(cf, lost, |row| row.presence = 7), truth: Truth::As("B8") },
    Told { row: "B3", of: Of::Routes, read: Read::Instances,
        tell: |cf, lost| rows(cf, lost, |row| row.actual_lrp_net_info.get_or_insert_default().ports.clear()), truth: Truth::As("B8") },
    Told { row: "B4", of: Of::Routes, read: Read::Instances, tell: scale_to_nothing, truth: Truth::Lost(scale_to_nothing, SHARES) },
    Told { row: "B5", of: Of::Routes, read: Read::Instances, tell: garble, truth: Truth::As("B8") },
    Told { row: "B6, ports", of: Of::Routes, read: Read::Instances,
        tell: |cf, lost| rows(cf, lost, |row| {
            for port in &mut row.actual_lrp_net_info.get_or_insert_default().ports { port.host_port = 70_000; }
        }), truth: Truth::As("B8") },
    Told { row: "B6, addresses", of: Of::Routes, read: Read::Instances,
        tell: |cf, lost| rows(cf, lost, |row| row.actual_lrp_net_info.get_or_insert_default().address.clear()), truth: Truth::As("B8") },
    Told { row: "B6, half", of: Of::Routes, read: Read::Instances, tell: |cf, lost| garble(cf, lost / 2), truth: Truth::As("B8") },
    Told { row: "B7", of: Of::Routes, read: Read::Instances,
        tell: |cf, lost| { cf.bbs.set_fresh(false); cf.withhold(Read::Instances, Part::Rows, lost); }, truth: Truth::As("B8") },
    Told { row: "B8", of: Of::Routes, read: Read::Instances,
        tell: |cf, lost| cf.withhold(Read::Instances, Part::Rows, lost),
        truth: Truth::Lost(forget, ALL_SHARES) },
    Told { row: "B11", of: Of::Routes, read: Read::Instances,
        tell: |cf, lost| rows(cf, lost, |row| "tasks".clone_into(&mut row.actual_lrp_key.get_or_insert_default().domain)),
        truth: Truth::As("B8") },
    Told { row: "B16", of: Of::Routes, read: Read::Instances, tell: stop, truth: Truth::Lost(stop, SHARES) },
    Told { row: "P1", of: Of::Policies, read: Read::Policies,
        tell: |cf, lost| cf.withhold(Read::Policies, Part::Rows, lost),
        truth: Truth::Lost(forbid, ALL_SHARES) },
    Told { row: "P1, counted", of: Of::Policies, read: Read::Policies,
        tell: |cf, _| cf.policies.fail(Some(policy::Fault::Short)), truth: Truth::As("P1") },
    Told { row: "P2", of: Of::Bound, read: Read::Bindings,
        tell: |cf, lost| cf.withhold(Read::Bindings, Part::Rows, lost),
        truth: Truth::Lost(unbind, SHARES) },
    Told { row: "P2, a domain", of: Of::Enforced, read: Read::Domains,
        tell: |cf, _| cf.enforce(false), truth: Truth::Lost(|cf, _| cf.enforce(false), EVERYTHING) },
];

/// What a daemon that knows nothing finds, and is true.
pub(super) struct Found {
    pub(super) row: &'static str,
    pub(super) of: Of,
    /// Makes it so.
    pub(super) make: fn(&Foundation),
    /// It is believed after so many reads of a kind at the least.
    pub(super) read: Read,
    pub(super) reads: usize,
    /// And after so many seconds.
    pub(super) seconds: RangeInclusive<u64>,
    /// What is served then.
    pub(super) left: usize,
}

const AT_ONCE: RangeInclusive<u64> = 0..=1;
/// Three lists have to say so.
const A_MINUTE: RangeInclusive<u64> = 60..=61;
/// And one that the BBS does not vouch for is followed by the next after a back-off of up to fifteen.
const UNVOUCHED: RangeInclusive<u64> = 60..=76;

#[rustfmt::skip]
pub(super) const FOUND: [Found; 16] = [
    Found { row: "C4", of: Of::Routes, make: |cf| unmap(cf, ALL), read: Read::Routes, reads: 3, seconds: A_MINUTE, left: 0 },
    Found { row: "C11", of: Of::Routes, make: |cf| delete(cf, ALL), read: Read::Routes, reads: 3, seconds: A_MINUTE, left: 0 },
    Found { row: "a domain", of: Of::Routes, make: |cf| cf.capi.state().delete_domain(&cf.domain), read: Read::Routes, reads: 3, seconds: A_MINUTE, left: 0 },
    Found { row: "TCP routes", of: Of::TcpRoutes, make: |cf| delete(cf, ALL), read: Read::TcpRoutes, reads: 2, seconds: A_MINUTE, left: 0 },
    Found { row: "B1, claimed", of: Of::Routes, make: |cf| claim(cf, ALL), read: Read::Instances, reads: 3, seconds: A_MINUTE, left: 0 },
    Found { row: "B4", of: Of::Routes, make: |cf| scale_to_nothing(cf, ALL), read: Read::Instances, reads: 3, seconds: A_MINUTE, left: 0 },
    Found { row: "B7", of: Of::Routes, make: |cf| cf.bbs.set_fresh(false), read: Read::Instances, reads: 2, seconds: UNVOUCHED, left: ALL },
    Found { row: "B9", of: Of::Routes, make: |cf| forget(cf, ALL), read: Read::Instances, reads: 3, seconds: A_MINUTE, left: 0 },
    Found { row: "B10", of: Of::Routes, make: |cf| forget(cf, ALL - 3), read: Read::Instances, reads: 3, seconds: A_MINUTE, left: 3 },
    Found { row: "B10, nearly half", of: Of::Routes, make: |cf| forget(cf, ALL - 19), read: Read::Instances, reads: 3, seconds: A_MINUTE, left: 19 },
    Found { row: "B10, half", of: Of::Routes, make: |cf| forget(cf, ALL - 20), read: Read::Instances, reads: 1, seconds: AT_ONCE, left: 20 },
    Found { row: "B16", of: Of::Routes, make: |cf| stop(cf, ALL), read: Read::Instances, reads: 3, seconds: A_MINUTE, left: 0 },
    Found { row: "B16, nothing runs either", of: Of::Routes, make: |cf| { stop(cf, ALL); forget(cf, ALL); }, read: Read::Instances, reads: 2, seconds: AT_ONCE, left: 0 },
    Found { row: "P1", of: Of::Policies, make: |cf| forbid(cf, ALL), read: Read::Policies, reads: 2, seconds: AT_ONCE, left: 0 },
    Found { row: "P2", of: Of::Bound, make: |cf| unbind(cf, ALL), read: Read::Bindings, reads: 1, seconds: AT_ONCE, left: 0 },
    Found { row: "P2, a domain", of: Of::Enforced, make: |cf| cf.enforce(false), read: Read::Domains, reads: 1, seconds: AT_ONCE, left: 0 },
];
