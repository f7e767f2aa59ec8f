//! Walks over all items, in parts whose number never changes: each part is a table of the index. A key
//! belongs to one part for the life of the store, whatever is inserted, removed, evicted or moved
//! meanwhile. So a walk that visits all parts in any order sees each key that is there all the time.

use super::Store;

/// A live item, as a walk sees it. The caller decides whether it has expired or is below its floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walked<'a> {
    /// As inserted.
    pub keyspace: u8,
    /// The key, in the arena.
    pub key: &'a [u8],
    /// As inserted.
    pub version: u64,
    /// As inserted or touched. `u64::MAX`: never.
    pub expires_at_ms: u64,
    /// As inserted.
    pub negative: bool,
}

impl Store {
    /// The number of parts. A part has about as many items as 32 KiB of the arena.
    #[must_use]
    pub fn parts(&self) -> u32 {
        self.index.tables()
    }

    /// Gives the items of a part to `visit`. There are none if there is no such part.
    pub fn visit(&self, part: u32, mut visit: impl FnMut(Walked<'_>)) {
        for offset in self.index.table_offsets(part) {
            let item =
                self.arena.view(offset).expect("the index names items that are in the arena");
            let header = item.header;
            visit(Walked {
                keyspace: header.keyspace,
                key: item.key,
                version: header.version,
                expires_at_ms: header.expires_at_ms,
                negative: header.negative,
            });
        }
    }
}
