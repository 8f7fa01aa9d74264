//! Any requests to any foundation, whatever happens to it.

use std::cell::Cell;

use proptest::{
    collection::vec,
    prelude::*,
    sample::Index,
    test_runner::{FileFailurePersistence, TestRunner},
};

use super::{
    envoy::Envoy,
    foundation::{
        Foundation,
        drawn::{any_change, any_foundation},
    },
    reader::{Config, Reader},
    verdict::{self, verdict},
    *,
};

/// How many requests have to agree, at the least.
const REQUESTS: usize = 100_000;

/// Longer than what nobody names any more stays published.
const LINGERING: Duration = Duration::from_mins(5);

/// By Host header and target.
type Requests = Vec<(String, String)>;

/// Compares what every reader's proxies do with what is right; answers how many requests that were.
fn judge(
    foundation: &Foundation,
    snapshot: &Snapshot,
    requests: &Requests,
) -> Result<usize, String> {
    let gorouter = foundation.gorouter();
    let mut asked = 0;
    let [classic, xds] = [Reader::Pilot(1), Reader::Istiod].map(|of| Config::sent(snapshot, of));
    for reader in Reader::ALL {
        let sent = match reader {
            Reader::Pilot(_) => &classic,
            Reader::Istiod => &xds,
        };
        let envoy = Envoy::of_sent(sent.clone(), reader);
        verdict::shape(&envoy, reader).map_err(|wrong| format!("{reader:?}: {wrong}"))?;
        for (host, target) in requests {
            let right = gorouter.lookup(host, target);
            verdict(right, envoy.ask(host, target), reader)
                .map_err(|wrong| format!("{reader:?} {host}{target}: {wrong}"))?;
            asked += 1;
        }
        for (host, port, right) in foundation.internal() {
            verdict(Some(&right), envoy.ask_within(&host, port), reader)
                .map_err(|wrong| format!("{reader:?} {host}:{port}: {wrong}"))?;
            asked += 1;
        }
    }
    Ok(asked)
}

/// Whether the same requests get the same answers of a foundation that came to be, and of one that was always so.
fn same_answers(grown: &Snapshot, anew: &Snapshot, requests: &Requests) -> Result<(), String> {
    if versions(grown) == versions(anew) {
        return Ok(());
    }
    for reader in Reader::ALL {
        let [grown, anew] = [grown, anew].map(|snapshot| Envoy::of_snapshot(snapshot, reader));
        for (host, target) in requests {
            let (grown, anew) = (grown.ask(host, target), anew.ask(host, target));
            if grown != anew {
                return Err(format!(
                    "{reader:?} {host}{target}: {grown:?}, anew {anew:?}"
                ));
            }
        }
    }
    Ok(())
}

/// The versions of what Pilots and istiods are sent.
fn versions(snapshot: &Snapshot) -> Vec<[String; 2]> {
    let collections = snapshot.iter().map(|(kind, classic)| {
        let xds = snapshot.xds(kind).expect("the same collections");
        [classic, xds].map(|collection| format!("{kind:?} {}", collection.version()))
    });
    collections.collect()
}

#[test]
fn any_requests_to_any_foundation_go_where_its_gorouter_sends_them() {
    let mut config = ProptestConfig::with_cases(250);
    config.source_file = Some(file!());
    config.failure_persistence = Some(Box::new(FileFailurePersistence::default()));
    let request = (any::<Index>(), any::<Index>(), any::<u8>(), any::<u8>());
    let input = (
        any_foundation(),
        vec(any_change(), 0..6),
        vec(request, 10..60),
    );
    let asked = Cell::new(0);
    let result = TestRunner::new(config).run(&input, |(drawn, changes, draws)| {
        runtime().block_on(async {
            let mut foundation = Foundation::new(&drawn);
            let running = published(&foundation).await;
            let first = std::iter::once(None);
            for change in first.chain(changes.iter().map(Some)) {
                if let Some(change) = change {
                    send(&running, foundation.apply(change)).await;
                }
                let requests = draws.iter().map(|draw| foundation.request(draw));
                let is_told = |(host, _): &(String, String)| foundation.is_told(host);
                let requests: Requests = requests.filter(is_told).collect();
                let snapshot = snapshot(&running);
                let judged = judge(&foundation, &snapshot, &requests);
                let judged = judged.map_err(|wrong| fail(&foundation, change, &wrong))?;
                asked.set(asked.get() + judged);
                let anew = super::snapshot(&published(&foundation).await);
                same_answers(&snapshot, &anew, &requests)
                    .map_err(|wrong| fail(&foundation, change, &wrong))?;
            }
            tokio::time::sleep(LINGERING).await;
            let anew = super::snapshot(&published(&foundation).await);
            prop_assert_eq!(versions(&snapshot(&running)), versions(&anew));
            Ok(())
        })
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    assert!(asked.get() >= REQUESTS, "only {} requests", asked.get());
}

fn fail(
    foundation: &Foundation,
    change: Option<&impl std::fmt::Debug>,
    wrong: &str,
) -> TestCaseError {
    TestCaseError::fail(format!("after {change:?}: {wrong}\n{foundation}"))
}
