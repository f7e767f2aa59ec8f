//! The choice of requests: the key, read or write, and the size. Uses no clock and no socket.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::key_list::KeyList;
use crate::key_names::{DIGITS_MAX, KeyNames, push_number};
use crate::popularity::{Chooser, Popularity};
use crate::request::{Access, Recorded, Request, ValueSizes};
use crate::rng::Random;
use crate::trace::{Next, Player};

/// The mapping of a key's index to its bytes.
#[derive(Debug, Clone)]
pub enum Keys {
    /// `key-00000042`.
    Numbered,
    /// Names that are made from the index in another way.
    Named(KeyNames),
    /// Names that somebody else has given.
    Listed(Arc<KeyList>),
}

impl Keys {
    /// Returns the key's bytes.
    #[must_use]
    pub fn name(&self, index: u32) -> Vec<u8> {
        match self {
            Self::Numbered => {
                let mut name = Vec::with_capacity(4 + DIGITS_MAX);
                name.extend_from_slice(b"key-");
                push_number(&mut name, index.into(), 8);
                name
            }
            Self::Named(names) => names.name(index),
            Self::Listed(list) => list.get(index).to_vec(),
        }
    }
}

/// The parameters of a synthetic workload.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mix {
    /// Number of keys.
    pub keys: u32,
    /// How requests are spread over them.
    pub popularity: Popularity,
    /// Share of reads, 0 to 100; the rest are writes.
    pub reads_percent: f64,
    /// Whether each write follows a read of its key, which comes in addition to the reads above. The
    /// write does not wait for its answer.
    pub reads_first: bool,
    /// Requests that are neither reads nor plain writes.
    pub others: Others,
    /// Sizes of the values written.
    pub sizes: ValueSizes,
    /// Reads that a cache can't be expected to answer.
    pub cold: Cold,
}

/// Shares of all requests, 0 to 100. Together with the reads they are 100 at most; the rest are plain writes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Others {
    /// Writes where there is no value.
    pub adds_percent: f64,
    /// New lifetimes.
    pub touches_percent: f64,
    /// Deletes.
    pub deletes_percent: f64,
    /// Reads of several keys at once.
    pub multi_gets_percent: f64,
    /// The keys of each of them.
    pub multi_get_keys: u16,
    /// Compare-and-swaps.
    pub cas_percent: f64,
    /// The keys of all of them together. They follow those of the mix, and have the same popularity.
    pub cas_keys: u32,
    /// Increments.
    pub increments_percent: f64,
    /// The counters of all of them together. They follow all other keys, and have the same popularity.
    pub counters: u32,
    /// The lifetime that plain writes, adds and touches give, in seconds; 0: the target's own, or none.
    pub ttl_s: u32,
}

impl Others {
    /// Reads and plain writes without a lifetime.
    pub const NONE: Self = Self {
        adds_percent: 0.0,
        touches_percent: 0.0,
        deletes_percent: 0.0,
        multi_gets_percent: 0.0,
        multi_get_keys: 1,
        cas_percent: 0.0,
        cas_keys: 0,
        increments_percent: 0.0,
        counters: 0,
        ttl_s: 0,
    };

    /// The share of all of them, 0 to 100.
    #[must_use]
    pub fn percent(&self) -> f64 {
        self.adds_percent
            + self.touches_percent
            + self.deletes_percent
            + self.multi_gets_percent
            + self.cas_percent
            + self.increments_percent
    }
}

/// An increment is by 1 to this many.
const INCREMENT_MAX: u64 = 9;
/// The largest number of times that a key of a request for many is drawn again because it has the key already.
const MULTI_REDRAWS_MAX: u32 = 8;

/// Reads spread evenly over many keys behind all others. Keys may be drawn again, and then be
/// hits. Nearly every such read is a miss only if there are far fewer reads than keys, so for a
/// steady hit ratio, use many times as many keys as a run makes such reads.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Cold {
    /// Number of such keys; they follow all others.
    pub keys: u32,
    /// Share of the reads that go to them, 0 to 100.
    pub percent: f64,
}

/// One worker's source of requests.
#[derive(Debug)]
pub enum Supply {
    /// Random requests of a [`Mix`]; endless.
    Mixed {
        /// The mix.
        mix: Box<Mix>,
        /// Its keys.
        chooser: Chooser,
        /// Those of compare-and-swaps, and the counters.
        own: Box<[Chooser; 2]>,
        /// The write that follows the read before it.
        then: Option<Request>,
        /// This worker's random numbers.
        random: Random,
    },
    /// Every key of a range once, in order.
    Sweep {
        /// The next key.
        next: u32,
        /// The end of the range.
        end: u32,
        /// Distance between two keys of this worker.
        step: u32,
        /// The action for each key.
        access: SweepAccess,
    },
    /// A share of a recorded trace, in its order. Its keys have names of their own.
    Replay(Player),
}

/// The action of a sweep for each key.
#[derive(Debug, Clone)]
pub enum SweepAccess {
    /// Reads it.
    Read,
    /// Writes a first value of this size.
    Fill(u32),
    /// Writes a first value of a size that follows from this seed and the key.
    FillDrawn(Box<ValueSizes>, u64),
    /// Writes a counter's first number.
    SetCounters,
    /// Reads a counter, by an increment by zero: that comes to the one who may change it.
    ReadCounters,
}

impl Supply {
    /// A supply that is used up.
    #[must_use]
    pub fn nothing() -> Self {
        Self::Sweep { next: 0, end: 0, step: 1, access: SweepAccess::Read }
    }

    /// Returns the share of `worker` (from 0) of `workers` of a mix.
    #[must_use]
    pub fn mixed(mix: Mix, seed: u64, worker: u32, workers: u32) -> Self {
        let chooser = Chooser::new(mix.popularity, mix.keys, worker, workers);
        let random = Random::stream(seed, u64::from(worker));
        let own = [mix.others.cas_keys, mix.others.counters];
        let own = own.map(|keys| Chooser::new(mix.popularity, keys.max(1), worker, workers));
        Self::Mixed { mix: Box::new(mix), chooser, own: Box::new(own), then: None, random }
    }

    /// The next request, this long after the beginning of the run, and what a trace says of it. A trace may have none
    /// for the moment.
    pub fn next_at(&mut self, passed: Duration) -> Option<(Request, Option<Recorded>)> {
        match self {
            Self::Mixed { chooser, own, .. } => {
                let all = std::iter::once(chooser).chain(own.iter_mut());
                all.for_each(|chooser| chooser.at(passed));
            }
            Self::Sweep { .. } => {}
            Self::Replay(player) => {
                return player.take().map(|(request, recorded)| (request, Some(recorded)));
            }
        }
        self.next().map(|request| (request, None))
    }

    /// Whether there is a request, and when it was recorded. What is made up has no time, and a mix of it no end.
    pub fn peek(&mut self) -> Next {
        match self {
            Self::Replay(player) => player.peek(),
            Self::Sweep { next, end, .. } if *next >= *end => Next::Ended,
            Self::Mixed { .. } | Self::Sweep { .. } => Next::At(Duration::ZERO),
        }
    }

    /// Goes on in another run, after one that has taken this long.
    pub fn go_on_after(&mut self, passed: Duration) {
        if let Self::Mixed { chooser, own, .. } = self {
            let all = std::iter::once(chooser).chain(own.iter_mut());
            all.for_each(|chooser| chooser.go_on_after(passed));
        }
    }

    /// Returns this many keys that are read together with `first`, all different. They are fewer if no others are
    /// drawn.
    pub fn more_keys(&mut self, first: u32, count: u16) -> Vec<u32> {
        let Self::Mixed { chooser, random, .. } = self else { return Vec::new() };
        let mut keys = Vec::with_capacity(count.into());
        let mut known = BTreeSet::from([first]);
        for _ in 0..count {
            let mut draws = (0..=MULTI_REDRAWS_MAX).map(|_| chooser.draw(random));
            keys.extend(draws.find(|key| known.insert(*key)));
        }
        keys
    }

    /// Returns another key for a request whose key can't be written just now; `None` if the keys
    /// are given.
    pub fn other_key(&mut self) -> Option<u32> {
        match self {
            Self::Mixed { chooser, random, .. } => {
                let drawn = chooser.draw(random);
                Some(chooser.of_write(drawn))
            }
            Self::Sweep { .. } | Self::Replay(_) => None,
        }
    }
}

impl Iterator for Supply {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        match self {
            Self::Mixed { mix, chooser, own, then, random } => {
                if let Some(write) = then.take() {
                    return Some(write);
                }
                let key = chooser.draw(random);
                let share = random.unit() * 100.0 - mix.reads_percent;
                // A share of 100 is all, however it is rounded.
                if share >= 0.0 && mix.reads_percent < 100.0 {
                    let write = change(mix, (chooser, own), key, share, random);
                    let is_plain = matches!(write.access, Access::Write { .. });
                    if !(mix.reads_first && is_plain) {
                        return Some(write);
                    }
                    let key = write.key;
                    *then = Some(write);
                    return Some(Request { key, access: Access::Read });
                }
                let Cold { keys, percent } = mix.cold;
                if keys == 0 || random.unit() * 100.0 >= percent {
                    return Some(Request { key, access: Access::Read });
                }
                let cold = u32::try_from(random.below(keys.into())).unwrap_or(0);
                let Others { cas_keys, counters, .. } = mix.others;
                let before = mix.keys + cas_keys + counters;
                Some(Request { key: before + cold, access: Access::Read })
            }
            Self::Sweep { next, end, step, access } => {
                let key = *next;
                if key >= *end {
                    return None;
                }
                *next = key.saturating_add(*step);
                let access = match access {
                    SweepAccess::Read => Access::Read,
                    SweepAccess::Fill(value_bytes) => {
                        Access::Write { value_bytes: *value_bytes, ttl_s: 0 }
                    }
                    SweepAccess::FillDrawn(sizes, seed) => {
                        let value_bytes = sizes.draw(&mut Random::stream(*seed, key.into()));
                        Access::Write { value_bytes, ttl_s: 0 }
                    }
                    SweepAccess::SetCounters => Access::SetCounter,
                    SweepAccess::ReadCounters => Access::Increment { by: 0 },
                };
                Some(Request { key, access })
            }
            Self::Replay(player) => player.take().map(|(request, _)| request),
        }
    }
}

/// What is no plain read: `share` says which, from 0 to the share of all such requests.
fn change(
    mix: &Mix,
    (chooser, own): (&mut Chooser, &mut [Chooser; 2]),
    key: u32,
    share: f64,
    random: &mut Random,
) -> Request {
    let others = &mix.others;
    let ttl_s = others.ttl_s;
    let mut rest = share;
    let mut is = |percent: f64| {
        rest -= percent;
        rest < 0.0
    };
    let [cas_chooser, counter_chooser] = own;
    if is(others.touches_percent) {
        return Request { key, access: Access::Touch { ttl_s } };
    }
    if is(others.deletes_percent) {
        return Request { key, access: Access::Delete };
    }
    if is(others.multi_gets_percent) {
        return Request { key, access: Access::ReadMany { keys: others.multi_get_keys } };
    }
    if is(others.cas_percent) {
        let key = mix.keys + cas_chooser.draw(random);
        return Request { key, access: Access::Cas { value_bytes: mix.sizes.draw(random), ttl_s } };
    }
    if is(others.increments_percent) {
        let key = mix.keys + others.cas_keys + counter_chooser.draw(random);
        let by = u32::try_from(1 + random.below(INCREMENT_MAX)).unwrap_or(1);
        return Request { key, access: Access::Increment { by } };
    }
    let is_add = is(others.adds_percent);
    let (key, value_bytes) = (chooser.of_write(key), mix.sizes.draw(random));
    let access = match is_add {
        true => Access::Add { value_bytes, ttl_s },
        false => Access::Write { value_bytes, ttl_s },
    };
    Request { key, access }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIX: Mix = Mix {
        keys: 100,
        popularity: Popularity::ranked(0.99),
        reads_percent: 95.0,
        reads_first: false,
        others: Others::NONE,
        sizes: ValueSizes::between(40, 60),
        cold: Cold { keys: 0, percent: 0.0 },
    };

    #[test]
    fn the_mix_has_its_shares_and_sizes() {
        let all: Vec<Request> = Supply::mixed(MIX, 1, 0, 1).take(100_000).collect();
        let writes: Vec<u32> = all
            .iter()
            .filter_map(|wanted| match wanted.access {
                Access::Write { value_bytes, .. } => Some(value_bytes),
                _ => None,
            })
            .collect();
        assert!((4_700..5_300).contains(&writes.len()), "{}", writes.len());
        assert_eq!(writes.iter().min(), Some(&40));
        assert_eq!(writes.iter().max(), Some(&60));
        assert!(all.iter().all(|wanted| wanted.key < 100));
    }

    #[test]
    fn only_reads_and_only_writes() {
        for (reads_percent, is_read) in [(100.0, true), (0.0, false)] {
            let supply = Supply::mixed(Mix { reads_percent, ..MIX }, 1, 0, 1);
            assert!(supply.take(10_000).all(|wanted| (wanted.access == Access::Read) == is_read));
        }
    }

    #[test]
    fn a_write_follows_the_read_of_its_key() {
        let mix = Mix { reads_percent: 50.0, reads_first: true, ..MIX };
        let all: Vec<Request> = Supply::mixed(mix, 1, 0, 1).take(30_000).collect();
        let is_write = |wanted: &Request| wanted.access != Access::Read;
        assert!(!is_write(&all[0]));
        let pairs = all.windows(2).filter(|pair| is_write(&pair[1]));
        assert!(pairs.clone().all(|pair| !is_write(&pair[0]) && pair[0].key == pair[1].key));
        assert!((9_500..10_500).contains(&pairs.count()), "half of the operations are such pairs");
    }

    #[test]
    fn writes_are_of_the_key_after_the_latest() {
        let popularity = Popularity::Latest { exponent: 0.99 };
        let mix = Mix { popularity, reads_percent: 50.0, ..MIX };
        let writes: Vec<u32> = Supply::mixed(mix, 1, 1, 2)
            .filter(|wanted| wanted.access != Access::Read)
            .map(|wanted| wanted.key)
            .take(3)
            .collect();
        assert_eq!(writes, [1, 3, 5], "the other worker writes those in between");
    }

    #[test]
    fn adds_touches_and_deletes_have_their_shares() {
        let others = Others {
            adds_percent: 5.0,
            touches_percent: 10.0,
            deletes_percent: 20.0,
            ttl_s: 7,
            ..Others::NONE
        };
        let mix = Mix { reads_percent: 50.0, others, ..MIX };
        let all: Vec<Access> =
            Supply::mixed(mix, 1, 0, 1).take(100_000).map(|wanted| wanted.access).collect();
        let count = |is: &dyn Fn(&Access) -> bool| all.iter().filter(|access| is(access)).count();
        let adds = count(&|access| matches!(access, Access::Add { ttl_s: 7, .. }));
        let touches = count(&|access| *access == Access::Touch { ttl_s: 7 });
        let deletes = count(&|access| *access == Access::Delete);
        let writes = count(&|access| matches!(access, Access::Write { ttl_s: 7, .. }));
        assert!((4_700..5_300).contains(&adds), "{adds}");
        assert!((9_600..10_400).contains(&touches), "{touches}");
        assert!((19_500..20_500).contains(&deletes), "{deletes}");
        assert!((14_500..15_500).contains(&writes), "{writes}");
    }

    #[test]
    fn cold_keys_are_only_read() {
        let cold = Cold { keys: 1_000, percent: 10.0 };
        let all: Vec<Request> = Supply::mixed(Mix { cold, ..MIX }, 1, 0, 1).take(100_000).collect();
        let cold: Vec<&Request> = all.iter().filter(|wanted| wanted.key >= 100).collect();
        assert!((9_000..10_000).contains(&cold.len()), "{}", cold.len());
        assert!(cold.iter().all(|wanted| wanted.access == Access::Read && wanted.key < 1_100));
        let others = Others { cas_percent: 1.0, cas_keys: 50, counters: 7, ..Others::NONE };
        let cold = Cold { keys: 10, percent: 100.0 };
        let all = Supply::mixed(Mix { cold, others, ..MIX }, 1, 0, 1).take(1_000);
        let mut reads = all.filter(|wanted| wanted.access == Access::Read);
        assert!(reads.all(|wanted| (157..167).contains(&wanted.key)));
    }

    #[test]
    fn workers_differ_and_seeds_repeat() {
        let take = |seed, worker| Supply::mixed(MIX, seed, worker, 2).take(20).collect::<Vec<_>>();
        assert_eq!(take(1, 0), take(1, 0));
        assert_ne!(take(1, 0), take(1, 1));
        assert_ne!(take(1, 0), take(2, 0));
    }

    #[test]
    fn a_sweep_of_two_workers_touches_each_key_once() {
        let sweep = |next| Supply::Sweep { next, end: 7, step: 2, access: SweepAccess::Fill(50) };
        let mut keys: Vec<u32> = sweep(0).chain(sweep(1)).map(|wanted| wanted.key).collect();
        keys.sort_unstable();
        assert_eq!(keys, [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn sizes_are_read() {
        assert_eq!("100".parse(), Ok(ValueSizes::fixed(100)));
        assert_eq!("64-4096".parse(), Ok(ValueSizes::between(64, 4_096)));
        assert!("9-3".parse::<ValueSizes>().is_err());
        assert!("many".parse::<ValueSizes>().is_err());
    }

    #[test]
    fn keys_have_names() {
        assert_eq!(Keys::Numbered.name(42), b"key-00000042");
    }
}
