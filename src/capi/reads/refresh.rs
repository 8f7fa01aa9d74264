//! Routes that may have changed, read again by guid and by app.

use std::{collections::BTreeSet, fmt::Display};

use super::{
    batch::Batch,
    collector::{ROUTES, RouteCollector},
};
use crate::{
    capi::{
        domains::Domains,
        error::Error,
        http::{Client, Keyset, List, filter},
        wire::Located,
    },
    feed::Drops,
    model::RouteGuid,
};

/// What became of the routes that were read again.
#[derive(Debug)]
pub(crate) struct Refreshed {
    /// Those of the mesh, as they are now.
    pub(crate) current: Vec<Located>,
    /// Those that are no more: asked for by guid, and missing.
    pub(crate) gone: Vec<RouteGuid>,
    /// Those whose rows say something that we do not understand.
    pub(crate) unclear: BTreeSet<RouteGuid>,
    /// Whether only routes of known domains were asked for.
    pub(crate) is_filtered: bool,
    /// What was left out.
    pub(crate) dropped: Drops,
    /// What the next read is to ask for.
    pub(crate) rest: Batch,
}

/// Reads as much of a batch as one request can name.
pub(crate) async fn refresh(
    batch: &Batch,
    page_size: u32,
    client: &mut Client,
    domains: &mut Domains,
) -> Result<Refreshed, Error> {
    let (domain_filter, room) = domains.filter();
    let is_filtered = domain_filter.is_some();
    let mut read = Read {
        domain_filter,
        page_size,
        collector: RouteCollector::default(),
    };
    let mut rest = batch.clone();
    let apps = first(&mut rest.apps, room);
    read.by("app_guids", &apps, client, domains).await?;
    let mut asked = BTreeSet::new();
    let present = &read.collector.present;
    rest.routes.retain(|guid| !present.contains(guid));
    // The apps that are left bring more of these routes along.
    if rest.apps.is_empty() {
        asked = first(&mut rest.routes, room);
    }
    read.by("guids", &asked, client, domains).await?;
    let mut collector = read.collector;
    collector.settle(client, domains).await?;
    // A row that does not say whose it is may be that of any.
    let is_clear = collector.nameless == 0;
    let gone = asked.difference(&collector.present);
    Ok(Refreshed {
        gone: gone.filter(|_| is_clear).cloned().collect(),
        unclear: collector.unclear,
        current: collector.routes,
        is_filtered,
        dropped: collector.dropped,
        rest,
    })
}

struct Read {
    domain_filter: Option<(String, String)>,
    page_size: u32,
    collector: RouteCollector,
}

impl Read {
    async fn by<T: Display>(
        &mut self,
        name: &str,
        guids: &BTreeSet<T>,
        client: &mut Client,
        domains: &Domains,
    ) -> Result<(), Error> {
        if guids.is_empty() {
            return Ok(());
        }
        let filters = self.domain_filter.clone().into_iter();
        let filters = filters.chain([filter(name, guids)]).collect();
        let keyset = Keyset::new("created_at", self.page_size, None);
        List::new(ROUTES, filters, keyset)
            .read(client, |raw| self.collector.add(raw, domains))
            .await
    }
}

/// Takes out as many as `room` of `guids`.
fn first<T: Ord>(guids: &mut BTreeSet<T>, room: usize) -> BTreeSet<T> {
    std::iter::from_fn(|| guids.pop_first())
        .take(room)
        .collect()
}
