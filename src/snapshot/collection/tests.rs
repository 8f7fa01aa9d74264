//! Collections by example, and against a model for any edits.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    proto::{
        envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse},
        istio::{
            mcp::v1alpha1::{Resource as Message, Resources},
            networking::v1alpha3::DestinationRule,
        },
    },
    snapshot::ResourceVersion,
};

fn encoded(name: &str, content: u8) -> Encoded {
    let host = content.to_string();
    Encoded::new(
        name,
        0,
        &DestinationRule {
            host,
            ..DestinationRule::default()
        },
    )
}

fn edit(names: impl IntoIterator<Item = (u16, Option<u8>)>) -> Edits {
    names
        .into_iter()
        .map(|(name, content)| {
            let name: Arc<str> = format!("name-{name:05}").into();
            let encoded = content.map(|content| encoded(&name, content));
            (name, encoded)
        })
        .collect()
}

fn contents(collection: &Collection) -> BTreeMap<String, ResourceVersion> {
    collection
        .iter()
        .map(|resource| (resource.name.to_owned(), resource.version))
        .collect()
}

fn total(collection: &Collection) -> usize {
    collection.leaves().count()
}

#[test]
fn one_edit_rebuilds_one_leaf() {
    let before = Collection::default().edited(edit((0..10_000).map(|n| (n, Some(0)))));
    let after = before.edited(edit([(5_000, Some(1))]));
    let new = after.leaves();
    let new = new.filter(|leaf| !before.leaves().any(|old| Arc::ptr_eq(old, leaf)));
    assert_eq!(new.count(), 1);
    let new = after.branches.iter();
    let new = new.filter(|branch| !before.branches.iter().any(|old| Arc::ptr_eq(old, branch)));
    assert_eq!(new.count(), 1);
    assert_eq!(after.diff(&before).changed.len(), 1);
}

#[test]
fn setting_what_is_there_changes_nothing() {
    let before = Collection::default().edited(edit((0..1000).map(|n| (n, Some(0)))));
    let after = before.edited(edit([(500, Some(0)), (2000, None)]));
    assert_eq!(after.version(), before.version());
    assert!(std::iter::zip(&after.branches, &before.branches).all(|(a, b)| Arc::ptr_eq(a, b)));
}

#[test]
fn an_empty_collection_has_a_version() {
    assert_eq!(Collection::default().version().to_string(), "0".repeat(32));
}

#[test]
fn a_resource_decodes_to_what_was_encoded() {
    let collection = Collection::default().edited(edit([(7, Some(3))]));
    let resource = collection.get("name-00007").unwrap();
    let message = resource.decode();
    let metadata = message.metadata.unwrap();
    assert_eq!(metadata.name, "name-00007");
    assert_eq!(metadata.version, resource.version.to_string());
    assert_eq!(
        message.body.unwrap().type_url,
        "type.googleapis.com/istio.networking.v1alpha3.DestinationRule"
    );
}

/// A collection's chunks as a response.
fn response<R: prost::Message + Default>(collection: &Collection, form: Form) -> R {
    let chunks: Vec<_> = collection.chunks(form).cloned().collect();
    R::decode(chunks.concat().as_slice()).unwrap()
}

#[test]
fn every_form_has_the_same_resources_but_for_their_namespace() {
    let names = (0..200).map(|n| (n, Some(1)));
    let collection = Collection::default().edited(edit(names));
    let mut mcp: Resources = response(&collection, Form::Mcp);
    for resource in &mut mcp.resources {
        let metadata = resource.metadata.as_mut().unwrap();
        metadata.name = format!("cloudfoundry/{}", metadata.name);
    }
    let ads: DiscoveryResponse = response(&collection, Form::Ads);
    let message = |any: &prost_types::Any| any.to_msg::<Message>().unwrap();
    let resources: Vec<_> = ads.resources.iter().map(message).collect();
    assert_eq!(resources, mcp.resources);
    let delta: DeltaDiscoveryResponse = response(&collection, Form::DeltaAds);
    assert_eq!(delta.resources.len(), 200);
    for (entry, resource) in std::iter::zip(delta.resources, mcp.resources) {
        let metadata = resource.metadata.clone().unwrap();
        assert_eq!(
            (entry.name, entry.version),
            (metadata.name, metadata.version)
        );
        assert_eq!(message(&entry.resource.unwrap()), resource);
    }
}

#[test]
fn a_form_is_written_once_for_each_leaf_that_is_new() {
    let before = Collection::default().edited(edit((0..10_000).map(|n| (n, Some(0)))));
    let after = before.edited(edit([(5_000, Some(1))]));
    for form in [Form::Ads, Form::DeltaAds] {
        let own = |collection: &Collection| {
            let chunks = collection.chunks(form);
            chunks.map(|chunk| chunk.as_ptr()).collect::<Vec<_>>()
        };
        let (old, new) = (own(&before), own(&after));
        assert_eq!(own(&before), old);
        let written = std::iter::zip(old, new)
            .filter(|(old, new)| old != new)
            .count();
        assert_eq!(written, 1);
    }
}

proptest! {
    #[test]
    fn edits_end_in_the_state_they_describe(
        rounds in vec(vec((0u16..6000, proptest::option::weighted(0.6, 0u8..4)), 0..300), 1..6),
        full in any::<bool>(),
    ) {
        let mut collection = Collection::default();
        if full {
            // Some 94 leaves in two branches.
            collection = collection.edited(edit((0..6000).map(|n| (n, Some(0)))));
        }
        let mut model = contents(&collection);
        for round in rounds {
            let before = collection.clone();
            let edits = edit(round);
            for (name, edit) in &edits {
                match edit {
                    Some(encoded) => model.insert(name.to_string(), encoded.version),
                    None => model.remove(&**name),
                };
            }
            collection = before.edited(edits);
            prop_assert_eq!(contents(&collection), model.clone());
            prop_assert_eq!(collection.len(), model.len());
            prop_assert_eq!(collection.chunks(Form::Mcp).map(Bytes::len).sum::<usize>(), collection.encoded_len());
            prop_assert!(collection.leaves().all(|leaf| (1..=LEAF_MAX).contains(&leaf.entries.len())));
            prop_assert!(collection.branches.iter().all(|branch| (1..=BRANCH_MAX).contains(&branch.leaves.len())));

            // A sink is sent everything, what it had at one end.
            let shared = before.leaves().filter(|old| collection.leaves().any(|leaf| Arc::ptr_eq(leaf, old)));
            let shared: Vec<_> = shared.map(|leaf| leaf.bytes(Form::Mcp).as_ptr()).collect();
            for (changed, had) in [(Changed::First, total(&collection) - shared.len()..), (Changed::Last, 0..)] {
                let sent = collection.sent_after(Some(&before), changed);
                prop_assert_eq!(sent.len_in(Form::Mcp), collection.encoded_len());
                let sent: Vec<_> = sent.into_chunks(Form::Mcp).map(|chunk| chunk.as_ptr()).collect();
                prop_assert_eq!(sent.len(), total(&collection));
                prop_assert_eq!(&sent[had][..shared.len()], &shared[..]);
            }

            // The same state from nothing has the same version.
            let rebuilt = Collection::default().edited(
                collection.iter().map(|r| (r.name.into(), Some(Encoded { version: r.version, bytes: r.frame(Form::Mcp) }))).collect(),
            );
            prop_assert_eq!(rebuilt.version(), collection.version());

            // A sink that applies the diff to the old state holds the new one.
            let mut sink = contents(&before);
            let diff = collection.diff(&before);
            for name in diff.removed {
                prop_assert!(sink.remove(name).is_some(), "{} was not there", name);
            }
            for resource in diff.changed {
                prop_assert_ne!(sink.insert(resource.name.to_owned(), resource.version), Some(resource.version));
            }
            prop_assert_eq!(sink, contents(&collection));
            for name in model.keys() {
                prop_assert!(collection.get(name).is_some());
            }
        }
    }
}
