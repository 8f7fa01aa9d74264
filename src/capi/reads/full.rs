//! One complete read of the mesh's routes, a page at a time.

use std::collections::BTreeSet;

use serde_json::value::RawValue;
use tokio::time::Instant;

use super::collector::{ROUTES, RouteCollector};
use crate::{
    capi::{
        domains::Domains,
        error::Error,
        http::{Budget, Client, Keyset, List, MAX_GUIDS, filter},
        wire::Located,
    },
    feed::Drops,
    guids::GuidMap,
    model::{Route, RouteGuid},
};

/// A full read in progress. Nothing of it counts until its last page was read.
#[derive(Debug)]
pub(crate) struct FullRead {
    pub(crate) started: Instant,
    page_size: u32,
    budget: Budget,
    /// One for each group of domains; none yet before the domains are read.
    lists: Option<Vec<List>>,
    pub(crate) routes: GuidMap<RouteGuid, Located>,
    pub(crate) dropped: Drops,
    /// Routes whose rows say something that we do not understand.
    pub(crate) unclear: BTreeSet<RouteGuid>,
    /// How many rows do not say whose they are.
    pub(crate) nameless: usize,
    /// What this read itself had found of routes that were asked for by name since.
    own: GuidMap<RouteGuid, Located>,
    failures: u32,
}

impl FullRead {
    pub(crate) fn new(page_size: u32, budget: Budget) -> Self {
        Self {
            started: Instant::now(),
            page_size,
            budget,
            lists: None,
            routes: GuidMap::default(),
            dropped: Drops::default(),
            unclear: BTreeSet::new(),
            nameless: 0,
            own: GuidMap::default(),
            failures: 0,
        }
    }

    /// Reads the domains or the next page. Whether that was the last one.
    ///
    /// After an error the same page can be tried again.
    pub(crate) async fn step(
        &mut self,
        client: &mut Client,
        domains: &mut Domains,
    ) -> Result<bool, Error> {
        let Some(lists) = &mut self.lists else {
            self.dropped = domains.resolve(client).await?;
            let lists = lists(domains, self.page_size);
            let is_done = lists.is_empty();
            self.lists = Some(lists);
            return Ok(is_done);
        };
        let Some(list) = lists.last_mut() else {
            return Ok(true);
        };
        let mut collector = RouteCollector::default();
        let each = |raw: &RawValue| collector.add(raw, domains);
        if !list.next(client, &mut self.budget, each).await? {
            lists.pop();
        }
        let is_done = lists.is_empty();
        self.failures = 0;
        // Only known domains were asked for: there is nothing to look up.
        collector.drop_unsettled();
        self.dropped.append(collector.dropped);
        self.unclear.append(&mut collector.unclear);
        self.nameless += collector.nameless;
        let routes = collector.routes.into_iter();
        self.routes
            .extend(routes.map(|located| (located.route.guid.clone(), located)));
        Ok(is_done)
    }

    /// A page could not be read; how often that happened in a row.
    pub(crate) fn failed(&mut self) -> u32 {
        self.failures += 1;
        self.failures
    }

    /// How many rows could not be read at all.
    pub(crate) fn unreadable(&self) -> usize {
        let lost = |guid: &&RouteGuid| !self.routes.contains_key(*guid);
        self.unclear.iter().filter(lost).count() + self.nameless
    }

    /// What became of a route in between is newer than what this read has so far. What was `told` of it is so; what was
    /// asked for may yet have to be confirmed by this read.
    pub(crate) fn overlay(&mut self, guid: &RouteGuid, now: Option<&Located>, told: bool) {
        self.unclear.remove(guid);
        let before = match now {
            Some(located) => self.routes.insert(guid.clone(), located.clone()),
            None => self.routes.remove(guid),
        };
        if told {
            self.own.remove(guid);
        } else if let Some(before) = before.filter(|before| has_lost(&before.route, now)) {
            self.own.entry(guid.clone()).or_insert(before);
        }
    }

    /// Something is held until reads agree: this one says what it found itself.
    pub(crate) fn keep_to_its_own(&mut self) {
        self.routes.extend(self.own.drain());
    }
}

fn has_lost(before: &Route, now: Option<&Located>) -> bool {
    now.is_none_or(|now| {
        let mut destinations = before.destinations.iter();
        !destinations.all(|to| now.route.leads_to(to))
    })
}

/// Long lists of domains are read in several walks, each with a URL that fits.
fn lists(domains: &Domains, page_size: u32) -> Vec<List> {
    let guids: Vec<_> = domains.guids().collect();
    guids
        .chunks(MAX_GUIDS)
        .map(|guids| {
            let filter = vec![filter("domain_guids", guids)];
            List::new(ROUTES, filter, Keyset::new("created_at", page_size, None))
        })
        .collect()
}
