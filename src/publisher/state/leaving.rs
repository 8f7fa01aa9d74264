//! The services of external routes: those that come, and those that go at once or after a while.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use super::{AllEdits, Leaving, SERVICE_KINDS, State};
use crate::{
    istio::{self, Era, Kind, Made, Services},
    model::{Destination, Hostname},
    publisher::linger::{Member, Review},
    table::{Changes, HostView, Pool},
};

impl State {
    /// Takes in the services of an external route; `None` where it is gone.
    pub(super) fn take_route(
        &mut self,
        host: &Hostname,
        key: &Arc<str>,
        services: Option<Services>,
        leaving: Leaving<'_>,
        edits: &mut AllEdits,
    ) {
        let url = format!("{host}{key}");
        let is_refused = matches!(services, Some(Services::Refused));
        let mut current = Vec::new();
        if let Some(Services::Open { entries, rules }) = services {
            self.note_new(&entries, leaving.now);
            current.extend(entries.resources.iter().map(|(name, _)| name.clone()));
            for made in [Some(entries), rules].into_iter().flatten() {
                self.take_made(&url, made, edits);
            }
        } else {
            for kind in SERVICE_KINDS {
                self.told
                    .reject(&mut self.rejected, kind.collection(), &url, Vec::new());
            }
        }
        self.retire(host, key, current, is_refused, leaving, edits);
    }

    /// Notes the services that some era has not been served until now. Those of the first snapshot are as old as what they
    /// are of: whoever reads them has them from before, or has nothing.
    fn note_new(&mut self, entries: &Made, now: Instant) {
        if self.number == 0 || !self.holds.is_on() {
            return;
        }
        for (name, encoded) in &entries.resources {
            let is_new = |era| encoded.of(era).is_some() && !self.is_served_to(era, name);
            if Era::ALL.into_iter().any(is_new) {
                self.holds.publish(name, now);
            }
        }
    }

    fn is_served_to(&self, era: Era, service: &str) -> bool {
        let entries = &self.collections[Kind::ServiceEntry];
        entries.of(era).get(service).is_some()
    }

    /// Whether a service is there for everybody.
    pub(super) fn is_served_to_all(&self, service: &str) -> bool {
        Era::ALL
            .into_iter()
            .all(|era| self.is_served_to(era, service))
    }

    /// Lets those services of a route go that are not among its current ones any more: after a while, or at once if it is
    /// refused. Those that a held route is still led to stay.
    pub(super) fn retire(
        &mut self,
        host: &Hostname,
        key: &Arc<str>,
        mut current: Vec<Arc<str>>,
        is_refused: bool,
        leaving: Leaving<'_>,
        edits: &mut AllEdits,
    ) {
        let whole: Arc<str> = istio::service(host, key).into();
        for name in &current {
            let member = (whole.clone(), name.clone());
            self.linger.forget(&member);
            self.withdrawn.renew(&member);
        }
        let place = (host.clone(), key.clone());
        let undivided = istio::undivided(host, key).map(Arc::<str>::from);
        let before = self.divided.remove(&place).unwrap_or_default();
        let mut gone: Vec<_> = before.into_iter().chain(undivided.clone()).collect();
        current.sort_unstable();
        gone.retain(|name| current.binary_search(name).is_err());
        let of_route = self.linger.of(&whole);
        let kept = of_route.filter(|member| self.linger.is_kept(member));
        gone.extend(kept.map(|(_, name)| name.clone()));
        let Leaving { now, pending } = leaving;
        if is_refused {
            // Access fails closed: what still lingers of the route goes, too, and no stream keeps any of it.
            gone.extend(self.linger.of(&whole).map(|(_, name)| name.clone()));
            self.withdrawn.add_ended(&whole, now);
            for name in &gone {
                self.withdrawn.add(name.clone(), now);
            }
        }
        gone.sort_unstable();
        gone.dedup();
        for name in gone {
            let member = (whole.clone(), name);
            if is_refused {
                self.drop_service(&member, edits);
            } else {
                self.let_go(&place, &member, now, pending, edits);
            }
        }
        current.retain(|name| !undivided.contains(name));
        if !current.is_empty() {
            self.divided.insert(place, current);
        }
    }

    /// Lets go a service that its route has not any more.
    fn let_go(
        &mut self,
        place: &(Hostname, Arc<str>),
        member: &Member,
        now: Instant,
        pending: &Changes,
        edits: &mut AllEdits,
    ) {
        let (whole, name) = member;
        if !self.linger.has(member) {
            if !self.is_served(Kind::ServiceEntry, name) {
                self.drop_service(member, edits);
                return;
            }
            let led_to = self.led_to(place, member, pending);
            self.linger.keep(member, led_to);
        }
        if self.linger.is_kept(member) && !self.holds.names(whole, name) {
            self.linger.leave(member, self.number, now);
        }
    }

    /// Takes a service out at once.
    fn drop_service(&mut self, member: &Member, edits: &mut AllEdits) {
        self.linger.forget(member);
        for kind in SERVICE_KINDS {
            self.remove(kind, member.1.clone(), edits);
        }
    }

    /// No stream keeps what there was of an internal hostname with a route that is refused.
    pub(super) fn withdraw_internal(&mut self, host: &Hostname, now: Instant) {
        let view = self.table.host(host);
        let mut pools = view.into_iter().flat_map(HostView::pools);
        let is_refused = pools.any(|pool| pool.refused().is_some());
        for kind in SERVICE_KINDS {
            let name = kind.name(host, true).into();
            if is_refused {
                self.withdrawn.add(name, now);
            } else {
                self.withdrawn.forget(&name);
            }
        }
    }

    /// Removes the services that have lingered long enough.
    pub(super) fn end_lingering(&mut self, now: Instant, edits: &mut AllEdits) {
        while let Some((member, since, led_to)) = self.linger.pop_ended(now) {
            self.complete_since = self.complete_since.max(since);
            for kind in SERVICE_KINDS {
                edits[kind].remove(member.1.clone());
            }
            self.withdrawn.end(&member, &led_to, now);
        }
    }

    /// The destinations that a service of a route may have had, as it was published last.
    pub(super) fn led_to(
        &self,
        place: &(Hostname, Arc<str>),
        (whole, name): &Member,
        pending: &Changes,
    ) -> Vec<Destination> {
        let (host, key) = place;
        let pool = self.table.host(host).and_then(|host| host.pool(key));
        let current = pool.iter().flat_map(Pool::all_routes);
        let left = pending.left(place).iter().map(Arc::as_ref);
        let destinations = left.chain(current).flat_map(|route| &route.destinations);
        let mut destinations: Vec<_> = destinations
            .filter(|to| istio::may_lead_to(name, whole, to))
            .cloned()
            .collect();
        destinations.sort_unstable();
        destinations.dedup();
        destinations
    }

    /// Takes from the services that linger what is not reached there any more: the place may be somebody else's now. The
    /// last of it stays for a while if it is not.
    pub(super) fn reduce_lingering(&mut self, now: Instant, edits: &mut AllEdits) {
        self.linger.age(now);
        while let Some(review) = self.linger.pop_touched(now) {
            let Review {
                member,
                led_to,
                is_patient,
            } = review;
            let entries = &self.collections[Kind::ServiceEntry];
            let Some(served) = entries.of(Era::Classic).get(&member.1) else {
                continue;
            };
            let reached: BTreeSet<_> = led_to
                .iter()
                .flat_map(|to| self.table.reached(to))
                .collect();
            let mut stays = istio::endpoints(served);
            if is_patient && stays.is_disjoint(&reached) {
                stays.retain(|place| !self.table.is_taken(*place));
                self.linger.review(&member);
            } else {
                stays.retain(|place| reached.contains(place));
            }
            let reduced = istio::reduced(served, &stays, self.options.keep_empty);
            for (name, encoded) in reduced.into_iter().flat_map(|made| made.resources) {
                // A stream would keep it as it was.
                self.withdrawn.add(name.clone(), now);
                self.metrics.encoded(&encoded);
                edits[Kind::ServiceEntry].set(name, encoded);
            }
        }
    }
}
