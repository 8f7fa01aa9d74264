//! Paths of routes, as requests are looked up by them.

use std::cmp::{Ordering, Reverse};

/// A path without what does not tell two routes apart: case, and a slash at the end. The gorouter's key of a route
/// (`Uri.RouteKey` in routing-release) has neither.
///
/// In order the longest comes first, so that the most exact match wins, and paths of one length are sorted.
#[derive(Debug, Clone, Copy)]
pub struct PathKey<'a>(&'a str);

impl<'a> PathKey<'a> {
    /// The key of a path.
    pub fn of(path: &'a str) -> Self {
        Self(path.strip_suffix('/').unwrap_or(path))
    }

    fn chars(self) -> impl Iterator<Item = char> {
        self.0.chars().flat_map(char::to_lowercase)
    }
}

impl Ord for PathKey<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let len = |key: &Self| Reverse(key.chars().count());
        let by_chars = || self.chars().cmp(other.chars());
        len(self).cmp(&len(other)).then_with(by_chars)
    }
}

impl PartialOrd for PathKey<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for PathKey<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for PathKey<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_case_nor_a_slash_at_the_end_tells_paths_apart() {
        for (one, other) in [
            ("", ""),
            ("", "/"),
            ("/Api", "/api"),
            ("/docs/", "/docs"),
            ("/\u{c9}t\u{e9}/", "/\u{e9}t\u{e9}"),
            ("/a%2Fb", "/a%2fb"),
        ] {
            assert_eq!(PathKey::of(one), PathKey::of(other), "{one} and {other}");
        }
        for (one, other) in [("/a", "/b"), ("/a", "/a/b"), ("/a//", "/a"), ("", "/a")] {
            assert_ne!(PathKey::of(one), PathKey::of(other), "{one} and {other}");
        }
    }

    #[test]
    fn the_longest_comes_first_and_equal_ones_beside_each_other() {
        let mut paths = ["", "/b", "/A/", "/a/b", "/a", "/"];
        paths.sort_by_key(|path| PathKey::of(path));
        assert_eq!(paths, ["/a/b", "/A/", "/a", "/b", "", "/"]);
    }
}
