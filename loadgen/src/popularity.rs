//! The choice of keys: how often each is asked for, and in which order. Uses no clock and no socket.

use std::time::Duration;

use crate::rng::Random;
use crate::zipf::Zipf;

/// How requests are spread over the keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Popularity {
    /// Key of rank `r` with a probability proportional to `(r + 1)^-exponent`.
    Zipf {
        /// The exponent; 0: all keys alike.
        exponent: f64,
        /// Whether ranks belong to keys without an order. Otherwise the rank is the key's number, so the keys
        /// that were filled first are the most popular.
        is_scrambled: bool,
    },
    /// All keys alike.
    Uniform,
    /// One key after the other, and again from the first one.
    Sequential,
    /// A write is of the next key, and again from the first one; a read is of a key that was written lately,
    /// the last one with rank 0 of a Zipf distribution.
    Latest {
        /// Its exponent.
        exponent: f64,
    },
    /// A share of the requests goes to a share of the keys, within which all are alike. They are spread over
    /// all keys.
    Hotspot {
        /// Share of the keys, 0 to 100; at least one key.
        keys_percent: f64,
        /// Share of the requests, 0 to 100.
        requests_percent: f64,
    },
    /// Popular keys that change with time.
    Moving(Still, Moves),
}

/// A popularity whose popular keys may change: they are spread over all keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Still {
    /// [`Popularity::Zipf`] with this exponent.
    Zipf {
        /// The exponent.
        exponent: f64,
    },
    /// [`Popularity::Hotspot`].
    Hotspot {
        /// As there.
        keys_percent: f64,
        /// As there.
        requests_percent: f64,
    },
}

impl From<Still> for Popularity {
    fn from(still: Still) -> Self {
        match still {
            Still::Zipf { exponent } => Self::Zipf { exponent, is_scrambled: true },
            Still::Hotspot { keys_percent, requests_percent } => {
                Self::Hotspot { keys_percent, requests_percent }
            }
        }
    }
}

/// How popular keys change: at each step, a share of all ranks, the popular ones among them, gets other keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moves {
    /// The time between two steps.
    pub every: Duration,
    /// The number of steps in which each rank moves once.
    pub steps: u32,
}

impl Popularity {
    /// A Zipf distribution in which the rank is the key's number.
    #[must_use]
    pub const fn ranked(exponent: f64) -> Self {
        Self::Zipf { exponent, is_scrambled: false }
    }
}

/// The word for a [`Popularity`] on the command line and in a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum PopularityKind {
    /// Zipf distribution whose popular keys are spread over all keys.
    #[default]
    Zipf,
    /// Zipf distribution in which the first key is the most popular one, the second the next, and so on.
    ZipfByNumber,
    /// All keys alike.
    Uniform,
    /// One key after the other, and again from the first one.
    Sequential,
    /// Writes take one key after the other; reads prefer what was written last.
    Latest,
    /// Most requests go to few keys.
    Hotspot,
}

/// Draws the keys of one worker.
#[derive(Debug)]
pub struct Chooser {
    keys: u32,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Zipf(Zipf, Option<Scramble>),
    Uniform,
    Sequential(Turns),
    Latest(Zipf, Turns, u64),
    Hotspot { hot: u32, share: f64, scramble: Scramble },
    Moving(Box<Way>, Movement),
}

impl Chooser {
    /// The keys of `worker` (from 0) of `workers`, out of `0..keys`.
    #[must_use]
    pub fn new(popularity: Popularity, keys: u32, worker: u32, workers: u32) -> Self {
        let way = Self::way(popularity, keys, worker, workers);
        Self { keys, way }
    }

    fn way(popularity: Popularity, keys: u32, worker: u32, workers: u32) -> Way {
        let turns = Turns { next: worker.into(), step: workers.max(1).into() };
        match popularity {
            Popularity::Zipf { exponent, is_scrambled } => {
                let scramble = is_scrambled.then(|| Scramble::new(keys));
                Way::Zipf(Zipf::new(keys, exponent), scramble)
            }
            Popularity::Uniform => Way::Uniform,
            Popularity::Sequential => Way::Sequential(turns),
            Popularity::Latest { exponent } => {
                // Whoever has filled the keys has written the last one last.
                let newest = u64::from(keys.saturating_sub(1));
                Way::Latest(Zipf::new(keys, exponent), turns, newest)
            }
            Popularity::Hotspot { keys_percent, requests_percent } => {
                let hot = (f64::from(keys) * keys_percent / 100.0).round() as u32;
                let scramble = Scramble::new(keys);
                Way::Hotspot { hot: hot.clamp(1, keys), share: requests_percent / 100.0, scramble }
            }
            Popularity::Moving(still, moves) => {
                let still = Self::way(still.into(), keys, worker, workers);
                Way::Moving(Box::new(still), Movement::new(moves))
            }
        }
    }

    /// Sets the time since the beginning of the run.
    pub fn at(&mut self, passed: Duration) {
        if let Way::Moving(_, movement) = &mut self.way {
            movement.at(passed);
        }
    }

    /// Goes on in another run, after one that has taken this long.
    pub fn go_on_after(&mut self, passed: Duration) {
        if let Way::Moving(_, movement) = &mut self.way {
            movement.before += passed;
        }
    }

    /// The key of the next request.
    pub fn draw(&mut self, random: &mut Random) -> u32 {
        draw(&mut self.way, self.keys, (0, 1), random)
    }

    /// The key of a write for which `drawn` was drawn.
    pub fn of_write(&mut self, drawn: u32) -> u32 {
        match &mut self.way {
            Way::Latest(_, turns, newest) => {
                *newest = turns.take();
                within(*newest, self.keys)
            }
            Way::Zipf(..)
            | Way::Uniform
            | Way::Sequential(_)
            | Way::Hotspot { .. }
            | Way::Moving(..) => drawn,
        }
    }
}

/// Draws a key, after a step of so many in which each rank moves once.
fn draw(way: &mut Way, keys: u32, (step, steps): (u64, u32), random: &mut Random) -> u32 {
    let moved = |rank| Movement::moved(rank, keys, step, steps);
    match way {
        Way::Zipf(zipf, None) => zipf.draw(random),
        Way::Zipf(zipf, Some(scramble)) => scramble.key(moved(zipf.draw(random))),
        Way::Uniform => below(keys, random),
        Way::Sequential(turns) => within(turns.take(), keys),
        Way::Latest(zipf, _, newest) => {
            within(*newest + u64::from(keys) - u64::from(zipf.draw(random)), keys)
        }
        Way::Hotspot { hot, share, scramble } => {
            let is_hot = random.unit() < *share || *hot == keys;
            let rank = if is_hot { below(*hot, random) } else { *hot + below(keys - *hot, random) };
            scramble.key(moved(rank))
        }
        Way::Moving(still, movement) => {
            let Movement { step, steps, .. } = *movement;
            draw(still, keys, (step, steps), random)
        }
    }
}

/// The state of popular keys that change.
///
/// Ranks with the same remainder by `steps` are a class, and move together, once in so many steps: the keys of the
/// class go around among its ranks, by nearly two thirds of the class. So a rank that was popular gets a key that was not,
/// and each rank has a key of its own at any time.
#[derive(Debug)]
struct Movement {
    every: Duration,
    steps: u32,
    before: Duration,
    step: u64,
}

impl Movement {
    fn new(Moves { every, steps }: Moves) -> Self {
        Self { every, steps: steps.max(1), before: Duration::ZERO, step: 0 }
    }

    fn at(&mut self, passed: Duration) {
        let every = self.every.as_micros().max(1);
        let steps = (self.before + passed).as_micros() / every;
        self.step = u64::try_from(steps).unwrap_or(u64::MAX);
    }

    /// The rank whose key this rank has after `step` steps.
    fn moved(rank: u32, keys: u32, step: u64, steps: u32) -> u32 {
        let class = rank % steps;
        // Class 0 moves at the first step.
        let moves = (step + u64::from(steps - 1 - class)) / u64::from(steps);
        let members = u64::from((keys - class).div_ceil(steps));
        let stride = (members * 618 / 1_000).max(1);
        let member = (u64::from(rank / steps) + (moves % members) * stride) % members;
        class + u32::try_from(member).unwrap_or(0) * steps
    }
}

fn below(bound: u32, random: &mut Random) -> u32 {
    u32::try_from(random.below(bound.into())).unwrap_or(0)
}

fn within(number: u64, keys: u32) -> u32 {
    u32::try_from(number % u64::from(keys.max(1))).unwrap_or(0)
}

/// The turns of one of several workers that count together.
#[derive(Debug)]
struct Turns {
    next: u64,
    step: u64,
}

impl Turns {
    fn take(&mut self) -> u64 {
        let turn = self.next;
        self.next += self.step;
        turn
    }
}

/// A permutation of `0..keys`, the same in every run.
///
/// Numbers of as many bits as the largest key needs are permuted by steps that can be undone: a multiplication
/// by an odd number, an addition, a shift and exclusive or. What comes out beyond the keys is permuted again.
#[derive(Debug)]
struct Scramble {
    keys: u32,
    mask: u32,
    shift: u32,
    rounds: [(u32, u32); 3],
}

impl Scramble {
    fn new(keys: u32) -> Self {
        let bits = u32::BITS - keys.saturating_sub(1).leading_zeros();
        let mask = u32::try_from((1u64 << bits) - 1).unwrap_or(u32::MAX);
        let mut random = Random::new(0x5C2A_3B1E);
        let rounds = [(); 3].map(|()| {
            let [low, high] = [0, 32].map(|shift| (random.bits() >> shift) as u32);
            (low | 1, high)
        });
        Self { keys, mask, shift: (bits / 2).max(1), rounds }
    }

    fn key(&self, rank: u32) -> u32 {
        let mut key = rank;
        loop {
            for (factor, addend) in self.rounds {
                key = key.wrapping_mul(factor).wrapping_add(addend) & self.mask;
                key ^= key >> self.shift;
            }
            if key < self.keys {
                return key;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const DRAWS: usize = 100_000;

    fn counts(popularity: Popularity, keys: u32) -> Vec<u32> {
        let (mut chooser, mut random) = (Chooser::new(popularity, keys, 0, 1), Random::new(3));
        let mut counts = vec![0; keys as usize];
        for _ in 0..DRAWS {
            counts[chooser.draw(&mut random) as usize] += 1;
        }
        counts
    }

    #[test]
    fn scrambling_gives_each_rank_a_key_of_its_own() {
        for keys in [1, 2, 3, 7, 8, 9, 100, 1_000, 4_096, 65_537] {
            let scramble = Scramble::new(keys);
            let mut all: Vec<u32> = (0..keys).map(|rank| scramble.key(rank)).collect();
            all.sort_unstable();
            assert!(all.iter().copied().eq(0..keys), "{keys} keys");
        }
        assert!(Scramble::new(u32::MAX).key(u32::MAX - 1) < u32::MAX);
    }

    #[test]
    fn popular_keys_of_a_scrambled_zipf_are_spread() {
        let exponent = 0.99;
        let mut ranked = counts(Popularity::ranked(exponent), 1_000);
        let mut scrambled = counts(Popularity::Zipf { exponent, is_scrambled: true }, 1_000);
        assert_ne!(ranked, scrambled);
        let first_half: u32 = scrambled[..500].iter().sum();
        assert!((20_000..80_000).contains(&first_half), "{first_half}: the keys are not in order");
        assert!(ranked[..500].iter().sum::<u32>() > 85_000);
        ranked.sort_unstable();
        scrambled.sort_unstable();
        assert_eq!(ranked, scrambled, "the same draws, of other keys");
    }

    #[test]
    fn uniform_keys_are_alike() {
        let counts = counts(Popularity::Uniform, 100);
        assert!(counts.iter().all(|count| (850..1_150).contains(count)), "{counts:?}");
    }

    #[test]
    fn workers_take_sequential_keys_in_turn() {
        let mut random = Random::new(1);
        let mut workers: Vec<Chooser> =
            (0..3).map(|worker| Chooser::new(Popularity::Sequential, 7, worker, 3)).collect();
        let keys: Vec<u32> =
            (0..9).map(|turn: usize| workers[turn % 3].draw(&mut random)).collect();
        assert_eq!(keys, [0, 1, 2, 3, 4, 5, 6, 0, 1]);
    }

    #[test]
    fn reads_of_the_latest_follow_the_writes() {
        let popularity = Popularity::Latest { exponent: 2.0 };
        let (mut chooser, mut random) = (Chooser::new(popularity, 1_000, 0, 1), Random::new(1));
        let near = |chooser: &mut Chooser, random: &mut Random, newest: u32| {
            let distance = |key: u32| (newest + 1_000 - key) % 1_000;
            let reads = (0..1_000).filter(|_| distance(chooser.draw(random)) < 10);
            reads.count()
        };
        assert!(near(&mut chooser, &mut random, 999) > 900, "what was filled last");
        let written: Vec<u32> = (0..1_005).map(|_| chooser.of_write(500)).collect();
        assert_eq!((written[0], written[999], written[1_004]), (0, 999, 4), "the keys are a ring");
        assert!(near(&mut chooser, &mut random, 4) > 900);
    }

    #[test]
    fn a_moving_hot_set_moves_by_its_share_and_keeps_its_form() {
        let still = Still::Hotspot { keys_percent: 20.0, requests_percent: 80.0 };
        let every = Duration::from_secs(10);
        let popularity = Popularity::Moving(still, Moves { every, steps: 4 });
        let (mut chooser, mut random) = (Chooser::new(popularity, 1_000, 0, 1), Random::new(3));
        let hot_at = |chooser: &mut Chooser, random: &mut Random, seconds: u64| {
            chooser.at(Duration::from_secs(seconds));
            let mut counts = vec![0; 1_000];
            (0..DRAWS).for_each(|_| counts[chooser.draw(random) as usize] += 1);
            let hot: BTreeSet<usize> = (0..1_000).filter(|key| counts[*key] > 200).collect();
            assert_eq!(hot.len(), 200, "as many are hot as before");
            hot
        };
        let first = hot_at(&mut chooser, &mut random, 0);
        assert_eq!(hot_at(&mut chooser, &mut random, 9), first, "not before its time");
        let mut before = first.clone();
        for step in 1..=8 {
            let now = hot_at(&mut chooser, &mut random, 10 * step);
            assert_eq!(before.difference(&now).count(), 50, "a quarter moves at step {step}");
            before = now;
        }
        chooser.go_on_after(Duration::from_secs(80));
        assert_eq!(hot_at(&mut chooser, &mut random, 0), before, "it goes on after a warm-up");
    }

    #[test]
    fn ranks_that_move_have_keys_of_their_own() {
        for (keys, steps) in [(1, 1), (3, 10), (100, 1), (100, 7), (1_000, 10)] {
            for step in [0, 1, 2, 9, 10, 11, 1_000_003] {
                let mut all: Vec<u32> =
                    (0..keys).map(|rank| Movement::moved(rank, keys, step, steps)).collect();
                all.sort_unstable();
                assert!(all.iter().copied().eq(0..keys), "{keys} keys, step {step} of {steps}");
            }
        }
        let still = Still::Zipf { exponent: 0.99 };
        let moves = Moves { every: Duration::from_secs(1), steps: 10 };
        let mut chooser = Chooser::new(Popularity::Moving(still, moves), 1_000, 0, 1);
        let favourite = |chooser: &mut Chooser, seconds| {
            chooser.at(Duration::from_secs(seconds));
            let (mut counts, mut random) = (vec![0; 1_000], Random::new(3));
            (0..DRAWS).for_each(|_| counts[chooser.draw(&mut random) as usize] += 1);
            (0..1_000).max_by_key(|key| counts[*key])
        };
        let first = favourite(&mut chooser, 0);
        let second = favourite(&mut chooser, 1);
        assert_ne!(first, second, "the most popular one moves first");
        assert_eq!(favourite(&mut chooser, 10), second);
        assert_ne!(favourite(&mut chooser, 11), second);
    }

    #[test]
    fn a_hotspot_has_its_share() {
        let hotspot = |keys_percent| Popularity::Hotspot { keys_percent, requests_percent: 80.0 };
        let mut some = counts(hotspot(20.0), 100);
        let first: u32 = some[..20].iter().sum();
        assert!(first < 70_000, "{first}: the hot keys are not the first ones");
        some.sort_unstable();
        let hot: u32 = some[80..].iter().sum();
        assert!((79_000..81_000).contains(&hot), "{hot}");
        assert_eq!(counts(hotspot(0.0), 10).iter().filter(|count| **count > 50_000).count(), 1);
        assert!(counts(hotspot(100.0), 10).iter().all(|count| *count > 9_000));
    }
}
