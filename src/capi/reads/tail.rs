//! What changed lately: the end of a list, followed by the server's clock.

mod entries;

use std::{collections::BTreeSet, time::Duration};

use serde_json::value::RawValue;

use self::entries::{BINDING_EVENT_TYPES, EVENT_TYPES, Entry, Subject};
pub(crate) use self::entries::{Binding, Said};
use super::{batch::Batch, collector::ROUTES};
use crate::{
    capi::{
        domains::Domains,
        error::Error,
        http::{Client, Keyset, List, filter, one_page},
        timestamp::Timestamp,
    },
    model::RouteGuid,
};

/// Rows bear the time at which their transaction began and show when it ends; longer ones are left to full reads.
const OVERLAP: Duration = Duration::from_mins(1);

/// By how much the server's clock may lag behind its database's. A row of a later time says nothing of how far the list
/// was read: whoever believed it would see no other change until then.
const MARGIN: Duration = Duration::from_secs(5);

/// Which rows were seen: by the server's clock, never by ours.
#[derive(Debug, Default)]
struct Window {
    /// When it was opened: what is older was there before anything was read.
    opened: Option<Timestamp>,
    latest: Option<Timestamp>,
    seen: BTreeSet<(Timestamp, String)>,
}

impl Window {
    /// From where to read on, so that what was committed late is not missed.
    fn from(&self) -> Option<Timestamp> {
        self.latest.map(|latest| latest.minus(OVERLAP))
    }

    /// Whether a row is seen for the first time.
    fn admit(&mut self, time: Timestamp, guid: &str) -> bool {
        self.latest = self.latest.max(Some(time));
        self.seen.insert((time, guid.to_owned()))
    }

    /// Is not further than the server's clock, whatever rows and earlier clocks said.
    fn keep_to(&mut self, clock: Timestamp) {
        let limit = clock.plus(MARGIN);
        self.latest = self.latest.map(|latest| latest.min(limit));
    }

    /// Forgets what is not going to be read again.
    fn prune(&mut self) {
        if let Some(from) = self.from() {
            self.seen = self.seen.split_off(&(from, String::new()));
        }
    }
}

/// What a tail found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Committed changes.
    pub(crate) changed: Batch,
    /// Changes that may still be on their way.
    pub(crate) announced: Batch,
    /// The routes that were bound to a route service, or released from it, in the order in which it happened.
    pub(crate) bindings: Vec<(RouteGuid, Binding)>,
    /// What is said to have gone.
    pub(crate) said: Vec<Said>,
    /// Whether a binding changed of which the event does not say the route.
    pub(crate) has_nameless_binding: bool,
}

impl Findings {
    /// `is_old`: from before the first read, which knew it; but it may have been committed later.
    fn add(&mut self, subject: Subject, is_old: bool) {
        match subject {
            Subject::Changed(route) => {
                self.changed.routes.insert(route);
            }
            Subject::Said(said) => {
                match &said {
                    Said::Unmapped(route, _) => self.changed.routes.insert(route.clone()),
                    Said::RouteDeleted(route) => self.announced.routes.insert(route.clone()),
                    Said::AppDeleted(app) => self.announced.apps.insert(app.clone()),
                };
                self.said.push(said);
            }
            Subject::Binding(Some(route), binding) => {
                // The event of a deletion may be there before its commit.
                let batch = match binding {
                    Binding::Made => &mut self.changed,
                    Binding::Deleted => &mut self.announced,
                };
                batch.routes.insert(route.clone());
                // That it was made is to be read first: it may have failed, or be gone.
                if !is_old || binding == Binding::Deleted {
                    self.bindings.push((route, binding));
                }
            }
            Subject::Binding(None, _) => self.has_nameless_binding = true,
            Subject::Nothing => {}
        }
    }
}

/// Which list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Audit events: mappings and deletions.
    AuditEvents,
    /// Routes in order of their last update: creations.
    UpdatedRoutes,
}

/// A list that is followed.
#[derive(Debug)]
pub(crate) struct Tail {
    source: Source,
    with_bindings: bool,
    page_size: u32,
    window: Option<Window>,
}

impl Tail {
    /// Follows a list; of audit events, also those of bindings if these are wanted.
    pub(crate) fn new(source: Source, with_bindings: bool, page_size: u32) -> Self {
        Self {
            source,
            with_bindings,
            page_size,
            window: None,
        }
    }

    /// Finds the present end of the list; what is before it is left to the full read that follows.
    pub(crate) async fn seed(
        &mut self,
        client: &mut Client,
        domains: &Domains,
    ) -> Result<(), Error> {
        let mut query = self.filter(domains);
        query.push(("order_by".to_owned(), format!("-{}", self.column())));
        query.push(("per_page".to_owned(), "1".to_owned()));
        let mut newest = None;
        one_page(self.path(), &query, client, |raw| {
            newest = Some(self.entry(raw));
        })
        .await?;
        let mut window = Window::default();
        if let Some(entry) = newest {
            // From no time at all, the next look would walk the whole list.
            let entry = entry.ok_or_else(|| Error::NewestRow {
                url: client.url(self.path()),
            })?;
            window.latest = Some(entry.time);
        }
        window.opened = Some(client.clock());
        window.keep_to(client.clock());
        self.window = Some(window);
        Ok(())
    }

    /// What is new since the last look.
    pub(crate) async fn read(
        &mut self,
        client: &mut Client,
        domains: &Domains,
    ) -> Result<Findings, Error> {
        let Some(window) = &self.window else {
            self.seed(client, domains).await?;
            return Ok(Findings::default());
        };
        let keyset = Keyset::new(self.column(), self.page_size, window.from());
        let mut entries = Vec::new();
        List::new(self.path(), self.filter(domains), keyset)
            .read(client, |raw| entries.extend(self.entry(raw)))
            .await?;
        // Only now: rows of a read that failed half-way have to be seen again.
        let window = self.window.get_or_insert_default();
        let mut findings = Findings::default();
        entries.sort_by_key(Entry::order);
        for entry in entries {
            if window.admit(entry.time, &entry.guid) {
                let is_old = Some(entry.time) < window.opened;
                findings.add(entry.subject, is_old);
            }
        }
        window.keep_to(client.clock());
        window.prune();
        Ok(findings)
    }

    fn path(&self) -> &'static str {
        match self.source {
            Source::AuditEvents => "/v3/audit_events",
            Source::UpdatedRoutes => ROUTES,
        }
    }

    fn column(&self) -> &'static str {
        match self.source {
            Source::AuditEvents => "created_at",
            Source::UpdatedRoutes => "updated_at",
        }
    }

    fn filter(&self, domains: &Domains) -> Vec<(String, String)> {
        match self.source {
            Source::AuditEvents => {
                let bindings = self.with_bindings.then_some(BINDING_EVENT_TYPES);
                let types = EVENT_TYPES
                    .into_iter()
                    .chain(bindings.into_iter().flatten());
                vec![filter("types", types)]
            }
            Source::UpdatedRoutes => domains.filter().0.into_iter().collect(),
        }
    }

    /// A row that cannot be read has nothing to say; a full read finds what it was about.
    fn entry(&self, raw: &RawValue) -> Option<Entry> {
        match self.source {
            Source::AuditEvents => entries::event(raw),
            Source::UpdatedRoutes => entries::updated_route(raw),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: u64) -> Timestamp {
        let text = format!("\"1970-01-01T00:{:02}:{:02}Z\"", seconds / 60, seconds % 60);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_row_is_new_once_even_when_it_shows_late() {
        let mut window = Window::default();
        assert!(window.admit(time(100), "a"));
        assert!(!window.admit(time(100), "a"));
        window.prune();
        assert_eq!(window.from(), Some(time(40)));
        assert!(window.admit(time(95), "late"));
        assert!(!window.admit(time(95), "late"));
    }

    #[test]
    fn forgets_what_is_not_read_again_and_nothing_else() {
        let mut window = Window::default();
        window.admit(time(100), "old");
        window.admit(time(140), "at the edge");
        window.admit(time(200), "new");
        window.prune();
        let kept: Vec<_> = window.seen.iter().map(|(_, guid)| guid.as_str()).collect();
        assert_eq!(kept, ["at the edge", "new"]);
    }

    #[test]
    fn a_row_from_the_future_does_not_move_the_window_past_the_servers_clock() {
        let mut window = Window::default();
        assert!(window.admit(time(3000), "from the future"));
        window.keep_to(time(100));
        window.prune();
        assert_eq!(window.from(), Some(time(45)));
        assert!(window.admit(time(101), "of now"));
        assert!(!window.admit(time(3000), "from the future"), "once");
        // A clock that was wrong itself is forgotten with its next answer.
        window.keep_to(time(3000));
        assert_eq!(window.from(), Some(time(2940)));
        window.keep_to(time(102));
        assert_eq!(window.from(), Some(time(47)));
    }
}
