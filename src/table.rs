//! The join: routes to destinations to instances, kept by hostname, and what each update changes in it.
//!
//! ```text
//! Hostname ─▶ Route ─▶ Destination (app, process type) ◀─ Instance
//!                                          ◀─ Process ◀─ Instance, where the BBS does not describe it
//!                                      ◀─ Association ◀─ Instance, where routes are pushed
//! Source app ─▶ Policy ─▶ app of destinations ─▶ internal hostnames
//! ```
//!
//! Pure: no clock, no I/O. The work of an update follows the number of items in it, and what it reports as changed
//! follows the number of items that differ.

mod associations;
mod changes;
mod descriptions;
mod instances;
mod internal;
mod policies;
mod routes;
mod vips;

use std::{collections::BTreeSet, net::Ipv4Addr, sync::Arc};

use ipnet::Ipv4Net;

pub use self::changes::{Changes, Touched};
use self::{
    instances::Instances,
    policies::Policies,
    routes::Routes,
    vips::{Claim, Vips},
};
use crate::{
    guids::GuidSet,
    model::{AppGuid, CapiProcessGuid, Hostname, Instance, Policy, Route, Update, Workload},
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
    vips: Vips,
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
        self.assign_vips(&mut changes);
        self.touch_sources(&mut changes);
        changes
    }

    fn touch_endpoints(&self, workloads: GuidSet<Workload>, changes: &mut Changes) {
        for workload in workloads {
            for host in self.routes.hosts_of(&workload) {
                changes.touch(host, Touched::Endpoints);
            }
        }
    }

    fn replace_policies(&mut self, policies: Vec<Policy>, changes: &mut Changes) {
        for policy in self.policies.replace(policies) {
            let mut hosts = self.routes.internal.of_app(&policy.destination);
            if hosts.next().is_some() {
                changes.touch_source(&policy.source);
            }
        }
    }

    /// The apps with policies to those whose internal hostnames are different.
    fn touch_sources(&mut self, changes: &mut Changes) {
        for app in self.routes.internal.take_different() {
            for source in self.policies.sources_of(&app) {
                changes.touch_source(source);
            }
        }
    }

    fn assign_vips(&mut self, changes: &mut Changes) {
        let hosts: Vec<_> = changes.routed().cloned().collect();
        let claims = hosts.into_iter().map(|host| {
            let claim = Claim::of(self.routes.of_host(&host));
            (host, claim)
        });
        for moved in self.vips.update(claims) {
            changes.touch(&moved, Touched::Endpoints);
        }
    }

    /// The routes and instances of a hostname; `None` where no route has it.
    pub fn host(&self, name: &Hostname) -> Option<HostView<'_>> {
        let routes = self.routes.of_host(name);
        let name = &routes.first()?.host;
        Some(HostView {
            name,
            routes,
            table: self,
        })
    }

    /// The internal hostnames that an app may connect to by its policies.
    pub fn reachable_from(&self, source: &AppGuid) -> BTreeSet<&Hostname> {
        let destinations = self.policies.destinations_of(source);
        destinations
            .flat_map(|destination| self.routes.internal.of_app(destination))
            .collect()
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
    /// Network policies.
    pub policies: usize,
}

/// One hostname as the table has it.
#[derive(Debug, Clone, Copy)]
pub struct HostView<'a> {
    /// The hostname.
    pub name: &'a Hostname,
    /// Its routes, the longest path first, equal lengths by their bytes, equal paths the refused and the newest first.
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

    /// The running instances of a workload, in the order of their guids.
    pub fn instances(&self, workload: &Workload) -> impl Iterator<Item = &'a Instance> + use<'a> {
        self.table.instances.of_workload(workload)
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
