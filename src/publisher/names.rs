//! Names of instances that have ended: they stay in the rule of their service for as long as a service lingers, so that on
//! no stream, and in no proxy, the name goes before the endpoint.
//!
//! Pure: it is told the time.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use super::hold::Place;
use crate::istio::Ended;

/// Names that a service keeps at most, of those that are not recent: an app that crashes in a loop makes many.
const MOST: usize = 64;
/// Names are recent for one part in so many of their time: however many end at once, sinks still have their endpoints.
const RECENT: u32 = 3;

/// The names of a service that stay, the oldest first, each until when.
type Line = VecDeque<(String, Instant)>;

/// The names that stay.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// How long.
    time: Duration,
    ended: Ended,
    /// When the oldest of each service goes, in that order.
    ends: BTreeSet<(Instant, Arc<str>)>,
    /// Whose they are.
    places: HashMap<Arc<str>, Place>,
}

impl Names {
    /// Names stay for so long.
    pub(super) fn new(time: Duration) -> Self {
        Self {
            time,
            ..Self::default()
        }
    }

    /// A service of a route had these names in its rule until now, and its instances have these.
    pub(super) fn follow(
        &mut self,
        service: &Arc<str>,
        place: &Place,
        before: &[String],
        current: &[String],
        now: Instant,
    ) {
        if self.time.is_zero() {
            return;
        }
        let mut names = self.take(service).unwrap_or_default();
        names.retain(|(name, _)| current.binary_search(name).is_err());
        let known: HashSet<_> = names.iter().map(|(name, _)| name).collect();
        let ended = before
            .iter()
            .filter(|name| !known.contains(name) && current.binary_search(name).is_err());
        let ended: Vec<_> = ended.map(|name| (name.clone(), now + self.time)).collect();
        names.extend(ended);
        let recent = now + self.time / RECENT * (RECENT - 1);
        while names.len() > MOST && names.front().is_some_and(|(_, until)| *until <= recent) {
            names.pop_front();
        }
        self.put(service, place, names);
    }

    /// Forgets the names whose time is over. Answers with the routes whose services had them.
    pub(super) fn age(&mut self, now: Instant) -> BTreeSet<Place> {
        let mut places = BTreeSet::new();
        while let Some((until, service)) = self.ends.first().cloned()
            && until <= now
        {
            let place = self.places.get(&service).cloned();
            let names = self.take(&service);
            if let (Some(place), Some(mut names)) = (place, names) {
                names.retain(|(_, until)| *until > now);
                self.put(&service, &place, names);
                places.insert(place);
            }
        }
        places
    }

    fn take(&mut self, service: &Arc<str>) -> Option<Line> {
        let names = self.ended.remove(service)?;
        self.places.remove(service);
        if let Some((_, until)) = names.front() {
            self.ends.remove(&(*until, service.clone()));
        }
        Some(names)
    }

    fn put(&mut self, service: &Arc<str>, place: &Place, names: Line) {
        if let Some((_, until)) = names.front() {
            self.ends.insert((*until, service.clone()));
            self.places.insert(service.clone(), place.clone());
            self.ended.insert(service.clone(), names);
        }
    }

    /// The names of a service whose instances have these, in their order.
    pub(super) fn with_ended(&self, service: &str, current: &[String]) -> Vec<String> {
        let ended = self.ended.get(service).into_iter().flatten();
        let mut names = current.to_vec();
        names.extend(ended.map(|(name, _)| name.clone()));
        names.sort_unstable();
        names
    }

    /// Them, by service.
    pub(super) fn ended(&self) -> &Ended {
        &self.ended
    }

    /// When the next one goes.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.ends.first().map(|(until, _)| *until)
    }
}
