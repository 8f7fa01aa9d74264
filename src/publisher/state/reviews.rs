//! What is published otherwise than the table has it, for a while: routes that are held, and names of instances that ended.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::SocketAddrV4,
    sync::Arc,
    time::Instant,
};

use super::{AllEdits, State};
use crate::{
    istio::{self, Division, Era, Kind},
    model::Hostname,
    publisher::hold::Place,
    snapshot::Resource,
    table::{Changes, Pool, Touched},
};

/// The names of the instances of a route's services.
type NamesOf = Vec<(Arc<str>, Vec<String>)>;

/// How routes are divided by published VirtualServices, by the hostname of each and the routes' undivided services.
type Published = HashMap<Hostname, HashMap<String, Division>>;

/// Whether what is published was of another route with this URL, which is gone: nobody is sent to its apps any more.
fn is_another(place: &Place, pool: &Pool<'_>, pending: &Changes) -> bool {
    let current: HashSet<_> = pool.routes().map(|route| &route.guid).collect();
    let mut left = pending.left(place).iter();
    left.any(|old| !current.contains(&old.guid))
}

impl State {
    /// Decides which routes are held now, of those of which something is different.
    pub(super) fn review_holds(&mut self, pending: &mut Changes, now: Instant) {
        if !self.holds.is_on() || self.number == 0 {
            return;
        }
        self.holds.age(now);
        let mut places: BTreeSet<Place> = self.holds.ended(now).into_iter().collect();
        let touched = self.linger.touched();
        let kept = touched.filter(|member| self.linger.is_kept(member));
        places.extend(
            self.holds
                .of(&kept.map(|(whole, _)| whole.clone()).collect()),
        );
        for (host, touched) in pending.hosts() {
            let touched_places = touched.services().map(|key| (host.clone(), key.clone()));
            places.extend(touched_places.filter(|place| touched.lookup() || self.holds.has(place)));
        }
        let mut published = Published::new();
        places.retain(|place| {
            let whole = istio::service(&place.0, &place.1).into();
            let wanted = self.wants_hold(place, &whole, pending, &mut published, now);
            self.holds.set(place, &whole, wanted, now)
        });
        pending.merge(self.table.look_again(&places));
    }

    /// The division that a route is to keep, and until when: that which is published, if it leads to instances and the next
    /// one to a service that proxies may not have yet. Never of a route that is refused.
    fn wants_hold(
        &self,
        place: &Place,
        whole: &Arc<str>,
        pending: &Changes,
        published: &mut Published,
        now: Instant,
    ) -> Option<(Division, Instant)> {
        let host = self
            .table
            .host(&place.0)
            .filter(|host| !host.is_internal())?;
        let speaks = host.front().map_or(host.name, |front| front.name);
        let service = self.published(
            Kind::VirtualService,
            &Kind::VirtualService.name(speaks, false),
        )?;
        let pool = host.pool(&place.1)?;
        if pool.refused().is_some() || pool.is_empty() || is_another(place, &pool, pending) {
            return None;
        }
        let current = istio::division(&pool);
        let young = current.iter().filter_map(|(name, _)| {
            let is_there = self.is_served_to_all(name);
            let until = self.holds.young_until(name, is_there, now)?;
            Some((name, until))
        });
        let mut young: Vec<_> = young.collect();
        if young.is_empty() {
            return None;
        }
        let published = published.entry(speaks.clone());
        let published = published.or_insert_with(|| istio::published_divisions(service));
        let published = published.get(&**whole).cloned().unwrap_or_default();
        young.retain(|(name, _)| published.iter().all(|(named, _)| named != *name));
        let until = young.into_iter().map(|(_, until)| until).max()?;
        let parts = istio::parts(&pool);
        let leads_somewhere = |service: &str| {
            let part = parts.iter().find(|(name, _)| name == service);
            let Some((_, part)) = part else {
                return self.still_leads(place, whole, service, pending);
            };
            // It may have the same name and lead to others.
            let is_wanted = current.iter().any(|(name, _)| name == service);
            is_wanted && self.shares_endpoints(service, pool.endpoints(part).keys())
        };
        let division = istio::narrowed(published, leads_somewhere);
        (!division.is_empty()).then_some((division, until))
    }

    fn published(&self, kind: Kind, name: &str) -> Option<Resource<'_>> {
        self.collections[kind].of(Era::Classic).get(name)
    }

    /// Whether instances run that are served in a service which its route has not any more.
    fn still_leads(
        &self,
        place: &Place,
        whole: &Arc<str>,
        service: &str,
        pending: &Changes,
    ) -> bool {
        let member = (whole.clone(), service.into());
        let known = self.linger.led_to(&member).map(<[_]>::to_vec);
        let led_to = known.unwrap_or_else(|| self.led_to(place, &member, pending));
        let reached: Vec<_> = led_to
            .iter()
            .flat_map(|to| self.table.reached(to))
            .collect();
        self.shares_endpoints(service, &reached)
    }

    /// Whether a service is published with one of these endpoints.
    fn shares_endpoints<'a>(
        &self,
        service: &str,
        endpoints: impl IntoIterator<Item = &'a SocketAddrV4>,
    ) -> bool {
        let Some(served) = self.published(Kind::ServiceEntry, service) else {
            return false;
        };
        let places = istio::endpoints(served);
        endpoints.into_iter().any(|place| places.contains(place))
    }

    /// Follows which instances have ended, of the services of which something is different. Answers with the routes of which
    /// a rule has other names now.
    pub(super) fn review_names(&mut self, pending: &Changes, now: Instant) -> HashSet<Place> {
        let mut renamed = HashSet::new();
        // Before the first state there is no rule that had names.
        if !self.options.names_instances() || self.number == 0 {
            return renamed;
        }
        for (host, touched) in pending.hosts() {
            for (key, names) in self.instance_names(host, touched) {
                let place = (host.clone(), key);
                if self.follow_names(&place, &names, now) {
                    renamed.insert(place);
                }
            }
        }
        renamed
    }

    /// The names of the instances of each service that is reached over TLS, of the touched routes of a hostname.
    fn instance_names(&self, host: &Hostname, touched: &Touched) -> Vec<(Arc<str>, NamesOf)> {
        let Some(host) = self.table.host(host).filter(|host| !host.is_internal()) else {
            return Vec::new();
        };
        let pools = touched.services();
        let pools = pools.filter_map(|key| Some((key, host.pool(key)?)));
        let open = pools.filter(|(_, pool)| pool.refused().is_none());
        let names = open.map(|(key, pool)| {
            let parts = istio::parts(&pool).into_iter();
            let over_tls = parts.filter(|(_, part)| part.is_tls);
            let names = over_tls.map(|(name, part)| {
                let names = istio::instance_names(&pool, &part);
                (name.into(), names)
            });
            (key.clone(), names.collect())
        });
        names.collect()
    }

    /// Follows the names of a route's services. Whether a rule has others now.
    fn follow_names(&mut self, place: &Place, names: &NamesOf, now: Instant) -> bool {
        let mut is_renamed = false;
        for (service, current) in names {
            let rule = self.published(Kind::DestinationRule, service);
            let before = rule.map(istio::named).unwrap_or_default();
            self.names.follow(service, place, &before, current, now);
            is_renamed |= self.names.with_ended(service, current) != before;
        }
        is_renamed
    }

    /// Regenerates the rules from which names went.
    pub(super) fn end_names(
        &mut self,
        places: &BTreeSet<Place>,
        pending: &Changes,
        edits: &mut AllEdits,
    ) {
        for (host, key) in places {
            if pending.touches(host, key) {
                continue;
            }
            let view = self.table.host(host).filter(|host| !host.is_internal());
            let pool = view.and_then(|host| host.pool(key));
            let Some(pool) = pool.filter(|pool| pool.refused().is_none()) else {
                continue;
            };
            let made = istio::rules(&pool, &self.options, self.names.ended());
            self.take_made(&format!("{host}{key}"), made, edits);
        }
    }
}
