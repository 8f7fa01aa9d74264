//! What is not served as the foundation has it, each once: withheld, dropped where it was read, or leading nowhere.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
    sync::Arc,
};

use axum::{
    extract::{Query, State},
    response::Response,
};
use serde::{Deserialize, Serialize};

use super::{
    Sources,
    listing::list,
    page::{Columns, Refusal, Wants, short},
};
use crate::{
    explain::{Everything, Part},
    istio::{self, Kind, validate::Invalid},
    model::Route,
    snapshot::Snapshot,
};

/// Routes that lead nowhere and are explained; the owner of the table is asked about each.
const MAX_EXPLAINED: usize = 50;

#[derive(Debug, Serialize)]
struct NotServed {
    /// Not served as the foundation has it.
    resources: Vec<Withheld>,
    /// Dropped where they were read.
    items: Vec<Dropped>,
    /// How many more were, of each feed with more than can be named.
    unnamed_items: BTreeMap<&'static str, usize>,
    /// Routes behind which nobody is.
    nowhere: Vec<Nowhere>,
    /// How many more lead nowhere.
    unexplained: usize,
}

/// Why something is not served as the foundation has it.
#[derive(Debug, Serialize)]
pub(super) struct Withheld {
    /// The first of those in which it is not.
    collection: &'static str,
    pub(super) host: String,
    pub(super) rule: &'static str,
    pub(super) detail: String,
}

impl Withheld {
    pub(super) fn new(collection: &'static str, host: &str, invalid: &Invalid) -> Self {
        Self {
            collection,
            host: host.to_owned(),
            rule: invalid.rule,
            detail: invalid.detail.clone(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Dropped {
    feed: &'static str,
    item: String,
    reason: &'static str,
    detail: String,
}

#[derive(Debug, Serialize)]
struct Nowhere {
    url: String,
    rule: &'static str,
    detail: String,
}

impl fmt::Display for NotServed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut columns = Columns::new(&["OF", "WHAT", "RULE", "DETAIL"]);
        for one in &self.resources {
            columns.row([&short(one.collection), &one.host, &one.rule, &one.detail]);
        }
        for one in &self.items {
            columns.row([&one.feed, &one.item, &one.reason, &one.detail]);
        }
        for one in &self.nowhere {
            columns.row([&"routes", &one.url, &one.rule, &one.detail]);
        }
        write!(f, "{columns}")?;
        for (feed, count) in &self.unnamed_items {
            writeln!(f, "and {count} more of {feed}")?;
        }
        if self.unexplained > 0 {
            let count = self.unexplained;
            writeln!(f, "and {count} more routes that lead nowhere: see --host")?;
        }
        Ok(())
    }
}

/// What to show.
#[derive(Debug, Deserialize)]
pub(super) struct Filter {
    /// A part of the hostname, or of what else is left out.
    host: Option<Part>,
}

impl Filter {
    fn takes(&self, name: &str) -> bool {
        let wanted = self.host.as_ref();
        wanted.is_none_or(|wanted| wanted.is_in(name))
    }
}

pub(super) async fn rejected(
    State(sources): State<Arc<Sources>>,
    Query(filter): Query<Filter>,
    wants: Wants,
) -> Result<Response, Refusal> {
    let resources = sources.withheld(&filter);
    let mut items = Vec::new();
    let mut unnamed_items = BTreeMap::new();
    for status in sources.feeds.statuses() {
        let named = status.dropped.named();
        let unnamed = status.dropped.len() - named.len();
        if unnamed > 0 {
            unnamed_items.insert(status.name, unnamed);
        }
        let named = named.values().filter(|item| filter.takes(&item.name));
        items.extend(named.cloned().map(|item| Dropped {
            feed: status.name,
            item: item.name,
            reason: item.reason,
            detail: item.detail,
        }));
    }
    let said = resources.iter().map(|one| one.host.clone()).collect();
    let (nowhere, unexplained) = sources.nowhere(filter, said).await?;
    Ok(wants.page(&NotServed {
        resources,
        items,
        unnamed_items,
        nowhere,
        unexplained,
    }))
}

impl Sources {
    fn withheld(&self, filter: &Filter) -> Vec<Withheld> {
        let rejected = self.rejected.borrow().clone();
        let mut seen = HashSet::new();
        let mut withheld = Vec::new();
        for ((collection, host), reasons) in &*rejected {
            if !filter.takes(host) {
                continue;
            }
            // A hostname that none of its resources can have is one fault.
            let new = reasons
                .iter()
                .filter(|invalid| seen.insert((host, *invalid)));
            withheld.extend(new.map(|invalid| Withheld::new(collection, host, invalid)));
        }
        withheld
    }

    /// Routes whose services nobody is behind, but for the hostnames of which something was said; and how many more.
    async fn nowhere(
        &self,
        filter: Filter,
        said: HashSet<String>,
    ) -> Result<(Vec<Nowhere>, usize), Refusal> {
        let Some(snapshot) = self.snapshots.borrow().clone() else {
            return Ok((Vec::new(), 0));
        };
        let urls = list(self, move |Everything { routes, .. }| {
            let wanted = routes
                .iter()
                .filter(|route| filter.takes(route.host.as_str()));
            let unsaid = wanted.filter(|route| !said.contains(route.host.as_str()));
            leading_nowhere(unsaid, &snapshot)
        });
        let urls = urls.await?;
        let unexplained = urls.len().saturating_sub(MAX_EXPLAINED);
        let mut nowhere = Vec::new();
        for url in urls.into_iter().take(MAX_EXPLAINED) {
            // It may have come to be served meanwhile.
            let explanation = self.explained(&url).await;
            let wrong = explanation.ok().and_then(|explanation| explanation.wrong());
            nowhere.extend(wrong.map(|(rule, detail)| Nowhere { url, rule, detail }));
        }
        Ok((nowhere, unexplained))
    }
}

/// Those of the routes whose services nobody is behind.
fn leading_nowhere<'a>(
    routes: impl Iterator<Item = &'a Arc<Route>>,
    snapshot: &Snapshot,
) -> BTreeSet<String> {
    let Some(entries) = snapshot.get(Kind::ServiceEntry) else {
        return BTreeSet::new();
    };
    // What the classic collection has, has endpoints: Pilots discard what has none.
    let served: HashSet<_> = entries
        .iter()
        .map(|entry| istio::whole(entry.name))
        .collect();
    let leads_nowhere = |route: &&Arc<Route>| {
        let name = if route.internal {
            Kind::ServiceEntry.name(&route.host, true)
        } else {
            istio::service(&route.host, &route.key())
        };
        route.refused.is_none() && !served.contains(&*name)
    };
    routes
        .filter(leads_nowhere)
        .map(|route| format!("{}{}", route.host, route.path))
        .collect()
}
