//! Walks and sweeps over all items, in parts whose number never changes: each part is a table of the index. A key
//! belongs to one part for the life of the store, whatever is inserted, removed, evicted or moved
//! meanwhile. So a walk that visits all parts in any order sees each key that is there all the time.

use super::{Store, hash_of};

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
        self.visit_offsets(part, |_, item| visit(item));
    }

    fn visit_offsets(&self, part: u32, mut visit: impl FnMut(u32, Walked<'_>)) {
        for offset in self.index.table_offsets(part) {
            let item =
                self.arena.view(offset).expect("the index names items that are in the arena");
            let header = item.header;
            let item = Walked {
                keyspace: header.keyspace,
                key: item.key,
                version: header.version,
                expires_at_ms: header.expires_at_ms,
                negative: header.negative,
            };
            visit(offset, item);
        }
    }

    /// Removes the items of a part that have expired or that `is_dropped` names, so that their room is used
    /// again when their segments are evicted. Returns the number of items that were looked at.
    pub fn sweep(
        &mut self,
        part: u32,
        now_ms: u64,
        mut is_dropped: impl FnMut(Walked<'_>) -> bool,
    ) -> usize {
        let mut gone = Vec::new();
        let (mut looked_at, mut expired) = (0, 0);
        self.visit_offsets(part, |offset, item| {
            looked_at += 1;
            let is_expired = item.expires_at_ms <= now_ms;
            expired += u64::from(is_expired);
            if is_expired || is_dropped(item) {
                gone.push(offset);
            }
        });
        for offset in gone {
            let item = self.arena.view(offset);
            let hash =
                hash_of(&self.hasher, &item.expect("the index names items that are in the arena"));
            self.unlink(hash, offset);
        }
        self.expired += expired;
        looked_at
    }
}
