//! Cloud Controller, where routes are read from it.

use std::time::Duration;

use serde_json::{Map, Value};

use super::tls::ca;
use crate::{
    capi::{self, DomainPattern, MAX_PAGE_SIZE},
    config::reader::Section,
    secret::Secret,
};

/// A million routes, and half as many that are read twice because others were made in the same second.
const MAX_ROWS: usize = 1_500_000;
const SECOND: Duration = Duration::from_secs(1);

/// Cloud Controller and its UAA.
pub(crate) fn read(root: &mut Section<'_>, object: Map<String, Value>) -> Option<capi::Settings> {
    let domains = root
        .required("MeshDomains", Section::strings)
        .and_then(|names| mesh_domains(root, &names));
    let mut section = root.section("CAPI", object);
    let api = section.required("Address", Section::https);
    let uaa = section.https("UAAAddress");
    let ca = ca(&mut section, "CACertPath");
    let client_id = section.required("ClientID", Section::string);
    let client_secret = section.required("ClientSecret", Section::string);
    let full_read_interval = section.duration("FullReadInterval", Duration::from_mins(5));
    let tail_interval = section.duration("TailInterval", 2 * SECOND);
    let tail_audit_events = section.flag("TailAuditEvents", true);
    let tail_updated_at = section.flag("TailRouteUpdates", true);
    let page_size = section.count("PageSize", 1..=MAX_PAGE_SIZE.into(), MAX_PAGE_SIZE);
    section.ignore_doubt("MaxShrinkPercent");
    let serve_bound_routes = section.flag("ServeBoundRoutes", false);
    let annotations = section.parsed("AnnotationPrefix").unwrap_or_default();
    let request_timeout = section.duration("RequestTimeout", 30 * SECOND);
    section.end();
    Some(capi::Settings {
        api: api?,
        uaa,
        ca: ca?,
        client_id: client_id?,
        client_secret: Secret::from(client_secret?),
        domains: domains?,
        annotations,
        full_read_interval,
        tail_interval,
        tail_audit_events,
        tail_updated_at,
        page_size,
        confirm_after: 10 * SECOND,
        serve_bound_routes,
        domains_interval: 5 * SECOND,
        request_timeout,
        max_rows: MAX_ROWS,
        page_retries: 3,
        min_backoff: SECOND / 2,
        max_backoff: 15 * SECOND,
        gather: SECOND / 20,
        tcp: None,
        recheck_after: vec![SECOND / 5, 2 * SECOND, 10 * SECOND, 60 * SECOND],
    })
}

fn mesh_domains(root: &mut Section<'_>, names: &[String]) -> Option<Vec<DomainPattern>> {
    if names.is_empty() {
        root.problem("MeshDomains", "is empty: no route would be served");
        return None;
    }
    patterns(root, "MeshDomains", names)
}

/// The patterns of a key's texts, if all of them are some.
pub(super) fn patterns(
    section: &mut Section<'_>,
    key: &str,
    names: &[String],
) -> Option<Vec<DomainPattern>> {
    let parse = |(index, name): (usize, &String)| {
        let parsed = name.parse();
        parsed
            .map_err(|error| section.problem(&format!("{key}[{index}]"), error))
            .ok()
    };
    let domains: Vec<_> = names.iter().enumerate().filter_map(parse).collect();
    (domains.len() == names.len()).then_some(domains)
}
