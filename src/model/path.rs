//! Paths of routes.

use std::{borrow::Cow, sync::Arc};

use super::Route;

/// Cloud Controller allows 128 characters. To match one in any case takes an old Envoy up to four, and Istio takes no
/// pattern over 1024.
pub const MAX_PATH: usize = 240;

/// What is no path of a route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// Neither empty nor absolute.
    #[error("path {0:?} does not begin with a slash")]
    Relative(String),
    /// Longer than any route's.
    #[error("path of {0} bytes, at most {MAX_PATH} fit")]
    TooLong(usize),
    /// Not printable.
    #[error("path {0:?} has a control character")]
    ControlCharacter(String),
}

impl Route {
    /// Reads the path of a route, as its owner spelled it.
    ///
    /// # Errors
    /// It is neither empty nor begins with a slash, is too long, or has a control character.
    pub fn parse_path(path: &str) -> Result<Arc<str>, InvalidPath> {
        if path.len() > MAX_PATH {
            Err(InvalidPath::TooLong(path.len()))
        } else if path.chars().any(char::is_control) {
            Err(InvalidPath::ControlCharacter(path.to_owned()))
        } else if path.is_empty() || path.starts_with('/') {
            // Nearly all are empty, and share one.
            Ok(if path.is_empty() {
                Arc::default()
            } else {
                path.into()
            })
        } else {
            Err(InvalidPath::Relative(path.to_owned()))
        }
    }

    /// The path as the gorouter looks it up: without regard to case, and without up to two slashes at its end. (Its
    /// registry takes one off what its URIs have taken one off already.)
    pub fn key(&self) -> Cow<'_, str> {
        let path = self.path.strip_suffix('/').unwrap_or(&self.path);
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(path.to_ascii_lowercase())
        } else {
            Cow::Borrowed(path)
        }
    }
}

/// The keys above one: those of which it is below, the longest first.
pub fn above(key: &str) -> impl Iterator<Item = &str> {
    let slashes = key.rmatch_indices('/');
    slashes.map(|(at, _)| &key[..at])
}

/// Whether every request for the one key is for what is at or below the other.
pub fn is_within(key: &str, other: &str) -> bool {
    let rest = key.strip_prefix(other);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_empty_or_absolute_printable_and_of_bounded_length() {
        for path in [
            "",
            "/",
            "/a%20b/C",
            &format!("/{}", "a".repeat(MAX_PATH - 1)),
        ] {
            assert_eq!(&*Route::parse_path(path).unwrap(), path);
        }
        for path in ["a", "/a\n", &format!("/{}", "a".repeat(MAX_PATH))] {
            assert!(Route::parse_path(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn what_is_above_a_key_ends_where_a_segment_does() {
        assert_eq!(above("/a/b/").collect::<Vec<_>>(), ["/a/b", "/a", ""]);
        assert_eq!(above("").count(), 0);
        assert!(is_within("/a/b", "/a") && is_within("/a", "/a") && is_within("/a", ""));
        assert!(!is_within("/ab", "/a") && !is_within("/a", "/a/b"));
    }
}
