//! Whose policies open which internal hostnames: those for a port at which the hostname is dialled.

use std::collections::{BTreeSet, HashMap};

use smallvec::SmallVec;

use super::{
    changes::Changes,
    host::Facts,
    internal::{self, Reached},
    policies::Policies,
};
use crate::model::{AppGuid, AppPort, Hostname, Policy, PortMapping, Transport};

/// Container ports: sorted, each once. An app whose instances differ in it is a rare one.
type Dialled = SmallVec<[u16; 1]>;

/// Whether internal hostnames are reached over TLS, as far as that was asked: all routes of a hostname decide it.
#[derive(Debug, Default)]
struct OverTls(HashMap<Hostname, bool>);

impl OverTls {
    fn has(&mut self, facts: &Facts, host: &Hostname) -> bool {
        if !facts.tls.internal {
            return false;
        }
        *self.0.entry(host.clone()).or_insert_with(|| {
            let host = facts.host(host);
            host.is_some_and(|host| host.has_internal_tls())
        })
    }
}

/// The policies, and at which ports they were last applied.
#[derive(Debug, Default)]
pub(super) struct Sources {
    policies: Policies,
    /// The ports at which apps are dialled where that follows from their instances.
    dialled: HashMap<(AppGuid, Reached), Dialled>,
}

impl Sources {
    /// How many policies there are.
    pub(super) fn len(&self) -> usize {
        self.policies.len()
    }

    /// All policies, sorted.
    pub(super) fn policies(&self) -> &[Policy] {
        self.policies.all()
    }

    /// The internal hostnames that an app may connect to by its policies.
    pub(super) fn reachable_from<'a>(
        &self,
        source: &AppGuid,
        facts: &'a Facts,
    ) -> BTreeSet<&'a Hostname> {
        let mut over_tls = OverTls::default();
        let mut hosts = BTreeSet::new();
        for policy in self.policies.of_source(source) {
            let reached = facts.routes.internal.of_app(&policy.destination);
            let reached = reached.filter(|reached| facts.opens(policy, reached, &mut over_tls));
            hosts.extend(reached.map(|reached| &reached.host));
        }
        hosts
    }

    /// These are all policies.
    pub(super) fn replace(&mut self, policies: Vec<Policy>, facts: &Facts, changes: &mut Changes) {
        let different = self.policies.replace(policies);
        Self::touch_all(different, facts, changes);
    }

    /// These policies are there after all.
    pub(super) fn restore(&mut self, policies: Vec<Policy>, facts: &Facts, changes: &mut Changes) {
        let different = self.policies.restore(policies);
        Self::touch_all(different, facts, changes);
    }

    /// The policies that have gone or changed, as they were.
    pub(super) fn displaced(&mut self) -> &mut Vec<Policy> {
        &mut self.policies.displaced
    }

    fn touch_all(different: Vec<Policy>, facts: &Facts, changes: &mut Changes) {
        let mut over_tls = OverTls::default();
        for policy in different {
            let mut reached = facts.routes.internal.of_app(&policy.destination);
            if reached.any(|reached| facts.opens(&policy, reached, &mut over_tls)) {
                changes.touch_source(&policy.source);
            }
        }
    }

    /// The apps with policies to those that are reached elsewhere now.
    pub(super) fn touch(&mut self, facts: &mut Facts, changes: &mut Changes) {
        for (app, reached) in facts.routes.internal.take_different() {
            let opens = |policy: &Policy| match facts.fixed_port(&reached) {
                Some(port) => policy.admits(&[port]),
                // Whatever it was dialled at until now.
                None => policy.transport == Transport::Tcp,
            };
            for (source, policies) in self.policies.by_source(&app) {
                if policies.iter().any(opens) {
                    changes.touch_source(source);
                }
            }
            self.dialled.remove(&(app, reached));
        }
        let hosts = changes.hosts().map(|(host, _)| host);
        let routes = hosts.flat_map(|host| facts.routes.of_host(host.as_str()));
        let reached = routes.flat_map(|route| internal::reached(route));
        let followed = reached.filter(|(_, reached)| facts.fixed_port(reached).is_none());
        let followed: Vec<_> = followed
            .map(|(app, reached)| (app.clone(), reached))
            .collect();
        let mut over_tls = OverTls::default();
        for (app, reached) in followed {
            let now = facts.dialled(&app, &reached, &mut over_tls);
            self.follow(app, reached, now, changes);
        }
    }

    /// The sources whose policies are about other ports than those at which an app is dialled now, or was until now.
    fn follow(&mut self, app: AppGuid, reached: Reached, now: Dialled, changes: &mut Changes) {
        let key = (app, reached);
        let before = self.dialled.get(&key);
        if let Some(before) = before.filter(|before| **before != now) {
            for (source, policies) in self.policies.by_source(&key.0) {
                if open(policies, before) != open(policies, &now) {
                    changes.touch_source(source);
                }
            }
        }
        self.dialled.insert(key, now);
    }
}

impl Facts {
    /// Whether a policy lets requests pass to where its destination is dialled.
    fn opens(&self, policy: &Policy, reached: &Reached, over_tls: &mut OverTls) -> bool {
        match self.fixed_port(reached) {
            Some(port) => policy.admits(&[port]),
            None => open(
                [policy],
                &self.dialled(&policy.destination, reached, over_tls),
            ),
        }
    }

    /// The port at which a destination is dialled whatever its instances are.
    fn fixed_port(&self, reached: &Reached) -> Option<u16> {
        match reached.port {
            AppPort::Number(port) if !self.tls.internal => Some(port),
            _ => None,
        }
    }

    /// The container ports at which the instances of a destination are dialled, over TLS those of the proxies. While none
    /// runs, those that are expected of cells of today, if the port has a number.
    fn dialled(&self, app: &AppGuid, reached: &Reached, over_tls: &mut OverTls) -> Dialled {
        let is_tls = over_tls.has(self, &reached.host);
        let port = |mapping: &PortMapping| match mapping.internal_tls {
            port if port != 0 && is_tls => port,
            _ => mapping.container,
        };
        let instances = self.instances.of_workload(&reached.workload(app));
        let mappings = instances.filter_map(|instance| instance.mapping(reached.port));
        let mut ports: Dialled = mappings.map(port).collect();
        ports.sort_unstable();
        ports.dedup();
        match reached.port {
            AppPort::Number(AppPort::DEFAULT) if ports.is_empty() && is_tls => {
                ports.push(PortMapping::INTERNAL_TLS);
            }
            AppPort::Number(number) if ports.is_empty() => ports.push(number),
            _ => {}
        }
        ports
    }
}

/// Whether policies let requests pass to what is dialled at these ports. While no instance runs, nobody may know at which
/// it will be, and nothing is reached anyway: any will do, so that an app that stops and starts touches no Sidecar.
fn open<'a>(policies: impl IntoIterator<Item = &'a Policy>, ports: &[u16]) -> bool {
    policies.into_iter().any(|policy| {
        policy.admits(ports) || (ports.is_empty() && policy.transport == Transport::Tcp)
    })
}
