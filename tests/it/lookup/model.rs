//! Where a gorouter sends a request.
//!
//! After its source in cloudfoundry/gorouter: `handlers/lookup.go` makes a key of a request, `route/uris.go` knows what
//! a key is, `registry/container/trie.go` finds the longest one that leads somewhere, and `registry/registry.go` goes
//! on to wider ones. Endpoints are added to the pool of their key, so two routes that differ in case or in a trailing
//! slash are one.
//!
//! Two things are left out. A request whose path is no valid one (RFC 3986, section 3.3) has it encoded anew by Go
//! before it is looked up. And a pool whose last endpoint goes is dropped at once, as by default; with
//! `empty_pool_timeout` it answers 503 for a while.

use std::collections::BTreeMap;

/// The routing table: for each route what its requests are shared by.
#[derive(Debug, Clone)]
pub struct Gorouter<P> {
    pools: BTreeMap<String, P>,
}

/// What a route leads to.
pub trait Pool {
    /// Whether it is passed over: the route is known, and nobody takes its requests.
    fn is_empty(&self) -> bool;
}

impl<P> Default for Gorouter<P> {
    fn default() -> Self {
        let pools = BTreeMap::new();
        Self { pools }
    }
}

impl<P: Pool + Default> Gorouter<P> {
    /// The pool of a route, which is made where there is none.
    pub fn pool(&mut self, host: &str, path: &str) -> &mut P {
        let key = key(host, path);
        self.pools.entry(trimmed(&key).to_owned()).or_default()
    }
}

impl<P: Pool> Gorouter<P> {
    /// The pool that takes a request, by its Host header and its target.
    pub fn lookup(&self, host: &str, target: &str) -> Option<&P> {
        let (host, _) = host.split_once(':').unwrap_or((host, ""));
        let (path, _) = target.split_once('?').unwrap_or((target, ""));
        let mut next = Some(key(host, path));
        while let Some(uri) = next {
            let found = self.longest(&uri);
            if found.is_some() {
                return found;
            }
            next = next_wildcard(&uri);
        }
        None
    }

    /// The pool of the longest beginning of the key, segment by segment.
    fn longest(&self, uri: &str) -> Option<&P> {
        let uri = trimmed(uri);
        let ends = uri.match_indices('/').map(|(at, _)| at).chain([uri.len()]);
        let mut pools = ends.filter_map(|end| self.pools.get(&uri[..end]));
        pools.rfind(|pool| !pool.is_empty())
    }
}

/// `Uri.RouteKey`: in lower case, and without one slash at the end. Whoever takes the key takes off another.
fn key(host: &str, path: &str) -> String {
    trimmed(&format!("{host}{path}")).to_lowercase()
}

/// `Uri.String`: without one slash at the end.
fn trimmed(uri: &str) -> &str {
    uri.strip_suffix('/').unwrap_or(uri)
}

/// `Uri.NextWildcard`: one label wider. It does not see where the host ends, so after the last label of the host it
/// goes on with what is between the dots of the path.
fn next_wildcard(uri: &str) -> Option<String> {
    let uri = trimmed(uri);
    let uri = uri.strip_prefix("*.").unwrap_or(uri);
    let (_, wider) = uri.split_once('.')?;
    Some(format!("*.{wider}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Default, PartialEq)]
    struct Named(Option<&'static str>);

    impl Pool for Named {
        fn is_empty(&self) -> bool {
            self.0.is_none()
        }
    }

    fn router(registered: &[(&str, &str, Option<&'static str>)]) -> Gorouter<Named> {
        let mut router = Gorouter::default();
        for (host, path, app) in registered {
            *router.pool(host, path) = Named(*app);
        }
        router
    }

    fn app(router: &Gorouter<Named>, host: &str, target: &str) -> Option<&'static str> {
        router.lookup(host, target).and_then(|pool| pool.0)
    }

    #[test]
    fn two_slashes_at_the_end_of_a_route_do_not_count() {
        let router = router(&[
            ("a.x.com", "/docs/", Some("docs")),
            ("a.x.com", "/two//", Some("two")),
            ("a.x.com", "/three///", Some("three")),
            ("b.x.com", "//", Some("slashes")),
        ]);
        for target in ["/docs", "/docs/", "/DOCS/x", "/docs//", "/docs?/x"] {
            assert_eq!(app(&router, "a.x.com", target), Some("docs"), "{target}");
        }
        for target in ["/two", "/two/", "/two//", "/two/x"] {
            assert_eq!(app(&router, "a.x.com", target), Some("two"), "{target}");
        }
        for (target, found) in [
            ("/three//", None),
            ("/three///", Some("three")),
            ("/three//x", Some("three")),
        ] {
            assert_eq!(app(&router, "a.x.com", target), found, "{target}");
        }
        for target in ["/", "//", "/p", "//p"] {
            assert_eq!(app(&router, "b.x.com", target), Some("slashes"), "{target}");
        }
    }

    #[test]
    fn a_pool_that_is_empty_does_not_hide_a_shorter_or_a_wider_one() {
        let router = router(&[
            ("*.x.com", "", Some("wide")),
            ("a.x.com", "", None),
            ("b.x.com", "", Some("b")),
            ("b.x.com", "/p", None),
        ]);
        assert_eq!(app(&router, "a.x.com", "/"), Some("wide"));
        assert_eq!(app(&router, "b.x.com", "/p/q"), Some("b"));
    }

    #[test]
    fn a_path_is_looked_up_under_every_wildcard_and_the_nearest_counts() {
        let router = router(&[
            ("*.x.com", "/p", Some("wide")),
            ("*.a.x.com", "", Some("near")),
            ("x.com", "/p", Some("bare")),
        ]);
        assert_eq!(app(&router, "1.a.x.com", "/p"), Some("near"));
        assert_eq!(app(&router, "1.b.x.com", "/p"), Some("wide"));
        assert_eq!(app(&router, "a.x.com", "/p"), Some("wide"));
        assert_eq!(app(&router, "x.com:443", "/p"), Some("bare"));
        assert_eq!(app(&router, "x.com", "/q"), None);
    }

    #[test]
    fn after_the_hosts_labels_come_those_of_the_path() {
        let router = router(&[("*.x.com", "", Some("wide"))]);
        assert_eq!(app(&router, "a.y.org", "/b.x.com"), Some("wide"));
        assert_eq!(app(&router, "a.y.org", "/x.com"), None);
    }
}
