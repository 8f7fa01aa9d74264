//! The join: routes to destinations to instances, kept by hostname, and what each update changes in it.
//!
//! ```text
//! Hostname ─▶ Route ─▶ Destination (app, process type) ◀─ Instance
//!                                          ◀─ Process ◀─ Instance, where the BBS does not describe it
//!                                      ◀─ Association ◀─ Instance, where routes are pushed
//! Source app ─▶ Policy ─▶ app of destinations ─▶ internal hostnames
//! ```
//!
//! A hostname and path make a [`Pool`]. An external hostname's requests are looked up in its own pools, and go on to those
//! of wider wildcards.
//!
//! Pure: no clock, no I/O. The work of an update follows the number of items in it, and what it reports as changed
//! follows the number of items that differ.

mod associations;
mod bytes;
mod changes;
mod crowds;
mod descriptions;
mod fall_backs;
mod fronts;
mod host;
mod instances;
mod internal;
mod key;
mod losses;
mod nameless;
mod order;
mod places;
mod policies;
mod pool;
mod ports;
mod reach;
mod remembered;
mod restore;
mod rivals;
mod routes;
mod served;
mod shapes;
mod sources;
mod vips;
mod workloads;

use std::{collections::BTreeSet, net::SocketAddrV4, sync::Arc};

use ipnet::Ipv4Net;

pub use self::{
    changes::{Changes, Touched},
    crowds::{Crowd, Limits},
    host::HostView,
    instances::Join,
    losses::{Displaced, Subject},
    places::Standing,
    pool::{Part, Pool, Target, Which},
    reach::{Endpoint, Tls, Unreachable},
    rivals::Unserved,
};
use self::{
    fall_backs::FallBacks,
    host::Facts,
    instances::Instances,
    key::shared_key,
    routes::Routes,
    served::Ledger,
    shapes::{Change, Shape, Shapes, Sort},
    sources::Sources,
    vips::{Claim, Vips},
};
use crate::{
    guids::{GuidMap, GuidSet},
    model::{
        AppGuid, CapiProcessGuid, Destination, Hostname, Instance, InstanceGuid, Refusal, Route,
        Served, Source, Update, Workload,
    },
};

/// All that is known of the foundation.
#[derive(Debug, Default)]
pub struct RouteTable {
    facts: Facts,
    sources: Sources,
    shapes: Shapes,
    ledger: Ledger,
    fall_backs: FallBacks,
    /// How many instances workloads had before the start, until the instances are read.
    expected: GuidMap<Workload, u32>,
}

impl RouteTable {
    /// An empty table. Internal hostnames that come without a virtual address get theirs from `vip_range`.
    pub fn new(join: Join, vip_range: Option<Ipv4Net>) -> Self {
        Self {
            facts: Facts {
                instances: Instances::new(join),
                vips: Vips::new(vip_range),
                ..Facts::default()
            },
            ..Self::default()
        }
    }

    /// The same, with instances that are reached over TLS.
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.facts.tls = tls;
        self
    }

    /// The same, with ports of the ingress for TCP routes.
    #[must_use]
    pub fn with_ports(mut self, ports: BTreeSet<u16>) -> Self {
        self.facts.ports.of_ingress = ports;
        self
    }

    /// The same, with limits other than the default. No route may be known yet.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.facts.routes = Routes::new(limits);
        self
    }

    /// Takes in an update; the answer names what is different now.
    pub fn apply(&mut self, update: Update) -> Changes {
        let mut changes = Changes::default();
        match update {
            Update::AllRoutes(routes) => self.facts.routes.replace(false, routes, &mut changes),
            Update::AllTcpRoutes(routes) => {
                let routes = self.facts.ports.limit(routes);
                self.facts.routes.replace(true, routes, &mut changes);
            }
            Update::Routes { current, gone } => {
                for guid in gone {
                    self.facts.routes.remove(&guid, &mut changes);
                }
                for route in current {
                    self.facts.routes.upsert(route, &mut changes);
                }
            }
            Update::Unmapped(guid, workload) => {
                self.facts.routes.unmap(&guid, &workload, &mut changes);
            }
            Update::Refused(routes) => {
                for (guid, why) in routes {
                    self.facts.routes.refuse(&guid, why, &mut changes);
                }
            }
            Update::Enforced(domains) => {
                for guid in self.facts.routes.of_domains(&domains) {
                    let why = Refusal::RoutePolicies;
                    self.facts.routes.refuse(&guid, why, &mut changes);
                }
            }
            Update::AllPushed {
                routes,
                associations,
                leads: _,
            } => {
                self.facts.routes.replace(false, routes, &mut changes);
                let touched = self.facts.instances.associate_all(associations);
                self.touch_endpoints(touched, &mut changes);
            }
            Update::Associations { current, gone } => {
                let touched = self.facts.instances.associate(current, gone);
                self.touch_endpoints(touched, &mut changes);
            }
            Update::Processes { known, unknown } => {
                let touched = self.facts.instances.describe(known, unknown);
                self.touch_endpoints(touched, &mut changes);
            }
            Update::AllInstances(instances) => {
                let touched = self.facts.instances.replace(instances);
                self.touch_endpoints(touched, &mut changes);
            }
            Update::Instances { current, gone } => {
                let mut touched = self.facts.instances.remove(&gone);
                touched.extend(self.facts.instances.upsert(current));
                self.touch_endpoints(touched, &mut changes);
            }
            Update::AllPolicies(policies) => {
                self.sources.replace(policies, &self.facts, &mut changes);
            }
        }
        self.conclude(&mut changes);
        changes
    }

    /// What follows from what was touched.
    fn conclude(&mut self, changes: &mut Changes) {
        self.facts.touch_rivals(changes);
        self.touch_lookups(changes);
        self.assign_vips(changes);
        self.sources.touch(&mut self.facts, changes);
        for app in changes.sources() {
            let hosts = self.sources.reachable_from(app, &self.facts).len();
            self.ledger.set_source(app, hosts);
        }
        changes.losses.append(&mut self.ledger.take_losses());
        changes
            .displaced
            .routes
            .append(&mut self.facts.routes.displaced);
        let instances = &mut self.facts.instances;
        changes.displaced.instances.append(&mut instances.displaced);
        let associations = instances.take_displaced_associations();
        changes.displaced.associations.extend(associations);
        changes.displaced.policies.append(self.sources.displaced());
    }

    fn touch_endpoints(&self, workloads: GuidSet<Workload>, changes: &mut Changes) {
        for workload in workloads {
            changes.touch_workload(&workload);
            for route in self.facts.routes.of_workload(&workload) {
                changes.touch_service(&route.host, &shared_key(route));
            }
        }
    }

    /// What follows for VirtualServices from services that are different: for the hostname's own, and for those of the
    /// hostnames that go on to it or did so until now.
    fn touch_lookups(&mut self, changes: &mut Changes) {
        let mut hosts = Vec::new();
        for (host, touched) in changes.hosts_mut() {
            touched.lookup |= self.reshape(host, touched);
            let is_wildcard = touched.lookup && host.is_wildcard();
            hosts.push((host.clone(), is_wildcard));
        }
        let wildcards = || hosts.iter().filter(|(_, is_wildcard)| *is_wildcard);
        let mut below: Vec<_> = wildcards()
            .flat_map(|(host, _)| self.fall_backs.below(host))
            .collect();
        let mut come_or_gone = Vec::new();
        for (host, _) in &hosts {
            let external = self.host(host).filter(|host| !host.is_internal());
            let goes_on = external.map(|host| self.shapes.goes_on(host));
            if host.is_wildcard() && self.fall_backs.has(host) != goes_on.is_some() {
                come_or_gone.push(host.clone());
            }
            self.facts.nameless.set(host, goes_on.is_some());
            self.fall_backs.set(host, goes_on);
        }
        below.extend(wildcards().flat_map(|(host, _)| self.fall_backs.below(host)));
        for host in below {
            changes.touch_lookup(&host);
        }
        self.facts.touch_fronts(&come_or_gone, changes);
    }

    /// Looks at the touched pools of a hostname. Whether a VirtualService sees what became of them.
    fn reshape(&mut self, name: &Hostname, touched: &Touched) -> bool {
        let mut is_seen = false;
        let host = self.facts.host(name);
        let sort = host.map(Sort::of).unwrap_or_default();
        for key in touched.services() {
            let pool = host.and_then(|host| host.pool(key));
            let answer = pool.as_ref().map(|pool| self.answer(pool));
            let answer = answer.unwrap_or_default();
            let shape = pool.map(|pool| Shape::of(&pool, sort)).unwrap_or_default();
            self.ledger.set_route(name, key, answer, sort.is_internal());
            is_seen |= match self.shapes.update(name, key, shape) {
                Change::Nothing => false,
                Change::Emptiness => {
                    host.is_some_and(|host| is_seen || self.facts.goes_on(host, key))
                }
                Change::Division => true,
            };
        }
        is_seen
    }

    /// What follows for VirtualServices from pools whose division they are to follow now, though nothing is different here.
    pub(crate) fn look_again<'a>(
        &mut self,
        places: impl IntoIterator<Item = &'a (Hostname, Arc<str>)>,
    ) -> Changes {
        let mut changes = Changes::default();
        for (host, key) in places {
            changes.touch_lookup(host);
            changes.touch_service(host, key);
        }
        self.touch_lookups(&mut changes);
        changes
    }

    fn assign_vips(&mut self, changes: &mut Changes) {
        let hosts: Vec<_> = changes.routed().cloned().collect();
        let claims = hosts.into_iter().map(|host| {
            let claim = Claim::of(self.facts.routes.of_host(host.as_str()));
            (host, claim)
        });
        for moved in self.facts.vips.update(claims) {
            changes.touch_service(&moved, &Arc::default());
        }
    }

    /// The routes and instances of a hostname; `None` where no route has it.
    pub fn host(&self, name: &Hostname) -> Option<HostView<'_>> {
        self.facts.host(name)
    }

    /// The internal hostnames that an app may connect to by its policies: those with a destination that is dialled at a port
    /// of one of them.
    pub fn reachable_from(&self, source: &AppGuid) -> BTreeSet<&Hostname> {
        self.sources.reachable_from(source, &self.facts)
    }

    /// Where the instances of an external route's destination are reached, whether or not the route is still there.
    pub fn reached(&self, to: &Destination) -> impl Iterator<Item = SocketAddrV4> {
        let instances = self.facts.instances.of_workload(&to.workload);
        instances.filter_map(|instance| {
            let standing = self.facts.instances.standing(instance);
            let endpoint = reach::outside(instance, standing, to.port, self.facts.tls.external);
            Some(endpoint.ok()?.at)
        })
    }

    /// Whether an instance, of whichever app, has a place for itself.
    pub fn is_taken(&self, place: SocketAddrV4) -> bool {
        self.facts.instances.is_taken(place)
    }

    /// The processes of running instances that neither the BBS nor Cloud Controller has described.
    pub fn undescribed(&self) -> &BTreeSet<CapiProcessGuid> {
        self.facts.instances.undescribed()
    }

    /// Whether each of them was asked for: Cloud Controller does not know what is left.
    pub fn is_answered(&self) -> bool {
        self.facts.instances.is_answered()
    }

    /// How much sinks are served of what a source tells.
    pub fn served(&self, source: Source) -> Served {
        self.ledger.of(source)
    }

    /// How many instances could answer a route.
    pub fn answering(&self) -> u64 {
        self.facts.instances.answering() as u64
    }

    /// How many routes lead to an app, but for those of TCP.
    pub fn leading(&self) -> u64 {
        self.facts.routes.leading() as u64
    }

    /// How much of it is of these.
    pub fn served_of<'a>(&self, subjects: impl IntoIterator<Item = &'a Subject>) -> Served {
        let amounts = subjects.into_iter().map(|one| self.ledger.amount(one));
        amounts.fold(Served::default(), |sum, one| sum + one)
    }

    /// How many routes of a crowd are served, and those that are left out, the newest first.
    pub fn left_out(&self, crowd: &Crowd) -> (usize, Vec<&Route>) {
        self.facts.routes.left_out(crowd)
    }

    /// How many TCP routes are not known because they, and many others, are at ports that the ingress has not.
    pub fn more_outside(&self) -> usize {
        self.facts.ports.more_outside
    }

    /// The routes of a hostname whose owners ask for what has no room, the newest first.
    pub fn without_settings(&self, host: &Hostname) -> Vec<&Route> {
        self.facts.routes.without_settings(host)
    }

    /// How many routes at the most lead to what an instance was one of, or is one of as it is told now.
    pub fn routes_of(&self, guid: &InstanceGuid, told: Option<&Instance>) -> usize {
        let workloads = self.facts.instances.around(guid, told);
        let counts = workloads.map(|workload| self.facts.routes.count_of_workload(&workload));
        counts.max().unwrap_or(0)
    }

    /// All routes.
    pub fn all_routes(&self) -> Vec<Arc<Route>> {
        self.facts.routes.all()
    }

    /// All instances, routed or not.
    pub fn all_instances(&self) -> Vec<Arc<Instance>> {
        self.facts.instances.all()
    }

    /// How many of everything there are.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            routes: self.facts.routes.len(),
            left_out: self.facts.routes.left_out_count(),
            hosts: self.facts.routes.host_count(),
            instances: self.facts.instances.len(),
            displaced: self.facts.instances.displaced(),
            policies: self.sources.len(),
        }
    }
}

/// How much the table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Routes.
    pub routes: usize,
    /// Routes that are left out, of a hostname or of an app, because that has too many.
    pub left_out: usize,
    /// Different hostnames.
    pub hosts: usize,
    /// Running instances, routed or not.
    pub instances: usize,
    /// Instances whose address another one has, whose row is later.
    pub displaced: usize,
    /// Network policies.
    pub policies: usize,
}

#[cfg(test)]
mod tests;
