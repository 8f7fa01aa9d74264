//! Lists with the paging, filters and refusals of the v3 API.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    log::Endpoint,
    objects::{EXTERNAL, ROUTER_GROUP, Record, timestamp},
    state::State,
    table::Table,
};

/// A query that is refused; the text goes into the answer.
pub(super) struct BadQuery(pub(super) String);

/// Why there is no list.
pub(super) enum NoList {
    BadQuery(String),
    /// The Routing API does not answer.
    NoRoutingApi,
}

impl From<BadQuery> for NoList {
    fn from(BadQuery(detail): BadQuery) -> Self {
        Self::BadQuery(detail)
    }
}

struct Query<'a> {
    page: u64,
    per_page: u64,
    order_by: &'a str,
    /// Values of each filter by guid or name.
    tags: Vec<(&'a str, Vec<&'a str>)>,
    /// Column, operator, seconds.
    times: Vec<(&'a str, &'a str, u64)>,
}

/// The body of a list.
pub(super) fn list(
    state: &State,
    endpoint: Endpoint,
    parameters: &BTreeMap<String, String>,
) -> Result<String, NoList> {
    let (path, filters, table): (_, &[&str], &Table) = match endpoint {
        Endpoint::Domains => ("domains", &["guids", "names"], &state.domains),
        Endpoint::Processes => (
            "processes",
            &["guids", "types", "app_guids"],
            &state.processes,
        ),
        Endpoint::AuditEvents => (
            "audit_events",
            &["types", "target_guids"],
            &state.audit_events,
        ),
        Endpoint::Bindings => (
            "service_route_bindings",
            &["guids", "route_guids", "service_instance_guids"],
            &state.bindings,
        ),
        _ => (
            "routes",
            &["guids", "app_guids", "domain_guids", "hosts"],
            &state.routes,
        ),
    };
    let query = Query::parse(parameters, filters)?;
    if let Some(max) = state.max_total_results
        && query.page * query.per_page > max
    {
        let detail = format!("Maximum result (page * per_page) must be less than {max}");
        return Err(NoList::BadQuery(detail));
    }
    let mut rows = query.candidates(table);
    rows.retain(|row| query.matches(row));
    query.sort(&mut rows);
    let (tag, group) = ROUTER_GROUP;
    if !state.has_routing_api && rows.iter().any(|row| row.has_tag(tag, &[group])) {
        return Err(NoList::NoRoutingApi);
    }
    Ok(render(path, &query, &rows))
}

impl<'a> Query<'a> {
    fn parse(parameters: &'a BTreeMap<String, String>, filters: &[&str]) -> Result<Self, BadQuery> {
        let mut query = Self {
            page: 1,
            per_page: 50,
            order_by: "created_at",
            tags: Vec::new(),
            times: Vec::new(),
        };
        for (name, value) in parameters {
            match name.as_str() {
                "page" => query.page = number(value, u64::MAX / 5000)?,
                "per_page" => query.per_page = number(value, 5000)?,
                "order_by" => query.order_by = order(value)?,
                "include" if value == "domain" => {}
                name if filters.contains(&name) => {
                    query.tags.push((name, value.split(',').collect()));
                }
                name => query.times.push(time(name, value)?),
            }
        }
        Ok(query)
    }

    /// Skips what `created_ats[gte]` excludes without looking at it.
    fn candidates<'t>(&self, table: &'t Table) -> Vec<&'t Record> {
        let is_lower_bound = |(column, operator, _): &&(&str, &str, u64)| {
            *column == "created_ats" && *operator == "gte"
        };
        let from = self.times.iter().find(is_lower_bound);
        let from = from.map_or(0, |(_, _, seconds)| *seconds);
        table.candidates(from, &self.tags)
    }

    fn matches(&self, row: &Record) -> bool {
        let in_time = self.times.iter().all(|(column, operator, seconds)| {
            let time = match *column {
                "created_ats" => row.created_at,
                _ => row.updated_at,
            };
            match *operator {
                "gte" => time >= *seconds,
                "gt" => time > *seconds,
                "lte" => time <= *seconds,
                _ => time < *seconds,
            }
        });
        in_time
            && self
                .tags
                .iter()
                .all(|(name, values)| row.has_tag(name, values))
    }

    fn sort(&self, rows: &mut [&Record]) {
        if self.order_by.ends_with("updated_at") {
            rows.sort_by(|a, b| (a.updated_at, &a.guid).cmp(&(b.updated_at, &b.guid)));
        }
        if self.order_by.starts_with('-') {
            rows.reverse();
        }
    }
}

fn number(value: &str, max: u64) -> Result<u64, BadQuery> {
    match value.parse() {
        Ok(number) if (1..=max).contains(&number) => Ok(number),
        _ => Err(BadQuery(format!("Per page must be between 1 and {max}"))),
    }
}

fn order(value: &str) -> Result<&str, BadQuery> {
    match value.trim_start_matches(['-', '+']) {
        "created_at" | "updated_at" => Ok(value),
        _ => Err(BadQuery(
            "Order by can only be: 'created_at', 'updated_at'".to_owned(),
        )),
    }
}

fn time<'a>(name: &'a str, value: &str) -> Result<(&'a str, &'a str, u64), BadQuery> {
    let unknown = || BadQuery(format!("Unknown query parameter(s): '{name}'"));
    let (column, operator) = name
        .strip_suffix(']')
        .and_then(|name| name.split_once('['))
        .ok_or_else(unknown)?;
    let is_known = matches!(column, "created_ats" | "updated_ats")
        && matches!(operator, "lt" | "lte" | "gt" | "gte");
    if !is_known {
        return Err(unknown());
    }
    let seconds = humantime::parse_rfc3339(value)
        .ok()
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
        .map(|since| since.as_secs())
        .filter(|seconds| timestamp(*seconds) == value);
    match seconds {
        Some(seconds) => Ok((column, operator, seconds)),
        None => Err(BadQuery(format!(
            "{column} has an invalid timestamp format"
        ))),
    }
}

fn render(path: &str, query: &Query<'_>, rows: &[&Record]) -> String {
    let start = (query.page - 1).saturating_mul(query.per_page);
    let start = usize::try_from(start).unwrap_or(usize::MAX).min(rows.len());
    let size = usize::try_from(query.per_page).unwrap_or(usize::MAX);
    let page = &rows[start..rows.len().min(start.saturating_add(size))];
    // The page after the last one counts nothing: its counting goes over the rows of the page.
    let total = if page.is_empty() {
        0
    } else {
        rows.len() as u64
    };
    let pages = total.div_ceil(query.per_page).max(1);
    let link = |page: u64| {
        let per_page = query.per_page;
        format!(r#"{{"href":"{EXTERNAL}/v3/{path}?page={page}&per_page={per_page}"}}"#)
    };
    let next = (query.page < pages).then(|| link(query.page + 1));
    let previous = (query.page > 1).then(|| link(query.page - 1));
    let null = || "null".to_owned();
    let mut body = format!(
        r#"{{"pagination":{{"total_results":{total},"total_pages":{pages},"first":{},"last":{},"next":{},"previous":{}}},"resources":["#,
        link(1),
        link(pages),
        next.unwrap_or_else(null),
        previous.unwrap_or_else(null),
    );
    for (at, row) in page.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        write!(body, "{comma}{}", row.json).expect("a string takes any text");
    }
    body.push_str("]}");
    body
}
