//! Rows in the order of their creation, with the indexes that the real database has.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::objects::Record;

/// When a row was created, and its guid.
type Key = (u64, String);

/// The tags by which rows are asked for one by one.
const INDEXED: [&str; 3] = ["guids", "app_guids", "route_guids"];

/// The rows of one kind.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: BTreeMap<Key, Record>,
    by_tag: HashMap<(&'static str, String), BTreeSet<Key>>,
}

fn key(record: &Record) -> Key {
    (record.created_at, record.guid.clone())
}

fn indexed(record: &Record) -> impl Iterator<Item = &(&'static str, String)> {
    let tags = record.tags.iter();
    tags.filter(|(name, _)| INDEXED.contains(name))
}

impl Table {
    /// Adds a row, or puts it in the place of the one with its time and guid.
    pub(super) fn insert(&mut self, record: Record) {
        let key = key(&record);
        self.remove(&key);
        for tag in indexed(&record) {
            let keys = self.by_tag.entry(tag.clone()).or_default();
            keys.insert(key.clone());
        }
        self.rows.insert(key, record);
    }

    /// Removes the row with this time of creation and guid.
    pub(super) fn remove(&mut self, key: &Key) {
        let Some(record) = self.rows.remove(key) else {
            return;
        };
        for tag in indexed(&record) {
            if let Some(keys) = self.by_tag.get_mut(tag) {
                keys.remove(key);
                if keys.is_empty() {
                    self.by_tag.remove(tag);
                }
            }
        }
    }

    /// Replaces the JSON of the rows with this guid.
    pub(super) fn spoil(&mut self, guid: &str, json: &str) {
        for record in self.rows.values_mut() {
            if record.guid == guid {
                json.clone_into(&mut record.json);
            }
        }
    }

    /// The rows that may have one of these values of a tag, created at `from` or later: by an index, if there is one.
    pub(super) fn candidates(&self, from: u64, tags: &[(&str, Vec<&str>)]) -> Vec<&Record> {
        let indexed = tags.iter().find_map(|(name, values)| {
            let name = INDEXED.into_iter().find(|indexed| indexed == name)?;
            Some((name, values))
        });
        let Some((name, values)) = indexed else {
            let rows = self.rows.range((from, String::new())..);
            return rows.map(|(_, row)| row).collect();
        };
        let keys = values.iter().filter_map(|value| {
            let tag = (name, (*value).to_owned());
            self.by_tag.get(&tag)
        });
        let keys: BTreeSet<&Key> = keys.flatten().filter(|(time, _)| *time >= from).collect();
        keys.into_iter().map(|key| &self.rows[key]).collect()
    }
}
