//! A page for a person: whether all is well, and where everything else is.

use std::{
    collections::HashSet,
    sync::{Arc, LazyLock},
};

use axum::{
    extract::{Query, State},
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse as _, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use ring::digest::{SHA256, digest};
use serde::Deserialize;

use super::{
    Sources,
    held::Held,
    page::{Columns, short},
    status::Status,
};
use crate::telemetry::LevelHandle;

/// Seconds after which a browser reads the page anew.
const REFRESH: u32 = 10;
/// Lines of a table; the rest is where the table is whole.
const LINES: usize = 50;

/// What else there is, in the order in which somebody needs it, each with a line of what it is.
pub const PAGES: [(&str, &str); 16] = [
    ("/debug/status", "whether all is well, in JSON"),
    ("/healthz", "alive: every feed's loop turns"),
    (
        "/readyz",
        "ready: the first complete state is published; every feed, and what is held",
    ),
    ("/metrics", "every metric, for Prometheus"),
    (
        "/debug/changes",
        "what has changed of late in what is served, and by which event or read",
    ),
    (
        "/debug/peers",
        "who is served, how far each has come, who has left, and who fails to connect",
    ),
    (
        "/debug/sinks",
        "each stream with its collections, versions and refusals",
    ),
    ("/debug/rejected", "what is not served as it is, and why"),
    (
        "/debug/held",
        "losses that are doubted: served though reads lack them",
    ),
    (
        "/debug/routes",
        "the routes that there are; ?host=, ?app=, ?limit=",
    ),
    (
        "/debug/instances",
        "the instances that there are; ?app=, ?cell=, ?limit=",
    ),
    (
        "/debug/snapshot",
        "the collections: resources, bytes, versions",
    ),
    (
        "/debug/resources/istio/networking/v1alpha3/virtualservices",
        "the resources of a collection; with a name, one whole",
    ),
    (
        "/debug/certificates",
        "the certificates of the config's files, and when they end",
    ),
    (
        "/debug/explain/localhost",
        "what becomes of the requests for a hostname and path",
    ),
    (
        "/debug/log-level",
        "what is logged; PUT error, info or debug to change it",
    ),
];

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#d0d7de;--soft:#f3f5f8;--dim:#57606a;--good:#116329;--bad:#a40e26}\
@media(prefers-color-scheme:dark){:root{--line:#3d444d;--soft:#1c2128;--dim:#9198a1;--good:#57d364;--bad:#ff7b72}}\
*{box-sizing:border-box}\
body{font:15px/1.45 system-ui,sans-serif;max-width:72rem;margin:0 auto;padding:1rem}\
h1{font-size:1.3rem;margin:.2rem 0}h2{font-size:1rem;margin:1.6rem 0 .4rem}\
small,.dim{color:var(--dim)}.good{color:var(--good)}.bad{color:var(--bad)}\
form{display:flex;gap:.5rem;margin:1rem 0}\
input{flex:1;min-width:0}input,button{font:inherit;padding:.45rem .6rem}\
.scroll,pre{overflow-x:auto;margin:0}\
pre{font:13px/1.4 ui-monospace,monospace;background:var(--soft);padding:.6rem;border-radius:6px}\
table{border-collapse:collapse;width:100%;font-size:14px}\
th,td{text-align:left;vertical-align:top;padding:.25rem .8rem .25rem 0;border-bottom:1px solid var(--line)}\
th{font-weight:600;color:var(--dim);white-space:nowrap}td{overflow-wrap:anywhere;min-width:4.5rem}td:first-child{white-space:nowrap}\
ul{padding-left:1.2rem;margin:.4rem 0}li{overflow-wrap:anywhere}";

/// Reads the page anew, but not from under the hands of whoever has typed or takes a copy: then the title says that it is
/// not of now.
const SCRIPT: &str = "\
const box=document.querySelector('input');\
setInterval(()=>{\
if(box.value===box.defaultValue&&!String(getSelection()))location.reload();else document.title='(held) copilot'\
},document.body.dataset.refresh*1000)";

/// Nothing else runs on it, and nothing comes from elsewhere, whatever a peer has written into a name.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let script = BASE64_STANDARD.encode(digest(&SHA256, SCRIPT.as_bytes()));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{script}'; style-src 'unsafe-inline'; img-src data:; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    policy.try_into().expect("it has no control characters")
});

/// What somebody asks in the box.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    host: Option<String>,
}

pub(super) async fn home(
    State(sources): State<Arc<Sources>>,
    Query(Asked { host }): Query<Asked>,
) -> Response {
    let host = host
        .as_deref()
        .map(str::trim)
        .filter(|host| !host.is_empty());
    let status = Status::of(&sources).await;
    let mut page = String::new();
    head(&mut page, &status, host.unwrap_or_default());
    if let Some(host) = host {
        let said = match sources.explained(host).await {
            Ok(explanation) => explanation.to_string(),
            Err((_, why)) => why,
        };
        section(&mut page, "Explained", &explained(&said));
    }
    body(&mut page, &status);
    section(&mut page, "Not served as it is", &rejected(&sources));
    section(&mut page, "Log level", &log_level(&sources));
    section(&mut page, "Everything else", &pages());
    let end = format!("<script>{SCRIPT}</script></body></html>\n");
    page += &end;
    let mut response = Html(page).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn head(page: &mut String, status: &Status, host: &str) {
    let (word, class) = match (status.is_ready(), status.worries.len()) {
        (false, _) => ("not ready".to_owned(), "bad"),
        (true, 0) => ("ready, nothing is wrong".to_owned(), "good"),
        (true, 1) => ("ready, 1 thing to look at".to_owned(), "bad"),
        (true, many) => (format!("ready, {many} things to look at"), "bad"),
    };
    let head = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <noscript><meta http-equiv=\"refresh\" content=\"{REFRESH}\"></noscript>\
         <link rel=\"icon\" href=\"data:,\"><title>copilot: {word}</title>\
         <style>{STYLE}</style></head><body data-refresh=\"{REFRESH}\">\n\
         <h1>copilot <span class=\"{class}\">{word}</span></h1>\n\
         <form action=\"/\"><input name=\"host\" value=\"{}\" placeholder=\"shop.example.com/cart\" \
         aria-label=\"Hostname, with a path if that matters\"><button>Explain</button></form>\n",
        escaped(host)
    );
    *page += &head;
    if !status.worries.is_empty() {
        section(page, "Look at", &list(&status.worries));
    }
}

fn body(page: &mut String, status: &Status) {
    let held: Vec<_> = status.held().iter().map(Held::words).collect();
    let held = if held.is_empty() {
        "<p class=\"dim\">nothing</p>".to_owned()
    } else {
        list(&held)
    };
    section(page, "Feeds", &table(&status.feeds()));
    section(page, "Collections", &table(&status.collections()));
    section(page, "Sinks", &table(&status.peers().columns()));
    section(page, "Held losses", &held);
    section(
        page,
        "Certificates",
        &preformatted(&status.certificates().to_string()),
    );
}

fn section(page: &mut String, title: &str, content: &str) {
    let section = format!("<h2>{title}</h2>\n{content}\n");
    *page += &section;
}

fn rejected(sources: &Sources) -> String {
    const WHOLE: &str = "<p><a href=\"/debug/rejected\">all of it, with what was left out where it was read \
        and what leads nowhere</a></p>";
    let rejected = sources.rejected.borrow().clone();
    let mut columns = Columns::new(&["OF", "WHAT", "RULE", "DETAIL"]);
    let each = rejected.iter().flat_map(|((collection, host), reasons)| {
        reasons
            .iter()
            .map(move |invalid| (collection, host, invalid))
    });
    let mut seen = HashSet::new();
    // A hostname that none of its resources can have is one fault.
    let new = each.filter(|(_, host, invalid)| seen.insert((*host, *invalid)));
    for (collection, host, invalid) in new.take(LINES) {
        columns.row([&short(collection), host, &invalid.rule, &invalid.detail]);
    }
    if columns.rows.is_empty() {
        WHOLE.to_owned()
    } else {
        table(&columns) + WHOLE
    }
}

fn log_level(sources: &Sources) -> String {
    let level = sources.log_level.as_ref().and_then(LevelHandle::get);
    let level = level
        .as_ref()
        .map_or_else(|| "fixed".to_owned(), ToString::to_string);
    format!("<p>{}</p>", escaped(&level))
}

fn pages() -> String {
    let links = PAGES.map(|(path, what)| {
        format!(
            "<li><a href=\"{path}\">{path}</a><br><small>{}</small></li>",
            escaped(what)
        )
    });
    format!("<ul>{}</ul>", links.concat())
}

fn list(items: &[String]) -> String {
    let shown = items.iter().take(LINES).map(|item| escaped(item));
    let more = items.len().saturating_sub(LINES);
    let more = (more > 0).then(|| format!("and {more} more"));
    let items: Vec<_> = shown.chain(more).collect();
    format!("<ul><li>{}</li></ul>", items.join("</li><li>"))
}

fn preformatted(text: &str) -> String {
    format!("<pre>{}</pre>", escaped(text))
}

fn table(columns: &Columns) -> String {
    let cells = |row: &[String], tag: &str| -> String {
        let cells = row
            .iter()
            .map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell)));
        format!("<tr>{}</tr>", cells.collect::<String>())
    };
    let head: Vec<_> = columns.head.iter().map(|cell| (*cell).to_owned()).collect();
    let rows: String = columns
        .rows
        .iter()
        .take(LINES)
        .map(|row| cells(row, "td"))
        .collect();
    let more = columns.rows.len().saturating_sub(LINES);
    let more = if more > 0 {
        format!("<p class=\"dim\">and {more} more</p>")
    } else {
        String::new()
    };
    format!(
        "<div class=\"scroll\"><table>{}{rows}</table></div>{more}",
        cells(&head, "th")
    )
}

/// The last line is the answer, and stands before what leads to it.
fn explained(said: &str) -> String {
    let said = said.trim_end();
    let (before, verdict) = said.rsplit_once('\n').unwrap_or(("", said));
    let class = if verdict.starts_with("GOOD") {
        "good"
    } else {
        "bad"
    };
    let verdict = format!("<p class=\"{class}\">{}</p>", escaped(verdict));
    if before.is_empty() {
        verdict
    } else {
        verdict + &preformatted(before)
    }
}

/// What a peer may have written, as text and as an attribute's value.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            _ => safe.push(c),
        }
    }
    safe
}

pub(super) async fn log_level_page(State(sources): State<Arc<Sources>>) -> (StatusCode, String) {
    match sources.log_level.as_ref().and_then(LevelHandle::get) {
        Some(level) => (StatusCode::OK, format!("{level}\n")),
        None => (StatusCode::NOT_FOUND, "the log level is fixed\n".to_owned()),
    }
}
