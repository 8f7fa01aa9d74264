//! Services that no stream keeps for its sink, be the VirtualServices that name them replaced or not: those that went at
//! once because their routes are refused, for access fails closed; and those whose instances are others than they were, for
//! their places may be another tenant's.
//!
//! Pure: it is told the time.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use super::linger::Member;
use crate::{
    guids::{GuidMap, GuidSet},
    model::{Destination, Workload},
};

/// How long a name is remembered: many times as long as a stream waits for its sink, and so has anything to keep.
const MEMORY: Duration = Duration::from_mins(10);

/// Names of resources that are not to be kept.
#[derive(Debug, Default)]
pub(super) struct Withdrawn {
    names: Arc<BTreeSet<Arc<str>>>,
    since: BTreeMap<Arc<str>, Instant>,
    /// Members that have lingered for as long as they may, since when: slow streams keep them until their group is refused
    /// or their instances are others.
    ended: BTreeMap<Member, Instant>,
    /// Those that led to a workload's instances.
    by_workload: GuidMap<Workload, BTreeSet<Member>>,
    /// Whether the names are others than when that was last asked.
    is_changed: bool,
}

impl Withdrawn {
    /// A resource that is not to be kept.
    pub(super) fn add(&mut self, name: Arc<str>, now: Instant) {
        // Snapshots share the names, so that a change copies them all.
        if !self.names.contains(&name) {
            Arc::make_mut(&mut self.names).insert(name.clone());
            self.is_changed = true;
        }
        self.since.insert(name, now);
    }

    /// A member of a group is current again.
    pub(super) fn renew(&mut self, member: &Member) {
        self.ended.remove(member);
        self.forget(&member.1);
    }

    /// It is served again, and may be kept when it goes.
    pub(super) fn forget(&mut self, name: &Arc<str>) {
        if self.since.remove(name).is_some() {
            self.is_changed |= Arc::make_mut(&mut self.names).remove(name);
        }
    }

    /// A member of a group has lingered long enough.
    pub(super) fn end(&mut self, member: &Member, led_to: &[Destination], now: Instant) {
        for to in led_to {
            let members = self.by_workload.entry(to.workload.clone()).or_default();
            members.insert(member.clone());
        }
        self.ended.insert(member.clone(), now);
    }

    /// The instances of these workloads are others.
    pub(super) fn touch(&mut self, workloads: &GuidSet<Workload>) {
        if self.by_workload.is_empty() {
            return;
        }
        for workload in workloads {
            for member in self.by_workload.remove(workload).into_iter().flatten() {
                if let Some(since) = self.ended.get(&member) {
                    self.add(member.1, *since);
                }
            }
        }
    }

    /// Nor is any member of a group to be kept that has lingered long enough.
    pub(super) fn add_ended(&mut self, group: &Arc<str>, now: Instant) {
        let of_group = |(member, _): &(&Member, &Instant)| member.0 == *group;
        let from = (group.clone(), Arc::from(""));
        let ended = self.ended.range(from..).take_while(of_group);
        let names: Vec<_> = ended.map(|((_, name), _)| name.clone()).collect();
        for name in names {
            self.add(name, now);
        }
    }

    /// Forgets what nobody can have to keep any more.
    pub(super) fn age(&mut self, now: Instant) {
        let is_new = |since: &Instant| now.saturating_duration_since(*since) < MEMORY;
        self.ended.retain(|_, since| is_new(since));
        let ended = &self.ended;
        self.by_workload.retain(|_, members| {
            members.retain(|member| ended.contains_key(member));
            !members.is_empty()
        });
        let old = self.since.iter().filter(|(_, since)| !is_new(since));
        let old: Vec<_> = old.map(|(name, _)| name.clone()).collect();
        for name in old {
            self.since.remove(&name);
            Arc::make_mut(&mut self.names).remove(&name);
        }
    }

    /// Whether there are names that were not there, or some are gone that may be kept again.
    pub(super) fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// The same, since this was last asked.
    pub(super) fn take_changed(&mut self) -> bool {
        mem::take(&mut self.is_changed)
    }

    /// The names of what is not to be kept.
    pub(super) fn names(&self) -> Arc<BTreeSet<Arc<str>>> {
        self.names.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AppGuid, AppPort, Protocol, Weight};

    fn workload(app: &str) -> Workload {
        Workload {
            app: AppGuid::from(app),
            process_type: "web".into(),
        }
    }

    fn led_to(app: &str) -> Vec<Destination> {
        vec![Destination {
            workload: workload(app),
            port: AppPort::Main,
            weight: Weight::Instances,
            protocol: Protocol::Http1,
        }]
    }

    fn member(name: &str) -> Member {
        ("group".into(), name.into())
    }

    fn touch(withdrawn: &mut Withdrawn, app: &str) {
        withdrawn.touch(&[workload(app)].into_iter().collect());
    }

    fn names(withdrawn: &Withdrawn) -> Vec<String> {
        let names = withdrawn.names();
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_has_lingered_is_withdrawn_when_its_instances_are_others_or_its_group_is_refused() {
        let now = Instant::now();
        let mut withdrawn = Withdrawn::default();
        withdrawn.end(&member("a"), &led_to("one"), now);
        withdrawn.end(&member("b"), &led_to("two"), now);
        withdrawn.end(&("other".into(), "c".into()), &led_to("three"), now);
        assert!(names(&withdrawn).is_empty() && !withdrawn.take_changed());
        touch(&mut withdrawn, "one");
        assert_eq!(names(&withdrawn), ["a"]);
        assert!(withdrawn.take_changed() && !withdrawn.is_changed());
        withdrawn.add_ended(&"group".into(), now);
        assert_eq!(names(&withdrawn), ["a", "b"]);
    }

    #[test]
    fn what_is_current_again_is_not_withdrawn_for_what_it_was() {
        let now = Instant::now();
        let mut withdrawn = Withdrawn::default();
        for name in ["a", "b"] {
            withdrawn.end(&member(name), &led_to("one"), now);
        }
        withdrawn.add("a".into(), now);
        withdrawn.renew(&member("a"));
        assert!(names(&withdrawn).is_empty());
        touch(&mut withdrawn, "one");
        assert_eq!(names(&withdrawn), ["b"]);
        withdrawn.renew(&member("b"));
        withdrawn.add_ended(&"group".into(), now);
        assert!(names(&withdrawn).is_empty());
    }

    #[test]
    fn nothing_is_remembered_for_longer_than_any_stream_keeps_it() {
        let now = Instant::now();
        let mut withdrawn = Withdrawn::default();
        withdrawn.end(&member("a"), &led_to("one"), now);
        withdrawn.add("b".into(), now);
        withdrawn.age(now + MEMORY.saturating_sub(Duration::from_millis(1)));
        assert_eq!(names(&withdrawn), ["b"]);
        withdrawn.age(now + MEMORY);
        touch(&mut withdrawn, "one");
        assert!(names(&withdrawn).is_empty());
        assert!(withdrawn.ended.is_empty() && withdrawn.by_workload.is_empty());
    }
}
