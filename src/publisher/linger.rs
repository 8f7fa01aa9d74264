//! What is served for a while though nothing leads to it any more: the other half of make before break.
//!
//! A stream takes care that a service leaves its sink after the VirtualServices that named it. Between a sink and its proxies
//! there is more: Pilot gathers changes and pushes them together, and an Envoy may drop a cluster before it has the routes
//! without it. So a service that no VirtualService names any more stays for a fixed time that is longer than that, and only
//! then goes. It gets no new endpoints. Those whose instances end leave it, since their places may be given to others.
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
    left: BTreeMap<Member, Left>,
    /// The same, in the order in which they go.
    ends: BTreeSet<(Instant, Member)>,
    /// Those that led to a workload's instances.
    by_workload: GuidMap<Workload, BTreeSet<Member>>,
    /// Those whose instances may be others since they were last looked at.
    touched: BTreeSet<Member>,
}

/// What is known of one that nothing names any more.
#[derive(Debug)]
struct Left {
    /// The first state in which nothing names it.
    since: u64,
    until: Instant,
    /// What it led to.
    destinations: Vec<Destination>,
}

impl Linger {
    /// Members linger for so long.
    pub(super) fn new(time: Duration) -> Self {
        Self {
            time,
            ..Self::default()
        }
    }

    /// Nothing names this member any more, for the first time in the state `since`, of those that linger not yet.
    pub(super) fn leave(
        &mut self,
        member: &Member,
        since: u64,
        now: Instant,
        destinations: Vec<Destination>,
    ) {
        for to in &destinations {
            let members = self.by_workload.entry(to.workload.clone()).or_default();
            members.insert(member.clone());
        }
        let until = now + self.time;
        self.ends.insert((until, member.clone()));
        self.touched.insert(member.clone());
        let left = Left {
            since,
            until,
            destinations,
        };
        self.left.insert(member.clone(), left);
    }

    /// Whether it lingers.
    pub(super) fn has(&self, member: &Member) -> bool {
        self.left.contains_key(member)
    }

    /// It is named again, or goes at once.
    pub(super) fn forget(&mut self, member: &Member) {
        self.remove(member);
    }

    fn remove(&mut self, member: &Member) -> Option<Left> {
        let left = self.left.remove(member)?;
        self.ends.remove(&(left.until, member.clone()));
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

    /// Whether the instances of one may be others.
    pub(super) fn is_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// Takes out one whose instances may be others, with what it led to.
    pub(super) fn pop_touched(&mut self) -> Option<(Member, &[Destination])> {
        let member = self.touched.pop_first()?;
        let destinations = &self.left.get(&member)?.destinations;
        Some((member, destinations))
    }

    /// Those of a group.
    pub(super) fn of(&self, group: &Arc<str>) -> impl Iterator<Item = &Member> {
        let group = group.clone();
        self.left
            .range((group.clone(), Arc::from(""))..)
            .map(|(member, _)| member)
            .take_while(move |(of, _)| *of == group)
    }

    /// When the next one goes.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.ends.first().map(|(until, _)| *until)
    }

    /// Takes out one whose time is over, with the first state in which nothing named it, and what it led to.
    pub(super) fn pop_ended(&mut self, now: Instant) -> Option<(Member, u64, Vec<Destination>)> {
        let (until, member) = self.ends.first()?;
        if *until > now {
            return None;
        }
        let member = member.clone();
        let left = self.remove(&member)?;
        Some((member, left.since, left.destinations))
    }

    /// How many linger.
    pub(super) fn len(&self) -> usize {
        self.left.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::model::{AppGuid, AppPort, Protocol, Weight};

    const TIME: Duration = Duration::from_secs(15);

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
        Leave(u8, u8),
        Forget(u8, u8),
        ForgetAll(u8),
        Wait(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let (group, name) = (0u8..3, 0u8..4);
        let step = prop_oneof![
            4 => (group.clone(), name.clone()).prop_map(|(group, name)| Step::Leave(group, name)),
            2 => (group.clone(), name).prop_map(|(group, name)| Step::Forget(group, name)),
            1 => group.prop_map(Step::ForgetAll),
            2 => (0u8..3).prop_map(Step::Touch),
            3 => (0u64..20).prop_map(Step::Wait),
        ];
        vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn each_goes_once_when_its_time_is_over_unless_it_is_named_again(steps in steps()) {
            let mut now = Instant::now();
            let mut linger = Linger::new(TIME);
            // Since when each is left, by the state and by the clock.
            let mut model: BTreeMap<Member, (u64, Instant)> = BTreeMap::new();
            let mut touched = BTreeSet::new();
            for (state, step) in (0..).zip(steps) {
                match step {
                    Step::Leave(group, name) => {
                        let member = member(group, name);
                        if !linger.has(&member) {
                            linger.leave(&member, state, now, led_to(name));
                        }
                        if !model.contains_key(&member) {
                            touched.insert(member.clone());
                        }
                        model.entry(member).or_insert((state, now));
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
                    Step::Wait(seconds) => now += Duration::from_secs(seconds),
                }
                let ends = model.values().map(|(_, at)| *at + TIME);
                prop_assert_eq!(linger.next_end(), ends.min());
                let mut ended = BTreeMap::new();
                while let Some((member, since, _)) = linger.pop_ended(now) {
                    prop_assert_eq!(ended.insert(member, since), None);
                }
                let expected = model.iter().filter(|(_, (_, at))| *at + TIME <= now);
                let expected: BTreeMap<_, _> =
                    expected.map(|(member, (since, _))| (member.clone(), *since)).collect();
                prop_assert_eq!(&ended, &expected);
                model.retain(|member, _| !expected.contains_key(member));
                prop_assert_eq!(linger.len(), model.len());
                touched.retain(|member| model.contains_key(member));
                prop_assert_eq!(linger.is_touched(), !touched.is_empty());
                if state % 3 == 0 {
                    while let Some((member, led_to_now)) = linger.pop_touched() {
                        let name = member.1.parse().unwrap();
                        prop_assert_eq!(led_to_now, &led_to(name)[..]);
                        prop_assert!(touched.remove(&member));
                    }
                    prop_assert!(touched.is_empty());
                }
            }
        }
    }
}
