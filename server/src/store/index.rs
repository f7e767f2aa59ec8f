//! The index: maps a key's hash to item offsets, with 5 bytes per slot. It contains no keys and no
//! hashes; the caller looks into the arena.
//!
//! It consists of many small tables, so that the growth of one never stalls the shard. The tables'
//! shares of the hash space differ by a factor of up to two, evenly spread, so that they double one
//! after another, and the memory per item is the same at every size.

use hashbrown::HashTable;

use super::prefetch::prefetch;

/// The bytes of arena per table: about 256 items of 128 bytes.
const ARENA_BYTES_PER_TABLE: usize = 32 << 10;

/// See the file's head.
pub(super) struct Index {
    tables: Box<[HashTable<u32>]>,
    /// The heap bytes of all tables.
    tables_bytes: usize,
    items: usize,
    /// A buffer for rebuilding a table without allocating.
    scratch: Vec<(u64, u32)>,
}

impl Index {
    pub(super) fn new(arena_bytes: usize) -> Self {
        let tables = (arena_bytes / ARENA_BYTES_PER_TABLE).clamp(1, u32::MAX as usize);
        let tables = (0..tables).map(|_| HashTable::new()).collect();
        Self { tables, tables_bytes: 0, items: 0, scratch: Vec::new() }
    }

    pub(super) fn items(&self) -> usize {
        self.items
    }

    /// Heap bytes of the index.
    pub(super) fn bytes(&self) -> usize {
        let scratch = self.scratch.capacity() * size_of::<(u64, u32)>();
        self.tables_bytes + size_of_val(&*self.tables) + scratch
    }

    /// Returns the table of a hash. hashbrown uses the top 7 bits and the lowest ones, so this uses
    /// those between. With x in 0..1, x·(4 − x)/3 has a slope that falls from 4/3 to 2/3: the last
    /// table's share is twice the first's.
    #[inline]
    fn table(&self, hash: u64) -> usize {
        let x = (hash >> 24) & 0x7fff_ffff;
        let skewed = (x * ((4 << 31) - x) / 3) >> 31;
        ((skewed * self.tables.len() as u64) >> 31) as usize
    }

    /// Starts loading the head of the hash's table, and returns the table's number.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) -> u32 {
        let table = self.table(hash);
        prefetch(self.tables.as_ptr().wrapping_add(table).cast());
        // The number of tables fits into 32 bits.
        table as u32
    }

    /// Returns the first offset that may belong to the hash, in the table that [`Self::prefetch`] has
    /// returned, without reading the arena. It is the right one in about 14 of 15 lookups.
    #[inline]
    pub(super) fn first(&self, hash: u64, table: u32) -> Option<u32> {
        self.tables[table as usize].find(hash, |_| true).copied()
    }

    /// Returns the offset under this hash that `is` accepts.
    #[inline]
    pub(super) fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        self.tables[self.table(hash)].find(hash, |&offset| is(offset)).copied()
    }

    /// Adds an offset that is not there yet. `hash_of` is the hash of the key at an offset.
    pub(super) fn insert(&mut self, hash: u64, offset: u32, hash_of: impl Fn(u32) -> u64) {
        let index = self.table(hash);
        let table = &mut self.tables[index];
        let before = table.allocation_size();
        if table.len() == table.capacity() {
            rebuild(table, &mut self.scratch, &hash_of);
        }
        table.insert_unique(hash, offset, |&offset| hash_of(offset));
        self.tables_bytes = self.tables_bytes + table.allocation_size() - before;
        self.items += 1;
    }

    /// Replaces an offset by another of the same key.
    pub(super) fn replace(&mut self, hash: u64, from: u32, to: u32) -> bool {
        let index = self.table(hash);
        match self.tables[index].find_mut(hash, |&offset| offset == from) {
            Some(slot) => {
                *slot = to;
                true
            }
            None => false,
        }
    }

    /// Removes an offset.
    pub(super) fn remove(&mut self, hash: u64, offset: u32) -> bool {
        let index = self.table(hash);
        match self.tables[index].find_entry(hash, |&other| other == offset) {
            Ok(entry) => {
                entry.remove();
                self.items -= 1;
                true
            }
            Err(_) => false,
        }
    }

    /// The number of tables, which is the same for the life of the index.
    pub(super) fn tables(&self) -> u32 {
        // The number of tables fits into 32 bits.
        self.tables.len() as u32
    }

    /// Returns the offsets in a table, in no particular order. A hash belongs to one table for the
    /// life of the index.
    pub(super) fn table_offsets(&self, table: u32) -> impl Iterator<Item = u32> {
        self.tables.get(table as usize).into_iter().flat_map(HashTable::iter).copied()
    }

    /// Returns all offsets, in no particular order.
    #[cfg(test)]
    pub(super) fn offsets(&self) -> impl Iterator<Item = u32> {
        self.tables.iter().flat_map(HashTable::iter).copied()
    }
}

/// Makes room in a full table. By default, hashbrown doubles a table that is more than half full
/// even if only its tombstones are in the way, so that under steady eviction every table would end
/// up less than half full. This doubles a table only if more than 7/8 of its capacity is live.
fn rebuild(
    table: &mut HashTable<u32>,
    scratch: &mut Vec<(u64, u32)>,
    hash_of: &impl Fn(u32) -> u64,
) {
    let holds = table.num_buckets() / 8 * 7;
    scratch.clear();
    scratch.extend(table.iter().map(|&offset| (hash_of(offset), offset)));
    if table.len() > holds / 8 * 7 {
        *table = HashTable::with_capacity(holds.max(table.len()) + 1);
    } else {
        table.clear();
    }
    for &(hash, offset) in &*scratch {
        table.insert_unique(hash, offset, |&offset| hash_of(offset));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Maps an offset to 64 bits that look like a hash.
    fn hash_of(offset: u32) -> u64 {
        let x = (u64::from(offset) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(17)
    }

    #[test]
    fn shares_differ_by_two_and_cover_every_table() {
        let index = Index::new(64 * ARENA_BYTES_PER_TABLE);
        let mut hits = [0_u32; 64];
        for offset in 0..640_000 {
            hits[index.table(hash_of(offset))] += 1;
        }
        let ratio = f64::from(hits[63]) / f64::from(hits[0]);
        assert!((1.8..2.2).contains(&ratio), "{ratio} {hits:?}");
        assert_eq!(index.table(u64::MAX), 63);
        assert_eq!(index.table(0), 0);
    }

    #[test]
    fn steady_churn_neither_grows_nor_loses() {
        let mut index = Index::new(16 * ARENA_BYTES_PER_TABLE);
        let live = 4_000;
        for offset in 0..live {
            index.insert(hash_of(offset), offset, hash_of);
        }
        let churn = |index: &mut Index, range: std::ops::Range<u32>| {
            for offset in range {
                assert!(index.remove(hash_of(offset - live), offset - live));
                index.insert(hash_of(offset), offset, hash_of);
            }
        };
        churn(&mut index, live..100_000);
        let of_tables =
            |index: &Index| index.tables.iter().map(HashTable::allocation_size).sum::<usize>();
        assert_eq!(index.tables_bytes, of_tables(&index), "counted as they grow");
        let bytes = index.bytes();
        churn(&mut index, 100_000..400_000);
        assert_eq!(index.items(), live as usize);
        assert!(index.bytes() <= bytes * 5 / 4, "{} from {bytes}", index.bytes());
        for offset in 0..400_000 {
            let found = index.find(hash_of(offset), |other| other == offset);
            assert_eq!(found.is_some(), offset >= 400_000 - live);
        }
    }

    #[test]
    fn replace_and_remove_answer_whether_they_found() {
        let mut index = Index::new(0);
        index.insert(7, 1, |_| 7);
        assert!(index.replace(7, 1, 2));
        assert!(!index.replace(7, 1, 3));
        assert_eq!(index.first(7, 0), Some(2));
        assert!(!index.remove(7, 1));
        assert!(index.remove(7, 2));
        assert_eq!((index.items(), index.first(7, 0)), (0, None));
    }
}
