//! A map that remembers recent keys, within a bound. It has two generations. When the newer
//! generation is full it becomes the older one, whose previous content is forgotten.

use std::collections::BTreeMap;

use standin_protocol::queue::Queue;

/// A map of two generations.
#[derive(Debug)]
pub(crate) struct Generations<K, V> {
    newer: BTreeMap<K, V>,
    older: BTreeMap<K, V>,
    /// The largest number of entries in a generation.
    entries_max: usize,
}

impl<K: Ord + Copy, V> Generations<K, V> {
    /// Creates an empty map with at most twice this many entries.
    pub(crate) fn new(entries_max: usize) -> Self {
        Self { newer: BTreeMap::new(), older: BTreeMap::new(), entries_max }
    }

    /// Returns the value of a key, and remembers the key. The value of an unknown key is made by
    /// `new`.
    pub(crate) fn entry(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        if !self.newer.contains_key(&key) && self.newer.len() >= self.entries_max {
            self.older = std::mem::take(&mut self.newer);
        }
        let older = &mut self.older;
        self.newer.entry(key).or_insert_with(|| older.remove(&key).unwrap_or_else(new))
    }

    /// Returns all values.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.newer.values().chain(self.older.values())
    }

    /// Returns the lengths of both generations with their bounds, under these names.
    pub(crate) fn queues(&self, newer: &'static str, older: &'static str) -> [Queue; 2] {
        [
            Queue::new(newer, self.newer.len(), self.entries_max),
            Queue::new(older, self.older.len(), self.entries_max),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_use_outlives_others() {
        let mut map = Generations::new(3);
        *map.entry(0, || 10) += 1;
        for key in 1..100 {
            map.entry(key, || key);
            assert_eq!(*map.entry(0, || unreachable!("it is remembered")), 11);
            assert!(map.values().count() <= 6);
        }
        assert_eq!(*map.entry(1, || 7), 7, "it was forgotten");
    }
}
