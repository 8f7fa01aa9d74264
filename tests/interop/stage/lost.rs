//! Instances that are gone without their foundation's knowing, and those of them that are found again.

use anyhow::{Context as _, Result};
use copilot::model::InstanceGuid;

use super::{App, Place, Running, Stage};

/// An instance that is gone, as its foundation does not know.
pub struct Lost {
    /// Its guid.
    pub guid: InstanceGuid,
    index: u32,
    place: Place,
    zone: &'static str,
}

impl Stage {
    /// The last of an app's instances is gone and its cell out of touch: its row stays, though its place may be another's
    /// soon.
    ///
    /// # Errors
    /// None runs.
    pub async fn lose(&mut self, app: &mut App) -> Result<Lost> {
        let lost = app.instances.pop().context("nothing runs")?;
        self.end(app, &lost.server);
        lost.server.crash().await;
        self.places.give_back(lost.place);
        Ok(Lost {
            guid: lost.guid,
            index: lost.index,
            place: lost.place,
            zone: lost.zone,
        })
    }

    /// A cell is in touch again: what was lost there answers as before. Its place must not have become another's.
    ///
    /// # Errors
    /// It has.
    pub async fn find(&mut self, app: &mut App, lost: Lost) -> Result<()> {
        let server = self.listen(app, &lost.guid, &lost.place).await?;
        self.begin(app);
        app.instances.push(Running {
            guid: lost.guid,
            index: lost.index,
            place: lost.place,
            zone: lost.zone,
            server,
        });
        Ok(())
    }
}
