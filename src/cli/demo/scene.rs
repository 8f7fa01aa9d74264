//! The demo's foundation, and what happens in it.

use super::table;
use crate::{
    model::{Hostname, RouteGuid},
    sim::{
        bbs::CellPorts,
        cloud_foundry::{App, CloudFoundry, DOMAIN, INTERNAL_DOMAIN},
        sink::State,
    },
};

/// A small foundation with one of everything.
pub(super) struct Scene {
    pub(super) foundation: CloudFoundry,
    shop: App,
    cart: App,
    rolled: App,
    promotion: RouteGuid,
}

/// Something that happened, and how the client shows that it knows.
pub(super) struct Change {
    pub(super) what: String,
    pub(super) arrived: Box<dyn Fn(&State) -> bool + Send + Sync>,
}

impl Scene {
    /// Pushes the apps and maps the routes.
    pub(super) fn set(mut foundation: CloudFoundry) -> Self {
        let f = &mut foundation;
        let (shop, cart, blue, green) = (f.push(2), f.push(1), f.push(2), f.push(1));
        let mut stopped = f.push(1);
        f.stop(&mut stopped);
        f.map(&f.create_route("shop", ""), &shop, None);
        f.map(&f.create_route("shop", "/cart"), &cart, None);
        f.map(&f.create_internal_route("cart"), &cart, None);
        let canary = f.create_route("canary", "");
        f.map(&canary, &blue, Some(90));
        f.map(&canary, &green, Some(10));
        f.map(&f.create_route("stopped", ""), &stopped, None);
        f.map(&f.create_route("under_score", ""), &shop, None);
        // A rolling deployment: two processes of one app, of one and two instances.
        let rolled = f.push(2);
        f.map(&f.create_route("rolling", ""), &rolled, None);
        let next = f.start_process(&rolled.guid, 1);
        // Cells change over one by one: one has no proxies in its containers yet.
        let mut moving = f.push(2);
        f.cell_ports = CellPorts::Plain;
        f.scale(&mut moving, 3);
        f.cell_ports = CellPorts::Tls;
        f.map(&f.create_route("moving", ""), &moving, None);
        let promotion = f.create_route("promotion", "");
        Self {
            foundation,
            shop,
            cart,
            rolled: next,
            promotion,
        }
    }

    /// The next thing that happens; after the last comes the first again. `held` is what the client holds before.
    pub(super) fn change(&mut self, step: usize, held: &State) -> Change {
        match step % 6 {
            0 => self.scale_shop(3),
            1 => self.crash_shop(held),
            2 => self.map_promotion(),
            3 => self.unmap_promotion(),
            4 => self.scale_shop(2),
            _ => self.go_on_rolling(step),
        }
    }

    fn scale_shop(&mut self, instances: u32) -> Change {
        self.foundation.scale(&mut self.shop, instances);
        Change {
            what: format!(
                "shop is scaled to {instances} instances: its service has as many endpoints"
            ),
            arrived: Box::new(move |state| endpoints(state, "shop").len() == instances as usize),
        }
    }

    fn crash_shop(&mut self, held: &State) -> Change {
        let before = endpoints(held, "shop");
        self.foundation.crash(&mut self.shop);
        Change {
            what: "an instance of shop crashes and starts on another port: one endpoint is another"
                .to_owned(),
            arrived: Box::new(move |state| {
                let now = endpoints(state, "shop");
                now.len() == before.len() && now != before
            }),
        }
    }

    fn map_promotion(&mut self) -> Change {
        self.foundation.map(&self.promotion, &self.cart, None);
        Change {
            what: "promotion is mapped to cart: its service has an endpoint".to_owned(),
            arrived: Box::new(|state| endpoints(state, "promotion").len() == 1),
        }
    }

    fn unmap_promotion(&mut self) -> Change {
        self.foundation.unmap(&self.promotion, &self.cart);
        Change {
            what: "promotion is unmapped: its service has none".to_owned(),
            arrived: Box::new(|state| endpoints(state, "promotion").is_empty()),
        }
    }

    fn go_on_rolling(&mut self, step: usize) -> Change {
        let instances = if step % 12 < 6 { 2 } else { 1 };
        self.foundation.scale(&mut self.rolled, instances);
        let expected = instances as usize + 2;
        Change {
            what: format!(
                "the deployment of rolling goes on: its new process has {instances} instances"
            ),
            arrived: Box::new(move |state| endpoints(state, "rolling").len() == expected),
        }
    }
}

/// How many hostnames have a VirtualService: the external ones of the routes below that Istio takes.
pub(super) const HOSTS: usize = 6;
/// How many services are reached over TLS, or will be: each of those routes is one, canary two.
pub(super) const RULES: usize = 8;
/// How many services have instances in the beginning: each route of an app that runs is one, canary and moving are two.
pub(super) const REACHED: usize = 8;

/// Every route: its hostname, its path, and what it is there for.
pub(super) fn routes() -> [(Hostname, &'static str, &'static str); 9] {
    [
        ("shop", DOMAIN, "", "two instances"),
        ("shop", DOMAIN, "/cart", "another app for a path"),
        ("canary", DOMAIN, "", "two apps, 90 to 10"),
        (
            "rolling",
            DOMAIN,
            "",
            "a rolling deployment: two processes of one app",
        ),
        (
            "moving",
            DOMAIN,
            "",
            "its cells change over to TLS: one is left",
        ),
        ("stopped", DOMAIN, "", "the app is stopped"),
        (
            "cart",
            INTERNAL_DOMAIN,
            "",
            "internal: container addresses, a virtual IP",
        ),
        ("under_score", DOMAIN, "", "a hostname that Istio refuses"),
        ("promotion", DOMAIN, "", "not mapped to an app"),
    ]
    .map(|(host, domain, path, remark)| {
        let host = Hostname::parse(&format!("{host}.{domain}")).expect("a valid hostname");
        (host, path, remark)
    })
}

/// The endpoints of a hostname's route without a path.
fn endpoints(state: &State, name: &str) -> Vec<String> {
    let host = Hostname::parse(&format!("{name}.{DOMAIN}")).expect("a valid hostname");
    table::endpoints(state, &host, "")
}
