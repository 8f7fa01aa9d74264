//! What a feed leaves out: by name as far as there is room, and in numbers beyond.

use std::collections::BTreeMap;

/// How many are kept by name; more are only counted.
const MAX_NAMED: usize = 1000;
/// Why annotations of a route are left out.
pub const INVALID_ANNOTATIONS: &str = "invalid_annotations";
/// Whoever has a route writes these, on as many as he likes: they leave places to what others should hear of.
const MAX_ANNOTATIONS: usize = MAX_NAMED / 2;
/// Fewer items of a first answer that cannot be read are bad ones, left out one by one; this many may be a format.
const MANY_UNREADABLE: usize = 10;
/// Names and details come from peers, who may make them of any length.
const MAX_TEXT: usize = 500;

/// An item that was left out because it is invalid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Its guid or name.
    pub name: String,
    /// From a small closed set: a metric label.
    pub reason: &'static str,
    /// What exactly is wrong with it.
    pub detail: String,
}

impl Dropped {
    fn cut(self) -> Self {
        let Self {
            name,
            reason,
            detail,
        } = self;
        Self {
            name: cut(name),
            reason,
            detail: cut(detail),
        }
    }
}

/// Whether a first answer counts for nothing because of what of it cannot be read: it has nothing to be compared with, and a
/// format that we do not understand is no better understood the second time.
pub fn is_unreadable(read: usize, unreadable: usize) -> bool {
    let is_most = unreadable >= MANY_UNREADABLE && unreadable > read;
    unreadable > 0 && (read == 0 || is_most)
}

/// The beginning of a text, if it is longer than anybody wants to read.
pub fn cut(text: String) -> String {
    if text.len() <= MAX_TEXT {
        return text;
    }
    format!("{}…", &text[..text.floor_char_boundary(MAX_TEXT)])
}

/// Items that were left out. However many they are, they take as much memory as a thousand short texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drops {
    named: BTreeMap<String, Dropped>,
    /// How many have no place among them, by reason.
    unnamed: BTreeMap<&'static str, usize>,
}

impl Drops {
    /// Adds an item, or what is wrong with it now.
    pub fn push(&mut self, item: Dropped) {
        let item = item.cut();
        let has_place = self.named.len() < MAX_NAMED
            && (item.reason != INVALID_ANNOTATIONS || self.annotations() < MAX_ANNOTATIONS);
        if has_place || self.named.contains_key(&item.name) {
            self.named.insert(item.name.clone(), item);
        } else {
            *self.unnamed.entry(item.reason).or_default() += 1;
        }
    }

    /// How many places are taken by annotations.
    fn annotations(&self) -> usize {
        let named = self.named.values();
        named
            .filter(|item| item.reason == INVALID_ANNOTATIONS)
            .count()
    }

    /// Adds all of `other`.
    pub fn append(&mut self, other: Self) {
        self.extend(other.named.into_values());
        for (reason, count) in other.unnamed {
            *self.unnamed.entry(reason).or_default() += count;
        }
    }

    /// Those that are kept by name.
    pub fn named(&self) -> &BTreeMap<String, Dropped> {
        &self.named
    }

    /// Adds something to what is said of each of those that are kept by name.
    pub fn annotate(&mut self, note: impl FnMut(&mut Dropped)) {
        self.named.values_mut().for_each(note);
    }

    /// The same for one of them.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Dropped> {
        self.named.get_mut(name)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.named.len() + self.unnamed.values().sum::<usize>()
    }

    /// Whether nothing was left out.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// How many there are, by reason.
    pub fn by_reason(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = self.unnamed.clone();
        for item in self.named.values() {
            *counts.entry(item.reason).or_default() += 1;
        }
        counts
    }
}

impl Extend<Dropped> for Drops {
    fn extend<T: IntoIterator<Item = Dropped>>(&mut self, items: T) {
        items.into_iter().for_each(|item| self.push(item));
    }
}

impl From<Dropped> for Drops {
    fn from(item: Dropped) -> Self {
        Self::from_iter([item])
    }
}

impl FromIterator<Dropped> for Drops {
    fn from_iter<T: IntoIterator<Item = Dropped>>(items: T) -> Self {
        let mut drops = Self::default();
        drops.extend(items);
        drops
    }
}
