//! The keys that the server is asked for most: those of its shards, each of which publishes its table once a
//! second. A shard never waits for a reader: it skips a second instead.

use std::cmp::Reverse;
use std::sync::PoisonError;

use standin_protocol::hot::{HotReply, KEYS_MAX};

use super::StatsHub;
use crate::hot::Sketch;

impl StatsHub {
    /// Publishes a shard's table.
    pub(crate) fn publish_hot(&self, shard: u16, sketch: &Sketch) {
        if let Ok(mut slot) = self.shards[usize::from(shard)].hot.try_lock() {
            slot.as_mut().clone_from(sketch);
        }
    }

    /// Returns the keys that the server is asked for most.
    pub(crate) fn hot(&self) -> HotReply {
        let mut all = HotReply::default();
        for (shard, block) in (0u16..).zip(&self.shards) {
            let sketch = block.hot.lock().unwrap_or_else(PoisonError::into_inner);
            all.requests_per_s += sketch.requests_per_s();
            all.keys.extend(sketch.hottest(shard));
        }
        all.keys.sort_by_key(|key| Reverse(key.requests_per_s));
        all.keys.truncate(KEYS_MAX);
        all
    }
}

#[cfg(test)]
mod tests {
    use standin_protocol::time::Micros;

    use super::*;
    use crate::hot::Hot;

    #[test]
    fn the_hottest_keys_of_all_shards_are_given_and_their_number_is_bounded() {
        let hub = StatsHub::new("a".to_owned(), 1, 2, Micros(0));
        assert_eq!(hub.hot(), HotReply::default());
        for shard in 0..2 {
            let mut hot = Hot::new(u64::from(shard), Micros(0));
            for number in 0..200_usize {
                let (key, count) = (format!("{shard}:{number}"), 200 - number + usize::from(shard));
                for _ in 0..count {
                    assert!(hot.is_due(1), "few requests are all sampled");
                    hot.take(1, |_| (1, key.as_bytes()));
                    hot.adapt();
                }
            }
            hot.end_seconds(Micros(1_000_000), |sketch| hub.publish_hot(shard, sketch));
        }
        let reply = hub.hot();
        assert_eq!(reply.keys.len(), KEYS_MAX);
        let first: Vec<_> = reply.keys[..3].iter().map(|k| (k.shard, k.requests_per_s)).collect();
        assert_eq!(first, [(1, 201), (0, 200), (1, 200)]);
        assert_eq!(reply.requests_per_s, 2 * 200 * 201 / 2 + 200);
    }
}
