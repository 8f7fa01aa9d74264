//! What of a request a route's path matches, and where it has to be said its hostname.

use super::Era;
use crate::{
    model::Hostname,
    proto::istio::networking::v1alpha3::{HttpMatchRequest, StringMatch, string_match::MatchType},
};

/// The requests for the key of a path, and for all below it, in any case: those that the gorouter finds there. `/sub`
/// matches `/sub` and `/sub/x`, not `/subway`. Of no path, all requests; for that nothing has to be said.
///
/// Pilots from 1.2 on know `ignore_uri_case`. To 1.1 it is an unknown field that is skipped, and both read one collection:
/// they get a regular expression, which is read alike by `std::regex` (ECMAScript), as Envoys have it until Istio 1.3,
/// and by RE2, as they have it since.
pub(super) fn matches(key: &str, era: Era) -> Vec<HttpMatchRequest> {
    if key.is_empty() {
        return Vec::new();
    }
    let has_case = has_case(key);
    let requests = if has_case && era == Era::Classic {
        // Envoy matches the whole path, without the query.
        vec![MatchType::Regex(in_any_case(key) + "(/.*)?")]
    } else {
        let below = format!("{key}/");
        vec![MatchType::Exact(key.to_owned()), MatchType::Prefix(below)]
    };
    let requests = requests.into_iter().map(|match_type| HttpMatchRequest {
        uri: Some(StringMatch {
            match_type: Some(match_type),
        }),
        authority: None,
        ignore_uri_case: has_case && era == Era::Xds,
    });
    requests.collect()
}

/// Those of the requests that are for a hostname that a VirtualService cannot have.
pub(super) fn for_host(host: &Hostname, requests: Vec<HttpMatchRequest>) -> Vec<HttpMatchRequest> {
    with_authority(&authority(host), requests)
}

/// Such a hostname, in any case, and with any port: old Pilots' proxies hold the header against it as it came.
pub(super) fn authority(host: &Hostname) -> String {
    let pattern = match host.as_str().strip_prefix("*.") {
        Some(domain) => format!(".+\\.{}", in_any_case(domain)),
        None => in_any_case(host.as_str()),
    };
    format!("{pattern}{PORT}")
}

/// Those of the requests that are for any such hostname below a wildcard: with a label that DNS does not have.
pub(super) fn for_nameless(requests: Vec<HttpMatchRequest>) -> Vec<HttpMatchRequest> {
    let (inner, foreign) = ("[^.:]*", "[^a-zA-Z0-9.:-]");
    let label = format!("{inner}{foreign}{inner}|-{inner}|{inner}-|[^.:]{{64,}}");
    with_authority(&format!("(.*\\.)?({label})(\\..*)?{PORT}"), requests)
}

/// What may follow a hostname in the header.
const PORT: &str = "(:.*)?";

fn with_authority(pattern: &str, mut requests: Vec<HttpMatchRequest>) -> Vec<HttpMatchRequest> {
    if requests.is_empty() {
        // Of all paths nothing has to be said, but of a hostname.
        requests.push(HttpMatchRequest::default());
    }
    for request in &mut requests {
        request.authority = Some(StringMatch {
            match_type: Some(MatchType::Regex(pattern.to_owned())),
        });
    }
    requests
}

/// Whether it matters in which case the key is matched: if not, both eras are told the same.
pub(super) fn has_case(key: &str) -> bool {
    key.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// A pattern of what is in lower case.
fn in_any_case(text: &str) -> String {
    let mut regex = String::with_capacity(4 * text.len() + 6);
    for c in text.chars() {
        match c {
            'a'..='z' => regex.extend(['[', c, c.to_ascii_uppercase(), ']']),
            '.' | '+' | '*' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$' | '|' | '\\' => {
                regex.extend(['\\', c]);
            }
            _ => regex.push(c),
        }
    }
    regex
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::path::MAX_PATH;

    fn matched(key: &str, era: Era) -> Vec<(MatchType, bool)> {
        let requests = matches(key, era).into_iter();
        requests
            .map(|request| {
                let uri = request.uri.unwrap().match_type.unwrap();
                (uri, request.ignore_uri_case)
            })
            .collect()
    }

    fn exact(path: &str) -> MatchType {
        MatchType::Exact(path.to_owned())
    }

    fn prefix(path: &str) -> MatchType {
        MatchType::Prefix(path.to_owned())
    }

    #[test]
    fn istiods_ignore_case_and_pilots_have_a_pattern_of_classes() {
        assert_eq!(
            matched("/api", Era::Xds),
            [(exact("/api"), true), (prefix("/api/"), true)]
        );
        let regex = |text: &str| [(MatchType::Regex(text.to_owned()), false)];
        assert_eq!(matched("/api", Era::Classic), regex("/[aA][pP][iI](/.*)?"));
        assert_eq!(
            matched("/x.y+(1)$", Era::Classic),
            regex(r"/[xX]\.[yY]\+\(1\)\$(/.*)?")
        );
    }

    #[test]
    fn without_letters_both_match_the_path_and_all_below_it() {
        for era in [Era::Classic, Era::Xds] {
            assert_eq!(
                matched("/2024", era),
                [(exact("/2024"), false), (prefix("/2024/"), false)]
            );
            assert!(matched("", era).is_empty());
        }
    }

    #[test]
    fn the_longest_path_fits_into_what_istio_takes() {
        let longest = format!("/{}", "a".repeat(MAX_PATH - 1));
        assert!(in_any_case(&longest).len() <= 1024);
    }
}
