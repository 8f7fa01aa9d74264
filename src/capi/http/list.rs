//! Reads lists of Cloud Controller page by page.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    client::Client,
    keyset::{Facts, Keyset},
};
use crate::{
    capi::{error::Error, timestamp::Timestamp},
    outbound::json,
};

/// As many guids as fit into a URL of 8 KiB, which is as long as Cloud Controller's web server accepts.
pub(crate) const MAX_GUIDS: usize = 180;

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
        mut each: impl FnMut(&RawValue),
    ) -> Result<bool, Error> {
        let mut query = self.filter.clone();
        query.extend(self.keyset.query());
        let body = client.get(self.path, &query).await?;
        let page: Page = json(&client.url(self.path), &body)?;
        for resource in &page.resources {
            each(resource);
        }
        let facts = page.facts(self.keyset.column());
        self.keyset
            .advance(facts)
            .map_err(|source| Error::OutOfOrder {
                url: client.url(self.path),
                source: source.into(),
            })
    }

    /// Hands every resource of every page to `each`.
    pub(crate) async fn read(
        mut self,
        client: &mut Client,
        mut each: impl FnMut(&RawValue),
    ) -> Result<(), Error> {
        while self.next(client, &mut each).await? {}
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
    page.resources.into_iter().for_each(each);
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
    pagination: Pagination,
    #[serde(borrow)]
    resources: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Pagination {
    total_results: Option<u64>,
    next: Option<IgnoredAny>,
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
        Facts {
            rows: self.resources.len(),
            last: self.resources.iter().rev().find_map(time),
            has_next: self.pagination.next.is_some(),
            total: self.pagination.total_results,
        }
    }
}
