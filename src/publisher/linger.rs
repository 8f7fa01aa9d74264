//! What is served for a while though nothing leads to it any more: the other half of make before break.
//!
//! A stream takes care that a service leaves its sink after the VirtualServices that named it. Between a sink and its proxies
//! there is more: Pilot gathers changes and pushes them together, and an Envoy may drop a cluster before it has the routes
//! without it. So a service that no VirtualService names any more stays for a fixed time that is longer than that, as it was,
//! and only then goes.
//!
//! Pure: it is told the time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
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
}

/// What is known of one that nothing names any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    /// The first state in which nothing names it.
    pub(super) since: u64,
    until: Instant,
}

impl Linger {
    /// Members linger for so long.
    pub(super) fn new(time: Duration) -> Self {
        Self {
            time,
            ..Self::default()
        }
    }

    /// Nothing names this member any more, for the first time in the state `since`. One that lingers already goes when it
    /// would have.
    pub(super) fn leave(&mut self, member: Member, since: u64, now: Instant) {
        let until = now + self.time;
        self.left.entry(member.clone()).or_insert_with(|| {
            self.ends.insert((until, member));
            Left { since, until }
        });
    }

    /// It is named again, or goes at once.
    pub(super) fn forget(&mut self, member: &Member) {
        if let Some(Left { until, .. }) = self.left.remove(member) {
            self.ends.remove(&(until, member.clone()));
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

    /// When the next one goes.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.ends.first().map(|(until, _)| *until)
    }

    /// Takes out one whose time is over.
    pub(super) fn pop_ended(&mut self, now: Instant) -> Option<(Member, Left)> {
        self.ends.first().filter(|(until, _)| *until <= now)?;
        let (_, member) = self.ends.pop_first()?;
        let left = self.left.remove(&member)?;
        Some((member, left))
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

    const TIME: Duration = Duration::from_secs(15);

    fn member(group: u8, name: u8) -> Member {
        (group.to_string().into(), name.to_string().into())
    }

    #[derive(Debug, Clone)]
    enum Step {
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
            for (state, step) in (0..).zip(steps) {
                match step {
                    Step::Leave(group, name) => {
                        linger.leave(member(group, name), state, now);
                        model.entry(member(group, name)).or_insert((state, now));
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
                        all.iter().for_each(|member| linger.forget(member));
                        model.retain(|(of, _), _| *of != group);
                    }
                    Step::Wait(seconds) => now += Duration::from_secs(seconds),
                }
                let ends = model.values().map(|(_, at)| *at + TIME);
                prop_assert_eq!(linger.next_end(), ends.min());
                let mut ended = BTreeMap::new();
                while let Some((member, left)) = linger.pop_ended(now) {
                    prop_assert_eq!(ended.insert(member, left.since), None);
                }
                let expected = model.iter().filter(|(_, (_, at))| *at + TIME <= now);
                let expected: BTreeMap<_, _> =
                    expected.map(|(member, (since, _))| (member.clone(), *since)).collect();
                prop_assert_eq!(&ended, &expected);
                model.retain(|member, _| !expected.contains_key(member));
                prop_assert_eq!(linger.len(), model.len());
            }
        }
    }
}
