//! What tenants do to their own apps and routes.

use std::time::Duration;

use copilot::{
    model::{DomainGuid, InstanceGuid, RouteGuid},
    sim::{
        bbs::Bbs,
        capi::{Capi, Destination, DomainKind, RouteSpec},
        cloud_foundry::{App, CloudFoundry},
    },
};
use tokio::time::{MissedTickBehavior, interval};

use crate::attackers::{Attack, Tally};

/// Their domain.
pub const TENANTS: &str = "tenants.example.com";

/// How many routes the app has that comes and goes.
const ROUTES: usize = 10_000;
/// How many paths the hostname has.
const PATHS: usize = 60_000;
/// So many at a time, since the simulated Cloud Controller answers nobody meanwhile.
const AT_ONCE: usize = 500;

/// The tenants of a foundation.
pub struct Tenants {
    capi: Capi,
    bbs: Bbs,
    domain: DomainGuid,
    flapping: Option<App>,
    mapped: Option<App>,
}

impl Tenants {
    /// What is there before anything is done: the app with its routes.
    pub fn settle(foundation: &mut CloudFoundry, attacks: &[Attack]) -> Self {
        let capi = foundation.capi.clone();
        let domain = capi.state().add_domain(TENANTS, DomainKind::Http);
        let mut app_of = |attack| attacks.contains(&attack).then(|| foundation.push(1));
        let (flapping, mapped) = (app_of(Attack::Flaps), app_of(Attack::Paths));
        if let Some(app) = &flapping {
            let web = Destination::web(&app.guid);
            let route = |n| RouteSpec::new(&domain, &format!("flaps-{n}")).to(web.clone());
            capi.state().load((0..ROUTES).map(route));
        }
        Self {
            capi,
            bbs: foundation.bbs.clone(),
            domain,
            flapping,
            mapped,
        }
    }

    /// How many routes that are.
    pub fn routes(&self) -> usize {
        self.flapping.as_ref().map_or(0, |_| ROUTES)
    }

    /// The app's instance is withheld, and is not, 47 times a second.
    pub fn flap(&self, tally: Tally) -> impl Future<Output = ()> + use<> {
        let bbs = self.bbs.clone();
        let instance: Option<InstanceGuid> =
            self.flapping.as_ref().map(|app| app.instances[0].clone());
        async move {
            let Some(instance) = instance else { return };
            let mut ticks = interval(Duration::from_secs(1) / 94);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                for routable in [false, true] {
                    ticks.tick().await;
                    bbs.set_routable(&instance, routable);
                }
                tally.count();
            }
        }
    }

    /// The paths are mapped, and then one of them comes and goes.
    pub fn map_paths(&self, tally: Tally) -> impl Future<Output = ()> + use<> {
        let (capi, bbs, domain) = (self.capi.clone(), self.bbs.clone(), self.domain.clone());
        let app = self.mapped.clone();
        async move {
            let Some(app) = app else { return };
            let web = Destination::web(&app.guid);
            let mut routes: Vec<RouteGuid> = Vec::new();
            while routes.len() < PATHS {
                let some = routes.len()..routes.len() + AT_ONCE;
                let path = |n| RouteSpec::new(&domain, "paths").path(&format!("/p{n}"));
                let some = some.map(|n| path(n).to(web.clone()));
                routes.extend(capi.state().load(some));
                tokio::task::yield_now().await;
            }
            let mut ticks = interval(Duration::from_secs(1));
            loop {
                bbs.touch(&app.process);
                ticks.tick().await;
                capi.state().unmap(&routes[0], &app.guid);
                bbs.touch(&app.process);
                ticks.tick().await;
                capi.state().map(&routes[0], web.clone());
                tally.count();
            }
        }
    }
}
