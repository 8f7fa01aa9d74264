//! The join: routes to destinations to instances, kept by hostname, and what each update changes in it.
//!
//! ```text
//! Hostname ─▶ Route ─▶ Destination (app, process type) ◀─ Instance
//!                                          ◀─ Process ◀─ Instance, where the BBS does not describe it
//! ```
//!
//! Pure: no clock, no I/O. The work of an update follows the number of items in it, and what it reports as changed
//! follows the number of items that differ.

mod changes;
mod instances;
mod routes;
mod vips;

use std::{
    collections::{BTreeSet, HashSet},
    net::Ipv4Addr,
    sync::Arc,
};

use ipnet::Ipv4Net;

pub use self::changes::{Changes, Touched};
use self::{instances::Instances, routes::Routes, vips::Vips};
use crate::model::{CapiProcessGuid, Hostname, Instance, Route, Update, Workload};

/// All that is known of the foundation.
#[derive(Debug, Default)]
pub struct RouteTable {
    routes: Routes,
    instances: Instances,
    vips: Vips,
}

impl RouteTable {
    /// An empty table. Internal hostnames get their virtual address from `vip_range`.
    pub fn new(vip_range: Option<Ipv4Net>) -> Self {
        Self {
            vips: Vips::new(vip_range),
            ..Self::default()
        }
    }

    /// Takes in an update; the answer names what is different now.
    pub fn apply(&mut self, update: Update) -> Changes {
        let mut changes = Changes::default();
        match update {
            Update::AllRoutes(routes) => {
                let current: HashSet<_> = routes.iter().map(|route| route.guid.clone()).collect();
                for guid in self.routes.guids_except(&current) {
                    self.routes.remove(&guid, &mut changes);
                }
                self.upsert_routes(routes, &mut changes);
            }
            Update::Routes { current, gone } => {
                for guid in gone {
                    self.routes.remove(&guid, &mut changes);
                }
                self.upsert_routes(current, &mut changes);
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
        }
        self.assign_vips(&mut changes);
        changes
    }

    fn upsert_routes(&mut self, routes: Vec<Route>, changes: &mut Changes) {
        for route in routes {
            self.routes.upsert(route, changes);
        }
    }

    fn touch_endpoints(&self, workloads: HashSet<Workload>, changes: &mut Changes) {
        for workload in workloads {
            for host in self.routes.hosts_of(&workload) {
                changes.touch(host, Touched::Endpoints);
            }
        }
    }

    fn assign_vips(&mut self, changes: &mut Changes) {
        let hosts: Vec<_> = changes.routed().cloned().collect();
        let ages = hosts.into_iter().map(|host| {
            let internal = self
                .routes
                .of_host(&host)
                .iter()
                .filter(|route| route.internal);
            let oldest = internal
                .map(|route| (route.created_at, route.guid.clone()))
                .min();
            (host, oldest)
        });
        for moved in self.vips.update(ages) {
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

    /// The processes of running instances that neither the BBS nor Cloud Controller has described.
    pub fn undescribed(&self) -> &BTreeSet<CapiProcessGuid> {
        self.instances.undescribed()
    }

    /// Whether each of them was asked for: Cloud Controller does not know what is left.
    pub fn is_answered(&self) -> bool {
        self.instances.is_answered()
    }

    /// How many routes, hostnames and instances there are.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            routes: self.routes.len(),
            hosts: self.routes.host_count(),
            instances: self.instances.len(),
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
}

/// One hostname as the table has it.
#[derive(Debug, Clone, Copy)]
pub struct HostView<'a> {
    /// The hostname.
    pub name: &'a Hostname,
    /// Its routes, the longest path first, equal lengths by their bytes, equal paths the newest first. Never empty.
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

    /// Whether it should have a virtual address and has none, since all are taken.
    pub fn lacks_vip(&self) -> bool {
        self.is_internal() && self.table.vips.is_configured() && self.vip().is_none()
    }

    /// The virtual address of an internal hostname.
    pub fn vip(&self) -> Option<Ipv4Addr> {
        self.table.vips.get(self.name)
    }
}

#[cfg(test)]
mod tests;
