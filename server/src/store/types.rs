//! The types of the store's interface: configuration, items, errors, statistics.

/// The size of the store, and its hash seeds.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Memory for items, mapped at once and touched as it fills. The index and the ghost come on top:
    /// see [`StoreStats::index_bytes`].
    pub arena_bytes: usize,
    /// Whether to ask the kernel for huge pages. A refusal is not an error.
    pub huge_pages: bool,
    /// The largest size of key and value together. Larger ones are [`StoreError::TooLarge`], and so
    /// are those that a small arena's segments cannot hold: see [`StoreStats::item_bytes_max`].
    pub item_bytes_max: usize,
    /// Seeds of the index's hash. `None`: random for each process, so that nobody outside can choose
    /// keys that collide. `Some`: repeatable, for the simulator.
    pub hash_seeds: Option<[u64; 4]>,
}

/// The reason why the store refused.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The arena is too small to be cut into segments, or larger than offsets reach.
    #[error(
        "{arena_bytes} bytes is not possible; write a `memory` of between {min_bytes} and \
         {max_bytes} bytes for each of its `shards`"
    )]
    ArenaSize {
        /// The configured size.
        arena_bytes: usize,
        /// The smallest possible size.
        min_bytes: usize,
        /// The largest possible size.
        max_bytes: usize,
    },
    /// The kernel refused the memory.
    #[error("cannot map {bytes} bytes for the arena ({source}): configure a smaller one")]
    Map {
        /// The requested size.
        bytes: usize,
        /// The kernel's error.
        source: std::io::Error,
    },
    /// The item can never be stored. The key's previous item has been removed.
    #[error(
        "a key and value of {bytes} bytes together are too large; the store takes at most \
         {max_bytes}"
    )]
    TooLarge {
        /// Key and value together.
        bytes: usize,
        /// The limit of this store.
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
    /// The expiry time as inserted or touched. `u64::MAX`: never.
    pub expires_at_ms: u64,
    /// Whether this records that the origin has no such key.
    pub negative: bool,
    /// As inserted.
    pub flags: u32,
    /// As inserted, or as set by [`mark`](super::Store::mark).
    pub marks: u8,
}

/// An item to insert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewItem<'a> {
    /// The value.
    pub value: &'a [u8],
    /// The version. It is compared with `version_floor` on reads, and otherwise only stored.
    pub version: u64,
    /// The time from which the item is a miss. `u64::MAX`: never. More than 34 years from now may
    /// be cut to that.
    pub expires_at_ms: u64,
    /// Whether this records that the origin has no such key.
    pub negative: bool,
    /// The caller's own bits, for example a client's. The store only keeps them.
    pub flags: u32,
    /// More bits of the caller, which can change without a new value.
    pub marks: u8,
}

/// Counters since the start, and sizes now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// The number of items, including expired ones and ones below their floor that no request has
    /// asked for since.
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
    /// The number of empty segments.
    pub segments_free: u64,
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// The largest size of key and value together that fits.
    pub item_bytes_max: u64,
    /// Live items dropped to make room.
    pub evicted: u64,
    /// Items that eviction kept because they had been used.
    pub kept: u64,
    /// Items dropped because they had expired, or were below their floor when they were asked for.
    pub expired: u64,
}
