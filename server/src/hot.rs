//! The keys that a shard is asked for most: a sample of its requests, counted in a bounded table.
//!
//! ```text
//! is_due   every request    one subtraction and one comparison for a row of hits
//! take     one in many      Space-Saving: two scans over 2 KiB of numbers
//! adapt    ten a second     so that about SAMPLES_PER_S requests are taken, whatever the load is
//! ```
//! The distance between two samples is random, so that requests that come in a fixed order are sampled like
//! any others. A sample counts as many requests as that distance is on average.
//!
//! The table is that of Space-Saving (Metwally, Agrawal, El Abbadi, 2005): a key that is not in it takes the
//! place of the one with the lowest count, and that count is its error. So a key with more than one part in
//! [`PLACES`] of the counted requests is in it, and no count is too low, nor too high by more than that part.
//! Each second an eighth of all counts is forgotten, errors included, which leaves these bounds as they are.
//! Counts are therefore those of about the last eight seconds.
//!
//! Nothing here allocates after the start, and no other thread reads it.

use std::cmp::Reverse;
use std::time::Duration;

use standin_protocol::hash::key_hash;
use standin_protocol::hot::{HotKey, KEY_BYTES_MAX};
use standin_protocol::time::Micros;

use crate::counted::COUNTED;

/// The number of keys in the table.
pub(crate) const PLACES: usize = 256;
/// The number of samples per second that a shard takes, if it has as many requests.
pub(crate) const SAMPLES_PER_S: u64 = 2_000;

/// The samples between two calls of [`Hot::adapt`], which come ten times a second.
const SAMPLES: u64 = SAMPLES_PER_S / 10;
/// The largest average distance of two samples.
const EVERY_MAX: u64 = 1 << 20;
/// One request, in the unit of counts. With fractions, low counts are forgotten like high ones.
const ONE: u64 = 1 << 8;
/// The part of a count that is forgotten each second, as a shift: an eighth.
const FORGOTTEN: u32 = 3;
/// The seconds after which nothing is left.
const ALL_FORGOTTEN: u64 = 120;
/// The time between two ages of counts.
const SECOND: Duration = Duration::from_secs(1);

/// The sampler and the table of a shard.
#[derive(Debug)]
pub(crate) struct Hot {
    /// The number of requests up to the next sample, with it.
    left: u64,
    /// The number of requests for which that one stands.
    weight: u64,
    /// The average distance of samples.
    every: u64,
    /// The samples and the requests for which they stand, since the last [`Hot::adapt`].
    taken: u64,
    passed: u64,
    random: u64,
    second: Micros,
    sketch: Box<Sketch>,
}

impl Hot {
    pub(crate) fn new(seed: u64, now: Micros) -> Self {
        // Xorshift needs a number that is not zero.
        let random = (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let (second, sketch) = (now + SECOND, Box::new(Sketch::default()));
        Self { left: 1, weight: 1, every: 1, taken: 0, passed: 0, random, second, sketch }
    }

    /// Whether one of this many requests is to be taken. If so, [`Self::take`] must follow.
    #[inline(always)]
    pub(crate) fn is_due(&mut self, requests: usize) -> bool {
        if !COUNTED {
            return false;
        }
        let requests = requests as u64;
        let is_due = self.left <= requests;
        if !is_due {
            self.left -= requests;
        }
        is_due
    }

    /// Takes those of this many requests that are to be taken; `key` gives the keyspace and key of each.
    #[cold]
    pub(crate) fn take<'a>(&mut self, requests: usize, key: impl Fn(usize) -> (u8, &'a [u8])) {
        let requests = requests as u64;
        let mut before = 0;
        while self.left <= requests - before {
            before += self.left;
            // Smaller than the number of requests of a row.
            let (keyspace, key) = key((before - 1) as usize);
            self.sketch.add(keyspace, key, self.weight * ONE);
            (self.taken, self.passed) = (self.taken + 1, self.passed + self.weight);
            if self.taken.is_multiple_of(2 * SAMPLES) {
                // The load has risen.
                self.every = (2 * self.every).min(EVERY_MAX);
            }
            self.choose_next();
        }
        self.left -= requests - before;
    }

    /// Chooses the next sample: at a random distance from 1 to twice the average less 1.
    fn choose_next(&mut self) {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.left, self.weight) = (1 + self.random % (2 * self.every - 1), self.every);
    }

    /// Chooses the distance of samples by the requests since the last call.
    pub(crate) fn adapt(&mut self) {
        self.every = (self.passed / SAMPLES).clamp(1, EVERY_MAX);
        (self.taken, self.passed) = (0, 0);
        if self.left >= 2 * self.every {
            // The load has fallen.
            self.choose_next();
        }
    }

    /// If a second has ended, gives the table and then forgets a part of its counts.
    pub(crate) fn end_seconds(&mut self, now: Micros, give: impl FnOnce(&Sketch)) {
        if now < self.second {
            return;
        }
        self.sketch.seconds += ONE;
        give(&self.sketch);
        let passed = 1 + now.since(self.second).as_secs();
        self.sketch.forget();
        for _ in 1..passed.min(ALL_FORGOTTEN) {
            self.sketch.seconds += ONE;
            self.sketch.forget();
        }
        self.second = now + SECOND;
    }
}

/// The table. Its keys are in no order.
#[derive(Debug, Clone)]
pub(crate) struct Sketch {
    len: usize,
    hashes: [u64; PLACES],
    counts: [u64; PLACES],
    errors: [u64; PLACES],
    keys: [Key; PLACES],
    /// The count of all requests.
    total: u64,
    /// The seconds of which the counts are, forgotten like them.
    seconds: u64,
}

/// A key as far as the table has it.
#[derive(Debug, Clone, Copy)]
struct Key {
    keyspace: u8,
    /// The length of the whole key.
    bytes: u16,
    start: [u8; KEY_BYTES_MAX],
}

impl Key {
    fn new(keyspace: u8, key: &[u8]) -> Self {
        let mut start = [0; KEY_BYTES_MAX];
        let length = key.len().min(KEY_BYTES_MAX);
        start[..length].copy_from_slice(&key[..length]);
        Self { keyspace, bytes: u16::try_from(key.len()).unwrap_or(u16::MAX), start }
    }

    fn start(&self) -> &[u8] {
        &self.start[..usize::from(self.bytes).min(KEY_BYTES_MAX)]
    }
}

impl Default for Sketch {
    fn default() -> Self {
        let none = Key::new(0, &[]);
        Self {
            len: 0,
            hashes: [0; PLACES],
            counts: [0; PLACES],
            errors: [0; PLACES],
            keys: [none; PLACES],
            total: 0,
            seconds: 0,
        }
    }
}

impl Sketch {
    fn add(&mut self, keyspace: u8, key: &[u8], count: u64) {
        self.total += count;
        let hash = key_hash(keyspace, key);
        if let Some(at) = self.hashes[..self.len].iter().position(|known| *known == hash) {
            self.counts[at] += count;
            return;
        }
        let (at, error) = match self.len {
            PLACES => self.lowest(),
            len => {
                self.len += 1;
                (len, 0)
            }
        };
        self.hashes[at] = hash;
        self.counts[at] = error + count;
        self.errors[at] = error;
        self.keys[at] = Key::new(keyspace, key);
    }

    /// Returns the place with the lowest count, and that count.
    fn lowest(&self) -> (usize, u64) {
        let lowest = self.counts.iter().copied().fold(u64::MAX, u64::min);
        let at = self.counts.iter().position(|count| *count == lowest);
        (at.expect("the lowest of them is one of them"), lowest)
    }

    /// Forgets a part of all counts, and the keys of which nothing is left.
    fn forget(&mut self) {
        let forget = |count: &mut u64| *count -= *count >> FORGOTTEN;
        self.counts[..self.len].iter_mut().for_each(forget);
        self.errors[..self.len].iter_mut().for_each(forget);
        forget(&mut self.total);
        forget(&mut self.seconds);
        let mut at = 0;
        while at < self.len {
            if self.counts[at] >= ONE {
                at += 1;
                continue;
            }
            let last = self.len - 1;
            self.hashes[at] = self.hashes[last];
            self.counts[at] = self.counts[last];
            self.errors[at] = self.errors[last];
            self.keys[at] = self.keys[last];
            self.len = last;
        }
    }

    fn per_s(&self, count: u64) -> u64 {
        (count + self.seconds / 2).checked_div(self.seconds).unwrap_or(0)
    }

    /// Returns the number of requests per second.
    pub(crate) fn requests_per_s(&self) -> u64 {
        self.per_s(self.total)
    }

    /// Returns the keys that are asked for at least once a second, the hottest first, without those of whose
    /// count more than half may be another key's.
    pub(crate) fn hottest(&self, shard: u16) -> Vec<HotKey> {
        let is_hot = |at: &usize| self.errors[*at] <= self.counts[*at] / 2;
        let key = |at: usize| HotKey {
            key: self.keys[at].start().to_vec(),
            hash: self.hashes[at],
            requests_per_s: self.per_s(self.counts[at]),
            doubtful_per_s: self.per_s(self.errors[at]),
            key_bytes: self.keys[at].bytes,
            shard,
            keyspace: self.keys[at].keyspace,
            reserved: [0; 3],
        };
        let mut keys: Vec<HotKey> = (0..self.len).filter(is_hot).map(key).collect();
        keys.retain(|key| key.requests_per_s > 0);
        keys.sort_unstable_by_key(|key| (Reverse(key.requests_per_s), key.hash));
        keys
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const START: Micros = Micros(5_000_000);

    fn hot() -> Hot {
        Hot::new(3, START)
    }

    fn key(number: u64) -> Vec<u8> {
        format!("key:{number}").into_bytes()
    }

    /// Numbers from 0 to 1 that look random.
    fn random(state: &mut u64) -> f64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (*state >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The numbers of keys by Zipf's law with exponent 1.
    fn zipf(keys: u64) -> impl FnMut() -> u64 {
        let mut sums = vec![0.0];
        for rank in 1..=keys {
            sums.push(sums.last().unwrap() + 1.0 / rank as f64);
        }
        let (all, mut state) = (*sums.last().unwrap(), 7);
        move || {
            let drawn = random(&mut state) * all;
            sums.partition_point(|sum| *sum <= drawn) as u64 - 1
        }
    }

    /// Serves requests in rows, as many in each of ten turns of this number of seconds.
    fn serve(hot: &mut Hot, seconds: u64, per_s: usize, row: usize, next: &mut dyn FnMut() -> u64) {
        for _ in 0..10 * seconds {
            for _ in 0..per_s / 10 / row {
                let keys: Vec<Vec<u8>> = (0..row).map(|_| key(next())).collect();
                if hot.is_due(row) {
                    hot.take(row, |at| (1, &keys[at]));
                }
            }
            hot.adapt();
        }
    }

    /// Serves for some seconds; returns the hottest keys, and the rate of all, at the end of the last.
    fn served(
        hot: &mut Hot,
        seconds: u64,
        per_s: usize,
        row: usize,
        next: &mut dyn FnMut() -> u64,
    ) -> (Vec<HotKey>, u64) {
        let mut last = None;
        for _ in 0..seconds {
            serve(hot, 1, per_s, row, next);
            let now = hot.second;
            hot.end_seconds(now, |sketch| {
                last = Some((sketch.hottest(0), sketch.requests_per_s()))
            });
        }
        last.expect("a second has ended")
    }

    #[test]
    fn the_hottest_keys_of_a_zipf_stream_are_found_with_their_rates() {
        for (per_s, row) in [(1_000, 1), (200_000, 1), (200_000, 50)] {
            let (mut hot, mut next, mut exact) = (hot(), zipf(10_000), HashMap::new());
            let mut counting = || {
                let number = next();
                *exact.entry(number).or_insert(0_u64) += 1;
                number
            };
            let (found, all) = served(&mut hot, 20, per_s, row, &mut counting);
            let per_s = per_s as f64;
            assert!((all as f64 / per_s - 1.0).abs() < 0.05, "{all} of {per_s} per second");
            let mut ranked: Vec<(u64, u64)> = exact.into_iter().collect();
            ranked.sort_unstable_by_key(|(number, count)| (Reverse(*count), *number));
            for (rank, (number, count)) in ranked[..10].iter().enumerate() {
                let known = found.iter().take(20).find(|known| known.key == key(*number));
                let known = known.unwrap_or_else(|| panic!("number {rank} is missing at {per_s}"));
                let (is, was) = (known.requests_per_s as f64, *count as f64 / 20.0);
                // Four standard errors of the samples of some fifteen seconds, and the error of the table.
                let samples = was / per_s * 15.0 * per_s.min(SAMPLES_PER_S as f64);
                let most = was * 4.0 / samples.sqrt() + known.doubtful_per_s as f64 + 1.0;
                assert!((is - was).abs() <= most, "number {rank}: {is} for {was} at {per_s}");
            }
        }
    }

    #[test]
    fn every_count_is_at_least_the_exact_one_and_is_too_high_by_its_error_at_most() {
        let (mut sketch, mut next, mut exact) = (Sketch::default(), zipf(5_000), HashMap::new());
        for _ in 0..100_000 {
            let number = next();
            *exact.entry(number).or_insert(0) += ONE;
            sketch.add(1, &key(number), ONE);
        }
        let total = 100_000 * ONE;
        assert_eq!((sketch.total, sketch.len), (total, PLACES));
        for at in 0..PLACES {
            let number = std::str::from_utf8(sketch.keys[at].start()).unwrap();
            let exact = exact[&number["key:".len()..].parse::<u64>().unwrap()];
            let (count, error) = (sketch.counts[at], sketch.errors[at]);
            assert!(count >= exact && count - error <= exact, "{number}: {count}, not {exact}");
            assert!(error <= total / PLACES as u64);
        }
        let many = exact.iter().filter(|(_, count)| **count > total / PLACES as u64);
        for (number, _) in many {
            assert!(sketch.hashes.contains(&key_hash(1, &key(*number))), "{number} is missing");
        }
    }

    #[test]
    fn a_key_becomes_hot_within_seconds_and_cools_down() {
        let (mut hot, mut cold) = (hot(), 0);
        let mut uniform = || {
            cold += 1;
            1_000 + cold % 50_000
        };
        let (found, _) = served(&mut hot, 10, 20_000, 10, &mut uniform);
        assert_eq!(found, [], "no key is hot");
        let mut turn = 0;
        let mut with_hot = || {
            turn += 1;
            if turn % 5 == 0 { 7 } else { uniform() }
        };
        let (found, _) = served(&mut hot, 1, 20_000, 10, &mut with_hot);
        assert_eq!(found[0].key, key(7), "after a second");
        let (found, _) = served(&mut hot, 20, 20_000, 10, &mut with_hot);
        assert!(found[0].requests_per_s.abs_diff(4_000) < 600, "{found:?}");
        let (found, _) = served(&mut hot, 40, 20_000, 10, &mut uniform);
        assert!(found.iter().all(|found| found.key != key(7)), "it has cooled down: {found:?}");
    }

    #[test]
    fn requests_in_a_fixed_order_are_sampled_like_others() {
        let (mut hot, mut turn) = (hot(), 0);
        // A power of two, as a fixed distance could be.
        let mut ordered = || {
            turn += 1;
            turn % 64
        };
        let (found, _) = served(&mut hot, 20, 64_000, 64, &mut ordered);
        assert_eq!(found.len(), 64);
        assert!(
            found.iter().all(|found| (600..1_500).contains(&found.requests_per_s)),
            "{found:?}"
        );
    }

    #[test]
    fn the_number_of_samples_does_not_grow_with_the_load() {
        let mut hot = hot();
        let mut total = 0;
        for _ in 0..10 {
            for _ in 0..100_000 {
                if hot.is_due(1) {
                    hot.take(1, |_| (1, b"key"));
                }
            }
            total += hot.taken;
            hot.adapt();
        }
        // The first tenth of a second begins with every request.
        assert!(total < 10 * SAMPLES * 3 + 4_000, "{total} samples of 1,000,000 requests");
        for _ in 0..100 {
            if hot.is_due(1) {
                hot.take(1, |_| (1, b"key"));
            }
            hot.adapt();
        }
        assert_eq!(hot.every, 1, "a low load is sampled whole again");
    }

    #[test]
    fn what_is_not_asked_for_any_more_takes_no_room() {
        let mut hot = hot();
        served(&mut hot, 2, 1_000, 1, &mut || 1);
        assert_eq!(hot.sketch.len, 1);
        hot.end_seconds(hot.second + Duration::from_secs(60), |_| ());
        assert_eq!((hot.sketch.len, hot.sketch.requests_per_s()), (0, 0));
    }

    #[test]
    fn a_long_key_is_told_from_another_with_the_same_beginning_and_is_cut() {
        let mut sketch = Sketch { seconds: ONE, ..Sketch::default() };
        let long = |last| [vec![b'x'; 300], vec![last]].concat();
        sketch.add(1, &long(b'a'), 9 * ONE);
        sketch.add(1, &long(b'b'), 7 * ONE);
        sketch.add(2, &long(b'b'), 5 * ONE);
        let found = sketch.hottest(4);
        let rates: Vec<_> = found.iter().map(|f| (f.keyspace, f.requests_per_s)).collect();
        assert_eq!(rates, [(1, 9), (1, 7), (2, 5)]);
        for found in &found {
            assert_eq!((found.key.len(), found.key_bytes, found.shard), (KEY_BYTES_MAX, 301, 4));
        }
    }

    #[test]
    fn the_table_is_bounded_in_bytes() {
        assert!(size_of::<Sketch>() <= 42 << 10, "{}", size_of::<Sketch>());
    }
}
