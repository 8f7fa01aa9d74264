//! What is served for a while though nothing leads to it any more: the other half of make before break.
//!
//! A stream takes care that a service leaves its sink after the VirtualServices that named it. Between a sink and its proxies
//! there is more: Pilot gathers changes and pushes them together, and an Envoy may drop a cluster before it has the routes
//! without it. So a service that no VirtualService names any more stays for a fixed time that is longer than that, and only
//! then goes. It gets no new endpoints. Those whose instances end leave it, since their places may be given to others; but for
//! the last ones, which stay a little, unless that has happened: else proxies would be told that nobody is there before they
//! are told where to go instead.
//!
//! A route that is held is still led to services that it has not any more. They are *kept* here meanwhile, and linger after.
//!
//! Pure: it is told the time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    guids::{GuidMap, GuidSet},
    model::{Destination, Workload},
};

/// A member of a group: a service of a route.
pub(super) type Member = (Arc<str>, Arc<str>);

/// The members that linger.
#[derive(Debug, Default)]
pub(super) struct Linger {
    /// How long.
    time: Duration,
    /// How long the last endpoints stay.
    patience: Duration,
    left: BTreeMap<Member, Left>,
    /// The same, in the order in which they go.
    ends: BTreeSet<(Instant, Member)>,
    /// When those have to be looked at again whose last endpoints stay.
    reviews: BTreeSet<(Instant, Member)>,
    /// Those that led to a workload's instances.
    by_workload: GuidMap<Workload, BTreeSet<Member>>,
    /// Those whose instances may be others since they were last looked at.
    touched: BTreeSet<Member>,
}

/// What is known of one that its group has not any more.
#[derive(Debug)]
struct Left {
    /// Nothing where it is still named.
    end: Option<End>,
    /// What it led to.
    destinations: Vec<Destination>,
}

/// When one goes that nothing names any more.
#[derive(Debug, Clone, Copy)]
struct End {
    /// The first state in which nothing names it.
    since: u64,
    /// Until then its last endpoints stay.
    patient: Instant,
    until: Instant,
}

/// One whose instances may be others.
#[derive(Debug)]
pub(super) struct Review<'a> {
    pub(super) member: Member,
    /// What it led to.
    pub(super) led_to: &'a [Destination],
    /// Whether its last endpoints stay.
    pub(super) is_patient: bool,
}

impl Linger {
    /// Members linger for so long, and keep their last endpoints for the time of the patience.
    pub(super) fn new(time: Duration, patience: Duration) -> Self {
        Self {
            time,
            patience,
            ..Self::default()
        }
    }

    /// A member that its group has not any more, and that is still named.
    pub(super) fn keep(&mut self, member: &Member, destinations: Vec<Destination>) {
        for to in &destinations {
            let members = self.by_workload.entry(to.workload.clone()).or_default();
            members.insert(member.clone());
        }
        self.touched.insert(member.clone());
        let left = Left {
            end: None,
            destinations,
        };
        self.left.insert(member.clone(), left);
    }

    /// Nothing names this member any more, for the first time in the state `since`, of those that were kept until now.
    pub(super) fn leave(&mut self, member: &Member, since: u64, now: Instant) {
        let Some(left) = self.left.get_mut(member) else {
            return;
        };
        let end = End {
            since,
            patient: now + self.patience,
            until: now + self.time,
        };
        left.end = Some(end);
        self.ends.insert((end.until, member.clone()));
        self.touched.insert(member.clone());
    }

    /// Whether it lingers, or is kept.
    pub(super) fn has(&self, member: &Member) -> bool {
        self.left.contains_key(member)
    }

    /// Whether it is kept.
    pub(super) fn is_kept(&self, member: &Member) -> bool {
        self.left.get(member).is_some_and(|left| left.end.is_none())
    }

    /// It is current again, or goes at once.
    pub(super) fn forget(&mut self, member: &Member) {
        self.remove(member);
    }

    fn remove(&mut self, member: &Member) -> Option<Left> {
        let left = self.left.remove(member)?;
        if let Some(end) = left.end {
            self.ends.remove(&(end.until, member.clone()));
            self.reviews.remove(&(end.patient, member.clone()));
        }
        self.touched.remove(member);
        for to in &left.destinations {
            if let Some(members) = self.by_workload.get_mut(&to.workload) {
                members.remove(member);
                if members.is_empty() {
                    self.by_workload.remove(&to.workload);
                }
            }
        }
        Some(left)
    }

    /// The instances of these workloads are others.
    pub(super) fn touch(&mut self, workloads: &GuidSet<Workload>) {
        if self.by_workload.is_empty() {
            return;
        }
        for workload in workloads {
            let members = self.by_workload.get(workload).into_iter().flatten();
            self.touched.extend(members.cloned());
        }
    }

    /// Places have others: those that keep their last endpoints may have to lose them.
    pub(super) fn touch_patient(&mut self) {
        let patient = self.reviews.iter().map(|(_, member)| member);
        self.touched.extend(patient.cloned());
    }

    /// Whether the instances of one may be others.
    pub(super) fn is_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// Those whose instances may be others.
    pub(super) fn touched(&self) -> impl Iterator<Item = &Member> {
        self.touched.iter()
    }

    /// Takes out one whose instances may be others.
    pub(super) fn pop_touched(&mut self, now: Instant) -> Option<Review<'_>> {
        let member = self.touched.pop_first()?;
        let left = self.left.get(&member)?;
        Some(Review {
            member,
            led_to: &left.destinations,
            is_patient: left.end.is_some_and(|end| now < end.patient),
        })
    }

    /// Its last endpoints stay for as long as they may.
    pub(super) fn review(&mut self, member: &Member) {
        if let Some(end) = self.left.get(member).and_then(|left| left.end) {
            self.reviews.insert((end.patient, member.clone()));
        }
    }

    /// Where one led to.
    pub(super) fn led_to(&self, member: &Member) -> Option<&[Destination]> {
        self.left.get(member).map(|left| &*left.destinations)
    }

    /// Touches those whose last endpoints have stayed for long enough.
    pub(super) fn age(&mut self, now: Instant) {
        while let Some((at, _)) = self.reviews.first()
            && *at <= now
        {
            let review = self.reviews.pop_first();
            self.touched.extend(review.map(|(_, member)| member));
        }
    }

    /// Those of a group.
    pub(super) fn of(&self, group: &Arc<str>) -> impl Iterator<Item = &Member> {
        let group = group.clone();
        self.left
            .range((group.clone(), Arc::from(""))..)
            .map(|(member, _)| member)
            .take_while(move |(of, _)| *of == group)
    }

    /// When the next one goes, or its last endpoints do.
    pub(super) fn next_end(&self) -> Option<Instant> {
        let first = |set: &BTreeSet<(Instant, Member)>| set.first().map(|(at, _)| *at);
        [&self.ends, &self.reviews]
            .into_iter()
            .filter_map(first)
            .min()
    }

    /// Takes out one whose time is over, with the first state in which nothing named it, and what it led to.
    pub(super) fn pop_ended(&mut self, now: Instant) -> Option<(Member, u64, Vec<Destination>)> {
        let (until, member) = self.ends.first()?;
        if *until > now {
            return None;
        }
        let member = member.clone();
        let left = self.remove(&member)?;
        Some((member, left.end?.since, left.destinations))
    }

    /// How many linger, without those that are kept.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::model::{AppGuid, AppPort, Protocol, Weight};

    const TIME: Duration = Duration::from_secs(15);
    const PATIENCE: Duration = Duration::from_secs(5);

    fn member(group: u8, name: u8) -> Member {
        (group.to_string().into(), name.to_string().into())
    }

    /// One of two workloads.
    fn workload(number: u8) -> Workload {
        Workload {
            app: AppGuid::from(format!("app-{}", number % 2).as_str()),
            process_type: "web".into(),
        }
    }

    fn led_to(name: u8) -> Vec<Destination> {
        vec![Destination {
            workload: workload(name),
            port: AppPort::Main,
            weight: Weight::Instances,
            protocol: Protocol::Http1,
        }]
    }

    #[derive(Debug, Clone)]
    enum Step {
        Touch(u8),
        TouchPatient,
        Keep(u8, u8),
        Leave(u8, u8),
        Review(u8, u8),
        Forget(u8, u8),
        ForgetAll(u8),
        Wait(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let member = || (0u8..3, 0u8..4);
        let step = prop_oneof![
            2 => member().prop_map(|(group, name)| Step::Keep(group, name)),
            4 => member().prop_map(|(group, name)| Step::Leave(group, name)),
            2 => member().prop_map(|(group, name)| Step::Review(group, name)),
            2 => member().prop_map(|(group, name)| Step::Forget(group, name)),
            1 => (0u8..3).prop_map(Step::ForgetAll),
            2 => (0u8..3).prop_map(Step::Touch),
            1 => Just(Step::TouchPatient),
            3 => (0u64..20).prop_map(Step::Wait),
        ];
        vec(step, 0..60)
    }

    /// Since when each is left, by the state and by the clock, and whether it has to be looked at again; nothing of what is
    /// kept.
    type Model = BTreeMap<Member, Option<(u64, Instant, bool)>>;

    fn next_end(model: &Model) -> Option<Instant> {
        let ends = model.values().flatten();
        let next =
            ends.map(|(_, at, is_reviewed)| *at + if *is_reviewed { PATIENCE } else { TIME });
        next.min()
    }

    proptest! {
        #[test]
        fn each_goes_once_when_its_time_is_over_unless_it_is_named_again(steps in steps()) {
            let mut now = Instant::now();
            let mut linger = Linger::new(TIME, PATIENCE);
            let mut model = Model::new();
            let mut touched = BTreeSet::new();
            for (state, step) in (0..).zip(steps) {
                match step {
                    Step::Keep(group, name) => {
                        let member = member(group, name);
                        if !linger.has(&member) {
                            linger.keep(&member, led_to(name));
                            touched.insert(member.clone());
                            model.insert(member, None);
                        }
                    }
                    Step::Leave(group, name) => {
                        let member = member(group, name);
                        if linger.is_kept(&member) {
                            linger.leave(&member, state, now);
                        }
                        if let Some(left @ None) = model.get_mut(&member) {
                            *left = Some((state, now, false));
                            touched.insert(member);
                        }
                    }
                    Step::Review(group, name) => {
                        let member = member(group, name);
                        let left = model.get_mut(&member).and_then(Option::as_mut);
                        if let Some((_, at, is_reviewed)) = left && now < *at + PATIENCE {
                            linger.review(&member);
                            *is_reviewed = true;
                        }
                    }
                    Step::Forget(group, name) => {
                        linger.forget(&member(group, name));
                        model.remove(&member(group, name));
                    }
                    Step::ForgetAll(group) => {
                        let group = group.to_string().into();
                        let all: Vec<_> = linger.of(&group).cloned().collect();
                        let expected = model.keys().filter(|(of, _)| *of == group);
                        prop_assert!(all.iter().eq(expected));
                        for member in &all {
                            linger.forget(member);
                        }
                        model.retain(|(of, _), _| *of != group);
                    }
                    Step::Touch(number) => {
                        linger.touch(&[workload(number)].into_iter().collect());
                        let concerned = model.keys().filter(|(_, name)| {
                            name.parse::<u8>().unwrap() % 2 == number % 2
                        });
                        touched.extend(concerned.cloned());
                    }
                    Step::TouchPatient => {
                        linger.touch_patient();
                        let is_reviewed = |left: &Option<(u64, Instant, bool)>| left.is_some_and(|left| left.2);
                        let patient = model.iter().filter(|(_, left)| is_reviewed(left));
                        touched.extend(patient.map(|(member, _)| member.clone()));
                    }
                    Step::Wait(seconds) => now += Duration::from_secs(seconds),
                }
                prop_assert_eq!(linger.next_end(), next_end(&model));
                linger.age(now);
                for (member, left) in &mut model {
                    if let Some((_, at, is_reviewed)) = left && *is_reviewed && *at + PATIENCE <= now {
                        *is_reviewed = false;
                        touched.insert(member.clone());
                    }
                }
                let mut ended = BTreeMap::new();
                while let Some((member, since, _)) = linger.pop_ended(now) {
                    prop_assert_eq!(ended.insert(member, since), None);
                }
                let over = |left: &(u64, Instant, bool)| (left.1 + TIME <= now).then_some(left.0);
                let expected = model.iter().filter_map(|(member, left)| {
                    Some((member.clone(), left.as_ref().and_then(over)?))
                });
                let expected: BTreeMap<_, _> = expected.collect();
                prop_assert_eq!(&ended, &expected);
                model.retain(|member, _| !expected.contains_key(member));
                prop_assert_eq!(linger.len(), model.values().flatten().count());
                for (member, left) in &model {
                    prop_assert!(linger.has(member));
                    prop_assert_eq!(linger.is_kept(member), left.is_none());
                }
                touched.retain(|member| model.contains_key(member));
                prop_assert_eq!(linger.is_touched(), !touched.is_empty());
                prop_assert!(linger.touched().eq(&touched));
                if state % 3 == 0 {
                    while let Some(review) = linger.pop_touched(now) {
                        let name = review.member.1.parse().unwrap();
                        prop_assert_eq!(review.led_to, &led_to(name)[..]);
                        let left = model[&review.member];
                        let is_patient = left.is_some_and(|(_, at, _)| now < at + PATIENCE);
                        prop_assert_eq!(review.is_patient, is_patient);
                        prop_assert!(touched.remove(&review.member));
                    }
                    prop_assert!(touched.is_empty());
                }
            }
        }
    }
}
