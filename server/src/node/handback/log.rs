//! The log of keys that were written through this shard and that another server has not been told
//! of. That server is the home that is away, or an owner that could not be reached.
//!
//! The log is bounded per partition and in bytes. For a home that is away, a partition with more
//! keys than fit is given up as a whole (`overflowed`), and the home then drops it. Keys owed to an
//! owner can't be given up like that, so a write whose key can't be logged does not begin.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use standin_protocol::handback::{KEYS_MAX, Keys, WrittenKey, marks};
use standin_protocol::map::MapEpoch;
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use crate::node::state::{Name, Names};

/// The approximate number of bytes that a logged key takes in addition to the key itself.
const ENTRY_BYTES: usize = 64;
/// The number of bytes of an archived key in addition to the key itself, rounded up.
const ARCHIVED_BYTES: usize = 16;

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// A number that distinguishes insertions of the same key. The answer to an earlier insertion
    /// does not settle a later one.
    stamp: u64,
    /// The time until which the write may take effect at the origin.
    open_until: Micros,
    /// Whether the server has been told. If it restarts before `open_until`, it has to be told
    /// again.
    is_told: bool,
    /// Whether the key's whole keyspace in the partition was flushed.
    is_flush: bool,
}

impl Entry {
    fn marks(&self, now: Micros) -> u8 {
        let open = if self.open_until > now { marks::OPEN } else { 0 };
        let is_flush = self.is_flush && !mutant::is(Mutant::FlushForgotten);
        open | if is_flush { marks::FLUSH } else { 0 }
    }
}

/// The keys of one partition that one server has to be told of.
#[derive(Debug)]
struct Written {
    keys: Names<Entry>,
    /// Whether keys were given up of which the server has not been told yet.
    overflowed: bool,
    /// The time until which writes of forgotten keys may take effect, whether or not the server was
    /// told of them.
    open_until: Micros,
}

impl Written {
    /// Whether the server, or its next incarnation, may have to be told something.
    fn matters(&self, now: Micros) -> bool {
        self.overflowed || !self.keys.is_empty() || self.open_until > now
    }
}

/// A key that is being told to the server that has to drop it.
#[derive(Debug, Clone)]
pub(in crate::node) struct Told {
    partition: u32,
    name: Name,
    stamp: u64,
    marks: u8,
}

impl Told {
    #[cfg(test)]
    pub(in crate::node) fn new(partition: u32, name: Name, stamp: u64) -> Self {
        Self { partition, name, stamp, marks: 0 }
    }

    /// The key, with its keyspace.
    pub(in crate::node) fn name(&self) -> &[u8] {
        &self.name
    }

    /// Returns the stamp that [`Log::insert`] returned for the key.
    pub(in crate::node) fn stamp(&self) -> u64 {
        self.stamp
    }
}

/// The keys of one SETTLE; at least one.
#[derive(Debug)]
pub(in crate::node) struct Batch {
    shard: u16,
    keys: Vec<Told>,
}

impl Batch {
    /// The server's shard to which the partitions of the keys belong.
    pub(in crate::node) fn shard(&self) -> u16 {
        self.shard
    }

    /// The partition of the first key.
    pub(in crate::node) fn partition(&self) -> u32 {
        self.keys[0].partition
    }

    /// The first key, with its keyspace.
    pub(in crate::node) fn first_key(&self) -> (u8, &[u8]) {
        split(&self.keys[0].name)
    }

    /// The keys, for [`Log::settled`].
    pub(in crate::node) fn into_keys(self) -> Vec<Told> {
        self.keys
    }

    /// Returns the body of the SETTLE. `handover` is the epoch of the return for which the keys are
    /// handed over, if there is one.
    pub(in crate::node) fn value(&self, handover: Option<MapEpoch>) -> Vec<u8> {
        let keys = self.keys.iter().map(|told| {
            let (keyspace, key) = split(&told.name);
            WrittenKey { keyspace, marks: told.marks, key: key.to_vec() }
        });
        let handover = handover.map_or(0, MapEpoch::to_u64);
        Keys { keys: keys.collect(), handover }.to_bytes()
    }
}

/// Splits a name into keyspace and key.
fn split(name: &Name) -> (u8, &[u8]) {
    let (keyspace, key) = name.split_first().expect("a name begins with the byte of its keyspace");
    (*keyspace, key)
}

/// All keys that are not settled, by server and partition.
#[derive(Debug)]
pub(in crate::node) struct Log {
    written: BTreeMap<(u16, u32), Written>,
    hashing: ahash::RandomState,
    bytes: usize,
    stamp: u64,
    keys_max: usize,
    bytes_max: usize,
    batch_bytes_max: usize,
}

impl Log {
    pub(in crate::node) fn new(
        keys_max: usize,
        bytes_max: usize,
        batch_bytes_max: usize,
        hashing: ahash::RandomState,
    ) -> Self {
        let written = BTreeMap::new();
        Self { written, hashing, bytes: 0, stamp: 0, keys_max, bytes_max, batch_bytes_max }
    }

    /// Logs a key that `server` has to be told of. Returns `None` if there is no room. With
    /// `may_overflow`, the whole partition is given up in that case.
    pub(in crate::node) fn insert(
        &mut self,
        server: u16,
        partition: u32,
        name: &[u8],
        open_until: Micros,
        may_overflow: bool,
    ) -> Option<u64> {
        self.stamp += 1;
        let hashing = &self.hashing;
        let written = self.written.entry((server, partition)).or_insert_with(|| Written {
            keys: HashMap::with_hasher(hashing.clone()),
            overflowed: false,
            open_until: Micros(0),
        });
        if let Some(entry) = written.keys.get_mut(name) {
            entry.stamp = self.stamp;
            entry.open_until = entry.open_until.max(open_until);
            entry.is_told = false;
            return Some(self.stamp);
        }
        if may_overflow && written.overflowed {
            written.open_until = written.open_until.max(open_until);
            return None;
        }
        let bytes = ENTRY_BYTES + name.len();
        if written.keys.len() >= self.keys_max {
            // Only a new incarnation would have to be told of these keys again.
            let before = bytes_of(&written.keys);
            let told = written.keys.values().filter(|entry| entry.is_told);
            let open = told.map(|entry| entry.open_until);
            written.open_until = open.fold(written.open_until, Micros::max);
            written.keys.retain(|_, entry| !entry.is_told);
            self.bytes -= before - bytes_of(&written.keys);
        }
        if written.keys.len() >= self.keys_max || self.bytes + bytes > self.bytes_max {
            if may_overflow {
                written.overflowed = true;
                let open = written.keys.values().map(|entry| entry.open_until);
                written.open_until = open.fold(open_until.max(written.open_until), Micros::max);
                self.bytes -= bytes_of(&written.keys);
                written.keys = HashMap::with_hasher(self.hashing.clone());
            }
            return None;
        }
        self.bytes += bytes;
        let (stamp, is_told, is_flush) = (self.stamp, false, false);
        written.keys.insert(name.into(), Entry { stamp, open_until, is_told, is_flush });
        Some(self.stamp)
    }

    /// Marks the key that has just been inserted as a flush of its whole keyspace in the partition.
    /// The mark stays when the key itself is written, until the server has been told.
    pub(in crate::node) fn mark_flush(&mut self, server: u16, partition: u32, name: &[u8]) {
        let written = self.written.get_mut(&(server, partition));
        if let Some(entry) = written.and_then(|written| written.keys.get_mut(name)) {
            entry.is_flush = true;
        }
    }

    /// Notes that the server has been told of a key. Forgets the key, unless it was written again
    /// meanwhile or the write may still take effect.
    pub(in crate::node) fn settled(&mut self, server: u16, told: &Told, now: Micros) {
        // The partition was given up meanwhile, or has another owner.
        let Some(written) = self.written.get_mut(&(server, told.partition)) else { return };
        let entry = written.keys.get_mut(&told.name).filter(|entry| entry.stamp == told.stamp);
        match entry {
            Some(entry) if entry.open_until > now => entry.is_told = true,
            Some(_) => {
                written.keys.remove(&told.name);
                self.bytes -= ENTRY_BYTES + told.name.len();
            }
            None => {}
        }
        if !written.matters(now) {
            self.written.remove(&(server, told.partition));
        }
    }

    /// Notes that the server seems to have restarted with an empty cache. Only writes that may still
    /// take effect matter to it then. Returns whether the log has forgotten other writes of which the
    /// server was not told.
    pub(in crate::node) fn restarted(&mut self, server: u16, now: Micros) -> bool {
        let mut has_forgotten = false;
        self.retain(server, |_, written| {
            let is_over = |entry: &Entry| entry.open_until <= now;
            has_forgotten |= written.overflowed && written.open_until <= now;
            has_forgotten |= written.keys.values().any(|entry| !entry.is_told && is_over(entry));
            written.overflowed = written.open_until > now;
            written.keys.retain(|_, entry| !is_over(entry));
            written.keys.values_mut().for_each(|entry| entry.is_told = false);
            written.matters(now)
        });
        has_forgotten
    }

    /// Notes that the server has been told which partitions overflowed.
    pub(in crate::node) fn told_overflows(&mut self, server: u16, partitions: &[u32], now: Micros) {
        self.retain(server, |partition, written| {
            written.overflowed &= !partitions.contains(&partition);
            written.matters(now)
        });
    }

    /// Forgets the keys of these partitions.
    pub(in crate::node) fn forget(&mut self, server: u16, is_gone: impl Fn(u32) -> bool) {
        self.retain(server, |partition, _| !is_gone(partition));
    }

    fn retain(&mut self, server: u16, mut keep: impl FnMut(u32, &mut Written) -> bool) {
        let bytes = &mut self.bytes;
        self.written.retain(|(of, partition), written| {
            if *of != server {
                return true;
            }
            *bytes -= bytes_of(&written.keys);
            let is_kept = keep(*partition, written);
            if is_kept {
                *bytes += bytes_of(&written.keys);
            }
            is_kept
        });
    }

    /// Returns the largest number of keys of one server and partition, and the bytes of all keys.
    pub(in crate::node) fn sizes(&self) -> (usize, usize) {
        let most = self.written.values().map(|written| written.keys.len()).max();
        (most.unwrap_or(0), self.bytes)
    }

    /// Whether there is a key that the server has to be told of.
    pub(in crate::node) fn is_owed(&self, server: u16) -> bool {
        self.of(server).any(|(_, written)| written.keys.values().any(|entry| !entry.is_told))
    }

    /// Returns the time until which a write that is no longer logged may take effect in one of the
    /// server's partitions.
    pub(in crate::node) fn forgotten_open_until(&self, server: u16) -> Micros {
        let given_up = self.of(server).filter(|(_, written)| written.overflowed);
        given_up.map(|(_, written)| written.open_until).max().unwrap_or_default()
    }

    /// Returns the partitions of the server in which keys were given up.
    pub(in crate::node) fn overflowed(&self, server: u16) -> Vec<u32> {
        let given_up = self.of(server).filter(|(_, written)| written.overflowed);
        given_up.map(|(partition, _)| partition).collect()
    }

    /// Returns all keys that the server has to be told of, in batches of bounded size.
    pub(in crate::node) fn batches(
        &self,
        server: u16,
        now: Micros,
        shard_of: impl Fn(u32) -> u16,
    ) -> Vec<Batch> {
        let mut full = Vec::new();
        let mut filling: BTreeMap<u16, (Vec<Told>, usize)> = BTreeMap::new();
        for (partition, written) in self.of(server) {
            let shard = shard_of(partition);
            for (name, entry) in written.keys.iter().filter(|(_, entry)| !entry.is_told) {
                let (keys, bytes) = filling.entry(shard).or_default();
                let more = ARCHIVED_BYTES + name.len();
                if keys.len() >= KEYS_MAX || *bytes + more > self.batch_bytes_max {
                    full.push(Batch { shard, keys: std::mem::take(keys) });
                    *bytes = 0;
                }
                *bytes += more;
                keys.push(Told {
                    partition,
                    name: name.clone(),
                    stamp: entry.stamp,
                    marks: entry.marks(now),
                });
            }
        }
        let rest = filling.into_iter().map(|(shard, (keys, _))| Batch { shard, keys });
        full.into_iter().chain(rest).filter(|batch| !batch.keys.is_empty()).collect()
    }

    fn of(&self, server: u16) -> impl Iterator<Item = (u32, &Written)> {
        let range = self.written.range((server, 0)..=(server, u32::MAX));
        range.map(|((_, partition), written)| (*partition, written))
    }
}

fn bytes_of(keys: &Names<Entry>) -> usize {
    keys.keys().map(|name| ENTRY_BYTES + name.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros(1_000);
    const ENDED: Micros = Micros(0);

    fn log_of(keys_max: usize, bytes_max: usize) -> Log {
        let hashing = ahash::RandomState::with_seeds(1, 2, 3, 4);
        Log::new(keys_max, bytes_max, 1 << 20, hashing)
    }

    fn names(log: &Log, server: u16) -> Vec<Name> {
        let batches = log.batches(server, NOW, |_| 0);
        let mut names: Vec<Name> =
            batches.into_iter().flat_map(|b| b.keys).map(|told| told.name).collect();
        names.sort();
        names
    }

    #[test]
    fn a_key_that_is_written_again_while_it_is_told_stays_logged() {
        let mut log = log_of(10, 10_000);
        log.insert(1, 7, b"\x01a", ENDED, true).unwrap();
        let told = log.batches(1, NOW, |_| 0).remove(0).keys;
        log.insert(1, 7, b"\x01a", ENDED, true).unwrap();
        log.settled(1, &told[0], Micros(0));
        assert!(log.is_owed(1));
        let told = log.batches(1, NOW, |_| 0).remove(0).keys;
        log.settled(1, &told[0], Micros(0));
        assert!(!log.is_owed(1) && log.bytes == 0);
    }

    #[test]
    fn a_key_that_does_not_fit_overflows_the_partition_or_is_refused() {
        let mut log = log_of(2, 10_000);
        for name in [b"\x01a", b"\x01b"] {
            assert!(log.insert(1, 7, name, ENDED, true).is_some());
        }
        assert_eq!(log.insert(1, 7, b"\x01c", ENDED, false), None);
        assert_eq!((names(&log, 1).len(), log.overflowed(1)), (2, vec![]), "refused");
        assert_eq!(log.insert(1, 7, b"\x01c", ENDED, true), None);
        assert_eq!((names(&log, 1).len(), log.overflowed(1)), (0, vec![7]), "given up");
        assert!(log.insert(1, 8, b"\x01c", ENDED, true).is_some(), "another partition");
        assert!(log.insert(1, 7, b"\x01c", ENDED, false).is_some(), "owed after that");
        log.told_overflows(1, &[7], NOW);
        assert_eq!((names(&log, 1).len(), log.overflowed(1)), (2, vec![]));
    }

    #[test]
    fn the_bound_in_bytes_is_shared() {
        let mut log = log_of(100, 3 * (ENTRY_BYTES + 2));
        for partition in 0..3 {
            assert!(log.insert(1, partition, b"\x01a", ENDED, true).is_some());
        }
        assert_eq!(log.insert(1, 3, b"\x01a", ENDED, true), None);
        log.forget(1, |partition| partition < 2);
        assert!(log.insert(1, 4, b"\x01a", ENDED, true).is_some(), "there is room again");
    }

    #[test]
    fn a_restarted_server_is_told_if_the_log_has_forgotten_writes_that_may_still_take_effect() {
        let open = Micros(2_000);
        for (first, second, third) in
            [(open, ENDED, ENDED), (ENDED, open, ENDED), (ENDED, ENDED, open)]
        {
            let mut log = log_of(1, 10_000);
            log.insert(1, 7, b"\x01a", first, true);
            log.insert(1, 7, b"\x01b", second, true);
            log.insert(1, 7, b"\x01c", third, true);
            log.restarted(1, NOW);
            assert_eq!(log.overflowed(1), [7]);
            log.restarted(1, open);
            assert!(log.overflowed(1).is_empty());
        }
        let mut log = log_of(1, 10_000);
        log.insert(1, 7, b"\x01a", ENDED, true);
        log.insert(1, 7, b"\x01b", ENDED, true);
        log.restarted(1, NOW);
        assert!(log.overflowed(1).is_empty(), "all writes have taken effect");
    }

    #[test]
    fn a_new_incarnation_is_told_again_if_the_log_has_forgotten_writes_that_may_still_take_effect()
    {
        let open = Micros(2_000);
        let mut log = log_of(1, 10_000);
        log.insert(1, 7, b"\x01a", open, true);
        log.insert(1, 7, b"\x01b", ENDED, true);
        log.told_overflows(1, &[7], NOW);
        assert!(log.overflowed(1).is_empty());
        log.restarted(1, NOW);
        assert_eq!(log.overflowed(1), [7]);
        log.told_overflows(1, &[7], open);
        assert!(log.written.is_empty(), "no write can take effect any more");

        // The key was told, and then forgotten to make room for another one.
        let mut log = log_of(1, 10_000);
        log.insert(1, 7, b"\x01a", open, true);
        let told = log.batches(1, NOW, |_| 0).remove(0).keys;
        log.settled(1, &told[0], NOW);
        assert!(log.insert(1, 7, b"\x01b", ENDED, true).is_some());
        assert!(log.overflowed(1).is_empty());
        log.restarted(1, NOW);
        assert_eq!((names(&log, 1).len(), log.overflowed(1)), (0, vec![7]));
    }

    #[test]
    fn batches_are_bounded_and_go_to_the_right_shard() {
        let mut log = log_of(100_000, 100_000_000);
        for i in 0..9_000u32 {
            log.insert(1, i % 2, &[&[1], &i.to_le_bytes()[..]].concat(), ENDED, true);
        }
        let batches = log.batches(1, NOW, |partition| partition as u16);
        assert_eq!(batches.len(), 4);
        for batch in &batches {
            assert!(batch.keys.len() <= KEYS_MAX);
            assert!(batch.keys.iter().all(|told| told.partition as u16 == batch.shard));
            assert_eq!(Keys::from_bytes(&batch.value(None)).unwrap().keys.len(), batch.keys.len());
        }
        assert_eq!(batches.iter().map(|b| b.keys.len()).sum::<usize>(), 9_000);
    }

    #[test]
    fn a_new_incarnation_is_told_again_of_writes_that_may_still_take_effect() {
        let mut log = log_of(10, 10_000);
        log.insert(1, 7, b"open", Micros(100), true);
        log.insert(1, 7, b"done", Micros(0), true);
        let tell = |log: &Log| {
            let batches = log.batches(1, Micros(50), |_| 0);
            batches.into_iter().flat_map(|batch| batch.keys).collect::<Vec<_>>()
        };
        let told = tell(&log);
        assert_eq!(told.len(), 2);
        told.iter().for_each(|told| log.settled(1, told, Micros(50)));
        assert!(!log.is_owed(1) && tell(&log).is_empty());
        log.restarted(1, Micros(60));
        assert!(log.is_owed(1));
        assert_eq!(&*tell(&log)[0].name, b"open");
        log.restarted(1, Micros(200));
        assert!(!log.is_owed(1), "the write has taken effect or never will");
        assert_eq!(log.sizes(), (0, 0));
    }
}
