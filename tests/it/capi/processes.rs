//! Processes that the BBS does not describe.

use super::*;

#[tokio::test]
async fn undescribed_processes_are_asked_for_once() {
    let foundation = Foundation::new().await;
    let known = foundation.capi.state().add_process(&app("a"), "worker");
    let unknown = CapiProcessGuid::from("6a901b7c-9417-4dc1-8189-d3234aa0ab82");
    let mut polling = foundation.poll();
    polling.all_routes().await;
    assert_eq!(foundation.capi.count(Endpoint::Processes), 0);

    let mut undescribed = BTreeSet::from([known.clone(), unknown.clone()]);
    polling
        .undescribed
        .send_replace(Arc::new(undescribed.clone()));
    let (answer, unanswered) = polling.processes().await;
    assert_eq!(
        (answer[0].0.clone(), answer[0].1.as_str()),
        (known, "worker")
    );
    assert_eq!(unanswered, [unknown]);

    let later = foundation.capi.state().add_process(&app("b"), "web");
    undescribed.insert(later.clone());
    polling.undescribed.send_replace(Arc::new(undescribed));
    let (answer, unanswered) = polling.processes().await;
    assert_eq!(answer[0].0, later);
    assert_eq!(unanswered, []);
    let asked = foundation.capi.requests(Endpoint::Processes);
    assert_eq!(asked.len(), 2);
    assert_eq!(
        asked[1].parameter("guids"),
        Some(later.to_string().as_str())
    );
}

#[tokio::test]
async fn a_process_that_stays_undescribed_is_asked_for_again_at_each_full_read() {
    let foundation = Foundation::new().await;
    foundation.load(1);
    let known = foundation.capi.state().add_process(&app("a"), "worker");
    let unknown = CapiProcessGuid::from("6a901b7c-9417-4dc1-8189-d3234aa0ab82");
    let settings = Settings {
        full_read_interval: Duration::from_millis(20),
        ..foundation.settings()
    };
    let mut polling = Polling::start(settings);
    let undescribed = BTreeSet::from([known.clone(), unknown.clone()]);
    polling.undescribed.send_replace(Arc::new(undescribed));
    for _ in 0..3 {
        let (answer, unanswered) = polling.processes().await;
        assert_eq!(answer[0].0, known);
        assert_eq!(unanswered, std::slice::from_ref(&unknown));
    }
}

#[tokio::test]
async fn a_process_that_comes_back_is_asked_for_at_once() {
    let foundation = Foundation::new().await;
    foundation.load(1);
    let process = foundation.capi.state().add_process(&app("a"), "worker");
    let mut polling = foundation.poll();
    polling.all_routes().await;
    for _ in 0..2 {
        let undescribed = BTreeSet::from([process.clone()]);
        polling.undescribed.send_replace(Arc::new(undescribed));
        assert_eq!(polling.processes().await.0[0].0, process);
        let asked = foundation.capi.count(Endpoint::Processes);
        let other = CapiProcessGuid::from("6a901b7c-9417-4dc1-8189-d3234aa0ab82");
        let others = BTreeSet::from([other]);
        polling.undescribed.send_replace(Arc::new(others));
        soon(foundation.capi.requested(Endpoint::Processes, asked + 1)).await;
        polling.processes().await;
    }
}

#[tokio::test]
async fn an_unreadable_process_is_named_until_it_is_gone() {
    let foundation = Foundation::new().await;
    foundation.load(1);
    let process = foundation.capi.state().add_process(&app("a"), "worker");
    foundation.capi.state().spoil_process(&process);
    let settings = Settings {
        full_read_interval: Duration::from_millis(20),
        ..foundation.settings()
    };
    let mut polling = Polling::start(settings);
    let undescribed = BTreeSet::from([process.clone()]);
    polling.undescribed.send_replace(Arc::new(undescribed));
    let name = process.to_string();
    let is_named = |status: &Status| status.dropped.named().contains_key(&name);
    soon(polling.asked.wait_for(is_named)).await.unwrap();
    polling.undescribed.send_replace(Arc::default());
    let is_over = |status: &Status| status.dropped.is_empty();
    soon(polling.asked.wait_for(is_over)).await.unwrap();
}

impl Polling {
    /// The next answer about processes: those that are known, with their types, and the others.
    async fn processes(&mut self) -> (Vec<(CapiProcessGuid, String)>, Vec<CapiProcessGuid>) {
        loop {
            if let Update::Processes { known, unknown } = self.update().await {
                let known = known.into_iter();
                let known =
                    known.map(|process| (process.guid, process.workload.process_type.to_string()));
                return (known.collect(), unknown);
            }
        }
    }
}
