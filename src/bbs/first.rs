//! Whether a first list is believed: there is nothing to compare it with, and whoever routes by it may hold more.

use std::{mem::discriminant, time::Duration};

use tokio::time::Instant;

use super::{
    Doubt,
    client::Read,
    observation::{List, Observation},
};
use crate::{guids::GuidMap, model::ProcessType};

/// Rows that cannot be read and are bad rows, left out one by one; more are a format that we do not know.
const MAX_UNREADABLE: usize = 10;
/// A cold start of Diego has fewer than half of its instances running, and cells report every half minute.
const DOUBTED: Duration = Duration::from_mins(1);
/// How many lists in a row have to say so.
const DOUBTED_READS: u32 = 3;

/// The lists until one is believed.
#[derive(Debug)]
pub(super) struct FirstList {
    confirm_after: Duration,
    doubted: Option<Doubted>,
    /// How many instances ran by the one that was believed last: before anything is served they are to run by the next one.
    ran: usize,
}

/// Lists that were doubted for the same reason, one after the other.
#[derive(Debug)]
struct Doubted {
    why: Doubt,
    /// When the first of them was asked for.
    since: Instant,
    reads: u32,
}

impl FirstList {
    /// A list that the BBS does not vouch for is believed after a while.
    pub(super) fn new(confirm_after: Duration) -> Self {
        Self {
            confirm_after,
            doubted: None,
            ran: 0,
        }
    }

    /// Judges a list.
    ///
    /// A BBS whose database was lost lists nothing at first, then some, and does not vouch for it; so what it does not
    /// vouch for is believed after a while only, and nothing never. Of what it vouches for, nothing has to be said twice,
    /// and three times that fewer than half of what is to run does, or that fewer than half of what runs is to.
    pub(super) fn judge(&mut self, read: Read) -> Result<Read, Doubt> {
        let (listed, unreadable) = (read.list.instances.len(), read.dropped.len());
        let is_much = unreadable > MAX_UNREADABLE && unreadable * 10 > listed + unreadable;
        if is_much || listed == 0 && unreadable > 0 {
            return Err(Doubt::Unreadable { listed, unreadable });
        }
        let Amounts {
            running,
            wanted,
            unwanted,
        } = amounts(&read.list);
        let wanted = wanted.max(self.ran);
        let why = if !read.list.fresh {
            Doubt::NotFresh
        } else if running * 2 < wanted {
            Doubt::Few { running, wanted }
        } else if unwanted * 2 > running {
            Doubt::Unwanted { running, unwanted }
        } else if running == 0 {
            Doubt::Nothing
        } else {
            self.doubted = None;
            self.ran = running;
            return Ok(read);
        };
        let (age, reads) = self.doubt(why, read.began);
        let is_believed = match why {
            Doubt::NotFresh => listed > 0 && age >= self.confirm_after,
            Doubt::Few { .. } | Doubt::Unwanted { .. } => age >= DOUBTED && reads >= DOUBTED_READS,
            Doubt::Nothing => reads > 1,
            Doubt::Unreadable { .. } => false,
        };
        if !is_believed {
            return Err(why);
        }
        self.ran = running;
        Ok(read)
    }

    /// How long lists have been doubted for this reason, and how many were.
    fn doubt(&mut self, why: Doubt, began: Instant) -> (Duration, u32) {
        let is_same = |doubted: &Doubted| discriminant(&doubted.why) == discriminant(&why);
        let same = self.doubted.take().filter(is_same);
        let doubted = self.doubted.insert(same.unwrap_or(Doubted {
            why,
            since: began,
            reads: 0,
        }));
        doubted.reads += 1;
        (began.duration_since(doubted.since), doubted.reads)
    }

    /// When the next list could be believed.
    pub(super) fn retry(doubt: Doubt) -> Option<Duration> {
        match doubt {
            Doubt::Nothing => Some(Duration::ZERO),
            Doubt::Few { .. } | Doubt::Unwanted { .. } => Some(DOUBTED / 2),
            Doubt::NotFresh | Doubt::Unreadable { .. } => None,
        }
    }
}

/// What a list says of the foundation as a whole.
struct Amounts {
    /// How many instances run.
    running: usize,
    /// How many are to.
    wanted: usize,
    /// How many run that are not to.
    unwanted: usize,
}

/// A web process has ports: an instance of it without any is none that runs.
fn amounts(list: &List) -> Amounts {
    let runs = |one: &&Observation| {
        let is_web = one.workload.as_ref().map(|of| &of.process_type) == Some(&ProcessType::Web);
        let endpoint = one.endpoint.as_ref();
        one.routable && endpoint.is_some_and(|endpoint| !is_web || !endpoint.ports.is_empty())
    };
    let limits: GuidMap<_, _> = list
        .desired
        .iter()
        .map(|one| (&one.process, one.instances))
        .collect();
    let is_unwanted = |one: &&Observation| match limits.get(&one.process) {
        Some(instances) => one.index >= *instances,
        None => {
            !list.unclear.has_nameless_processes && !list.unclear.processes.contains(&one.process)
        }
    };
    let runs = list.instances.iter().filter(runs);
    let unwanted = runs.clone().filter(is_unwanted).count();
    let running = runs.count();
    let wanted: u64 = list
        .desired
        .iter()
        .map(|one| u64::from(one.instances))
        .sum();
    Amounts {
        running,
        wanted: usize::try_from(wanted).unwrap_or(usize::MAX),
        unwanted,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use smallvec::SmallVec;

    use super::*;
    use crate::{
        bbs::{
            merge::Mark,
            observation::{Desired, Endpoint, Tag},
        },
        feed::Drops,
    };

    const NEVER: Duration = Duration::from_hours(1);

    fn desired(process: &str, instances: u32) -> Desired {
        Desired {
            process: process.into(),
            instances,
            tag: Tag { epoch: 1, index: 1 },
            app: None,
            workload: None,
        }
    }

    struct Bench {
        first: FirstList,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                first: FirstList::new(NEVER),
                now: Instant::now(),
            }
        }

        /// Whether a list is believed that is asked for `later` and has nothing of `wanted` instances.
        fn believes(&mut self, later: u64, fresh: bool, wanted: u32) -> bool {
            self.now += Duration::from_secs(later);
            let list = List {
                desired: vec![desired("process", wanted)],
                fresh,
                ..List::default()
            };
            self.first.judge(read(list, self.now)).is_ok()
        }
    }

    fn read(list: List, began: Instant) -> Read {
        Read {
            list,
            mark: Mark::default(),
            dropped: Drops::default(),
            parts: Drops::default(),
            began,
        }
    }

    fn running(process: &str, index: u32) -> Observation {
        Observation {
            guid: format!("{process}-{index}").as_str().into(),
            process: process.into(),
            index,
            tag: Tag { epoch: 1, index: 1 },
            since: 0,
            workload: None,
            endpoint: Some(Endpoint {
                host_address: Ipv4Addr::LOCALHOST.into(),
                container_address: None,
                prefers_container: false,
                zone: None,
                ports: SmallVec::new(),
            }),
            routable: true,
        }
    }

    #[test]
    fn fewer_than_half_are_believed_when_three_lists_over_a_minute_say_so() {
        let mut bench = Bench::new();
        assert!(!bench.believes(0, true, 40));
        assert!(!bench.believes(60, true, 40), "there were two");
        assert!(bench.believes(0, true, 40));
        let mut bench = Bench::new();
        assert!(!bench.believes(0, true, 40));
        assert!(!bench.believes(30, true, 40));
        assert!(!bench.believes(29, true, 40), "the minute is not over");
        assert!(bench.believes(1, true, 40));
    }

    #[test]
    fn that_most_of_what_runs_is_not_to_is_doubted() {
        let unwanted = |wanted: &[(&str, u32)]| {
            let desired = wanted
                .iter()
                .map(|(process, instances)| desired(process, *instances));
            let list = List {
                instances: vec![
                    running("a", 0),
                    running("a", 1),
                    running("b", 0),
                    running("b", 1),
                ],
                desired: desired.collect(),
                fresh: true,
                ..List::default()
            };
            amounts(&list).unwanted
        };
        assert_eq!(unwanted(&[("a", 2), ("b", 2)]), 0);
        assert_eq!(unwanted(&[("a", 1), ("b", 5)]), 1);
        assert_eq!(unwanted(&[("b", 0)]), 4);
    }

    #[test]
    fn nothing_is_believed_the_second_time() {
        let mut bench = Bench::new();
        assert!(!bench.believes(0, true, 0));
        assert!(bench.believes(0, true, 0));
    }

    #[test]
    fn rows_of_which_none_runs_are_nothing() {
        let mut first = FirstList::new(NEVER);
        let stopped = Observation {
            endpoint: None,
            routable: false,
            ..running("a", 0)
        };
        let mut believes = |began| {
            let list = List {
                instances: vec![stopped.clone()],
                desired: vec![desired("a", 0)],
                fresh: true,
                ..List::default()
            };
            first.judge(read(list, began)).is_ok()
        };
        let now = Instant::now();
        assert!(!believes(now));
        assert!(believes(now));
    }

    #[test]
    fn what_was_doubted_for_another_reason_does_not_count() {
        let mut bench = Bench::new();
        assert!(!bench.believes(0, false, 40));
        assert!(!bench.believes(60, false, 40));
        assert!(!bench.believes(60, true, 40), "nobody vouched before");
        assert!(!bench.believes(0, true, 0));
    }
}
