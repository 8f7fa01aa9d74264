//! What is said of routes that are left out before anything is made of them.

use super::State;
use crate::{
    istio::validate::Invalid,
    model::{Route, Workload},
    table::Crowd,
};

/// Stands where collections do for what is left out before anything is made of it.
const ROUTES: &str = "routes";

/// How many routes that are left out are named.
const MAX_NAMED: usize = 10;

impl State {
    /// Says how many TCP routes are not even named, each by itself, though nothing is made of them.
    pub(super) fn tell_more_outside(&mut self) {
        let more = self.table.more_outside();
        let reason = (more > 0).then(|| Invalid {
            rule: "port",
            detail: format!(
                "{more} more routes than are named are at ports that are none of TCPRoutes.Ports"
            ),
        });
        let reasons = reason.into_iter().collect();
        self.told
            .reject(&mut self.rejected, ROUTES, "TCPRoutes.Ports", reasons);
    }

    /// Says which routes are left out of those of a hostname or of an app, and which are without what their owners ask for.
    pub(super) fn tell_left_out(&mut self, crowd: &Crowd) {
        let (kept, left_out) = self.table.left_out(crowd);
        let reason = (!left_out.is_empty()).then(|| Invalid {
            rule: "limit",
            detail: format!(
                "{kept} routes are served and the {} newest (of one age, as all that are pushed, the last by guid) left out: {}",
                left_out.len(),
                named(&left_out)
            ),
        });
        let unheard = match crowd {
            Crowd::Host(host) => self.table.without_settings(host),
            Crowd::Workload(_) => Vec::new(),
        };
        let unheard = (!unheard.is_empty()).then(|| Invalid {
            rule: "settings_limit",
            detail: format!(
                "what owners ask for beside {kept} routes has no room for the {} newest that ask: {}",
                unheard.len(),
                named(&unheard)
            ),
        });
        let whose = match crowd {
            Crowd::Host(host) => host.to_string(),
            Crowd::Workload(Workload { app, process_type }) => format!("{app} {process_type}"),
        };
        let reasons = reason.into_iter().chain(unheard).collect();
        self.told
            .reject(&mut self.rejected, ROUTES, &whose, reasons);
    }
}

/// The first of some routes, with their URLs.
fn named(routes: &[&Route]) -> String {
    let named = routes.iter().take(MAX_NAMED);
    let named: Vec<_> = named
        .map(|route| format!("{} ({}{})", route.guid, route.host, route.path))
        .collect();
    named.join(", ")
}
