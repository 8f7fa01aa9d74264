//! Each way to lie that is known, told to a whole daemon in paused time; and the true loss that looks like it: served until the
//! guard's time is over, and gone then.

mod peers;
mod pushed;
mod scene;
mod table;

use std::time::Duration;

use tokio::time::{Instant, sleep};

use self::{
    peers::{Health, Read},
    scene::{ALL, BETWEEN_READS, Daemon, Foundation, Of, Pilot, Seen},
    table::{FOUND, TOLD, Told, Truth},
};

/// Reads in a row that lie: what a third one says too, and late enough, is believed.
const LIES: usize = 2;
/// Longer than the guard holds anything.
const FOR_LONG: Duration = Duration::from_mins(11);
/// From the answer that lets something go to its being gone from a Pilot: the rest of that read, and the waits of the publisher and
/// of the stream.
const SOON: Duration = Duration::from_secs(3);
/// A first list with fewer than half of what is to run, or with more that is not to, is doubted for so long.
const DOUBTED: Duration = Duration::from_mins(1);
/// That a restriction is gone is told once a second read agrees, so much later.
const UNBOUND: Duration = Duration::from_secs(10);
/// A BBS that hangs is left by then.
const LEFT_WITHIN: Duration = Duration::from_secs(20);

/// A daemon that serves all, and a Pilot that holds it.
async fn serving(foundation: &Foundation, has_file: bool, what: &str) -> (Daemon, Pilot) {
    let daemon = Daemon::start(foundation, has_file).await;
    let mut pilot = daemon.pilot().await;
    let all = foundation.subjects.len();
    let holds = pilot.holds(FOR_LONG, |now| now == all).await;
    assert!(holds.is_some(), "{what}: a Pilot holds {:?}", pilot.seen());
    (daemon, pilot)
}

/// So many are lost, as a read said first then: they stay until it is time, and go then.
async fn go_in_time(
    pilot: &mut Pilot,
    (all, lost): (usize, usize),
    (said, time): (Instant, Duration),
    what: &str,
) {
    let (due, late) = (said + time, said + time + SOON);
    let first = pilot.holds(late - Instant::now(), |now| now < all).await;
    let first = first.unwrap_or_else(|| panic!("{what}: nothing has gone after {time:?}"));
    assert!(
        first >= due,
        "{what}: some have gone after {:?}",
        first - said
    );
    let left = all - lost;
    let gone = pilot.holds(late - Instant::now(), |now| now == left).await;
    let seen = pilot.seen().unwrap();
    assert!(gone.is_some() && seen.fewest == left, "{what}: {seen:?}");
}

/// What was held is found again by the next read that could confirm it, or has gone.
async fn is_held_no_longer(daemon: &Daemon, what: &str) {
    let until = Instant::now() + FOR_LONG;
    while !daemon.held().is_empty() {
        assert!(Instant::now() < until, "{what}: {:?}", daemon.held());
        sleep(SOON).await;
    }
}

/// How long a feed that runs takes to tell what a read says.
fn doubted(read: Read) -> Duration {
    match read {
        Read::Bindings | Read::Domains => UNBOUND,
        _ => Duration::ZERO,
    }
}

/// The lie of so many is told, then the truth again: nothing has gone at any time, and nothing is held any more.
async fn is_told(
    row: &Told,
    lost: usize,
    (foundation, daemon, pilot): (&Foundation, &Daemon, &Pilot),
    what: &str,
) {
    let peers = &foundation.peers;
    (row.tell)(foundation, lost);
    match row.truth {
        Truth::Lost(..) if row.read != Read::Named => {
            peers.answers(row.read, LIES).await;
            assert!(!daemon.held().is_empty(), "{what}: it was told");
        }
        // However many reads say so.
        _ => {
            peers.answers(row.read, 1).await;
            sleep(FOR_LONG).await;
        }
    }
    foundation.tell_the_truth();
    let confirms = match row.read {
        Read::Named => Read::Routes,
        read => read,
    };
    peers.answers(confirms, 1).await;
    is_held_no_longer(daemon, what).await;
    let fewest = pilot.seen().unwrap().fewest;
    assert_eq!(fewest, foundation.subjects.len(), "{what}");
}

/// Tells the lie of each row of these reads while a daemon runs, and then what is true and looks like it.
async fn are_told_apart(reads: &[Read]) {
    for row in TOLD.iter().filter(|row| reads.contains(&row.read)) {
        match row.truth {
            Truth::Lost(lose, shares) => {
                for (lost, seconds) in shares.iter().copied() {
                    is_lost(row, lose, (lost, Duration::from_secs(seconds))).await;
                }
            }
            Truth::As(other) => {
                let is_it =
                    |told: &Told| told.row == other && matches!(told.truth, Truth::Lost(..));
                assert!(TOLD.iter().any(is_it), "{}: as {other}", row.row);
                let foundation = Foundation::new(row.of);
                let (daemon, pilot) = serving(&foundation, false, row.row).await;
                is_told(row, ALL, (&foundation, &daemon, &pilot), row.row).await;
                daemon.end().await;
            }
        }
    }
}

/// So many are not lost, and then they are.
async fn is_lost(row: &Told, lose: fn(&Foundation, usize), (count, time): (usize, Duration)) {
    let what = format!("{}, {count}", row.row);
    let foundation = Foundation::new(row.of);
    let all = foundation.subjects.len();
    let (daemon, mut pilot) = serving(&foundation, false, &what).await;
    // Few are believed to be at once, whether it is true or not.
    if !time.is_zero() {
        is_told(row, count, (&foundation, &daemon, &pilot), &what).await;
    }
    lose(&foundation, count);
    let said = foundation.peers.answers(row.read, 1).await;
    let time = time + doubted(row.read);
    go_in_time(&mut pilot, (all, count), (said, time), &what).await;
    assert_eq!(daemon.held(), [], "{what}");
    daemon.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_said_of_all_routes_is_held_until_it_may_be_true() {
    are_told_apart(&[Read::Routes, Read::TcpRoutes]).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_said_of_some_routes_is_held_until_it_may_be_true() {
    are_told_apart(&[Read::Named]).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_said_of_instances_is_held_until_it_may_be_true() {
    are_told_apart(&[Read::Instances]).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_said_of_policies_and_restrictions_is_held_until_it_may_be_true() {
    are_told_apart(&[Read::Policies, Read::Bindings, Read::Domains]).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_daemon_that_knows_nothing_finds_is_served_in_its_time() {
    for found in &FOUND {
        let what = found.row;
        let foundation = Foundation::new(found.of);
        (found.make)(&foundation);
        let began = Instant::now();
        let daemon = Daemon::start(&foundation, false).await;
        let mut pilot = daemon.pilot().await;
        assert!(pilot.holds(FOR_LONG, |_| true).await.is_some(), "{what}");
        let took = began.elapsed();
        assert!(found.seconds.contains(&took.as_secs()), "{what}: {took:?}");
        let reads = foundation.peers.count(found.read);
        assert!(reads >= found.reads, "{what}: {reads} reads");
        sleep(SOON).await;
        let left = found.left;
        let seen = Seen {
            now: left,
            fewest: left,
        };
        assert_eq!(pilot.seen(), Some(seen), "{what}");
        daemon.end().await;
    }
}

/// Reads of what was lost while no daemon ran, and no event will tell of.
#[tokio::test(start_paused = true)]
async fn what_was_lost_while_no_daemon_ran_goes_in_its_time_beside_a_file() {
    for row in &TOLD {
        let Truth::Lost(lose, shares) = row.truth else {
            continue;
        };
        // A start reads everything.
        if row.read == Read::Named {
            continue;
        }
        for (lost, seconds) in shares.iter().copied() {
            let what = format!("{}, {lost}", row.row);
            let foundation = Foundation::new(row.of);
            let all = foundation.subjects.len();
            let (daemon, _) = serving(&foundation, true, &what).await;
            daemon.end().await;
            lose(&foundation, lost);
            let daemon = Daemon::start(&foundation, true).await;
            let mut pilot = daemon.pilot().await;
            let said = foundation.peers.answers(row.read, 1).await;
            let time = Duration::from_secs(seconds);
            if row.read == Read::Instances {
                // Nobody knows where those are that are missing, so nothing is served.
                let is_doubted = lost * 2 > all;
                let due = said + time + if is_doubted { DOUBTED } else { Duration::ZERO };
                let answered = pilot.holds(due + SOON - Instant::now(), |_| true).await;
                let answered = answered.unwrap_or_else(|| panic!("{what}: nothing is served"));
                assert!(answered >= due, "{what}: {:?}", answered - said);
                let left = all - lost;
                let seen = Seen {
                    now: left,
                    fewest: left,
                };
                assert_eq!(pilot.seen(), Some(seen), "{what}");
            } else {
                if seconds > 0 {
                    let holds = pilot.holds(SOON, |now| now == all).await;
                    assert!(holds.is_some(), "{what}: a Pilot holds {:?}", pilot.seen());
                }
                go_in_time(&mut pilot, (all, lost), (said, time), &what).await;
            }
            daemon.end().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn b14_what_ended_while_the_bbs_was_away_goes_a_minute_after_it_is_back() {
    const ENDED: usize = 23;
    let foundation = Foundation::new(Of::Routes);
    let (_daemon, mut pilot) = serving(&foundation, false, "B14").await;
    foundation.peers.set_bbs(Health::Down);
    for subject in foundation.first(ENDED) {
        foundation.bbs.remove_process(&subject.process);
        foundation.bbs.stop_instance(&subject.instance);
    }
    sleep(BETWEEN_READS).await;
    assert_eq!(pilot.seen().unwrap().now, ALL);
    foundation.peers.set_bbs(Health::Well);
    let said = foundation.peers.answers(Read::Instances, 1).await;
    go_in_time(
        &mut pilot,
        (ALL, ENDED),
        (said, Duration::from_mins(1)),
        "B14",
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn b12_b13_b15_the_end_of_a_few_is_known_soon_whatever_becomes_of_the_stream() {
    let foundation = Foundation::new(Of::Routes);
    let (_daemon, mut pilot) = serving(&foundation, false, "B12").await;
    let (disordered, rest) = foundation.subjects.split_at(5);
    for subject in disordered {
        foundation.bbs.stop_with_older_row(&subject.instance);
    }
    let left = ALL - disordered.len();
    assert!(
        pilot.holds(SOON, |now| now == left).await.is_some(),
        "B12: {:?}",
        pilot.seen()
    );

    sleep(BETWEEN_READS).await;
    foundation.peers.set_bbs(Health::Hangs);
    let (unheard, rest) = rest.split_at(5);
    for subject in unheard {
        foundation.bbs.stop_instance(&subject.instance);
    }
    let left = left - unheard.len();
    assert!(
        pilot.holds(LEFT_WITHIN, |now| now == left).await.is_some(),
        "B13: {:?}",
        pilot.seen()
    );

    sleep(BETWEEN_READS).await;
    for (ended, subject) in (1..).zip(&rest[..8]) {
        // A stream that has delivered something, and ends.
        foundation.bbs.touch(&subject.process);
        sleep(SOON).await;
        foundation.bbs.end_streams();
        foundation.bbs.stop_instance(&subject.instance);
        let is_left = |now| now == left - ended;
        assert!(
            pilot.holds(SOON, is_left).await.is_some(),
            "B15: {:?}",
            pilot.seen()
        );
    }
}
