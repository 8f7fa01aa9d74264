//! Which routes of the mesh an app or a domain has: what to look at again, or to withhold, when it changes.

use std::collections::BTreeSet;

use smallvec::SmallVec;

use crate::{
    capi::{
        reads::batch::Batch,
        wire::{Located, is_alone},
    },
    feed::Dropped,
    guids::GuidMap,
    model::{AppGuid, Destination, Hostname, Refusal, Route, RouteGuid},
};

/// The routes as last read, by guid and by app: what they point at, and what is withheld of them.
///
/// What reads lack may be held where it is served. So it stays here for one read more, or while anything is held: what
/// is said of it later still reaches it.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: GuidMap<RouteGuid, Entry>,
    /// Without duplicates.
    routes: GuidMap<AppGuid, SmallVec<[RouteGuid; 1]>>,
}

#[derive(Debug)]
struct Entry {
    located: Located,
    /// What it led to by earlier reads, if nobody said that it does no longer.
    doubted: Vec<Destination>,
    /// Whether the last read lacks it, and nobody said that it is gone.
    is_missing: bool,
}

impl Entry {
    /// Without duplicates.
    fn apps(&self) -> SmallVec<[AppGuid; 1]> {
        let destinations = self.located.route.destinations.iter();
        let destinations = destinations.chain(&self.doubted);
        let mut apps: SmallVec<_> = destinations
            .map(|destination| destination.workload.app.clone())
            .collect();
        apps.sort_unstable();
        apps.dedup();
        apps
    }

    /// What it leads to, and what the route as it is now does not.
    fn lost(self, now: &Route) -> Vec<Destination> {
        let known = self.located.route.destinations.into_iter();
        let known = known.chain(self.doubted);
        known.filter(|to| !now.leads_to(to)).collect()
    }
}

impl Index {
    /// A full read found these routes. What it lacks for the second time is forgotten, unless it is to be kept.
    pub(super) fn rebuild<'a>(
        &mut self,
        routes: impl IntoIterator<Item = &'a Located>,
        keeps_missing: bool,
    ) {
        let mut before = std::mem::take(&mut self.entries);
        self.routes.clear();
        for located in routes {
            let known = before.remove(&located.route.guid);
            let known = known.map(|mut entry| {
                if !keeps_missing {
                    entry.doubted.clear();
                }
                entry
            });
            let doubted = known.map_or_else(Vec::new, |entry| entry.lost(&located.route));
            self.insert(located.clone(), doubted, false);
        }
        for entry in before.into_values() {
            if keeps_missing || !entry.is_missing {
                self.insert(entry.located, entry.doubted, true);
            }
        }
    }

    /// Adds a route or changes it. Whether it lost something, and all of that was told.
    pub(super) fn upsert(&mut self, located: &Located, is_told: impl Fn(&AppGuid) -> bool) -> bool {
        let mut doubted = Vec::new();
        let mut is_same = false;
        if let Some(known) = self.take(&located.route.guid) {
            is_same = known.located.route.key() == located.route.key();
            doubted = known.lost(&located.route);
        }
        let has_lost = !doubted.is_empty();
        doubted.retain(|destination| !is_told(&destination.workload.app));
        let is_told = has_lost && doubted.is_empty() && is_same;
        self.insert(located.clone(), doubted, false);
        is_told
    }

    /// A route was not found. Whether all that goes with it was told; `None` where that it is missing is no news.
    pub(super) fn lose(
        &mut self,
        guid: &RouteGuid,
        is_deleted: bool,
        is_told: impl Fn(&AppGuid) -> bool,
    ) -> Option<bool> {
        let mut entry = self.take(guid)?;
        let apps = entry.apps();
        if is_deleted || !apps.is_empty() && apps.iter().all(is_told) {
            return Some(true);
        }
        let is_news = !std::mem::replace(&mut entry.is_missing, true);
        self.insert(entry.located, entry.doubted, true);
        is_news.then_some(false)
    }

    fn insert(&mut self, located: Located, doubted: Vec<Destination>, is_missing: bool) {
        let guid = located.route.guid.clone();
        let entry = Entry {
            located,
            doubted,
            is_missing,
        };
        for app in entry.apps() {
            self.routes.entry(app).or_default().push(guid.clone());
        }
        self.entries.insert(guid, entry);
    }

    fn take(&mut self, guid: &RouteGuid) -> Option<Entry> {
        let entry = self.entries.remove(guid)?;
        for app in entry.apps() {
            if let Some(routes) = self.routes.get_mut(&app) {
                routes.retain(|route| route != guid);
                if routes.is_empty() {
                    self.routes.remove(&app);
                }
            }
        }
        Some(entry)
    }

    /// A route as last read.
    pub(super) fn get(&self, guid: &RouteGuid) -> Option<&Located> {
        self.entries.get(guid).map(|entry| &entry.located)
    }

    /// Whether a route is where it was, and leads wherever it did, and nothing of it is in doubt.
    pub(super) fn leads_as(&self, located: &Located) -> bool {
        self.entries.get(&located.route.guid).is_some_and(|entry| {
            let (known, now) = (&entry.located.route, &located.route);
            let mut destinations = known.destinations.iter().chain(&entry.doubted);
            known.key() == now.key() && destinations.all(|to| now.leads_to(to))
        })
    }

    /// The routes of the last read.
    pub(super) fn present(&self) -> impl Iterator<Item = &Located> {
        let present = self.entries.values().filter(|entry| !entry.is_missing);
        present.map(|entry| &entry.located)
    }

    /// The routes of the last read that are not among `found`.
    pub(super) fn missing_from<T>(
        &self,
        found: &GuidMap<RouteGuid, T>,
    ) -> impl Iterator<Item = &Located> {
        let entries = self.entries.iter();
        entries
            .filter(|(guid, entry)| !entry.is_missing && !found.contains_key(guid))
            .map(|(_, entry)| &entry.located)
    }

    /// A known route is refused from now on; whether that is news. Of two reasons the first one stays, unless the
    /// other is its domain's.
    pub(super) fn refuse(&mut self, guid: &RouteGuid, why: Refusal) -> bool {
        let Some(entry) = self.entries.get_mut(guid) else {
            return false;
        };
        let refused = &mut entry.located.route.refused;
        let is_news = match *refused {
            None => true,
            Some(known) => why == Refusal::RoutePolicies && known != why,
        };
        if is_news {
            *refused = Some(why);
        }
        is_news
    }

    /// Whether a route of an app is known.
    pub(super) fn has_routes_of(&self, app: &AppGuid) -> bool {
        self.routes.contains_key(app)
    }

    /// Whether a route is known.
    pub(super) fn contains(&self, guid: &RouteGuid) -> bool {
        self.entries.contains_key(guid)
    }

    /// Where the annotations of a route could not be read, what it asked for until now counts.
    pub(super) fn keep_settings(&self, located: &mut Located) {
        if std::mem::take(&mut located.settings_unclear)
            && let Some(known) = self.get(&located.route.guid)
        {
            located.route.ask_as(&known.route);
        }
    }

    /// What is said of a row, or a part of one, that was left out: whether what was known of its route stays.
    pub(super) fn say_what_stays(&self, dropped: &mut Dropped) {
        if !is_alone(dropped.reason) && self.contains(&dropped.name.as_str().into()) {
            dropped.detail.insert_str(0, "kept as it was: ");
        }
    }

    /// The routes of some domains.
    pub(super) fn of_domains(&self, names: &BTreeSet<Hostname>) -> BTreeSet<RouteGuid> {
        if names.is_empty() {
            return BTreeSet::new();
        }
        let of_domains = self.entries.iter();
        of_domains
            .filter(|(_, entry)| names.contains(&entry.located.domain))
            .map(|(guid, _)| guid.clone())
            .collect()
    }

    /// How many routes the last read has.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        let entries = self.entries.values();
        entries.filter(|entry| !entry.is_missing).count()
    }

    /// Adds the routes that the apps of a batch have now: where one is gone afterwards, it is missed by its own guid.
    pub(super) fn expand(&self, batch: &mut Batch) {
        for app in &batch.apps {
            let of_app = self.routes.get(app).into_iter().flatten();
            batch.routes.extend(of_app.cloned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(guid: &str, apps: &[&str]) -> Located {
        let domain = Hostname::parse("example.com").unwrap();
        let route = Route {
            destinations: apps.iter().map(|app| Destination::example(app)).collect(),
            ..Route::example(guid, "a.example.com")
        };
        Located {
            route,
            domain,
            settings_unclear: false,
        }
    }

    fn routes_of(index: &Index, app: &str) -> Vec<String> {
        let mut batch = Batch {
            apps: BTreeSet::from([app.into()]),
            ..Batch::default()
        };
        index.expand(&mut batch);
        batch.routes.iter().map(ToString::to_string).collect()
    }

    fn add(index: &mut Index, route: &Located) {
        index.upsert(route, |_| false);
    }

    #[test]
    fn follows_a_route_from_app_to_app() {
        let mut index = Index::default();
        add(&mut index, &route("r", &["a", "b", "b"]));
        assert_eq!(routes_of(&index, "b"), ["r"]);
        index.upsert(&route("r", &["a"]), |_| true);
        assert_eq!(routes_of(&index, "a"), ["r"]);
        assert!(routes_of(&index, "b").is_empty());
        assert_eq!(index.lose(&"r".into(), true, |_| false), Some(true));
        assert_eq!(index.lose(&"r".into(), true, |_| false), None);
        assert!(index.routes.is_empty() && index.entries.is_empty());
    }

    #[test]
    fn what_nobody_said_is_gone_is_found_by_its_app_until_somebody_does() {
        let mut index = Index::default();
        add(&mut index, &route("r", &["a", "b"]));
        assert!(!index.upsert(&route("r", &[]), |_| false));
        assert_eq!(routes_of(&index, "b"), ["r"]);
        assert!(!index.upsert(&route("r", &[]), |app| *app == "a".into()));
        assert!(index.upsert(&route("r", &[]), |app| *app == "b".into()));
        assert!(routes_of(&index, "b").is_empty());
        add(&mut index, &route("r", &["a"]));
        assert_eq!(index.lose(&"r".into(), false, |_| false), Some(false));
        assert_eq!(index.lose(&"r".into(), false, |_| false), None, "no news");
        assert_eq!(routes_of(&index, "a"), ["r"]);
        assert_eq!(index.lose(&"r".into(), false, |_| true), Some(true));
    }

    #[test]
    fn what_a_read_lacks_is_known_for_one_more_and_while_it_may_be_held() {
        let mut index = Index::default();
        let (r, s) = (route("r", &["a"]), route("s", &[]));
        index.rebuild([&r, &s], false);
        let found = GuidMap::from_iter([(RouteGuid::from("s"), 1)]);
        let missing: Vec<_> = index.missing_from(&found).collect();
        assert_eq!(missing, [&r]);
        for keeps_missing in [false, true, true] {
            index.rebuild([&s], keeps_missing);
            assert_eq!(index.len(), 1);
            assert!(index.contains(&"r".into()));
            assert_eq!(index.missing_from(&found).count(), 0);
        }
        assert!(index.refuse(&"r".into(), Refusal::RouteService));
        index.rebuild([&s], false);
        assert!(!index.contains(&"r".into()));
    }

    #[test]
    fn a_refusal_is_news_once_and_the_domains_outranks_the_routes() {
        let mut index = Index::default();
        let (guid, bound, enforced) = ("r".into(), Refusal::RouteService, Refusal::RoutePolicies);
        assert!(!index.refuse(&guid, bound), "not known");
        add(&mut index, &route("r", &[]));
        assert!(index.refuse(&guid, bound) && !index.refuse(&guid, bound));
        assert!(index.refuse(&guid, enforced));
        assert!(!index.refuse(&guid, bound) && !index.refuse(&guid, enforced));
        let mut again = route("r", &[]);
        again.route.refused = Some(bound);
        add(&mut index, &again);
        assert!(!index.refuse(&guid, bound));
    }

    #[test]
    fn knows_the_routes_of_a_domain() {
        let mut index = Index::default();
        add(&mut index, &route("r", &[]));
        let names = |name| BTreeSet::from([Hostname::parse(name).unwrap()]);
        assert_eq!(
            index.of_domains(&names("example.com")),
            BTreeSet::from(["r".into()])
        );
        assert!(index.of_domains(&names("a.example.com")).is_empty());
    }
}
