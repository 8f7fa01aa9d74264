//! Processes that the BBS does not describe: asked for once between two full reads.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    capi::{
        error::Error,
        http::{Client, Keyset, List, MAX_GUIDS, filter},
        wire,
    },
    feed::Drops,
    model::{CapiProcessGuid, Process},
};

const PATH: &str = "/v3/processes";

/// What is still to be asked, and what was answered.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    undescribed: Arc<BTreeSet<CapiProcessGuid>>,
    queue: BTreeSet<CapiProcessGuid>,
    answered: BTreeSet<CapiProcessGuid>,
}

/// What Cloud Controller says of some processes.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) known: Vec<Process>,
    pub(crate) unknown: Vec<CapiProcessGuid>,
    pub(crate) dropped: Drops,
}

impl Processes {
    /// These are undescribed at present.
    pub(crate) fn undescribed(&mut self, guids: Arc<BTreeSet<CapiProcessGuid>>) {
        self.answered.retain(|guid| guids.contains(guid));
        self.queue = guids.difference(&self.answered).cloned().collect();
        self.undescribed = guids;
    }

    /// Time has passed: what was unknown may be known by now, and what was known is not if it is still undescribed:
    /// its instances were gone for a moment, and with them the answer.
    pub(crate) fn ask_again(&mut self) {
        self.answered.clear();
        self.queue.clone_from(&self.undescribed);
    }

    pub(crate) fn has_questions(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Asks for as many as fit into one request. After an error they are asked for again.
    pub(crate) async fn ask(
        &mut self,
        client: &mut Client,
        page_size: u32,
    ) -> Result<Answer, Error> {
        let asked: BTreeSet<_> = self.queue.iter().take(MAX_GUIDS).cloned().collect();
        let mut answer = Answer::default();
        let keyset = Keyset::new("created_at", page_size, None);
        List::new(PATH, vec![filter("guids", &asked)], keyset)
            .read(client, |raw| match wire::process(raw) {
                Ok(process) => answer.known.push(process),
                Err(dropped) => answer.dropped.push(dropped),
            })
            .await?;
        // Pages overlap where several processes were created in one second.
        answer.known.sort_unstable_by(|a, b| a.guid.cmp(&b.guid));
        answer.known.dedup_by(|a, b| a.guid == b.guid);
        let known: BTreeSet<_> = answer.known.iter().map(|process| &process.guid).collect();
        answer.unknown = asked
            .iter()
            .filter(|guid| !known.contains(guid))
            .cloned()
            .collect();
        self.queue.retain(|guid| !asked.contains(guid));
        self.answered.extend(asked);
        Ok(answer)
    }
}
