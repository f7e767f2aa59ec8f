//! The store: one shard's cached items, in memory of a fixed size. It knows keys, values, versions and
//! expiry times, but not partitions, origins or requests. It reads no clock.
//!
//! ```text
//!  key ──hash──► index ──offset──► arena ── segments of items (header, key, value)
//!                                    ▲
//!                  policy: which segment is written, which is evicted next; ghost: what was evicted
//! ```
//!
//! | file | |
//! |---|---|
//! | `types` | what callers give and get |
//! | `item` | the bytes of one item |
//! | `arena` | the memory map, its segments, reads bounded by what was written |
//! | `index` | hash to offset: many small hash tables |
//! | `policy` | S3-FIFO over segments: queues, the victim, moving and evicting |
//! | `ghost` | fingerprints of what was evicted unused |
//! | `walk` | walks and sweeps over all items, part by part |
//!
//! Look up keys in sets: call [`Store::locate`] for all of them, then [`Store::aim`] for all of
//! them, then [`Store::get`] for each. The first two start loads from memory. Memory latency is
//! half of a lookup's cost, and this hides it.

mod arena;
mod ghost;
mod index;
mod item;
mod policy;
mod prefetch;
#[cfg(test)]
mod tests;
mod types;
mod walk;

use std::hash::{BuildHasher, Hasher};

use ahash::RandomState;

use arena::Arena;
use index::Index;
pub(crate) use item::NEVER_MS;
use item::{FREQUENCY_MAX, HEADER_BYTES_MAX, Header, KEY_BYTES_MAX};
use policy::Policy;
pub use types::{Item, NewItem, StoreConfig, StoreError, StoreStats};
pub use walk::Walked;

/// The approximate number of segments of an arena, so that evicting one is a small step.
const SEGMENTS_AIM: usize = 256;
/// The smallest number of segments. Large items may make segments larger, but not fewer than this.
const SEGMENTS_MIN: usize = 16;
const SEGMENT_BYTES_MIN: usize = 4 << 10;
const SEGMENT_BYTES_AIM_MIN: usize = 16 << 10;
const SEGMENT_BYTES_AIM_MAX: usize = 1 << 20;
/// The log2 of the largest unit of offsets, which have 32 bits.
const ARENA_BYTES_MAX: usize = 64 << 30;
/// The largest number of bytes of an item that are prefetched. The processor's own prefetcher
/// follows long ones.
const PREFETCH_BYTES_MAX: usize = 256;
/// The `IndexHint::candidate` of a hint without one.
const NO_CANDIDATE: u32 = u32::MAX;

/// A key's part of the index, from [`Store::locate`]. It is packed because callers keep many of them.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed(4))]
pub struct Located {
    hash: u64,
    table: u32,
}

/// A key's place in the index, from [`Store::aim`]. It is valid for the same key in the same store.
/// It may also be used after other calls have changed the store, and is then only slower.
#[derive(Clone, Copy, Debug)]
pub struct IndexHint {
    hash: u64,
    candidate: u32,
    generation: u32,
}

/// See the module's head.
pub struct Store {
    arena: Arena,
    index: Index,
    policy: Policy,
    hasher: RandomState,
    /// A number that changes whenever an item leaves its offset. An earlier hint's candidate is
    /// then not trusted, because its bytes may have been overwritten.
    generation: u32,
    item_bytes_max: usize,
    live_bytes: u64,
    prefetch_bytes: usize,
    evicted: u64,
    kept: u64,
    expired: u64,
}

impl StoreConfig {
    /// Whether a store of this size is possible. Error: `ArenaSize`.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let (min_bytes, max_bytes) = (SEGMENTS_MIN * SEGMENT_BYTES_MIN, ARENA_BYTES_MAX);
        match (min_bytes..=max_bytes).contains(&self.arena_bytes) {
            true => Ok(()),
            false => {
                let arena_bytes = self.arena_bytes;
                Err(StoreError::ArenaSize { arena_bytes, min_bytes, max_bytes })
            }
        }
    }
}

/// Whether the kernel would map the arenas of this many such stores.
pub(crate) fn can_map(config: &StoreConfig, stores: u16) -> Result<(), StoreError> {
    let mapped: Result<Vec<_>, _> = (0..stores).map(|_| arena::map(config.arena_bytes)).collect();
    mapped.map(drop)
}

impl Store {
    /// Maps the arena. Errors: `ArenaSize`, `Map`.
    pub fn new(config: &StoreConfig) -> Result<Self, StoreError> {
        config.check()?;
        let StoreConfig { arena_bytes, huge_pages, item_bytes_max, hash_seeds } = *config;
        let largest = 1 << (arena_bytes / SEGMENTS_MIN).ilog2();
        let aim = (arena_bytes / SEGMENTS_AIM).next_power_of_two();
        let one_item = item_bytes_max.saturating_add(HEADER_BYTES_MAX).min(largest);
        let segment_bytes: usize = aim
            .clamp(SEGMENT_BYTES_AIM_MIN, SEGMENT_BYTES_AIM_MAX)
            .max(one_item.next_power_of_two())
            .min(largest);
        let segments = arena_bytes / segment_bytes;
        let hasher = match hash_seeds {
            Some([a, b, c, d]) => RandomState::with_seeds(a, b, c, d),
            None => RandomState::new(),
        };
        Ok(Self {
            arena: Arena::new(segments, segment_bytes.ilog2(), huge_pages)?,
            index: Index::new(arena_bytes),
            policy: Policy::new(segments),
            hasher,
            generation: 0,
            item_bytes_max: item_bytes_max.min(segment_bytes - HEADER_BYTES_MAX),
            live_bytes: 0,
            prefetch_bytes: 128,
            evicted: 0,
            kept: 0,
            expired: 0,
        })
    }

    /// First pass over a batch: hashes the key and starts loading its part of the index.
    #[inline]
    pub fn locate(&self, keyspace: u8, key: &[u8]) -> Located {
        let hash = self.hash(keyspace, key);
        let table = self.index.prefetch(hash);
        Located { hash, table }
    }

    /// Second pass: finds the first candidate in the index and starts loading its cache lines.
    /// Touches no item.
    #[inline]
    pub fn aim(&self, located: Located) -> IndexHint {
        let Located { hash, table } = located;
        let candidate = match self.index.first(hash, table) {
            Some(offset) => {
                self.arena.prefetch(offset, self.prefetch_bytes);
                offset
            }
            None => NO_CANDIDATE,
        };
        IndexHint { hash, candidate, generation: self.generation }
    }

    /// Both passes, for a single key.
    #[inline]
    pub fn hint(&self, keyspace: u8, key: &[u8]) -> IndexHint {
        self.aim(self.locate(keyspace, key))
    }

    /// Third pass: returns the item of the probed key. An item whose version is below
    /// `version_floor`, or that has expired, is a miss, and is removed.
    ///
    /// So a caller that raises the floor for a set of keys drops all of them at no cost.
    #[inline(always)]
    pub fn get(
        &mut self,
        hint: IndexHint,
        keyspace: u8,
        key: &[u8],
        version_floor: u64,
        now_ms: u64,
    ) -> Option<Item<'_>> {
        // The item is decoded once, which is the cost of a hit.
        let is_current = hint.generation == self.generation && hint.candidate != NO_CANDIDATE;
        let candidate = if is_current { self.arena.view(hint.candidate) } else { None };
        let (offset, item) = match candidate {
            Some(item) if item.header.keyspace == keyspace && is_same(item.key, key) => {
                (hint.candidate, item)
            }
            _ => {
                let offset = self.find(hint.hash, keyspace, key)?;
                (offset, self.arena.view(offset)?)
            }
        };
        let (header, value) = (item.header, item.value_range());
        if header.version < version_floor || header.expired(now_ms) {
            self.expired += 1;
            self.unlink(hint.hash, offset);
            return None;
        }
        if header.frequency < FREQUENCY_MAX {
            self.arena.count_use(offset);
        }
        let Header { version, expires_at_ms, negative, flags, marks, .. } = header;
        let value = self.arena.bytes(value);
        Some(Item { value, version, expires_at_ms, negative, flags, marks })
    }

    /// Stores an item, and replaces the key's previous one. Evicts other items if there is no room.
    /// The work for that is bounded by the item's size, not by the arena's.
    ///
    /// Error: `TooLarge`. The key's previous item is removed then too, because it is no longer the
    /// last write.
    pub fn insert(
        &mut self,
        keyspace: u8,
        key: &[u8],
        item: NewItem<'_>,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        let bytes = key.len().saturating_add(item.value.len());
        if bytes > self.item_bytes_max || key.len() > KEY_BYTES_MAX {
            self.remove(keyspace, key);
            return Err(StoreError::TooLarge { bytes, max_bytes: self.item_bytes_max });
        }
        if item.expires_at_ms <= now_ms {
            self.remove(keyspace, key);
            return Ok(());
        }
        self.make_room(bytes, now_ms);
        let hash = self.hash(keyspace, key);
        let mut header = Header {
            keyspace,
            negative: item.negative,
            frequency: 0,
            key_bytes: key.len(),
            value_bytes: item.value.len(),
            version: item.version,
            expires_at_ms: item.expires_at_ms,
            flags: item.flags,
            marks: item.marks,
        };
        let old = self.find(hash, keyspace, key);
        let main = match old {
            Some(offset) => {
                let old = self.arena.view(offset);
                let old = old.expect("the index names items that are in the arena");
                header.frequency = (old.header.frequency + 1).min(FREQUENCY_MAX);
                if self.arena.overwrite(offset, &header, Some(item.value)) {
                    return Ok(());
                }
                self.arena.segments[self.arena.segment_of(offset)].main
            }
            None => self.policy.was_evicted_unused(hash),
        };
        let segment = self.open_segment(main, bytes, now_ms);
        let offset = self.arena.append(segment, &header, key, item.value);
        self.link(hash, old, offset);
        Ok(())
    }

    /// The size of the largest value that [`insert`](Self::insert) takes with this key, in bytes.
    pub fn value_bytes_max(&self, key: &[u8]) -> usize {
        self.item_bytes_max.saturating_sub(key.len())
    }

    /// Removes a key; returns whether it was there.
    pub fn remove(&mut self, keyspace: u8, key: &[u8]) -> bool {
        let hash = self.hash(keyspace, key);
        self.find(hash, keyspace, key).is_some_and(|offset| self.unlink(hash, offset))
    }

    /// Gives an item a new expiry time and returns its version. Returns `None` where
    /// [`get`](Self::get) does.
    pub fn touch(
        &mut self,
        keyspace: u8,
        key: &[u8],
        version_floor: u64,
        expires_at_ms: u64,
        now_ms: u64,
    ) -> Option<u64> {
        let change = |header: &mut Header| header.expires_at_ms = expires_at_ms;
        self.change(keyspace, key, version_floor, now_ms, change)
    }

    /// Gives an item other marks and returns its version. Returns `None` where [`get`](Self::get)
    /// does.
    pub fn mark(
        &mut self,
        keyspace: u8,
        key: &[u8],
        version_floor: u64,
        marks: u8,
        now_ms: u64,
    ) -> Option<u64> {
        let change = |header: &mut Header| header.marks = marks;
        self.change(keyspace, key, version_floor, now_ms, change)
    }

    /// Changes an item's header, but not the lengths of its key and value.
    fn change(
        &mut self,
        keyspace: u8,
        key: &[u8],
        version_floor: u64,
        now_ms: u64,
        change: impl FnOnce(&mut Header),
    ) -> Option<u64> {
        let hint = self.hint(keyspace, key);
        let value_bytes = self.get(hint, keyspace, key, version_floor, now_ms)?.value.len();
        let bytes = key.len() + value_bytes;
        // This may evict the item itself, so it is looked up again.
        self.make_room(bytes, now_ms);
        let offset = self.find(hint.hash, keyspace, key)?;
        let item = self.arena.view(offset);
        let mut header = item.expect("the index names items that are in the arena").header;
        change(&mut header);
        if header.expired(now_ms) {
            self.unlink(hint.hash, offset);
        } else if !self.arena.overwrite(offset, &header, None) {
            let main = self.arena.segments[self.arena.segment_of(offset)].main;
            let segment = self.open_segment(main, bytes, now_ms);
            let copy = self.arena.append_copy(segment, &header, offset);
            self.link(hint.hash, Some(offset), copy);
        }
        Some(header.version)
    }

    /// Returns the counters and sizes that cost nothing: all but those of segments and their contents.
    pub fn counts(&self) -> StoreStats {
        StoreStats {
            items: self.index.items() as u64,
            live_bytes: self.live_bytes,
            arena_bytes: (self.arena.segments.len() * self.arena.segment_bytes()) as u64,
            index_bytes: self.index.bytes() as u64,
            policy_bytes: self.policy_bytes() as u64,
            item_bytes_max: self.item_bytes_max as u64,
            evicted: self.evicted,
            kept: self.kept,
            expired: self.expired,
            ..StoreStats::default()
        }
    }

    fn policy_bytes(&self) -> usize {
        self.policy.bytes() + size_of_val(self.arena.segments.as_slice())
    }

    /// Returns counters and sizes. It walks the segments, so call it for statistics, not for requests.
    pub fn stats(&self) -> StoreStats {
        let segments = &self.arena.segments;
        StoreStats {
            used_bytes: segments.iter().map(|segment| u64::from(segment.written_bytes)).sum(),
            segments: segments.len() as u64,
            segments_free: self.policy.free_segments() as u64,
            segment_bytes: self.arena.segment_bytes() as u64,
            ..self.counts()
        }
    }

    #[inline]
    fn hash(&self, keyspace: u8, key: &[u8]) -> u64 {
        hash(&self.hasher, keyspace, key)
    }

    #[inline]
    fn find(&self, hash: u64, keyspace: u8, key: &[u8]) -> Option<u32> {
        self.index.find(hash, |offset| self.arena.has_key(offset, keyspace, key))
    }

    /// Adds a new item to the index, in place of `old` if there was one.
    fn link(&mut self, hash: u64, old: Option<u32>, offset: u32) {
        let Self { arena, index, hasher, .. } = self;
        match old {
            Some(old) => {
                let replaced = index.replace(hash, old, offset);
                assert!(replaced, "the index names the item that was just found");
                self.forget(old);
            }
            None => index.insert(hash, offset, |offset| {
                arena.view(offset).map_or(0, |item| hash_of(hasher, &item))
            }),
        }
        self.live_bytes +=
            self.arena.view(offset).map_or(0, |i| self.arena.footprint_bytes(&i)) as u64;
    }

    /// Removes an item from the index; returns whether it was there.
    fn unlink(&mut self, hash: u64, offset: u32) -> bool {
        let removed = self.index.remove(hash, offset);
        if removed {
            self.forget(offset);
        }
        removed
    }

    /// Subtracts an item that is no longer in the index from its segment's live bytes.
    fn forget(&mut self, offset: u32) {
        self.generation = self.generation.wrapping_add(1);
        let item = self.arena.view(offset).expect("the index names items that are in the arena");
        let footprint_bytes = self.arena.footprint_bytes(&item);
        self.live_bytes -= footprint_bytes as u64;
        let segment = self.arena.segment_of(offset);
        self.arena.segments[segment].live_bytes -= footprint_bytes as u32;
        self.note_sparse(segment);
    }
}

/// Compares two keys. Most have 8 to 32 bytes, and are compared without a call.
#[inline]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    fn ends<const N: usize>(a: &[u8], b: &[u8]) -> bool {
        a.first_chunk::<N>() == b.first_chunk::<N>() && a.last_chunk::<N>() == b.last_chunk::<N>()
    }
    match a.len() {
        length if length != b.len() => false,
        8..=16 => ends::<8>(a, b),
        17..=32 => ends::<16>(a, b),
        _ => a == b,
    }
}

#[inline]
fn hash(hasher: &RandomState, keyspace: u8, key: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(key);
    hasher.write_u8(keyspace);
    hasher.finish()
}

fn hash_of(hasher: &RandomState, item: &arena::View<'_>) -> u64 {
    hash(hasher, item.header.keyspace, item.key)
}
