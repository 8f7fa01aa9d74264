//! Reads lists of Cloud Controller page by page.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use url::Url;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    budget::Budget,
    client::Client,
    keyset::{Facts, Keyset},
};
use crate::{
    capi::{
        error::{BadPage, Contradiction, Error},
        timestamp::Timestamp,
        wire::AtMost,
    },
    outbound::json,
};

/// As many guids as fit into a URL of 8 KiB, which is as long as Cloud Controller's web server accepts.
pub(crate) const MAX_GUIDS: usize = 180;

/// As many rows as Cloud Controller puts on a page, whatever it is asked for.
const MAX_PAGE: usize = 5000;

/// A list that is being read.
#[derive(Debug)]
pub(crate) struct List {
    path: &'static str,
    filter: Vec<(String, String)>,
    keyset: Keyset,
}

impl List {
    pub(crate) fn new(path: &'static str, filter: Vec<(String, String)>, keyset: Keyset) -> Self {
        Self {
            path,
            filter,
            keyset,
        }
    }

    /// Hands every resource of the next page to `each`. Whether there is another page.
    ///
    /// One page is held in memory at a time, and only until this returns.
    pub(crate) async fn next(
        &mut self,
        client: &mut Client,
        budget: &mut Budget,
        mut each: impl FnMut(&RawValue),
    ) -> Result<bool, Error> {
        let mut query = self.filter.clone();
        query.extend(self.keyset.query());
        let body = client.get(self.path, &query).await?;
        let url = client.url(self.path);
        let page: Page = json(&url, &body)?;
        let bad_page = |source: BadPage| Error::Page {
            url: url.clone(),
            source: source.into(),
        };
        let rows = page.resources.first.len() + page.resources.more;
        if page.resources.more > 0 {
            return Err(bad_page(Contradiction::TooMany(rows).into()));
        }
        if budget.take(rows, body.len()).is_none() {
            return Err(Error::Endless { url });
        }
        let facts = page.facts(self.keyset.column());
        let has_more = self.keyset.advance(&facts).map_err(bad_page)?;
        page.resources.first.into_iter().for_each(&mut each);
        Ok(has_more)
    }

    /// Hands every resource of every page to `each`.
    pub(crate) async fn read(
        mut self,
        client: &mut Client,
        mut each: impl FnMut(&RawValue),
    ) -> Result<(), Error> {
        let mut budget = client.budget();
        while self.next(client, &mut budget, &mut each).await? {}
        Ok(())
    }
}

/// Hands the resources of one page to `each`.
pub(crate) async fn one_page(
    path: &str,
    query: &[(String, String)],
    client: &mut Client,
    each: impl FnMut(&RawValue),
) -> Result<(), Error> {
    let body = client.get(path, query).await?;
    let page: Page = json(&client.url(path), &body)?;
    page.resources.first.into_iter().for_each(each);
    Ok(())
}

/// A filter with several values.
pub(crate) fn filter(
    name: &str,
    values: impl IntoIterator<Item = impl ToString>,
) -> (String, String) {
    let values: Vec<_> = values.into_iter().map(|value| value.to_string()).collect();
    (name.to_owned(), values.join(","))
}

/// What has neither pagination nor resources is no list, whatever its status says.
#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    pagination: Pagination<'a>,
    #[serde(borrow)]
    resources: AtMost<&'a RawValue, MAX_PAGE>,
}

#[derive(Deserialize)]
struct Pagination<'a> {
    total_results: u64,
    #[serde(borrow)]
    next: Option<Next<'a>>,
}

#[derive(Deserialize)]
struct Next<'a> {
    #[serde(borrow)]
    href: Option<Cow<'a, str>>,
}

impl Next<'_> {
    /// The number of the page, if it is one of numbered pages.
    fn page(&self) -> Option<u64> {
        let url = Url::parse(self.href.as_deref()?).ok()?;
        let (_, number) = url.query_pairs().find(|(name, _)| name == "page")?;
        number.parse().ok()
    }
}

#[derive(Deserialize)]
struct Times {
    created_at: Option<Timestamp>,
    updated_at: Option<Timestamp>,
}

impl Page<'_> {
    fn facts(&self, column: &str) -> Facts {
        let time = |resource: &&RawValue| {
            let times: Times = serde_json::from_str(resource.get()).ok()?;
            match column {
                "updated_at" => times.updated_at,
                _ => times.created_at,
            }
        };
        let rows = &self.resources.first;
        let times = rows.iter().rev().map(time);
        let last = times.clone().flatten().next();
        let next = self.pagination.next.as_ref();
        Facts {
            rows: rows.iter().map(hash).collect(),
            last,
            ties: times.take_while(|time| *time == last).count(),
            has_next: next.is_some(),
            next: next.and_then(Next::page),
            total: self.pagination.total_results,
        }
    }
}

fn hash(resource: &&RawValue) -> u64 {
    xxh3_64(resource.get().as_bytes())
}

/// A page of a list, taken in as it comes.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz_page(bytes: &[u8]) {
    if let Ok(page) = serde_json::from_slice::<Page<'_>>(bytes) {
        let mut keyset = Keyset::new("created_at", 2, None);
        keyset.advance(&page.facts("created_at")).ok();
    }
}
