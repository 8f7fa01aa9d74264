//! The collections for both eras: shared as far as they are the same, edited in one go.

use std::sync::Arc;

use crate::{
    istio::Eras,
    snapshot::{self, Collection, Encoded},
};

/// Resources of a collection to set or to remove, by name.
#[derive(Debug, Default)]
pub(super) struct Edits {
    classic: snapshot::Edits,
    /// Only what is different for xDS.
    xds: snapshot::Edits,
}

impl Edits {
    /// Sets a resource for both eras, or for one of them and removes it for the other.
    pub(super) fn set(&mut self, name: impl Into<Arc<str>>, resource: Eras<Option<Encoded>>) {
        let name = name.into();
        match resource {
            Eras::Same(both) => {
                self.xds.remove(&name);
                self.classic.insert(name, both);
            }
            Eras::Each { classic, xds } => {
                self.xds.insert(name.clone(), xds);
                self.classic.insert(name, classic);
            }
        }
    }

    /// Removes a resource for both eras.
    pub(super) fn remove(&mut self, name: impl Into<Arc<str>>) {
        self.set(name, Eras::Same(None));
    }

    /// The collection with these edits. Both eras have one and the same again as soon as nothing in it differs; a
    /// collection that is as it was is the same one.
    pub(super) fn apply(self, to: &Eras<Arc<Collection>>) -> Eras<Arc<Collection>> {
        let (classic, xds) = match to {
            _ if self.classic.is_empty() => return to.clone(),
            Eras::Same(both) if self.xds.is_empty() => {
                return Eras::Same(edited(both, self.classic));
            }
            Eras::Same(both) => (both, both),
            Eras::Each { classic, xds } => (classic, xds),
        };
        let mut for_xds = self.classic.clone();
        for_xds.extend(self.xds);
        let (classic, xds) = (edited(classic, self.classic), edited(xds, for_xds));
        if classic.version() == xds.version() {
            Eras::Same(classic)
        } else {
            Eras::Each { classic, xds }
        }
    }
}

fn edited(collection: &Arc<Collection>, edits: snapshot::Edits) -> Arc<Collection> {
    let edited = collection.edited(edits);
    if edited.version() == collection.version() {
        collection.clone()
    } else {
        Arc::new(edited)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{istio::Era, proto::istio::networking::v1alpha3::DestinationRule};

    /// What each era holds, by name.
    type Model = [BTreeMap<u8, u8>; 2];

    fn resource(content: Option<u8>) -> Option<Encoded> {
        let host = content?.to_string();
        let rule = DestinationRule {
            host,
            ..DestinationRule::default()
        };
        Some(Encoded::new("", 0, &rule))
    }

    fn holds(collection: &Collection, model: &BTreeMap<u8, u8>) -> bool {
        let expected = model.iter().map(|(name, content)| {
            let version = resource(Some(*content)).map(|encoded| encoded.version());
            (name.to_string(), version)
        });
        let held = collection.iter();
        let held = held.map(|resource| (resource.name.to_owned(), Some(resource.version)));
        held.collect::<BTreeMap<_, _>>() == expected.collect()
    }

    fn set(model: &mut BTreeMap<u8, u8>, name: u8, content: Option<u8>) {
        match content {
            Some(content) => model.insert(name, content),
            None => model.remove(&name),
        };
    }

    proptest! {
        #[test]
        fn any_edits_leave_each_era_with_its_own_and_one_collection_where_that_is_the_same(
            batches in vec(vec((0u8..4, [proptest::option::of(0u8..2), proptest::option::of(0u8..2)]), 0..6), 1..8),
        ) {
            let mut model = Model::default();
            let mut eras = Eras::Same(Arc::new(Collection::default()));
            for batch in batches {
                let mut edits = Edits::default();
                for (name, [classic, xds]) in batch {
                    set(&mut model[0], name, classic);
                    set(&mut model[1], name, xds);
                    let resource = if classic == xds {
                        Eras::Same(resource(classic))
                    } else {
                        Eras::Each { classic: resource(classic), xds: resource(xds) }
                    };
                    edits.set(name.to_string(), resource);
                }
                eras = edits.apply(&eras);
                for (era, model) in [Era::Classic, Era::Xds].into_iter().zip(&model) {
                    prop_assert!(holds(eras.of(era), model), "{era:?}");
                }
                prop_assert_eq!(matches!(eras, Eras::Same(_)), model[0] == model[1]);
            }
        }
    }
}
