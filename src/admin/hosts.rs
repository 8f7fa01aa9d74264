//! By which names the surface may be asked: a page in a browser reaches it by any name that it can have resolved to this
//! machine, and could then read what it says.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

/// Longest part of a header that is repeated in an answer.
const MAX_TEXT: usize = 256;

/// Names beside `localhost`, as Host headers have them, in lower case.
pub type Names = BTreeSet<String>;

/// Answers only those who ask for an address, for `localhost` or for one of these names, and no pages of other sites.
pub(super) async fn check(
    State(names): State<Arc<Names>>,
    request: Request,
    next: Next,
) -> Response {
    match refusal(&names, &request) {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    }
}

fn refusal(names: &Names, request: &Request) -> Option<(StatusCode, String)> {
    let headers = request.headers();
    let hosts = headers.get_all(header::HOST).iter();
    // Every browser says one.
    let mut hosts: Vec<_> = hosts.map(text).collect();
    hosts.extend(request.uri().authority().map(Authority::as_str));
    if let Some(foreign) = hosts.iter().find(|host| !is_known(names, host)) {
        let what = format!(
            "{} is no name of this surface: ask by an IP address or localhost, or list the name in AdminHostNames\n",
            quoted(foreign)
        );
        return Some((StatusCode::MISDIRECTED_REQUEST, what));
    }
    let origin = text(headers.get(header::ORIGIN)?);
    let site = origin
        .strip_prefix("http://")
        .or(origin.strip_prefix("https://"));
    let is_own = |host: &&str| site.is_some_and(|site| site.eq_ignore_ascii_case(host));
    if hosts.iter().any(is_own) {
        return None;
    }
    let what = format!(
        "pages of {} may not ask: open the surface itself, or leave the Origin header out\n",
        quoted(origin)
    );
    Some((StatusCode::FORBIDDEN, what))
}

/// An address is safe whatever it is: nobody can have it resolved to another one.
fn is_known(names: &Names, host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    if address.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    name == "localhost" || names.contains(&name)
}

/// What is no text is nobody's name.
fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}

/// A header's text is ASCII: every byte is a boundary.
fn quoted(text: &str) -> String {
    format!("{:?}", &text[..text.len().min(MAX_TEXT)])
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn status(headers: &[(&str, &str)]) -> Option<u16> {
        let mut request = Request::builder().uri("/metrics");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        let names = ["copilot.example.com".to_owned()].into();
        refusal(&names, &request).map(|(status, _)| status.as_u16())
    }

    #[test]
    fn addresses_localhost_and_listed_names_are_answered() {
        for host in [
            "127.0.0.1",
            "10.0.16.7:9003",
            "[::1]:9003",
            "[fd00::7]",
            "localhost",
            "LOCALHOST:9003",
            "copilot.example.com:9003",
            "Copilot.Example.com.",
        ] {
            assert_eq!(status(&[("host", host)]), None, "{host}");
        }
        assert_eq!(status(&[]), None, "no browser");
    }

    #[test]
    fn other_names_are_misdirected() {
        for host in [
            "",
            "rebound.example.net",
            "rebound.example.net:9003",
            "localhost.example.net",
            "127.0.0.1.example.net",
            "user@localhost.example.net",
            "[::1",
        ] {
            assert_eq!(status(&[("host", host)]), Some(421), "{host}");
        }
        let both = [("host", "localhost"), ("host", "rebound.example.net")];
        assert_eq!(status(&both), Some(421));
    }

    #[test]
    fn pages_of_the_surface_itself_may_ask_and_no_others() {
        let from = |origin| status(&[("host", "127.0.0.1:9003"), ("origin", origin)]);
        assert_eq!(from("http://127.0.0.1:9003"), None);
        for origin in [
            "null",
            "http://127.0.0.1",
            "http://203.0.113.9",
            "https://rebound.example.net",
        ] {
            assert_eq!(from(origin), Some(403), "{origin}");
        }
    }
}
