//! Which requests a route of a VirtualService is for, whatever words say it.

use std::fmt;

use crate::proto::istio::networking::v1alpha3::{
    HttpMatchRequest, StringMatch, string_match::MatchType,
};

/// Which paths are meant by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// It, and what is below it.
    Below,
    /// It alone.
    Exact,
    /// All that begin so, `/subway` with `/sub`.
    Prefix,
    /// A pattern that is none of those.
    Pattern,
}

/// Some of the requests for a hostname.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Match {
    /// A pattern of Host headers, if not all.
    pub(super) authority: Option<String>,
    /// As it is written; empty for all.
    pub(super) path: String,
    pub(super) how: How,
    pub(super) any_case: bool,
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.how {
            _ if self.path.is_empty() => return f.write_str("all paths"),
            How::Below => "it and what is below it",
            How::Exact => "it alone",
            How::Prefix => "all that begins so",
            How::Pattern => "a pattern",
        })?;
        f.write_str(if self.any_case {
            ", in any case"
        } else {
            ", as it is written"
        })
    }
}

impl Match {
    /// Whether every request for `other` is one for this.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let authority = self.authority.as_ref();
        if authority.is_some() && authority != other.authority.as_ref() {
            return false;
        }
        if self.path.is_empty() {
            return true;
        }
        let [own, its] = [self, other].map(|side| side.key_path(self.any_case));
        let is_as_wide = self.any_case || !other.any_case;
        let Some(rest) = its.strip_prefix(&*own).filter(|_| is_as_wide) else {
            return false;
        };
        match self.how {
            How::Prefix => other.how != How::Pattern,
            How::Below => {
                let is_whole = other.how != How::Prefix || !rest.is_empty();
                other.how != How::Pattern && is_whole && (rest.is_empty() || rest.starts_with('/'))
            }
            How::Exact | How::Pattern => rest.is_empty() && self.how == other.how,
        }
    }

    /// Whether some request is for both, and neither is for all of the other's: it matters which comes first.
    pub(super) fn crosses(&self, other: &Self) -> bool {
        self.meets(other) && !self.covers(other) && !other.covers(self)
    }

    fn meets(&self, other: &Self) -> bool {
        let names = [self, other].map(|side| side.authority.as_deref().and_then(name_in_any_case));
        if let [Some(own), Some(its)] = names
            && own != its
        {
            return false;
        }
        let any_case = self.any_case || other.any_case;
        self.has(other, any_case) || other.has(self, any_case)
    }

    /// Whether the path of `other` is one for this. Of a pattern nobody knows.
    fn has(&self, other: &Self, any_case: bool) -> bool {
        let [own, its] = [self, other].map(|side| side.key_path(any_case));
        let rest = its.strip_prefix(&*own);
        self.path.is_empty()
            || match self.how {
                How::Prefix => rest.is_some(),
                How::Below => rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
                How::Exact => rest.is_some_and(str::is_empty),
                How::Pattern => true,
            }
    }

    fn key_path(&self, any_case: bool) -> String {
        if any_case {
            self.path.to_ascii_lowercase()
        } else {
            self.path.clone()
        }
    }

    /// By what it is found in another's.
    pub(super) fn key(&self) -> (Option<String>, String) {
        (self.authority.clone(), self.key_path(true))
    }
}

/// The requests that any of the conditions lets in.
pub(super) fn matches(requests: &[HttpMatchRequest]) -> Vec<Match> {
    let mut found: Vec<Match> = Vec::new();
    for request in requests {
        let next = one(request);
        // A path and what is below it are two conditions.
        let pair = found.iter_mut().find(|before| {
            before.how == How::Exact
                && next.how == How::Prefix
                && next.path.strip_suffix('/') == Some(&before.path)
                && (&before.authority, before.any_case) == (&next.authority, next.any_case)
        });
        match pair {
            Some(before) => before.how = How::Below,
            None => found.push(next),
        }
    }
    if requests.is_empty() {
        found.push(one(&HttpMatchRequest::default()));
    }
    found
}

fn one(request: &HttpMatchRequest) -> Match {
    let text = |text: &Option<StringMatch>| text.as_ref().and_then(|text| text.match_type.clone());
    let authority = text(&request.authority).map(|authority| match authority {
        MatchType::Exact(text) | MatchType::Prefix(text) | MatchType::Regex(text) => text,
    });
    let any_case = request.ignore_uri_case;
    let (path, how, any_case) = match text(&request.uri) {
        None => (String::new(), How::Prefix, false),
        Some(MatchType::Exact(path)) => (path, How::Exact, any_case),
        // Of paths, which begin with it.
        Some(MatchType::Prefix(path)) if path == "/" => (String::new(), How::Prefix, false),
        Some(MatchType::Prefix(path)) => (path, How::Prefix, any_case),
        // A path in any case, and what is below it.
        Some(MatchType::Regex(pattern)) => {
            match pattern.strip_suffix("(/.*)?").and_then(in_any_case) {
                Some(path) => (path, How::Below, true),
                None => (pattern, How::Pattern, false),
            }
        }
    };
    let any_case = any_case || !path.bytes().any(|byte| byte.is_ascii_alphabetic());
    Match {
        authority,
        path,
        how,
        any_case,
    }
}

/// The hostname of a pattern that says nothing but a hostname in any case, and any port.
fn name_in_any_case(pattern: &str) -> Option<String> {
    in_any_case(pattern.strip_suffix("(:.*)?")?)
}

/// The text of a pattern that says nothing but a text in any case.
fn in_any_case(pattern: &str) -> Option<String> {
    let mut rest = pattern.chars();
    let mut path = String::new();
    while let Some(next) = rest.next() {
        match next {
            '[' => {
                let letters = [rest.next()?, rest.next()?, rest.next()?];
                let [lower, upper, ']'] = letters else {
                    return None;
                };
                if lower.to_ascii_uppercase() != upper {
                    return None;
                }
                path.push(lower);
            }
            '\\' => path.push(rest.next()?),
            '.' | '+' | '*' | '?' | '(' | ')' | ']' | '{' | '}' | '^' | '$' | '|' => return None,
            other => path.push(other),
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: MatchType, ignore_uri_case: bool) -> HttpMatchRequest {
        HttpMatchRequest {
            uri: Some(StringMatch {
                match_type: Some(uri),
            }),
            authority: None,
            ignore_uri_case,
        }
    }

    fn below(path: &str, any_case: bool) -> Vec<Match> {
        matches(&[
            request(MatchType::Exact(path.to_owned()), any_case),
            request(MatchType::Prefix(format!("{path}/")), any_case),
        ])
    }

    #[test]
    fn a_path_in_any_case_is_the_same_by_a_pattern_and_by_a_flag() {
        let pattern = "/[vV]1\\.0/[aA](/.*)?".to_owned();
        let by_pattern = matches(&[request(MatchType::Regex(pattern), false)]);
        assert_eq!(by_pattern, below("/v1.0/a", true));
    }

    #[test]
    fn what_comes_after_a_wider_match_is_covered_by_it() {
        let prefix = |path: &str| matches(&[request(MatchType::Prefix(path.to_owned()), false)]);
        let all = matches(&[]);
        let covers = |a: &[Match], b: &[Match]| a[0].covers(&b[0]);
        assert!(covers(&all, &below("/a", true)));
        assert!(covers(&prefix("/a"), &prefix("/about")));
        assert!(covers(&below("/a", true), &below("/A/b", false)));
        assert!(!covers(&below("/a", true), &below("/about", true)));
        assert!(!covers(&below("/a", false), &below("/a/b", true)));
        assert!(!covers(&below("/a", true), &prefix("/a")));
        assert!(!covers(&below("/a/b", true), &all));
    }

    #[test]
    fn what_is_for_some_requests_of_each_other_crosses() {
        let prefix = |path: &str| matches(&[request(MatchType::Prefix(path.to_owned()), false)]);
        let of_host = |name: &str, mut of: Match| {
            of.authority = Some(format!("{name}(:.*)?"));
            vec![of]
        };
        let pattern = matches(&[request(MatchType::Regex("/[0-9]+".to_owned()), false)]);
        let all = matches(&[])[0].clone();
        let crosses = |a: &[Match], b: &[Match]| a[0].crosses(&b[0]) && b[0].crosses(&a[0]);
        assert!(crosses(&below("/a", false), &below("/A/b", true)));
        assert!(crosses(&pattern, &below("/1", true)));
        let of_one = of_host("[oO]ne", all);
        assert!(crosses(&of_one, &below("/a", true)));
        assert!(!crosses(
            &of_one,
            &of_host("[tT]wo", below("/a", true)[0].clone())
        ));
        assert!(!crosses(&below("/a", true), &below("/b", true)));
        assert!(!crosses(&below("/a", true), &below("/about", true)));
        assert!(
            !crosses(&below("/a", true), &below("/a/b", true)),
            "it is within"
        );
        assert!(!crosses(&prefix("/ab"), &below("/a", false)));
    }
}
