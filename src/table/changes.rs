//! What an update made different.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    mem,
    sync::Arc,
};

use smallvec::SmallVec;

use super::{
    crowds::Crowd,
    key::shared_key,
    losses::{Displaced, Subject},
};
use crate::{
    guids::GuidSet,
    model::{AppGuid, Hostname, Route, Served, Workload},
};

/// What of a hostname may be different.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// Which routes it has, and what they say of themselves.
    pub(super) routes: bool,
    /// What follows from their options.
    pub(super) options: bool,
    /// Where its requests are looked up.
    pub(super) lookup: bool,
    /// The keys of the routes whose services are different.
    pub(super) services: Keys,
}

/// Keys of a hostname's routes, sorted, each once. Most hostnames have one, a few have thousands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Keys {
    first: Option<Arc<str>>,
    others: BTreeSet<Arc<str>>,
}

impl Keys {
    fn add(&mut self, key: &Arc<str>) {
        match &mut self.first {
            None => self.first = Some(key.clone()),
            Some(first) if key < first => {
                self.others.insert(mem::replace(first, key.clone()));
            }
            Some(first) if key == first || self.others.contains(key) => {}
            Some(_) => drop(self.others.insert(key.clone())),
        }
    }

    fn has(&self, key: &Arc<str>) -> bool {
        self.first.as_ref() == Some(key) || self.others.contains(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<str>> {
        self.first.iter().chain(&self.others)
    }
}

impl Touched {
    /// Whether its routes are others, or of another sort of domain.
    pub fn routes(&self) -> bool {
        self.routes
    }

    /// Whether other options of its routes may count, of those that are where they were.
    pub fn options(&self) -> bool {
        self.options
    }

    /// Whether its requests may be looked up elsewhere, or shared otherwise.
    pub fn lookup(&self) -> bool {
        self.lookup
    }

    /// The keys (see [`crate::model::Route::key`]) of those of its routes, also of those that are gone, whose
    /// destinations, instances or options may be different. Sorted.
    pub fn services(&self) -> impl Iterator<Item = &Arc<str>> {
        self.services.iter()
    }

    fn merge(&mut self, later: &Self) {
        self.routes |= later.routes;
        self.options |= later.options;
        self.lookup |= later.lookup;
        for key in later.services.iter() {
            self.services.add(key);
        }
    }
}

/// Routes as they were. Nearly always one has a URL.
type Left = SmallVec<[Arc<Route>; 1]>;

/// The hostnames and source apps that an update, or several in a row, made different.
#[derive(Debug, Default)]
pub struct Changes {
    hosts: BTreeMap<Hostname, Touched>,
    sources: BTreeSet<AppGuid>,
    /// External routes as they were until then, by hostname and key: those that are gone, or say something else now.
    left: HashMap<(Hostname, Arc<str>), Left>,
    /// Those of whom other routes may be left out.
    crowds: BTreeSet<Crowd>,
    /// Whose instances are different, whether or not a route leads to them.
    workloads: GuidSet<Workload>,
    /// What was served, and is not.
    pub(super) losses: BTreeMap<Subject, Served>,
    /// What made that difference, as it was.
    pub(super) displaced: Displaced,
}

impl Changes {
    /// What is known so far of a hostname.
    pub(super) fn of(&mut self, host: &Hostname) -> &mut Touched {
        if !self.hosts.contains_key(host) {
            self.hosts.insert(host.clone(), Touched::default());
        }
        self.hosts.get_mut(host).expect("just inserted")
    }

    pub(super) fn touch_service(&mut self, host: &Hostname, key: &Arc<str>) {
        self.of(host).services.add(key);
    }

    pub(super) fn touch_lookup(&mut self, host: &Hostname) {
        self.of(host).lookup = true;
    }

    pub(super) fn touch_source(&mut self, app: &AppGuid) {
        if !self.sources.contains(app) {
            self.sources.insert(app.clone());
        }
    }

    pub(super) fn leave(&mut self, route: &Arc<Route>) {
        if !route.internal {
            let place = (route.host.clone(), shared_key(route));
            self.left.entry(place).or_default().push(route.clone());
        }
    }

    pub(super) fn touch_crowd(&mut self, crowd: Crowd) {
        self.crowds.insert(crowd);
    }

    /// Those of whom other routes may be left out, because they have too many.
    pub(crate) fn crowds(&self) -> impl Iterator<Item = &Crowd> {
        self.crowds.iter()
    }

    pub(super) fn touch_workload(&mut self, workload: &Workload) {
        self.workloads.insert(workload.clone());
    }

    /// Adds the changes of a later update.
    pub fn merge(&mut self, mut later: Self) {
        if self.is_empty() {
            later.workloads.extend(mem::take(&mut self.workloads));
            *self = later;
            return;
        }
        for (place, mut left) in later.left {
            self.left.entry(place).or_default().append(&mut left);
        }
        self.workloads.extend(later.workloads);
        self.crowds.extend(later.crowds);
        for (host, touched) in &later.hosts {
            self.of(host).merge(touched);
        }
        self.sources.extend(later.sources);
    }

    /// Whether nothing is different of what routes lead to.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.sources.is_empty()
    }

    /// The hostnames in their order.
    pub fn hosts(&self) -> impl Iterator<Item = (&Hostname, &Touched)> {
        self.hosts.iter()
    }

    /// Whether a route's services are among what is different.
    pub(crate) fn touches(&self, host: &Hostname, key: &Arc<str>) -> bool {
        let touched = self.hosts.get(host);
        touched.is_some_and(|touched| touched.services.has(key))
    }

    pub(super) fn hosts_mut(&mut self) -> impl Iterator<Item = (&Hostname, &mut Touched)> {
        self.hosts.iter_mut()
    }

    /// The external routes of a hostname and key as they were, if they are gone or say something else now.
    pub(crate) fn left(&self, place: &(Hostname, Arc<str>)) -> &[Arc<Route>] {
        self.left.get(place).map_or(&[], SmallVec::as_slice)
    }

    /// Takes out the workloads whose instances are different, whether or not a route leads to them.
    pub(crate) fn take_workloads(&mut self) -> GuidSet<Workload> {
        mem::take(&mut self.workloads)
    }

    /// Takes out what is not served any more, and what it was served by.
    pub(crate) fn take_losses(&mut self) -> (BTreeMap<Subject, Served>, Displaced) {
        (mem::take(&mut self.losses), mem::take(&mut self.displaced))
    }

    /// The apps, in their order, that may by their policies reach other internal hostnames now.
    pub fn sources(&self) -> impl Iterator<Item = &AppGuid> {
        self.sources.iter()
    }

    /// The hostnames whose routes are different.
    pub(super) fn routed(&self) -> impl Iterator<Item = &Hostname> {
        let routed = self.hosts().filter(|(_, touched)| touched.routes);
        routed.map(|(host, _)| host)
    }
}
