//! A place that another app has got, while the row of the instance that had it before stays: a cell out of touch.

use anyhow::{Context as _, Result, ensure};
use copilot::model::InstanceGuid;
use tokio::time::{sleep, timeout};

use super::{Traffic, app};
use crate::{
    expect::SOON,
    peers::process::POLL,
    scenario::{Run, Tally},
    stage::App,
};

/// The row that the BBS changed last has the place, so that no stranger is met although two rows name it. Where that is
/// the former owner's, its visitors do meet one, which shows that it is the rule that decides.
pub(super) async fn still_listed(run: &mut Run<'_>, tally: &mut Tally) -> Result<()> {
    run.mesh.stage.plain_cells = true;
    let handed = Handed::over(run, "owned").await;
    run.mesh.stage.plain_cells = false;
    let handed = handed?;
    let held = in_plaintext(run, tally, &handed).await;
    handed.end(run);
    held?;
    let handed = Handed::over(run, "owned-tls").await?;
    let held = over_tls(run, tally, &handed).await;
    handed.end(run);
    held
}

async fn in_plaintext(run: &Run<'_>, tally: &mut Tally, handed: &Handed) -> Result<()> {
    let [former, owner] = &handed.apps;
    let traffic = Traffic::start(run, &[&owner.name, &former.name]).await?;
    traffic.reaches_all_of(owner).await?;
    traffic.goes_on().await?;
    // What was sent before the ingress knew is not the rule's.
    traffic.end_unjudged().await;
    let traffic = Traffic::start(run, &[&owner.name, &former.name]).await?;
    traffic.goes_on().await?;
    traffic.goes_on().await?;
    traffic.end(tally).await?;

    handed.change_last(run);
    let traffic = Traffic::start(run, &[&former.name]).await?;
    traffic
        .until("a stranger answers", |tally| tally.wrong > 0)
        .await?;
    traffic.goes_on().await?;
    let (wrong, requests) = traffic.end_unjudged().await;
    tally.notes.push(format!(
        "with the former owner's row changed last {wrong} of {requests} by the wrong app"
    ));
    Ok(())
}

/// Over TLS the owner proves who it is, whatever the rows say.
async fn over_tls(run: &Run<'_>, tally: &mut Tally, handed: &Handed) -> Result<()> {
    handed.change_last(run);
    let [former, owner] = &handed.apps;
    let traffic = Traffic::start(run, &[&former.name]).await?;
    let record = owner.instances[0].server.record();
    let tried = async {
        while record.asked().refused == 0 {
            sleep(POLL).await;
        }
    };
    let tried = timeout(SOON, tried).await;
    ensure!(tried.is_ok(), "the ingress did not try the owner");
    traffic.goes_on().await?;
    traffic
        .end_with_losses(tally, "of the row that changed last", u64::MAX)
        .await
}

/// An app that has lost an instance without the foundation's knowing, and the one that has its place.
struct Handed {
    apps: [App; 2],
    lost: InstanceGuid,
}

impl Handed {
    async fn over(run: &mut Run<'_>, name: &str) -> Result<Self> {
        let mut former = app(run, name, 2).await?;
        let stage = &mut run.mesh.stage;
        stage.settled().await;
        let place = former.instances.last().context("nothing runs")?.place;
        let lost = stage.lose(&mut former).await?.guid;
        stage.reuse_places(true);
        let owner = app(run, &format!("{name}-owner"), 1).await;
        run.mesh.stage.reuse_places(false);
        let owner = owner?;
        ensure!(
            owner.instances[0].place == place,
            "another place was the next"
        );
        Ok(Self {
            apps: [former, owner],
            lost,
        })
    }

    /// The BBS changes the row of the instance that was lost.
    fn change_last(&self, run: &Run<'_>) {
        run.mesh.stage.foundation.bbs.evacuate(&self.lost);
    }

    fn end(self, run: &mut Run<'_>) {
        run.mesh.stage.foundation.bbs.stop_instance(&self.lost);
        run.apps.extend(self.apps);
    }
}
