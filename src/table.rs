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
mod changes;
mod descriptions;
mod fall_backs;
mod instances;
mod internal;
mod nameless;
mod order;
mod places;
mod policies;
mod pool;
mod reach;
mod routes;
mod shapes;
mod sources;
mod vips;

use std::{
    collections::{BTreeSet, HashMap},
    net::{Ipv4Addr, SocketAddrV4},
    sync::Arc,
};

use ipnet::Ipv4Net;

pub use self::{
    changes::{Changes, Touched},
    places::Standing,
    pool::{Part, Pool, Target, Which},
    reach::{Door, Tls, Unreachable},
};
use self::{
    fall_backs::FallBacks,
    instances::Instances,
    internal::Reached,
    nameless::Nameless,
    policies::Policies,
    routes::{Routes, shared_key},
    shapes::{Change, Shape, Shapes},
    sources::Dialled,
    vips::{Claim, Vips},
};
use crate::{
    guids::GuidSet,
    model::{
        AppGuid, AppPort, CapiProcessGuid, Destination, Hostname, Instance, Route, Update, Workload,
    },
};

/// How it is known what an instance is an instance of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Join {
    /// By what the BBS says of it, or Cloud Controller of its process. For routes that are polled.
    #[default]
    Described,
    /// By the associations of the push API.
    Associated,
}

/// All that is known of the foundation.
#[derive(Debug, Default)]
pub struct RouteTable {
    routes: Routes,
    instances: Instances,
    policies: Policies,
    /// The ports at which apps are dialled where that follows from their instances, as policies were last applied to them.
    dialled: HashMap<(AppGuid, Reached), Dialled>,
    vips: Vips,
    shapes: Shapes,
    fall_backs: FallBacks,
    nameless: Nameless,
    tls: Tls,
}

impl RouteTable {
    /// An empty table. Internal hostnames that come without a virtual address get theirs from `vip_range`.
    pub fn new(join: Join, vip_range: Option<Ipv4Net>) -> Self {
        Self {
            instances: Instances::new(join),
            vips: Vips::new(vip_range),
            ..Self::default()
        }
    }

    /// The same, with instances that are reached over TLS.
    #[must_use]
    pub fn with_tls(self, tls: Tls) -> Self {
        Self { tls, ..self }
    }

    /// Takes in an update; the answer names what is different now.
    pub fn apply(&mut self, update: Update) -> Changes {
        let mut changes = Changes::default();
        match update {
            Update::AllRoutes(routes) => self.routes.replace(routes, &mut changes),
            Update::Routes { current, gone } => {
                for guid in gone {
                    self.routes.remove(&guid, &mut changes);
                }
                for route in current {
                    self.routes.upsert(route, &mut changes);
                }
            }
            Update::Refused(routes) => {
                for (guid, why) in routes {
                    self.routes.refuse(&guid, why, &mut changes);
                }
            }
            Update::AllPushed {
                routes,
                associations,
            } => {
                self.routes.replace(routes, &mut changes);
                let touched = self.instances.associate_all(associations);
                self.touch_endpoints(touched, &mut changes);
            }
            Update::Associations { current, gone } => {
                let touched = self.instances.associate(current, gone);
                self.touch_endpoints(touched, &mut changes);
            }
            Update::Processes { known, unknown } => {
                let touched = self.instances.describe(known, unknown);
                self.touch_endpoints(touched, &mut changes);
            }
            Update::AllInstances(instances) => {
                let touched = self.instances.replace(instances);
                self.touch_endpoints(touched, &mut changes);
            }
            Update::Instances { current, gone } => {
                let mut touched = self.instances.remove(&gone);
                touched.extend(self.instances.upsert(current));
                self.touch_endpoints(touched, &mut changes);
            }
            Update::AllPolicies(policies) => self.replace_policies(policies, &mut changes),
        }
        self.touch_lookups(&mut changes);
        self.assign_vips(&mut changes);
        self.touch_sources(&mut changes);
        changes
    }

    fn touch_endpoints(&self, workloads: GuidSet<Workload>, changes: &mut Changes) {
        for workload in workloads {
            changes.touch_workload(&workload);
            for route in self.routes.of_workload(&workload) {
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
            self.nameless.set(host, goes_on.is_some());
            self.fall_backs.set(host, goes_on);
        }
        below.extend(wildcards().flat_map(|(host, _)| self.fall_backs.below(host)));
        for host in below {
            changes.touch_lookup(&host);
        }
        self.touch_fronts(&come_or_gone, changes);
    }

    /// Looks at the touched pools of a hostname. Whether a VirtualService sees what became of them.
    fn reshape(&mut self, name: &Hostname, touched: &Touched) -> bool {
        let mut is_seen = false;
        for key in &touched.services {
            let pool = self.host(name).and_then(|host| host.pool(key));
            let shape = pool.map(|pool| Shape::of(&pool)).unwrap_or_default();
            is_seen |= match self.shapes.update(name, key, shape) {
                Change::Nothing => false,
                Change::Emptiness => self.host(name).is_some_and(|host| self.goes_on(host, key)),
                Change::Division => true,
            };
        }
        is_seen
    }

    /// What follows for VirtualServices from a pool whose division they are to follow now, though nothing is different here.
    pub(crate) fn look_again(&mut self, host: &Hostname, key: &Arc<str>) -> Changes {
        let mut changes = Changes::default();
        changes.touch_lookup(host);
        changes.touch_service(host, key);
        self.touch_lookups(&mut changes);
        changes
    }

    fn assign_vips(&mut self, changes: &mut Changes) {
        let hosts: Vec<_> = changes.routed().cloned().collect();
        let claims = hosts.into_iter().map(|host| {
            let claim = Claim::of(self.routes.of_host(host.as_str()));
            (host, claim)
        });
        for moved in self.vips.update(claims) {
            changes.touch_service(&moved, &Arc::default());
        }
    }

    /// The routes and instances of a hostname; `None` where no route has it.
    pub fn host(&self, name: &Hostname) -> Option<HostView<'_>> {
        self.host_named(name.as_str())
    }

    fn host_named(&self, name: &str) -> Option<HostView<'_>> {
        let routes = self.routes.of_host(name);
        let name = &routes.first()?.host;
        Some(HostView {
            name,
            routes,
            table: self,
        })
    }

    /// Where the instances of an external route's destination are reached, whether or not the route is still there.
    pub fn reached(&self, to: &Destination) -> impl Iterator<Item = SocketAddrV4> {
        let instances = self.instances.of_workload(&to.workload);
        instances.filter_map(|instance| {
            let standing = self.instances.standing(instance);
            let door = reach::outside(instance, standing, to.port, self.tls.external);
            Some(door.ok()?.at)
        })
    }

    /// Whether an instance, of whichever app, has a place for itself.
    pub fn is_taken(&self, place: SocketAddrV4) -> bool {
        self.instances.is_taken(place)
    }

    /// The processes of running instances that neither the BBS nor Cloud Controller has described.
    pub fn undescribed(&self) -> &BTreeSet<CapiProcessGuid> {
        self.instances.undescribed()
    }

    /// Whether each of them was asked for: Cloud Controller does not know what is left.
    pub fn is_answered(&self) -> bool {
        self.instances.is_answered()
    }

    /// How many of everything there are.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            routes: self.routes.len(),
            hosts: self.routes.host_count(),
            instances: self.instances.len(),
            displaced: self.instances.displaced(),
            policies: self.policies.len(),
        }
    }
}

/// How much the table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Routes.
    pub routes: usize,
    /// Different hostnames.
    pub hosts: usize,
    /// Running instances, routed or not.
    pub instances: usize,
    /// Instances whose address another one has, whose row is later.
    pub displaced: usize,
    /// Network policies.
    pub policies: usize,
}

/// One hostname as the table has it.
#[derive(Debug, Clone, Copy)]
pub struct HostView<'a> {
    /// The hostname.
    pub name: &'a Hostname,
    /// Its routes, the longest path first, equal lengths by their bytes, equal paths the refused and the oldest first.
    /// Never empty.
    pub routes: &'a [Arc<Route>],
    table: &'a RouteTable,
}

impl<'a> HostView<'a> {
    /// Whether apps reach it by container address, and not through the router.
    pub fn is_internal(&self) -> bool {
        self.routes[0].internal
    }

    /// When the oldest of its routes was created, in seconds since the Unix epoch.
    pub fn created_at(&self) -> i64 {
        self.routes
            .iter()
            .map(|route| route.created_at)
            .min()
            .unwrap_or_default()
    }

    /// Its pools, the longest path first.
    pub fn pools(self) -> impl Iterator<Item = Pool<'a>> {
        Pool::all(self)
    }

    /// The pool of one of its paths, by its key.
    pub fn pool(self, key: &str) -> Option<Pool<'a>> {
        Pool::of(self, key)
    }

    /// The pools that requests for an external hostname may be sent to, its own and those of wider wildcards: the first
    /// whose path matches is right.
    pub fn lookup(self) -> Vec<Pool<'a>> {
        order::lookup(self)
    }

    /// Whether an internal hostname's requests have to be told apart: by path, by weight, by port or by protocol.
    pub fn is_divided(self) -> bool {
        let pools: Vec<_> = self.pools().collect();
        let [pool] = &pools[..] else { return true };
        !pool.key().is_empty() || pool.has_weights() || pool.has_several_ports()
    }

    /// The door to a container port of an instance; of an internal hostname the plain one.
    ///
    /// # Errors
    /// There is none.
    pub fn reach(&self, instance: &Instance, port: AppPort) -> Result<Door, Unreachable> {
        let standing = self.standing(instance);
        if self.is_internal() {
            reach::inside(instance, standing, port, false)
        } else {
            reach::outside(instance, standing, port, self.table.tls.external)
        }
    }

    /// The same of an internal hostname for TLS, if it has that.
    ///
    /// # Errors
    /// There is no door.
    pub fn reach_inside(
        &self,
        instance: &Instance,
        port: AppPort,
        tls: bool,
    ) -> Result<Door, Unreachable> {
        reach::inside(instance, self.standing(instance), port, tls)
    }

    /// Whether an internal hostname is reached over TLS: by one name, apps speak either to all of its instances.
    pub fn has_internal_tls(&self) -> bool {
        self.table.tls.internal && self.without_internal_tls().next().is_none()
    }

    /// The instances because of which an internal hostname is not reached over TLS.
    pub fn without_internal_tls(&self) -> impl Iterator<Item = &'a Instance> + use<'a> {
        let host = *self;
        let is_wanted = host.table.tls.internal;
        let reachable = host.pools().flat_map(|pool| pool.reachable());
        let without = reachable.filter(move |(to, instance)| {
            let door = host.reach_inside(instance, to.port, true);
            is_wanted && door.is_ok_and(|door| !door.is_tls)
        });
        without.map(|(_, instance)| instance)
    }

    /// Whether the next instance of a hostname that has none is expected to be reached over TLS.
    fn expects_tls(&self) -> bool {
        self.table.tls.external && !self.is_internal()
    }

    /// The routable instances of a workload, in the order of their guids.
    pub fn instances(&self, workload: &Workload) -> impl Iterator<Item = &'a Instance> + use<'a> {
        self.table.instances.of_workload(workload)
    }

    /// Which of its addresses an instance has for itself. Nobody may be sent to the others.
    pub fn standing(&self, instance: &Instance) -> Standing {
        self.table.instances.standing(instance)
    }

    /// Who has the address that an instance does not have for itself.
    pub fn successor(&self, of: &Instance) -> Option<&'a Instance> {
        self.table.instances.successor(of)
    }

    /// Whether it should have a virtual address and has none: all of the range are taken.
    pub fn lacks_vip(&self) -> bool {
        let serves = |route: &Arc<Route>| route.internal && route.refused.is_none();
        self.routes.iter().any(serves) && self.table.vips.is_configured() && self.vip().is_none()
    }

    /// The virtual address of an internal hostname.
    pub fn vip(&self) -> Option<Ipv4Addr> {
        self.table.vips.get(self.name)
    }
}

#[cfg(test)]
mod tests;
