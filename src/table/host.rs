//! One hostname, by what is known of the foundation.

use std::{net::Ipv4Addr, sync::Arc};

use super::{
    instances::Instances,
    nameless::Nameless,
    places::Standing,
    ports::Ports,
    reach::{self, Endpoint, Tls, Unreachable},
    routes::Routes,
    vips::Vips,
};
use crate::model::{AppPort, Hostname, Instance, Route, Workload};

/// What is known of the foundation, and what views look at.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) routes: Routes,
    pub(super) instances: Instances,
    pub(super) vips: Vips,
    pub(super) nameless: Nameless,
    pub(super) ports: Ports,
    pub(super) tls: Tls,
}

impl Facts {
    /// The routes and instances of a hostname; `None` where no route has it.
    pub(super) fn host(&self, name: &Hostname) -> Option<HostView<'_>> {
        self.host_named(name.as_str())
    }

    pub(super) fn host_named(&self, name: &str) -> Option<HostView<'_>> {
        let routes = self.routes.of_host(name);
        let name = &routes.first()?.host;
        Some(HostView {
            name,
            routes,
            facts: self,
        })
    }
}

/// One hostname as the table has it.
#[derive(Debug, Clone, Copy)]
pub struct HostView<'a> {
    /// The hostname.
    pub name: &'a Hostname,
    /// Its routes, the longest path first, equal lengths by their bytes, equal paths the refused and the oldest first.
    /// Never empty.
    pub routes: &'a [Arc<Route>],
    pub(super) facts: &'a Facts,
}

impl<'a> HostView<'a> {
    /// Whether apps reach it by container address, and not through the router.
    pub fn is_internal(&self) -> bool {
        self.routes[0].internal
    }

    /// Whether it is a port of a TCP domain.
    pub fn is_tcp(&self) -> bool {
        self.name.port().is_some()
    }

    /// When the oldest of its routes was created, in seconds since the Unix epoch.
    pub fn created_at(&self) -> i64 {
        self.routes
            .iter()
            .map(|route| route.created_at)
            .min()
            .unwrap_or_default()
    }

    /// The endpoint that leads to a container port of an instance; of an internal hostname the plain one.
    ///
    /// # Errors
    /// There is none.
    pub fn reach(&self, instance: &Instance, port: AppPort) -> Result<Endpoint, Unreachable> {
        let standing = self.standing(instance);
        if self.is_internal() {
            reach::inside(instance, standing, port, false)
        } else {
            reach::outside(instance, standing, port, self.facts.tls.external)
        }
    }

    /// The same of an internal hostname for TLS, if it has that.
    ///
    /// # Errors
    /// There is none.
    pub fn reach_inside(
        &self,
        instance: &Instance,
        port: AppPort,
        tls: bool,
    ) -> Result<Endpoint, Unreachable> {
        reach::inside(instance, self.standing(instance), port, tls)
    }

    /// Whether the next instance of a hostname that has none is expected to be reached over TLS.
    pub(super) fn expects_tls(&self) -> bool {
        self.facts.tls.external && !self.is_internal()
    }

    /// The routable instances of a workload, in the order of their guids.
    pub fn instances(&self, workload: &Workload) -> impl Iterator<Item = &'a Instance> + use<'a> {
        self.facts.instances.of_workload(workload)
    }

    /// Which of its addresses an instance has for itself. Nobody may be sent to the others.
    pub fn standing(&self, instance: &Instance) -> Standing {
        self.facts.instances.standing(instance)
    }

    /// Who has the address that an instance does not have for itself.
    pub fn successor(&self, of: &Instance) -> Option<&'a Instance> {
        self.facts.instances.successor(of)
    }

    /// Whether it should have a virtual address and has none: all of the range are taken.
    pub fn lacks_vip(&self) -> bool {
        let serves = |route: &Arc<Route>| route.internal && route.refused.is_none();
        self.routes.iter().any(serves) && self.facts.vips.is_configured() && self.vip().is_none()
    }

    /// The virtual address of an internal hostname.
    pub fn vip(&self) -> Option<Ipv4Addr> {
        self.facts.vips.get(self.name)
    }
}
