//! Turns pages of the list of routes into routes of the mesh.

use std::collections::BTreeSet;

use serde_json::value::RawValue;

use crate::{
    capi::{
        domains::Domains,
        error::Error,
        http::Client,
        wire::{self, INVALID_DESTINATION, Located, ParsedRoute},
    },
    feed::{Dropped, Drops},
    model::{DomainGuid, RouteGuid},
};

/// The list of all routes.
pub(super) const ROUTES: &str = "/v3/routes";

/// What some pages of routes yield.
#[derive(Debug, Default)]
pub(super) struct RouteCollector {
    /// Routes of the mesh.
    pub(super) routes: Vec<Located>,
    /// What was left out.
    pub(super) dropped: Drops,
    /// Rows of any kind: these routes exist.
    pub(super) present: BTreeSet<RouteGuid>,
    /// Routes whose rows say something that we do not understand.
    pub(super) unclear: BTreeSet<RouteGuid>,
    /// How many rows do not say whose they are.
    pub(super) nameless: usize,
    unsettled: Vec<(DomainGuid, Box<RawValue>)>,
}

impl RouteCollector {
    /// Adds a row.
    pub(super) fn add(&mut self, raw: &RawValue, domains: &Domains) {
        match wire::guid(raw) {
            Some(guid) => {
                self.present.insert(RouteGuid::from(&*guid));
            }
            None => self.nameless += 1,
        }
        if let Some(domain) = self.add_known(raw, domains) {
            self.unsettled.push((domain, raw.to_owned()));
        }
    }

    /// Settles the rows of unknown domains: looks the domains up once, and drops what stays unknown.
    pub(super) async fn settle(
        &mut self,
        client: &mut Client,
        domains: &mut Domains,
    ) -> Result<(), Error> {
        if !self.unsettled.is_empty() {
            let unknown = self.unsettled.iter().map(|(domain, _)| domain.clone());
            let dropped = domains.look_up(client, &unknown.collect()).await?;
            self.dropped.append(dropped);
            for (domain, raw) in std::mem::take(&mut self.unsettled) {
                if self.add_known(&raw, domains).is_some() {
                    self.unsettled.push((domain, raw));
                }
            }
            self.drop_unsettled();
        }
        Ok(())
    }

    /// Drops the rows of unknown domains.
    pub(super) fn drop_unsettled(&mut self) {
        for (domain, raw) in self.unsettled.drain(..) {
            let name = wire::guid(&raw).unwrap_or_default().into_owned();
            self.unclear.insert(RouteGuid::from(name.as_str()));
            self.dropped.push(Dropped {
                name,
                reason: "unknown_domain",
                detail: format!("domain {domain} is unknown"),
            });
        }
    }

    /// Adds a row, unless its domain is unknown.
    fn add_known(&mut self, raw: &RawValue, domains: &Domains) -> Option<DomainGuid> {
        match wire::route(raw, domains.annotations(), |guid| domains.get(guid)) {
            Ok(ParsedRoute::Mesh(route, invalid)) => {
                if invalid
                    .iter()
                    .any(|item| item.reason == INVALID_DESTINATION)
                {
                    self.unclear.insert(route.route.guid.clone());
                }
                self.routes.push(route);
                self.dropped.extend(invalid.map(|item| *item));
            }
            Ok(ParsedRoute::Elsewhere) => {}
            Ok(ParsedRoute::UnknownDomain(domain)) => return Some(domain),
            Err(dropped) => {
                let guid = wire::guid(raw);
                let guid = guid.map(|guid| RouteGuid::from(&*guid));
                self.unclear.extend(guid);
                self.dropped.push(dropped);
            }
        }
        None
    }
}
