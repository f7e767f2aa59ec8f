//! Rate limits: token buckets, and the fetches that wait for a token. The limit after a change of
//! owner (surge/) and the permanent one (ceiling.rs) use them. These two decide on the rates and
//! on which fetches have to wait.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use standin_protocol::time::Micros;

use crate::node::state::Name;

/// The divisor that gives the share of a second's tokens that may be saved up, or owed by fetches
/// that do not wait.
const BURST: u64 = 20;
const MILLION: u64 = 1_000_000;
/// The unit in which tokens are counted, 10⁻¹² of a token. That is the amount that arrives in a
/// microsecond at a rate of one millionth of a token per second.
const TOKEN: i128 = 1_000_000_000_000;

/// The result of a fetch's attempt to enter a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Begin,
    /// Wait until this time at the latest.
    Wait(Micros),
    Refused,
}

/// A rate in millionths of a token per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Rate(u64);

impl Rate {
    pub(super) fn per_second(tokens: u64) -> Self {
        Self(tokens.saturating_mul(MILLION))
    }

    /// Returns `part` of `of` equal parts, rounded down, so that all parts together do not exceed
    /// the whole.
    pub(super) fn part(self, part: u64, of: u64) -> Self {
        let share = u128::from(self.0) * u128::from(part) / u128::from(of.max(1));
        Self(u64::try_from(share).unwrap_or(u64::MAX))
    }

    /// Returns the number of tokens that arrive in this time.
    pub(super) fn within(self, time: Duration) -> u64 {
        let tokens = u128::from(self.0) * time.as_micros() / u128::from(MILLION * MILLION);
        u64::try_from(tokens).unwrap_or(u64::MAX)
    }

    /// Returns the largest number of tokens that may be saved up, or owed. It is a whole number of
    /// at least one.
    fn burst(self) -> i128 {
        match self.0 {
            0 => 0,
            rate => i128::from((rate / MILLION / BURST).max(1)) * TOKEN,
        }
    }
}

/// A bucket that fills with tokens at a rate. It begins empty.
#[derive(Debug)]
pub(super) struct Bucket {
    /// The tokens in the bucket. The number is negative if fetches that did not wait have taken
    /// more than there was.
    tokens: i128,
    filled: Micros,
}

impl Bucket {
    pub(super) fn new(now: Micros) -> Self {
        Self { tokens: 0, filled: now }
    }

    pub(super) fn refill(&mut self, now: Micros, rate: Rate) {
        let passed_us = i128::try_from(now.since(self.filled).as_micros()).unwrap_or(i128::MAX);
        let more = passed_us.saturating_mul(i128::from(rate.0));
        self.tokens = self.tokens.saturating_add(more).min(rate.burst());
        self.filled = self.filled.max(now);
    }

    /// Takes a token if there is one. After the rate has fallen, the bucket holds no more than the
    /// new rate allows.
    pub(super) fn take(&mut self) -> bool {
        let has_one = self.tokens >= TOKEN;
        self.tokens -= if has_one { TOKEN } else { 0 };
        has_one
    }

    /// Takes a token even if there is none, and owes it then.
    pub(super) fn owe(&mut self, rate: Rate) {
        self.tokens = (self.tokens - TOKEN).max(-rate.burst());
    }

    /// Returns the time at which tokens were added last.
    pub(super) fn filled(&self) -> Micros {
        self.filled
    }

    /// Returns the time at which the bucket will have a token.
    pub(super) fn next(&self, rate: Rate) -> Micros {
        let missing = (TOKEN - self.tokens).max(0).unsigned_abs();
        let wait_us = match rate.0 {
            0 if missing > 0 => return Micros::NEVER,
            rate => missing.div_ceil(u128::from(rate.max(1))),
        };
        self.filled + Duration::from_micros(u64::try_from(wait_us).unwrap_or(u64::MAX))
    }
}

/// A waiting fetch. The derived order is the order in which fetches begin.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct QueuedFetch {
    /// The time from which on the fetch is too late for its client.
    until: Micros,
    /// A number that counts up, so that equal times keep their order.
    number: u64,
    partition: u32,
    name: Name,
}

/// The waiting fetches, in the order in which their clients give up.
#[derive(Debug, Default)]
pub(super) struct FetchQueue {
    fetches: BinaryHeap<Reverse<QueuedFetch>>,
    queued_ever: u64,
}

impl FetchQueue {
    /// Returns the time until which a fetch waits whose client gives up at the deadline. It is four
    /// fifths of the time to the deadline, and not much longer than `patience`.
    pub(super) fn until(now: Micros, deadline: Micros, patience: Duration) -> Micros {
        now + (deadline.since(now) / 5 * 4).min(patience + patience / 20)
    }

    pub(super) fn push(&mut self, until: Micros, partition: u32, name: &Name) {
        let (number, name) = (self.queued_ever, name.clone());
        self.fetches.push(Reverse(QueuedFetch { until, number, partition, name }));
        self.queued_ever += 1;
    }

    /// Returns the time until which the first one waits.
    pub(super) fn first_until(&self) -> Option<Micros> {
        self.fetches.peek().map(|fetch| fetch.0.until)
    }

    pub(super) fn pop(&mut self) -> Option<Name> {
        self.fetches.pop().map(|fetch| fetch.0.name)
    }

    /// Removes and returns the fetches of the partitions for which `is_left` holds.
    pub(super) fn take(&mut self, is_left: impl Fn(u32) -> bool) -> Vec<Name> {
        if !self.fetches.iter().any(|fetch| is_left(fetch.0.partition)) {
            return Vec::new();
        }
        let all = std::mem::take(&mut self.fetches).into_sorted_vec();
        let (left, stay): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|fetch| is_left(fetch.0.partition));
        self.fetches = stay.into();
        // The heap is sorted in reverse order.
        left.into_iter().rev().map(|fetch| fetch.0.name).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.fetches.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fetches.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_arrive_at_the_rate_and_few_are_saved_up() {
        let mut bucket = Bucket::new(Micros(0));
        let rate = Rate::per_second(100);
        assert!(!bucket.take());
        assert_eq!(bucket.next(rate), Micros(10_000));
        bucket.refill(Micros(10_000), rate);
        assert!(bucket.take() && !bucket.take());
        bucket.refill(Micros(60_000_000), rate);
        assert_eq!((0..10).filter(|_| bucket.take()).count(), 5);
        (0..3).for_each(|_| bucket.owe(rate));
        bucket.refill(Micros(60_030_000), rate);
        assert!(!bucket.take(), "the debt is paid off first");
        bucket.refill(Micros(60_040_000), rate);
        assert!(bucket.take());
        // The bucket was filled at a higher rate.
        bucket.refill(Micros(90_000_000), rate);
        bucket.refill(Micros(90_000_000), Rate(1));
        assert!(bucket.take() && !bucket.take(), "at least one, whatever the rate");
        bucket.refill(Micros(99_000_000), Rate(0));
        assert_eq!((bucket.take(), bucket.next(Rate(0))), (false, Micros::NEVER));
    }

    #[test]
    fn a_small_part_of_a_small_rate_is_not_rounded_to_zero() {
        let whole = Rate::per_second(7);
        assert_eq!(whole.part(1, 1_000), Rate(7_000));
        assert_eq!((0..3).map(|_| whole.part(1, 3).0).sum::<u64>(), 6_999_999);
        assert_eq!(whole.part(3, 4).within(Duration::from_secs(2)), 10);
        assert_eq!(Rate::per_second(u64::MAX).part(1, 1), Rate(u64::MAX));
    }
}
