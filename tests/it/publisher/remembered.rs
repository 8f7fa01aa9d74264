//! What a restart makes of what was served before it.

use std::time::SystemTime;

use copilot::{
    model::{Instance, Reading, Source},
    store::{self, Saved},
};
use tempfile::TempDir;
use tokio::time::{Instant, advance};

use super::*;

const ROUTES: usize = 40;
const MINUTE: Duration = Duration::from_mins(1);

/// A publisher that is started beside a state file.
struct Restarted {
    running: Running,
    folder: TempDir,
}

fn store(folder: &TempDir) -> store::Settings {
    store::Settings {
        path: folder.path().join("state"),
        foundation: "here".to_owned(),
        max_age: Duration::from_hours(24),
        after: MINUTE,
    }
}

fn routes() -> Vec<Route> {
    let internal = (ROUTES..2 * ROUTES).map(foundation::internal_route);
    (0..ROUTES).map(foundation::route).chain(internal).collect()
}

fn instances(count: usize) -> Vec<Arc<Instance>> {
    let instances = 0..count;
    instances
        .map(|n| foundation::instance(n, 0, 61_000))
        .collect()
}

fn saved() -> Saved {
    let routes: Vec<_> = routes().into_iter().map(Arc::new).collect();
    let instances = routes.iter();
    Saved {
        instances: instances
            .map(|route| (route.destinations[0].workload.clone(), 1))
            .collect(),
        routes,
        policies: Some(foundation::policies(2 * ROUTES)),
        ..Saved::default()
    }
}

impl Restarted {
    fn with(saved: Option<Saved>) -> Self {
        Self::waiting_for_policies(saved, MINUTE / 2)
    }

    fn waiting_for_policies(saved: Option<Saved>, grace: Duration) -> Self {
        let folder = TempDir::new().unwrap();
        if let Some(saved) = saved {
            store(&folder).write(&saved, SystemTime::now()).unwrap();
        }
        let running = start(Settings {
            store: Some(store(&folder)),
            policies: Some(grace),
            ..settings([Input::Routes, Input::Instances])
        });
        Self { running, folder }
    }

    /// A complete read that takes no time, and is taken in.
    async fn read(&self, update: Update) {
        let now = Instant::now();
        let basis = Basis::Read(Reading {
            restrictions: true,
            began: now,
            ended: now,
        });
        self.running.updates.send(update.on(basis)).await.unwrap();
        let updates = &self.running.updates;
        drop(updates.reserve_many(updates.max_capacity()).await);
        advance(Duration::from_secs(1)).await;
    }

    fn entries(&self) -> Option<usize> {
        let snapshot = self.running.outputs.snapshots.borrow().clone()?;
        Some(snapshot.get(Kind::ServiceEntry).unwrap().len())
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_word_from_cloud_controller_the_file_is_served_once_the_bbs_has_answered() {
    let mut restarted = Restarted::with(Some(saved()));
    restarted
        .read(Update::AllInstances(instances(2 * ROUTES)))
        .await;
    assert_eq!(restarted.entries(), None, "it may answer yet");
    advance(MINUTE).await;
    let snapshot = restarted.running.next().await;
    let entries = snapshot.get(Kind::ServiceEntry).unwrap();
    assert_eq!(entries.len(), 2 * ROUTES);
    let sidecars = snapshot.get(Kind::Sidecar).unwrap();
    // Of those apps whose ten next ones have internal hostnames, and of all others.
    assert_eq!(sidecars.len(), ROUTES + 10, "policies are known too");
    assert!(restarted.running.readiness.pending().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_first_list_of_few_instances_is_not_served_until_lists_go_on_to_say_so() {
    let restarted = Restarted::with(Some(saved()));
    restarted.read(Update::AllRoutes(routes())).await;
    let few = || Update::AllInstances(instances(ROUTES));
    restarted.read(few()).await;
    assert_eq!(restarted.running.outputs.held.borrow().len(), 1);
    assert_eq!(restarted.entries(), None, "half of them are missing");
    advance(MINUTE / 2).await;
    restarted.read(few()).await;
    assert_eq!(restarted.entries(), None);
    advance(MINUTE / 2).await;
    restarted.read(few()).await;
    assert_eq!(restarted.entries(), Some(ROUTES));
    assert!(restarted.running.outputs.held.borrow().is_empty());
}

/// A start without a file, in which routes lead nowhere although so many instances run.
async fn started(instances_running: usize, are_routes_first: bool) -> Restarted {
    let restarted = Restarted::with(None);
    let mut inputs = [
        Update::AllRoutes(vec![]),
        Update::AllInstances(instances(instances_running)),
    ];
    if !are_routes_first {
        inputs.reverse();
    }
    for input in inputs {
        restarted.read(input).await;
    }
    restarted
}

#[tokio::test(start_paused = true)]
async fn routes_that_lead_to_nobody_who_runs_are_not_served_until_reads_over_a_minute_say_so() {
    for are_routes_first in [true, false] {
        let restarted = started(11, are_routes_first).await;
        let held = restarted.running.outputs.held.borrow()[0].clone();
        assert_eq!(held.part.amount.endpoints, 11);
        assert_eq!(held.due, held.since + MINUTE);
        for (wait, running) in [(9, 12), (40, 13), (9, 14)] {
            assert_eq!(restarted.entries(), None);
            let confirmations = &restarted.running.outputs.confirmations[&Source::Routes];
            assert!(confirmations.borrow().routes.is_some());
            advance(Duration::from_secs(wait)).await;
            // Instances come and go meanwhile.
            restarted
                .read(Update::AllInstances(instances(running)))
                .await;
            restarted.read(Update::AllRoutes(vec![])).await;
        }
        assert_eq!(restarted.entries(), Some(0), "three have agreed");
        assert!(restarted.running.outputs.held.borrow().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_that_serves_nobody_does_not_wait_where_few_run_or_somebody_is_served_after_all() {
    for few in [0, 10] {
        let restarted = started(few, true).await;
        assert_eq!(restarted.entries(), Some(0), "{few}");
    }
    let restarted = started(ROUTES, true).await;
    assert_eq!(restarted.entries(), None);
    restarted.read(Update::AllRoutes(routes())).await;
    assert_eq!(restarted.entries(), Some(ROUTES));
    assert!(restarted.running.outputs.held.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_bulk_sync_that_leads_nowhere_by_itself_is_doubted_at_a_start_whatever_was_said_just_before()
 {
    let restarted = Restarted::with(None);
    let told = |leads| Update::AllPushed {
        routes: routes(),
        associations: vec![],
        leads,
    };
    let list = instances(2 * ROUTES);
    restarted.read(Update::AllInstances(list)).await;
    restarted.read(told(false)).await;
    assert_eq!(restarted.entries(), None);
    restarted.read(told(true)).await;
    assert_eq!(restarted.entries(), Some(2 * ROUTES));
}

#[tokio::test(start_paused = true)]
async fn first_lists_that_lack_different_halves_in_turn_are_served_when_each_was_lacking_long_enough()
 {
    let restarted = Restarted::with(Some(saved()));
    restarted.read(Update::AllRoutes(routes())).await;
    // Fifteen are missing all the time, fifteen others from the second list on.
    let lists = [15, 30, 30, 30];
    for (at, missing) in lists.into_iter().enumerate() {
        assert_eq!(restarted.entries(), None, "{at}");
        let list = instances(2 * ROUTES - missing);
        restarted.read(Update::AllInstances(list)).await;
        advance(MINUTE / 2).await;
    }
    assert_eq!(restarted.entries(), Some(2 * ROUTES - 30));
}

#[tokio::test(start_paused = true)]
async fn routes_that_lose_their_destinations_before_the_first_list_are_held_as_routes() {
    let restarted = Restarted::with(Some(saved()));
    let without = |mut route: Route| {
        route.destinations.clear();
        route
    };
    let lie = routes().into_iter().map(without).collect();
    restarted.read(Update::AllRoutes(lie)).await;
    let held = restarted.running.outputs.held.borrow().clone();
    assert_eq!(held[0].part.amount.endpoints, 2 * ROUTES as u64);
    restarted
        .read(Update::AllInstances(instances(2 * ROUTES)))
        .await;
    assert_eq!(restarted.entries(), Some(2 * ROUTES));
}

/// Row C1 of the lies: nothing is served yet that could be lost, and so it was believed.
#[tokio::test(start_paused = true)]
async fn routes_that_are_not_found_by_their_names_before_the_first_list_are_those_of_the_read() {
    let restarted = Restarted::with(None);
    restarted.read(Update::AllRoutes(routes())).await;
    let gone = routes().into_iter().map(|route| route.guid).collect();
    let current = Vec::new();
    let asked = Update::Routes { current, gone }.on(Basis::Asked);
    restarted.running.updates.send(asked).await.unwrap();
    restarted
        .read(Update::AllInstances(instances(2 * ROUTES)))
        .await;
    assert_eq!(restarted.entries(), Some(2 * ROUTES));
}

#[tokio::test(start_paused = true)]
async fn where_the_policy_server_alone_is_silent_the_policies_of_the_file_are_served() {
    let mut restarted = Restarted::waiting_for_policies(Some(saved()), 10 * MINUTE);
    restarted.read(Update::AllRoutes(routes())).await;
    restarted
        .read(Update::AllInstances(instances(2 * ROUTES)))
        .await;
    assert!(restarted.running.next().await.get(Kind::Sidecar).is_none());
    advance(MINUTE).await;
    let snapshot = restarted.running.next().await;
    assert_eq!(snapshot.get(Kind::Sidecar).unwrap().len(), ROUTES + 10);
}

#[tokio::test(start_paused = true)]
async fn a_bbs_that_is_late_is_waited_for_and_the_file_stands_in_for_cloud_controller_then() {
    let mut restarted = Restarted::with(Some(saved()));
    advance(3 * MINUTE).await;
    assert_eq!(restarted.entries(), None);
    restarted
        .read(Update::AllInstances(instances(2 * ROUTES)))
        .await;
    restarted.running.next().await;
    assert_eq!(restarted.entries(), Some(2 * ROUTES));
}

#[tokio::test(start_paused = true)]
async fn a_first_list_that_has_what_there_was_is_served_at_once() {
    let restarted = Restarted::with(Some(saved()));
    restarted.read(Update::AllRoutes(routes())).await;
    restarted
        .read(Update::AllInstances(instances(2 * ROUTES - 5)))
        .await;
    assert_eq!(restarted.entries(), Some(2 * ROUTES - 5));
}

#[tokio::test(start_paused = true)]
async fn a_first_read_of_few_routes_leaves_those_of_the_file() {
    for instances_first in [true, false] {
        let restarted = Restarted::with(Some(saved()));
        let (few, all) = (
            Update::AllRoutes(routes()[..3].to_vec()),
            Update::AllInstances(instances(2 * ROUTES)),
        );
        let updates = if instances_first {
            [all, few]
        } else {
            [few, all]
        };
        for update in updates {
            restarted.read(update).await;
        }
        assert_eq!(restarted.entries(), Some(2 * ROUTES), "{instances_first}");
    }
}

#[tokio::test(start_paused = true)]
async fn names_are_resolved_from_the_file_before_anybody_has_answered() {
    let mut restarted = Restarted::with(Some(saved()));
    let vips = &mut restarted.running.outputs.vips;
    let vips = vips.wait_for(Option::is_some).await.unwrap().clone();
    let host = foundation::internal_route(ROUTES).host;
    assert!(vips.unwrap().get(&host).is_some());
}

#[tokio::test(start_paused = true)]
async fn what_is_served_is_handed_over_to_be_written() {
    let mut restarted = Restarted::with(None);
    restarted.read(Update::AllRoutes(routes())).await;
    restarted
        .read(Update::AllPolicies(foundation::policies(2 * ROUTES)))
        .await;
    // With others that run and that nobody is sent to.
    let portless = (0..ROUTES).map(|n| {
        let mut instance = Instance::clone(&foundation::instance(n, 1, 61_100));
        instance.ports.clear();
        Arc::new(instance)
    });
    let all = instances(2 * ROUTES).into_iter().chain(portless);
    restarted.read(Update::AllInstances(all.collect())).await;
    advance(MINUTE).await;
    let written = &mut restarted.running.outputs.saved;
    let written = written.wait_for(Option::is_some).await.unwrap().clone();
    let mut written = Saved::clone(&written.unwrap().saved);
    let mut expected = saved();
    expected.policies.as_mut().unwrap().sort_unstable();
    for saved in [&mut written, &mut expected] {
        saved.routes.sort_by(|a, b| a.guid.cmp(&b.guid));
        saved.instances.sort();
    }
    assert_eq!(written, expected);
    drop(restarted.folder);
}

#[tokio::test(start_paused = true)]
async fn what_is_written_while_cloud_controller_is_silent_is_no_younger_for_that() {
    let mut restarted = Restarted::with(Some(saved()));
    let file = store(&restarted.folder).read().unwrap();
    let (_, said_at) = file.unwrap();
    restarted
        .read(Update::AllInstances(instances(2 * ROUTES)))
        .await;
    advance(2 * MINUTE).await;
    let written = &mut restarted.running.outputs.saved;
    let written = written.wait_for(Option::is_some).await.unwrap().clone();
    assert_eq!(written.unwrap().said_at, said_at);
}

#[tokio::test(start_paused = true)]
async fn what_is_confirmed_for_hours_is_written_down_anew_before_it_is_too_old() {
    let mut restarted = Restarted::with(None);
    restarted.read(Update::AllRoutes(routes())).await;
    restarted
        .read(Update::AllInstances(instances(2 * ROUTES)))
        .await;
    advance(2 * MINUTE).await;
    let written = &mut restarted.running.outputs.saved;
    written.wait_for(Option::is_some).await.unwrap();
    for (hours, is_due) in [(1, false), (6, true), (1, false)] {
        advance(Duration::from_hours(hours)).await;
        restarted.read(Update::AllRoutes(routes())).await;
        let changed = restarted.running.outputs.saved.changed();
        let is_written = tokio::time::timeout(MINUTE, changed).await.is_ok();
        assert_eq!(is_written, is_due, "after {hours} hours");
    }
}

#[tokio::test(start_paused = true)]
async fn a_domain_that_is_enforced_withholds_what_only_the_file_knows() {
    let mut restarted = Restarted::with(Some(saved()));
    let domain = foundation::route(0).host;
    let (_, domain) = domain.as_str().split_once('.').unwrap();
    let enforced = BTreeSet::from([Hostname::parse(domain).unwrap()]);
    let updates = &restarted.running.updates;
    let told = Update::Enforced(enforced).on(Basis::Told);
    updates.send(told).await.unwrap();
    restarted
        .read(Update::AllInstances(instances(2 * ROUTES)))
        .await;
    advance(MINUTE).await;
    let snapshot = restarted.running.next().await;
    let entries = snapshot.get(Kind::ServiceEntry).unwrap();
    assert_eq!(entries.len(), ROUTES, "the internal ones");
}
