//! Routes whose division into services is published later than the services are.
//!
//! An istiod tells its proxies of clusters and of routes in one push, and an Envoy takes a route to a cluster that is not
//! ready yet: it has to have its endpoints first, and its certificates. So where VirtualServices name services of a route that
//! run, and the table divides the route among others of which one is *young*, they stay as they are until it is not. A
//! service is young for a fixed time after it was published first.
//!
//! Pure: it is told the time.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    istio::{Division, Held},
    model::Hostname,
};

/// A route: a hostname and the key of a path.
pub(super) type Place = (Hostname, Arc<str>);

/// Changes of one route that follow each other hold its VirtualServices for so many times as long as one at most.
const MOST: u32 = 3;

/// The routes that are held, and the services for which.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// For how long a service is young.
    time: Duration,
    /// The young services, since when; some that are not any more.
    young: HashMap<Arc<str>, Instant>,
    /// The same, in the order in which they were published.
    born: VecDeque<(Instant, Arc<str>)>,
    routes: BTreeMap<Place, Hold>,
    /// The same, in the order in which they end.
    ends: BTreeSet<(Instant, Place)>,
    divisions: Held,
}

/// A route that is held.
#[derive(Debug)]
struct Hold {
    /// The service that it has undivided.
    whole: Arc<str>,
    until: Instant,
    /// Until when at most, whatever else is different of it meanwhile.
    latest: Instant,
}

impl Holds {
    /// Services are young for so long. Nothing is held if that is no time.
    pub(super) fn new(time: Duration) -> Self {
        Self {
            time,
            ..Self::default()
        }
    }

    /// Whether anything is ever held.
    pub(super) fn is_on(&self) -> bool {
        !self.time.is_zero()
    }

    /// A service is published that was not there before.
    pub(super) fn publish(&mut self, service: &Arc<str>, now: Instant) {
        if self.is_on() {
            self.young.insert(service.clone(), now);
            self.born.push_back((now, service.clone()));
        }
    }

    /// Forgets which services are not young any more.
    pub(super) fn age(&mut self, now: Instant) {
        while let Some((since, service)) = self.born.front()
            && *since + self.time <= now
        {
            // It may have gone and come again since.
            if self.young.get(service) == Some(since) {
                self.young.remove(service);
            }
            self.born.pop_front();
        }
    }

    /// Until when a service is young, if it is; `is_there` says whether it is published.
    pub(super) fn young_until(
        &self,
        service: &str,
        is_there: bool,
        now: Instant,
    ) -> Option<Instant> {
        let since = if is_there {
            *self.young.get(service)?
        } else {
            now
        };
        let until = since + self.time;
        (until > now).then_some(until)
    }

    /// Holds a route with a division until then, or no longer. Whether that is something else than before.
    pub(super) fn set(
        &mut self,
        place: &Place,
        whole: &Arc<str>,
        wanted: Option<(Division, Instant)>,
        now: Instant,
    ) -> bool {
        let before = self.routes.remove(place);
        if let Some(before) = &before {
            self.ends.remove(&(before.until, place.clone()));
        }
        let latest = before.map_or(now + self.time * MOST, |before| before.latest);
        let wanted = wanted.filter(|_| now < latest);
        let Some((division, until)) = wanted else {
            return self.divisions.remove(whole).is_some();
        };
        let until = until.min(latest);
        self.ends.insert((until, place.clone()));
        let hold = Hold {
            whole: whole.clone(),
            until,
            latest,
        };
        self.routes.insert(place.clone(), hold);
        let before = self.divisions.insert(whole.clone(), division);
        before.as_ref() != self.divisions.get(whole)
    }

    /// Whether a route is held.
    pub(super) fn has(&self, place: &Place) -> bool {
        self.routes.contains_key(place)
    }

    /// Whether a route is held with that service.
    pub(super) fn names(&self, whole: &str, service: &str) -> bool {
        let division = self.divisions.get(whole).into_iter().flatten();
        division.into_iter().any(|(name, _)| name == service)
    }

    /// How held routes are divided.
    pub(super) fn divisions(&self) -> &Held {
        &self.divisions
    }

    /// The held routes with one of these services, undivided.
    pub(super) fn of(&self, wholes: &BTreeSet<Arc<str>>) -> Vec<Place> {
        if wholes.is_empty() {
            return Vec::new();
        }
        let held = self.routes.iter();
        let held = held.filter(|(_, hold)| wholes.contains(&hold.whole));
        held.map(|(place, _)| place.clone()).collect()
    }

    /// When the next one goes over.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.ends.first().map(|(until, _)| *until)
    }

    /// The routes that have been held for long enough.
    pub(super) fn ended(&self, now: Instant) -> Vec<Place> {
        let ended = self.ends.iter().take_while(|(until, _)| *until <= now);
        ended.map(|(_, place)| place.clone()).collect()
    }
}
