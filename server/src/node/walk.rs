//! The keys that are cached, for those who ask what is there. A key is given if a GET would find its
//! value in the cache now.

use super::{Node, Now};

impl Node {
    /// Returns the number of parts of the cache, which never changes.
    #[must_use]
    pub fn parts(&self) -> u32 {
        self.cache.parts()
    }

    /// Gives the cached keys of a part, each with its keyspace. Returns the number of items that were
    /// looked at.
    pub fn visit(&self, now: Now, part: u32, mut give: impl FnMut(u8, &[u8])) -> usize {
        let (now_ms, mut looked_at) = (now.mono.as_millis(), 0);
        self.cache.visit(part, |item| {
            looked_at += 1;
            if item.negative || item.expires_at_ms <= now_ms {
                return;
            }
            let (_, partition) = self.hash(item.keyspace, item.key);
            let is_served = self.partitions.serving(partition).keeps();
            if is_served && item.version >= self.partitions.read_floor(item.keyspace, partition) {
                give(item.keyspace, item.key);
            }
        });
        looked_at
    }
}
