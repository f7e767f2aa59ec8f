//! What callers of the store give and get: configuration, items, errors, statistics.

/// How large the store is, and how it hashes.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Memory for items, mapped at once and touched as it fills. The index and the ghost come on top:
    /// see [`StoreStats::index_bytes`].
    pub arena_bytes: usize,
    /// Ask the kernel for huge pages. Not an error where it refuses.
    pub huge_pages: bool,
    /// Largest key and value together. Larger ones are [`StoreError::TooLarge`], and so are those that
    /// a small arena's segments cannot hold: see [`StoreStats::item_bytes_max`].
    pub item_bytes_max: usize,
    /// Seeds of the index's hash. `None`: random for each process, so that nobody outside can choose
    /// keys that collide. `Some`: repeatable, for the simulator.
    pub hash_seeds: Option<[u64; 4]>,
}

/// Why the store refused.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The arena is too small to be cut into segments, or larger than offsets reach.
    #[error(
        "{arena_bytes} bytes is not possible; write a `memory` of between {min_bytes} and \
         {max_bytes} bytes for each of its `shards`"
    )]
    ArenaSize {
        /// As configured.
        arena_bytes: usize,
        /// The smallest possible.
        min_bytes: usize,
        /// The largest possible.
        max_bytes: usize,
    },
    /// The kernel did not give the memory.
    #[error("cannot map {bytes} bytes for the arena ({source}): configure a smaller one")]
    Map {
        /// As asked for.
        bytes: usize,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The item can never be stored. What was stored under its key before is gone.
    #[error(
        "a key and value of {bytes} bytes together are too large; the store takes at most \
             {max_bytes}"
    )]
    TooLarge {
        /// Key and value together.
        bytes: usize,
        /// The limit here.
        max_bytes: usize,
    },
}

/// A live item, as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// The value, in the arena.
    pub value: &'a [u8],
    /// As inserted.
    pub version: u64,
    /// As inserted or touched; at most 49 days from then. `u64::MAX`: never.
    pub expires_at_ms: u64,
    /// The origin was asked and has no such key.
    pub negative: bool,
}

/// An item to insert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewItem<'a> {
    /// The value.
    pub value: &'a [u8],
    /// Compared with `version_floor` on reads; otherwise only kept.
    pub version: u64,
    /// From this time on the item is a miss. `u64::MAX`: never. More than 49 days from now is cut to
    /// that.
    pub expires_at_ms: u64,
    /// The origin has no such key.
    pub negative: bool,
}

/// Counters since the start, and sizes now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Items now, among them those expired or below their floor that nobody has asked for since.
    pub items: u64,
    /// Bytes of these items: header, key, value.
    pub live_bytes: u64,
    /// Bytes written to segments and not yet freed, among them replaced and removed items.
    pub used_bytes: u64,
    /// Bytes of the arena.
    pub arena_bytes: u64,
    /// Bytes of the index, on the heap.
    pub index_bytes: u64,
    /// Bytes of the eviction policy's memory and the segments' book-keeping, on the heap.
    pub policy_bytes: u64,
    /// Segments of the arena.
    pub segments: u64,
    /// Of these, empty ones.
    pub segments_free: u64,
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Largest key and value together that fit.
    pub item_bytes_max: u64,
    /// Live items dropped for room.
    pub evicted: u64,
    /// Items that eviction kept because they had been used.
    pub kept: u64,
    /// Items dropped because they were past their time or below their floor.
    pub expired: u64,
}
