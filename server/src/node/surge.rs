//! Misses after a change of owner (scenarios 17, 19): the new owner has nothing cached, and all
//! its reads would reach the origin at once. So for a while all fetches of the shard together
//! have a rate: those of partitions that it had before pass and count, those of partitions that
//! have become its own wait for what is left, first those whose clients give up first.
//!
//! The rate is such that the database is asked for about twice as much as before by all N servers
//! together. Of that the N−1 others need their usual N−1 shares, and the N+1 that are left are
//! for the keys of the one: a home that returns has all of them, n−1 stand-ins divide them, each
//! beside the share that it needs itself.
//!
//! When so many wait that the last one would wait longer than clients do, the rate rises, to twice
//! itself; when that is not enough either, requests are refused with a hint. Writes are never
//! held. A new process has no measure of its own and takes that of a member of its group; when
//! there is none, there is no limit.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use super::state::Name;

/// Fetches are counted in windows of this length.
const WINDOW: Duration = Duration::from_secs(1);
/// So many windows are remembered.
const WINDOWS: usize = 20;
/// So many have to be counted before there is a measure.
const WINDOWS_MIN: usize = 10;
/// What all may ask the database for, in hundredths of the usual; less than twice, because the
/// usual reads come in bursts too.
const SURGE_PERCENT: u64 = 175;
/// Fetches per second of a shard that are always let through.
const RATE_MIN: u64 = 100;
/// So much of a second's worth may be saved up, or owed by fetches that do not wait.
const BURST: u64 = 20;
/// Tokens are counted in millionths.
const TOKEN: u64 = 1_000_000;

/// What a fetch may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Begin,
    Wait,
    Refused,
}

/// How many there are to share what the database may be asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sharing {
    /// Servers of the cluster.
    pub(super) servers: u64,
    /// Other members of this server's group.
    pub(super) peers: u64,
}

impl Sharing {
    /// Hundredths of its usual rate that a shard may reach.
    fn percent(self, is_home: bool) -> u64 {
        let left = self.servers * (SURGE_PERCENT - 100) + 100;
        if is_home { left } else { 100 + left / self.peers.max(1) }
    }
}

/// A fetch that waits. The derived order is the one in which they begin.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    /// From then on it is too late for its client.
    until: Micros,
    /// Counts up.
    number: u64,
    partition: u32,
    name: Name,
}

/// One shard's measure and limit.
#[derive(Debug)]
pub(super) struct Surge {
    sharing: Sharing,
    warm: Duration,
    /// How long a fetch should wait at most.
    patience: Duration,
    /// Until when a partition's misses count as extra; zero for most.
    cold_until: Vec<Micros>,
    /// The latest of these.
    any_cold_until: Micros,
    measure: Measure,
    /// What a member of the group measures; zero: not known.
    told: u64,
    /// Hundredths of what is usual, in the change that goes on.
    percent: u64,
    /// Fetches per second in it; zero: nothing is held back, because nobody knows what is usual.
    rate: u64,
    /// The same while so many wait that it has to be more.
    raised: u64,
    /// Negative: fetches that did not wait have taken more than there was.
    tokens: i64,
    filled: Micros,
    held: BinaryHeap<Reverse<Held>>,
    held_ever: u64,
}

impl Surge {
    /// `warm`: after so long a partition's misses are as usual. `patience`: how long a fetch
    /// should wait at most.
    pub(super) fn new(
        partitions: u32,
        sharing: Sharing,
        warm: Duration,
        patience: Duration,
        now: Micros,
    ) -> Self {
        Self {
            sharing,
            warm,
            patience,
            cold_until: vec![Micros(0); partitions as usize],
            any_cold_until: Micros(0),
            measure: Measure::new(now),
            told: 0,
            percent: 0,
            rate: 0,
            raised: 0,
            tokens: 0,
            filled: now,
            held: BinaryHeap::new(),
            held_ever: 0,
        }
    }

    /// Fetches per second while nothing is cold; zero: not known.
    pub(super) fn usual(&self) -> u64 {
        self.measure.usual().unwrap_or(self.told)
    }

    /// Whether somebody else has to be asked for a measure.
    pub(super) fn needs_measure(&self) -> bool {
        self.usual() == 0
    }

    /// What a shard like this one measures; zero: nothing yet.
    pub(super) fn told(&mut self, now: Micros, usual: u64) {
        self.told = self.told.max(usual);
        if now < self.any_cold_until && self.rate == 0 {
            self.set_rate(now);
        }
    }

    /// The partition is this server's, and nothing of it is cached. `is_home`: the server is
    /// back, and does not stand in for another.
    pub(super) fn took_over(&mut self, now: Micros, partition: u32, is_home: bool) {
        if self.rate == 0 && self.usual() != 0 {
            // What was cold was not held back, and what is usual has been measured since.
            self.cold_until.fill(Micros(0));
            self.any_cold_until = Micros(0);
        }
        let is_first = now >= self.any_cold_until;
        let percent = self.sharing.percent(is_home);
        let until = now + self.warm;
        self.cold_until[partition as usize] = until;
        self.any_cold_until = self.any_cold_until.max(until);
        if is_first || percent > self.percent {
            self.percent = percent;
            self.set_rate(now);
        }
    }

    /// A change begins with an empty bucket; the measure stands still until it is over.
    fn set_rate(&mut self, now: Micros) {
        (self.tokens, self.filled, self.raised) = (0, now, 0);
        self.rate = match self.usual() {
            0 => 0,
            usual => (usual * self.percent / 100).max(usual + RATE_MIN),
        };
    }

    /// A fetch wants to begin; if it has to wait its name is given back by [`Self::release`]
    /// before four fifths of the time to its deadline are over.
    pub(super) fn enter(
        &mut self,
        now: Micros,
        partition: u32,
        name: &Name,
        deadline: Micros,
    ) -> Entry {
        if now >= self.any_cold_until {
            self.measure.count(now, self.any_cold_until);
            return Entry::Begin;
        }
        if self.rate == 0 {
            self.measure.count(now, Micros(0));
            return Entry::Begin;
        }
        let is_cold = now < self.cold_until[partition as usize];
        if !is_cold || mutant::is(Mutant::NoSurgeLimit) {
            self.refill(now);
            self.tokens = (self.tokens - TOKEN as i64).max(-self.tokens_max());
            return Entry::Begin;
        }
        if self.held.is_empty() && self.take_token(now) {
            return Entry::Begin;
        }
        if self.held.len() as u64 >= 2 * self.rate * self.patience_ms() / 1_000 {
            return Entry::Refused;
        }
        self.refill(now);
        let until = now + deadline.since(now) / 5 * 4;
        let (number, name) = (self.held_ever, name.clone());
        self.held.push(Reverse(Held { until, number, partition, name }));
        self.held_ever += 1;
        // So that the last one does not wait for too long; until it has passed.
        let needed = self.held.len() as u64 * 1_000 / self.patience_ms();
        self.raised = self.raised.max(needed).min(2 * self.rate);
        Entry::Wait
    }

    /// The next fetch that has waited, and whether it may begin; otherwise it has waited too long.
    pub(super) fn release(&mut self, now: Micros) -> Option<(Name, bool)> {
        let is_late = now >= self.held.peek()?.0.until;
        if is_late || now >= self.any_cold_until || self.take_token(now) {
            let Reverse(Held { name, .. }) = self.held.pop()?;
            if self.held.is_empty() {
                self.raised = 0;
            }
            return Some((name, !is_late));
        }
        None
    }

    /// When [`Self::release`] has something to give.
    pub(super) fn next_deadline(&self) -> Option<Micros> {
        let until = self.held.peek()?.0.until;
        let missing = (TOKEN as i64 - self.tokens).max(0).unsigned_abs();
        let wait = Duration::from_micros(missing.div_ceil(self.rate_now()));
        Some((self.filled + wait).min(until).min(self.any_cold_until))
    }

    /// The fetches that wait for partitions of which this holds: they are to be had elsewhere.
    pub(super) fn take(&mut self, is_left: impl Fn(u32) -> bool) -> Vec<Name> {
        if !self.held.iter().any(|held| is_left(held.0.partition)) {
            return Vec::new();
        }
        let all = std::mem::take(&mut self.held).into_sorted_vec();
        let (left, stay): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|held| is_left(held.0.partition));
        self.held = stay.into();
        // Sorted the other way round.
        left.into_iter().rev().map(|held| held.0.name).collect()
    }

    /// How many wait.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    fn patience_ms(&self) -> u64 {
        u64::try_from(self.patience.as_millis()).unwrap_or(u64::MAX).max(1)
    }

    fn rate_now(&self) -> u64 {
        self.rate.max(self.raised).max(1)
    }

    fn tokens_max(&self) -> i64 {
        i64::try_from((self.rate * TOKEN / BURST).max(TOKEN)).unwrap_or(i64::MAX)
    }

    fn refill(&mut self, now: Micros) {
        let passed_us = u64::try_from(now.since(self.filled).as_micros()).unwrap_or(u64::MAX);
        let more = i64::try_from(passed_us.saturating_mul(self.rate_now())).unwrap_or(i64::MAX);
        self.tokens = self.tokens.saturating_add(more).min(self.tokens_max());
        self.filled = self.filled.max(now);
    }

    fn take_token(&mut self, now: Micros) -> bool {
        self.refill(now);
        let has_one = self.tokens >= TOKEN as i64;
        self.tokens -= if has_one { TOKEN as i64 } else { 0 };
        has_one
    }
}

/// How many fetches per second are usual: the mean of the middle half of the last windows,
/// so that a warm-up or a burst does not count.
#[derive(Debug)]
struct Measure {
    began: Micros,
    fetches: u64,
    rates: VecDeque<u64>,
}

impl Measure {
    fn new(now: Micros) -> Self {
        Self { began: now, fetches: 0, rates: VecDeque::with_capacity(WINDOWS) }
    }

    /// One fetch, while nothing is cold. What was counted while something was is no measure.
    fn count(&mut self, now: Micros, cold_until: Micros) {
        if self.began < cold_until {
            (self.began, self.fetches) = (now, 0);
        }
        let passed = now.since(self.began);
        if passed >= WINDOW {
            let passed_us = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
            if self.rates.len() == WINDOWS {
                self.rates.pop_front();
            }
            self.rates.push_back((self.fetches * 1_000_000).div_ceil(passed_us));
            (self.began, self.fetches) = (now, 0);
        }
        self.fetches += 1;
    }

    fn usual(&self) -> Option<u64> {
        if self.rates.len() < WINDOWS_MIN {
            return None;
        }
        let mut rates: Vec<u64> = self.rates.iter().copied().collect();
        rates.sort_unstable();
        let quarter = rates.len() / 4;
        let middle = &rates[quarter..rates.len() - quarter];
        Some(middle.iter().sum::<u64>().div_ceil(middle.len() as u64).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_US: u64 = 1_000_000;
    const PATIENCE: Duration = Duration::from_secs(2);
    const WARM: Duration = Duration::from_secs(30);
    /// Two of two: one stands in for the other.
    const PAIR: Sharing = Sharing { servers: 2, peers: 1 };

    fn name() -> Name {
        b"\x01k".as_slice().into()
    }

    /// By a client that waits for four seconds.
    fn ask(surge: &mut Surge, now: Micros, partition: u32) -> Entry {
        surge.enter(now, partition, &name(), now + Duration::from_secs(4))
    }

    fn surge() -> Surge {
        Surge::new(4, PAIR, WARM, PATIENCE, Micros(0))
    }

    /// A shard that has fetched 1,000 times a second for a while, after a warm-up.
    fn measured() -> (Surge, Micros) {
        let mut surge = surge();
        let mut now = Micros(0);
        for second in 0..24 {
            let rate = if second < 4 { 9_000 } else { 1_000 };
            for _ in 0..rate {
                assert_eq!(ask(&mut surge, now, 0), Entry::Begin);
                now.0 += SECOND_US / rate;
            }
        }
        (surge, now)
    }

    /// Fetches begun in a second in which partition 0 has its usual 1,000 and partition 1
    /// asks for so many.
    fn begun_in_a_second(surge: &mut Surge, start: Micros, asked: u64) -> (u64, u64) {
        let (mut usual, mut extra) = (0, 0);
        for step in 0..asked {
            let now = Micros(start.0 + step * SECOND_US / asked);
            if step % (asked / 1_000) == 0 {
                assert_eq!(ask(surge, now, 0), Entry::Begin, "others do not wait");
                usual += 1;
            }
            extra += u64::from(ask(surge, now, 1) == Entry::Begin);
            while let Some((_, may_begin)) = surge.release(now) {
                extra += u64::from(may_begin);
            }
        }
        (usual, extra)
    }

    #[test]
    fn all_together_ask_for_less_than_twice_the_usual() {
        let (mut surge, start) = measured();
        surge.took_over(start, 1, false);
        // 1.75 times what two servers fetched, by the one that is left.
        let (usual, extra) = begun_in_a_second(&mut surge, start, 5_000);
        assert_eq!(usual, 1_000);
        assert!((3_400..=3_550).contains(&(usual + extra)), "{usual} and {extra} in a second");

        let (mut home, start) = measured();
        home.took_over(start, 1, true);
        let (usual, extra) = begun_in_a_second(&mut home, start, 5_000);
        // The other has its usual 1,000.
        assert!((2_400..=2_550).contains(&(usual + extra)), "{usual} and {extra} in a second");
    }

    #[test]
    fn the_shares_of_the_text() {
        let quad = Sharing { servers: 4, peers: 1 };
        assert_eq!(quad.percent(false), 500, "with the two others' 200: 700 of 400");
        assert_eq!(quad.percent(true), 400, "with the three others' 300: the same");
        let three = Sharing { servers: 3, peers: 2 };
        assert_eq!(2 * three.percent(false), 524, "two stand-ins divide what is left of 525");
    }

    #[test]
    fn those_who_wait_for_long_raise_the_rate_up_to_twice() {
        let (mut surge, start) = measured();
        surge.took_over(start, 1, false);
        let mut begun = Vec::new();
        for second in 0..4 {
            let at = Micros(start.0 + second * SECOND_US);
            let (usual, extra) = begun_in_a_second(&mut surge, at, 20_000);
            begun.push(usual + extra);
        }
        assert!(begun[0] < 7_000, "{begun:?}");
        assert!((6_700..=7_100).contains(&begun[3]), "{begun:?}");
    }

    #[test]
    fn what_waits_is_bounded_in_number_and_time() {
        let (mut surge, start) = measured();
        surge.took_over(start, 1, false);
        // What passes at twice the rate within the patience.
        let held_max = 2 * 3_500 * 2;
        let entries: Vec<Entry> = (0..held_max + 2).map(|_| ask(&mut surge, start, 1)).collect();
        assert_eq!(entries[0], Entry::Wait);
        assert_eq!(entries[held_max - 1], Entry::Wait);
        assert_eq!(entries[held_max + 1], Entry::Refused);
        assert!(surge.next_deadline().unwrap() <= start + Duration::from_millis(2));
        let late = start + Duration::from_millis(3_200);
        assert_eq!(surge.release(late), Some((name(), false)));
    }

    #[test]
    fn whose_client_gives_up_first_goes_first() {
        let (mut surge, start) = measured();
        surge.took_over(start, 1, false);
        let enter = |surge: &mut Surge, partition: u32, text: &[u8], wait_ms: u64| {
            let deadline = start + Duration::from_millis(wait_ms);
            assert_eq!(surge.enter(start, partition, &text.into(), deadline), Entry::Wait);
        };
        surge.took_over(start, 2, false);
        enter(&mut surge, 1, b"c", 4_000);
        enter(&mut surge, 1, b"a", 1_000);
        enter(&mut surge, 2, b"b", 2_000);
        assert_eq!(surge.take(|partition| partition == 2), [Name::from(b"b".as_slice())]);
        assert!(surge.take(|partition| partition == 3).is_empty());
        let soon = start + Duration::from_millis(10);
        assert_eq!(surge.release(soon), Some((b"a".as_slice().into(), true)));
        assert_eq!(surge.release(soon), Some((b"c".as_slice().into(), true)));
        assert_eq!(surge.release(soon), None);
    }

    #[test]
    fn the_limit_ends_when_the_partition_is_warm() {
        let (mut surge, start) = measured();
        surge.took_over(start, 1, false);
        assert_eq!(ask(&mut surge, start, 1), Entry::Wait);
        let warm = start + WARM;
        assert!(surge.next_deadline().is_some_and(|at| at <= warm));
        for _ in 0..10_000 {
            assert_eq!(ask(&mut surge, warm, 1), Entry::Begin);
        }
    }

    #[test]
    fn a_shard_measures_from_its_start_on() {
        let mut surge = surge();
        surge.took_over(Micros(0), 0, true);
        let mut now = Micros(0);
        for _ in 0..12_000 {
            assert_eq!(ask(&mut surge, now, 0), Entry::Begin);
            now.0 += SECOND_US / 1_000;
        }
        surge.took_over(now, 1, false);
        assert_eq!(ask(&mut surge, now, 0), Entry::Begin, "what it had is warm");
        assert_eq!(ask(&mut surge, now, 1), Entry::Wait);
    }

    #[test]
    fn a_shard_without_a_measure_has_no_limit_until_it_is_told_one() {
        let mut surge = surge();
        assert!(surge.needs_measure());
        surge.took_over(Micros(SECOND_US), 1, true);
        for _ in 0..10_000 {
            assert_eq!(ask(&mut surge, Micros(SECOND_US), 1), Entry::Begin);
        }
        surge.told(Micros(SECOND_US), 1_000);
        assert!(!surge.needs_measure());
        assert_eq!(ask(&mut surge, Micros(SECOND_US), 1), Entry::Wait);
    }
}
