//! The ghost: the keys that were recently evicted without having been used. If one comes back, it
//! was evicted too early, and goes to the main queue at once.
//!
//! It uses two bytes per key: a fingerprint in one of many small first-in-first-out buckets. About one
//! answer in 8,000 is wrong, which only gives an item a place in the wrong queue.

const LANES: usize = 8;

/// See the file's head.
#[derive(Default)]
pub(super) struct Ghost {
    buckets: Vec<[u16; LANES]>,
}

impl Ghost {
    /// Adapts the size to the number of items in the cache: it remembers about as many. It changes,
    /// and forgets everything, when the number has fallen to half or risen to one and a half times.
    pub(super) fn fit(&mut self, items: usize) {
        let lanes = self.buckets.len() * LANES;
        if items > lanes + lanes / 2 || items < lanes / 2 {
            self.buckets = vec![[0; LANES]; items.div_ceil(LANES)];
        }
    }

    pub(super) fn add(&mut self, hash: u64) {
        if let Some(bucket) = self.bucket(hash) {
            let lanes = &mut self.buckets[bucket];
            lanes.copy_within(..LANES - 1, 1);
            lanes[0] = fingerprint(hash);
        }
    }

    pub(super) fn contains(&self, hash: u64) -> bool {
        let fingerprint = fingerprint(hash);
        self.bucket(hash).is_some_and(|bucket| self.buckets[bucket].contains(&fingerprint))
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.buckets.as_slice())
    }

    fn bucket(&self, hash: u64) -> Option<usize> {
        let bucket = ((hash >> 32) * self.buckets.len() as u64) >> 32;
        (!self.buckets.is_empty()).then_some(bucket as usize)
    }
}

/// Returns the fingerprint of a hash. It is never 0, which marks an empty lane.
fn fingerprint(hash: u64) -> u16 {
    (hash as u16).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_about_as_many_as_asked_and_forgets_the_oldest() {
        let mut ghost = Ghost::default();
        assert!(!ghost.contains(5));
        ghost.add(5);
        assert!(!ghost.contains(5), "it has no room yet");
        ghost.fit(800);
        let hash = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for n in 0..10_000 {
            ghost.add(hash(n));
        }
        let known =
            |range: std::ops::Range<u64>| range.filter(|&n| ghost.contains(hash(n))).count();
        assert!(known(9_900..10_000) > 90);
        assert!(known(0..8_000) < 80);
        assert_eq!(ghost.bytes(), 1_600);
    }

    #[test]
    fn keeps_its_memory_while_the_size_is_about_right() {
        let mut ghost = Ghost::default();
        ghost.fit(800);
        ghost.add(5);
        ghost.fit(1_200);
        ghost.fit(400);
        assert!(ghost.contains(5));
        ghost.fit(1_300);
        assert!(!ghost.contains(5));
        assert_eq!(ghost.bytes(), 2_608);
        ghost.fit(80);
        assert_eq!(ghost.bytes(), 160, "and gives back what it does not need");
    }
}
