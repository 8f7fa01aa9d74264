//! Istio's rules for what is said of the requests of a route, and ours.

use std::time::Duration;

use super::{Invalid, require};
use crate::{
    model::{HeaderName, whole_millis},
    proto::istio::networking::v1alpha3::{
        HttpRetry, HttpRoute, headers::HeaderOperations, string_match::MatchType,
    },
};

pub(super) fn asked_for(route: &HttpRoute) -> Result<(), Invalid> {
    duration(route.timeout.as_ref())?;
    route.retries.as_ref().map_or(Ok(()), retries)?;
    if let Some(rewrite) = &route.rewrite {
        require(rewrite.uri.starts_with('/'), "asked", || {
            format!("a path is replaced by {:?}", rewrite.uri)
        })?;
        let mut uris = route
            .r#match
            .iter()
            .filter_map(|request| request.uri.as_ref());
        let is_pattern = uris.any(|uri| matches!(uri.match_type, Some(MatchType::Regex(_))));
        require(!is_pattern, "asked", || {
            "a path that matches a pattern is replaced as a whole".to_owned()
        })?;
    }
    let sides = route.headers.iter();
    let mut sides = sides.flat_map(|headers| [&headers.request, &headers.response]);
    sides.try_for_each(|side| side.as_ref().map_or(Ok(()), operations))
}

fn retries(retries: &HttpRetry) -> Result<(), Invalid> {
    duration(retries.per_try_timeout.as_ref())?;
    let is_said = retries.per_try_timeout.is_some()
        || !retries.retry_on.is_empty()
        || retries.retry_remote_localities.is_some();
    require(
        retries.attempts > 0 || (retries.attempts == 0 && !is_said),
        "asked",
        || format!("{} attempts", retries.attempts),
    )
}

/// In whole milliseconds, and one at least.
pub(super) fn duration(duration: Option<&prost_types::Duration>) -> Result<(), Invalid> {
    let Some(duration) = duration else {
        return Ok(());
    };
    let is_good = Duration::try_from(*duration).is_ok_and(whole_millis);
    require(is_good, "asked", || format!("a time of {duration}"))
}

fn operations(operations: &HeaderOperations) -> Result<(), Invalid> {
    let names = operations.set.keys().chain(&operations.remove);
    for name in names {
        let is_good = HeaderName::is_valid(name) && !name.eq_ignore_ascii_case("host");
        require(is_good, "asked", || format!("header {name:?}"))?;
    }
    for (name, value) in &operations.set {
        let is_good = value
            .bytes()
            .all(|byte| matches!(byte, b' '..=b'~') && byte != b'%');
        require(is_good, "asked", || format!("the value of header {name}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::istio::networking::v1alpha3::{
        Headers, HttpMatchRequest, HttpRewrite, StringMatch,
    };

    #[test]
    fn where_nothing_is_tried_again_no_zone_is_said() {
        let route = |attempts| HttpRoute {
            retries: Some(HttpRetry {
                attempts,
                per_try_timeout: None,
                retry_remote_localities: Some(true),
                retry_ignore_previous_hosts: None,
                retry_on: String::new(),
            }),
            ..HttpRoute::default()
        };
        asked_for(&route(2)).unwrap();
        assert_eq!(asked_for(&route(0)).unwrap_err().rule, "asked");
    }

    #[test]
    fn what_istio_would_discard_and_what_envoy_would_misread_is_refused() {
        let time = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
        let retries = |attempts, retry_on: &str| {
            Some(HttpRetry {
                attempts,
                per_try_timeout: None,
                retry_remote_localities: None,
                retry_ignore_previous_hosts: None,
                retry_on: retry_on.to_owned(),
            })
        };
        let set = |name: &str, value: &str| {
            let set = [(name.to_owned(), value.to_owned())].into();
            let remove = Vec::new();
            Some(Headers {
                request: None,
                response: Some(HeaderOperations { set, remove }),
            })
        };
        let route = HttpRoute::default;
        let rewrite = |uri: &str| {
            let uri = uri.to_owned();
            Some(HttpRewrite { uri })
        };
        let pattern = HttpMatchRequest {
            uri: Some(StringMatch {
                match_type: Some(MatchType::Regex("/a".to_owned())),
            }),
            ..HttpMatchRequest::default()
        };
        for good in [
            HttpRoute {
                timeout: time(1, 1_000_000),
                ..route()
            },
            HttpRoute {
                retries: retries(0, ""),
                ..route()
            },
            HttpRoute {
                retries: retries(1, "5xx"),
                ..route()
            },
            HttpRoute {
                rewrite: rewrite("/"),
                ..route()
            },
            HttpRoute {
                headers: set("x-a", "b c"),
                ..route()
            },
        ] {
            asked_for(&good).unwrap();
        }
        for bad in [
            HttpRoute {
                timeout: time(0, 0),
                ..route()
            },
            HttpRoute {
                timeout: time(0, 1),
                ..route()
            },
            HttpRoute {
                timeout: time(-1, 0),
                ..route()
            },
            HttpRoute {
                retries: retries(-1, ""),
                ..route()
            },
            HttpRoute {
                retries: retries(0, "5xx"),
                ..route()
            },
            HttpRoute {
                rewrite: rewrite("a"),
                ..route()
            },
            HttpRoute {
                rewrite: rewrite("/"),
                r#match: vec![pattern],
                ..route()
            },
            HttpRoute {
                headers: set("Host", "a"),
                ..route()
            },
            HttpRoute {
                headers: set(":path", "a"),
                ..route()
            },
            HttpRoute {
                headers: set("x-a", "%A%"),
                ..route()
            },
        ] {
            assert_eq!(asked_for(&bad).unwrap_err().rule, "asked", "{bad:?}");
        }
    }
}
