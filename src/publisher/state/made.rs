//! What is made of hostnames, routes and apps becomes the collections.

use std::{mem, sync::Arc};

use super::{AllEdits, Collections, Leaving, SERVICE_KINDS, State};
use crate::{
    istio::{self, DEFAULT_SIDECAR, Era, Eras, Kind, Made, OF_HOSTS},
    model::{AppGuid, Hostname},
    publisher::{collections::Edits, generation::Generated},
    snapshot::Encoded,
    table::Touched,
};

impl State {
    pub(super) fn regenerate_sidecar(&mut self, app: &AppGuid, edits: &mut Edits) {
        let made = istio::sidecar(app, self.table.reachable_from(app));
        let (encoded, reasons) = match made.transpose() {
            Ok(encoded) => (Eras::Same(encoded), Vec::new()),
            Err(invalid) => (Eras::Same(None), vec![invalid]),
        };
        self.metrics.encoded(&encoded);
        let name = app.to_string();
        // Which no app has for its own, whatever policies say.
        if name != DEFAULT_SIDECAR {
            edits.set(name.as_str(), encoded);
        }
        let collection = Kind::Sidecar.collection();
        self.told
            .reject(&mut self.rejected, collection, &name, reasons);
    }

    pub(super) fn take_in(
        &mut self,
        host: &Hostname,
        touched: &Touched,
        generated: Generated,
        leaving: Leaving<'_>,
        edits: &mut AllEdits,
    ) {
        let other_sort = match generated {
            Generated::External {
                virtual_service,
                routes,
            } => {
                if let Some(made) = virtual_service {
                    self.take_made(host.as_str(), made, edits);
                }
                for (key, services) in routes {
                    self.take_route(host, &key, services, leaving, edits);
                }
                true
            }
            Generated::Internal(made) => {
                for made in made {
                    self.take_made(host.as_str(), made, edits);
                }
                self.withdraw_internal(host, leaving.now);
                for key in touched.services() {
                    let pool = self.table.host(host).and_then(|host| host.pool(key));
                    let is_refused = pool.is_some_and(|pool| pool.refused().is_some());
                    self.retire(host, key, Vec::new(), is_refused, leaving, edits);
                }
                false
            }
            Generated::Gone => {
                for key in touched.services() {
                    self.take_route(host, key, None, leaving, edits);
                }
                self.remove_all_of(host, false, edits);
                for kind in OF_HOSTS {
                    let collection = kind.collection();
                    self.told
                        .reject(&mut self.rejected, collection, host.as_str(), Vec::new());
                }
                true
            }
        };
        if touched.routes() {
            // Its domain may have been of the other sort before.
            self.remove_all_of(host, other_sort, edits);
        }
    }

    /// Removes at once what there is of a hostname; not the services of an external one's routes, which go one by one.
    fn remove_all_of(&mut self, host: &Hostname, internal: bool, edits: &mut AllEdits) {
        let is_of_host = |kind: &Kind| internal || !SERVICE_KINDS.contains(kind);
        for kind in OF_HOSTS.into_iter().filter(is_of_host) {
            self.remove(kind, kind.name(host, internal).into(), edits);
        }
    }

    /// Removes a resource at once, though older VirtualServices may name it.
    pub(super) fn remove(&mut self, kind: Kind, name: Arc<str>, edits: &mut AllEdits) {
        if SERVICE_KINDS.contains(&kind) && self.is_served(kind, &name) {
            self.complete_since = self.number;
        }
        edits[kind].remove(name);
    }

    pub(super) fn is_served(&self, kind: Kind, name: &str) -> bool {
        self.is_lost(kind, name, &Eras::Same(None))
    }

    /// Whether there is a resource for an era to which it is not served any more.
    fn is_lost(&self, kind: Kind, name: &str, now: &Eras<Option<Encoded>>) -> bool {
        let collections = &self.collections[kind];
        Era::ALL
            .into_iter()
            .any(|era| now.of(era).is_none() && collections.of(era).get(name).is_some())
    }

    pub(super) fn take_made(&mut self, subject: &str, made: Made, edits: &mut AllEdits) {
        for (name, encoded) in made.resources {
            if made.kind == Kind::DestinationRule && self.is_lost(made.kind, &name, &encoded) {
                // Older VirtualServices may name its subsets.
                self.complete_since = self.number;
            }
            self.metrics.encoded(&encoded);
            edits[made.kind].set(name, encoded);
        }
        let collection = made.kind.collection();
        self.told
            .reject(&mut self.rejected, collection, subject, made.reasons);
    }

    pub(super) fn edit_all(&mut self, edits: &mut AllEdits) {
        for kind in Kind::ALL {
            let edits = mem::take(&mut edits[kind]);
            self.collections[kind] = edits.apply(&self.collections[kind]);
        }
    }

    /// Whether any collection is another than before. However many steps led there, it is one version more.
    pub(super) fn record_changes(&self, before: &Collections) -> bool {
        let mut changed = false;
        for (kind, collection) in self.collections.iter() {
            let differs = |era| !Arc::ptr_eq(before[kind].of(era), collection.of(era));
            if differs(Era::Classic) {
                self.metrics
                    .record_collection(kind, collection.of(Era::Classic));
            }
            changed |= differs(Era::Classic) || differs(Era::Xds);
        }
        changed
    }
}
