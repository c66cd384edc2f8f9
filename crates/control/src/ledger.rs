//! A map that knows what its entries were when the step began.
//!
//! ```text
//! insert, remove, get_mut ─► entries          was ─► what it was
//!                       └──► before: first value of each touched key
//!                                              undo ─► the two change places
//! ```
//!
//! A step so costs what it touches: nobody copies a table of 100,000 destinations to change one.

use std::collections::BTreeMap;
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A map with the memory of one step. Read it as the map that it is.
#[derive(Clone, Debug)]
pub struct Ledger<K, V> {
    entries: BTreeMap<K, V>,
    before: BTreeMap<K, Option<V>>,
}

impl<K: Ord + Copy, V: Clone> Ledger<K, V> {
    /// Sets an entry.
    pub fn insert(&mut self, key: K, value: V) {
        let old = self.entries.insert(key, value);
        self.before.entry(key).or_insert(old);
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let old = self.entries.remove(key)?;
        self.before.entry(*key).or_insert_with(|| Some(old.clone()));
        Some(old)
    }

    /// An entry, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let entry = self.entries.get_mut(key)?;
        self.before
            .entry(*key)
            .or_insert_with(|| Some(entry.clone()));
        Some(entry)
    }

    /// Takes all entries out.
    pub fn clear(&mut self) {
        for (key, value) in std::mem::take(&mut self.entries) {
            self.before.entry(key).or_insert(Some(value));
        }
    }

    /// What an entry was when the step began.
    #[must_use]
    pub fn was(&self, key: &K) -> Option<&V> {
        match self.before.get(key) {
            Some(before) => before.as_ref(),
            None => self.entries.get(key),
        }
    }

    /// Keys that were touched in this step.
    pub fn touched(&self) -> impl Iterator<Item = &K> {
        self.before.keys()
    }

    /// Whether an entry is another than when the step began.
    pub(crate) fn has_changed(&self) -> bool
    where
        V: PartialEq,
    {
        let mut before = self.before.iter();
        before.any(|(key, value)| value.as_ref() != self.entries.get(key))
    }

    /// Whether an entry came or went since the step began.
    pub(crate) fn has_other_keys(&self) -> bool {
        let mut before = self.before.iter();
        before.any(|(key, value)| value.is_some() != self.entries.contains_key(key))
    }

    /// Begins a step.
    pub(crate) fn begin(&mut self) {
        self.before.clear();
    }

    /// Makes the entries what they were; what they are now is then what they were.
    pub(crate) fn undo(&mut self) {
        for (key, before) in &mut self.before {
            let now = match before.take() {
                Some(old) => self.entries.insert(*key, old),
                None => self.entries.remove(key),
            };
            *before = now;
        }
    }
}

impl<K, V> Deref for Ledger<K, V> {
    type Target = BTreeMap<K, V>;

    fn deref(&self) -> &BTreeMap<K, V> {
        &self.entries
    }
}

impl<'a, K, V> IntoIterator for &'a Ledger<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = std::collections::btree_map::Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.iter()
    }
}

impl<K, V> Default for Ledger<K, V> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            before: BTreeMap::new(),
        }
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for Ledger<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl<K: Eq, V: Eq> Eq for Ledger<K, V> {}

impl<K: Serialize, V: Serialize> Serialize for Ledger<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.entries.serialize(serializer)
    }
}

impl<'de, K: Ord + Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Ledger<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self {
            entries: BTreeMap::deserialize(deserializer)?,
            before: BTreeMap::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undoing_restores_what_was_and_remembers_what_is_undone() {
        let mut ledger = Ledger::default();
        ledger.insert(1, "a");
        ledger.insert(2, "b");
        ledger.begin();
        ledger.insert(1, "c");
        ledger.insert(1, "d");
        ledger.remove(&2);
        ledger.insert(3, "e");
        assert_eq!((ledger.was(&1), ledger.was(&3)), (Some(&"a"), None));

        ledger.undo();
        assert_eq!(*ledger, BTreeMap::from([(1, "a"), (2, "b")]));
        assert_eq!((ledger.was(&1), ledger.was(&2)), (Some(&"d"), None));

        ledger.undo();
        assert_eq!(*ledger, BTreeMap::from([(1, "d"), (3, "e")]));
    }
}
