//! Misses after a change of owner (scenarios 17, 19): the new owner has nothing cached, and all
//! its reads would reach the origin at once. So fetches of partitions that became this server's
//! a moment ago pass at a rate of their own; the rest wait, in order. When they have waited for
//! long, they pass twice as fast; when that is not enough either, they are refused with a hint.
//! Writes are never held. A shard that has not served for a while has no measure, and no limit.
//!
//! The rate is such that the database is asked for twice as much as before by all together, if
//! its N servers are alike and one of a group of n is gone: each of the n−1 others may add
//! (N+1)/(n−1) times what it fetches itself.

use std::collections::VecDeque;
use std::time::Duration;

use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use super::state::Name;

/// Fetches are counted in windows of this length.
const WINDOW: Duration = Duration::from_secs(1);
/// So many windows have to be counted before there is a measure.
const WINDOWS_MIN: u32 = 10;
/// Share of the newest window in the measure: one part in this many.
const NEWEST: u64 = 5;
/// Fetches per second of a shard that are always let through.
const RATE_MIN: u64 = 100;
/// Fetches that may wait; one more is refused.
const HELD_MAX: usize = 4_096;
/// From here on those who wait pass twice as fast: clients are not patient for much longer.
const HELD_LONG: Duration = Duration::from_millis(600);
/// How long one may wait.
const HELD_FOR_MAX: Duration = Duration::from_millis(1_600);
/// Tokens are counted in millionths.
const TOKEN: u64 = 1_000_000;

/// What a fetch may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Begin,
    Wait,
    Refused,
}

/// One shard's measure and limit.
#[derive(Debug)]
pub(super) struct Surge {
    warm: Duration,
    /// Times the steady rate that may be added.
    factor: u64,
    /// Until when a partition's misses count as extra; zero for most.
    cold_until: Vec<Micros>,
    /// The latest of these.
    any_cold_until: Micros,
    window_began: Micros,
    window_fetches: u64,
    windows: u32,
    /// Fetches per second while nothing was cold.
    steady: u64,
    tokens: u64,
    filled: Micros,
    /// Those in front have waited for long.
    is_hurried: bool,
    held: VecDeque<(Micros, Name)>,
}

impl Surge {
    pub(super) fn new(partitions: u32, factor: u64, warm: Duration, now: Micros) -> Self {
        Self {
            warm,
            factor,
            cold_until: vec![Micros(0); partitions as usize],
            any_cold_until: Micros(0),
            window_began: now,
            window_fetches: 0,
            windows: 0,
            steady: 0,
            tokens: 0,
            filled: now,
            is_hurried: false,
            held: VecDeque::new(),
        }
    }

    /// The partition is this server's, and nothing of it is cached.
    pub(super) fn took_over(&mut self, now: Micros, partition: u32) {
        if self.windows < WINDOWS_MIN {
            return;
        }
        let until = now + self.warm;
        if now >= self.any_cold_until {
            // The first of a change: the bucket begins empty, the measure stands still.
            (self.tokens, self.filled) = (0, now);
        }
        self.cold_until[partition as usize] = until;
        self.any_cold_until = self.any_cold_until.max(until);
    }

    /// A fetch wants to begin; if it has to wait its name is given back by [`Self::release`].
    pub(super) fn enter(&mut self, now: Micros, partition: u32, name: &Name) -> Entry {
        if now >= self.any_cold_until {
            self.measure(now);
        }
        if now >= self.cold_until[partition as usize] || mutant::is(Mutant::NoSurgeLimit) {
            self.window_fetches += 1;
            return Entry::Begin;
        }
        if self.held.is_empty() && self.take_token(now) {
            return Entry::Begin;
        }
        if self.held.len() >= HELD_MAX {
            return Entry::Refused;
        }
        self.held.push_back((now, name.clone()));
        Entry::Wait
    }

    /// The next fetch that has waited, and whether it may begin; otherwise it has waited too long.
    pub(super) fn release(&mut self, now: Micros) -> Option<(Name, bool)> {
        let (since, _) = self.held.front()?;
        let since = *since;
        let is_late = now >= since + HELD_FOR_MAX;
        self.is_hurried = now >= since + HELD_LONG;
        if is_late || self.take_token(now) {
            let (_, name) = self.held.pop_front()?;
            return Some((name, !is_late));
        }
        None
    }

    /// When [`Self::release`] has something to give.
    pub(super) fn next_deadline(&self) -> Option<Micros> {
        let (since, _) = self.held.front()?;
        let missing = TOKEN.saturating_sub(self.tokens);
        let wait = Duration::from_micros(missing.div_ceil(self.rate()));
        Some((self.filled + wait).min(*since + HELD_FOR_MAX))
    }

    fn rate(&self) -> u64 {
        (self.steady * self.factor).max(RATE_MIN) << u32::from(self.is_hurried)
    }

    fn take_token(&mut self, now: Micros) -> bool {
        // A tenth of a second's worth may gather.
        let most = (self.rate() * TOKEN / 10).max(TOKEN);
        let passed_us = u64::try_from(now.since(self.filled).as_micros()).unwrap_or(u64::MAX);
        self.tokens = self.tokens.saturating_add(passed_us.saturating_mul(self.rate())).min(most);
        self.filled = self.filled.max(now);
        let has_one = self.tokens >= TOKEN;
        self.tokens -= if has_one { TOKEN } else { 0 };
        has_one
    }

    fn measure(&mut self, now: Micros) {
        if self.window_began < self.any_cold_until {
            // What was counted while something was cold is no measure.
            (self.window_began, self.window_fetches) = (now, 0);
        }
        let passed = now.since(self.window_began);
        if passed < WINDOW {
            return;
        }
        let passed_us = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
        let rate = self.window_fetches.saturating_mul(1_000_000) / passed_us.max(1);
        self.steady = match self.windows {
            0 => rate,
            _ => (self.steady * (NEWEST - 1) + rate).div_ceil(NEWEST),
        };
        self.windows = self.windows.saturating_add(1);
        (self.window_began, self.window_fetches) = (now, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_US: u64 = 1_000_000;

    fn name() -> Name {
        b"\x01k".as_slice().into()
    }

    /// A shard that has fetched 1,000 times a second for a while.
    fn measured() -> (Surge, Micros) {
        let mut surge = Surge::new(4, 1, Duration::from_secs(30), Micros(0));
        let mut now = Micros(0);
        for _ in 0..20_000 {
            assert_eq!(surge.enter(now, 0, &name()), Entry::Begin);
            now.0 += SECOND_US / 1_000;
        }
        (surge, now)
    }

    #[test]
    fn misses_of_a_new_partition_pass_at_the_steady_rate() {
        let (mut surge, start) = measured();
        surge.took_over(start, 1);
        let mut begun = 0;
        for step in 0..1_500 {
            let now = Micros(start.0 + step * SECOND_US / 1_500);
            assert_eq!(surge.enter(now, 0, &name()), Entry::Begin, "those of others do not wait");
            begun += u64::from(surge.enter(now, 1, &name()) == Entry::Begin);
            while let Some((_, may_begin)) = surge.release(now) {
                begun += u64::from(may_begin);
            }
        }
        assert!((900..=1_100).contains(&begun), "{begun} in a second");
    }

    #[test]
    fn what_waits_is_bounded_in_number_and_time() {
        let (mut surge, start) = measured();
        surge.took_over(start, 1);
        let entries: Vec<Entry> =
            (0..HELD_MAX + 2).map(|_| surge.enter(start, 1, &name())).collect();
        assert_eq!(entries[0], Entry::Wait);
        assert_eq!(entries[HELD_MAX], Entry::Refused);
        assert!(surge.next_deadline().unwrap() <= start + Duration::from_millis(2));
        let late = start + HELD_FOR_MAX;
        assert_eq!(surge.release(late), Some((name(), false)));
    }

    #[test]
    fn the_limit_ends_when_the_partition_is_warm() {
        let (mut surge, start) = measured();
        surge.took_over(start, 1);
        let warm = start + Duration::from_secs(30);
        for _ in 0..10_000 {
            assert_eq!(surge.enter(warm, 1, &name()), Entry::Begin);
        }
    }

    #[test]
    fn a_shard_without_a_measure_has_no_limit() {
        let mut surge = Surge::new(4, 1, Duration::from_secs(30), Micros(0));
        surge.took_over(Micros(SECOND_US), 1);
        for _ in 0..10_000 {
            assert_eq!(surge.enter(Micros(SECOND_US), 1, &name()), Entry::Begin);
        }
    }
}
