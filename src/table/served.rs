//! What is served, so that it is known what an update takes away.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{losses::Subject, pool::Pool};
use crate::model::{AppGuid, Hostname, Served, Source};

/// What is served of a route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nobody is there.
    #[default]
    Nobody,
    /// So many endpoints.
    Endpoints(u32),
    /// A refusal.
    Refusal,
    /// Nobody listens for it: it is of no port of the ingress, or of one that another has.
    Unserved,
}

impl Answer {
    pub(super) fn of(pool: &Pool<'_>) -> Self {
        if pool.host().unserved().is_some() {
            return Self::Unserved;
        }
        if pool.refused().is_some() {
            return Self::Refusal;
        }
        match pool.reachable().count() {
            0 => Self::Nobody,
            endpoints => Self::Endpoints(u32::try_from(endpoints).unwrap_or(u32::MAX)),
        }
    }

    fn amount(self) -> Served {
        match self {
            Self::Nobody | Self::Unserved => Served::default(),
            Self::Endpoints(endpoints) => Served {
                routes: 1,
                endpoints: endpoints.into(),
                ..Served::default()
            },
            Self::Refusal => Served {
                routes: 1,
                restrictions: 1,
                ..Served::default()
            },
        }
    }
}

/// How much of everything is served, and what has been lost of it lately.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// With whether they are internal.
    routes: HashMap<(Hostname, Arc<str>), (Answer, bool)>,
    sources: HashMap<AppGuid, u64>,
    total: Served,
    /// Of that, what is served of TCP routes.
    tcp: Served,
    losses: BTreeMap<Subject, Served>,
    /// How many internal routes have been restricted.
    restricted: u64,
}

impl Ledger {
    /// What is served of that which a source tells: TCP routes are few beside all that there is, and few of all that were
    /// lost if all of them were; and they are no sign that other routes are there.
    pub(super) fn of(&self, source: Source) -> Served {
        match source {
            Source::TcpRoutes => self.tcp,
            Source::Routes => self.total.beyond(self.tcp),
            Source::Instances | Source::Policies => self.total,
        }
    }

    /// What is served of a subject.
    pub(super) fn amount(&self, subject: &Subject) -> Served {
        match subject {
            Subject::Route(host, key) => {
                let answer = self.routes.get(&(host.clone(), key.clone()));
                answer.map_or_else(Served::default, |(answer, _)| answer.amount())
            }
            Subject::Source(app) => Served {
                sidecar_hosts: self.sources.get(app).copied().unwrap_or_default(),
                ..Served::default()
            },
            Subject::EveryInstance => Served::default(),
        }
    }

    /// What was lost since this was asked last.
    pub(super) fn take_losses(&mut self) -> BTreeMap<Subject, Served> {
        let restricted = std::mem::take(&mut self.restricted);
        let mut losses = std::mem::take(&mut self.losses);
        losses.retain(|_, lost| {
            lost.sidecar_hosts = lost.sidecar_hosts.saturating_sub(restricted);
            !lost.is_nothing()
        });
        losses
    }

    /// How a route is answered now.
    pub(super) fn set_route(
        &mut self,
        host: &Hostname,
        key: &Arc<str>,
        now: Answer,
        is_internal: bool,
    ) {
        let place = (host.clone(), key.clone());
        let before = match now {
            Answer::Nobody | Answer::Unserved => self.routes.remove(&place),
            now => self.routes.insert(place, (now, is_internal)),
        };
        let (before, was_internal) = before.unwrap_or((Answer::Nobody, is_internal));
        // Whom an internal hostname is for, an external one is not.
        let is_another = was_internal != is_internal;
        if before == now && !is_another {
            return;
        }
        // A new restriction is no loss: it is what was asked for, and so is what Sidecars lose by it.
        let lost = match now {
            Answer::Refusal => {
                self.restricted += u64::from(is_internal);
                Served::default()
            }
            // An older route is there again.
            Answer::Unserved => Served::default(),
            Answer::Nobody | Answer::Endpoints(_) => {
                // A restriction that goes counts like a route that does.
                let stays = if is_another { Answer::Nobody } else { now };
                let mut lost = before.amount().beyond(stays.amount());
                lost.routes = lost.routes.max(lost.restrictions);
                lost
            }
        };
        self.move_to(before.amount(), now.amount());
        if host.port().is_some() {
            self.tcp -= before.amount();
            self.tcp += now.amount();
        }
        self.lose(lost, || Subject::Route(host.clone(), key.clone()));
    }

    /// To how many internal hostnames an app may connect now.
    pub(super) fn set_source(&mut self, app: &AppGuid, hosts: usize) {
        let now = hosts as u64;
        let before = match now {
            0 => self.sources.remove(app),
            now => self.sources.insert(app.clone(), now),
        };
        let amount = |sidecar_hosts| Served {
            sidecar_hosts,
            ..Served::default()
        };
        let (before, now) = (amount(before.unwrap_or_default()), amount(now));
        self.move_to(before, now);
        self.lose(before.beyond(now), || Subject::Source(app.clone()));
    }

    fn move_to(&mut self, before: Served, now: Served) {
        self.total -= before;
        self.total += now;
    }

    fn lose(&mut self, lost: Served, subject: impl FnOnce() -> Subject) {
        if !lost.is_nothing() {
            *self.losses.entry(subject()).or_default() += lost;
        }
    }
}
