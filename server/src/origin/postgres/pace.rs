//! How many writes a connection has at once. Pure: no connection, no clock.
//!
//! A write alone on its connection costs a round trip of its own, and a wake-up on each side. So a
//! connection whose writes are answered quickly gets several: they are sent one behind the other,
//! in *company*, and are answered in that order. What must not be lost by that is that a write
//! which waits, for a lock or for whatever, holds up nothing else, and is over when its time is:
//!
//! - A connection whose write has been executed for more than a few milliseconds gets no further
//!   ones until it has ended, and half as many afterwards. Where one was cancelled or has failed,
//!   there is one at a time until that is quick again.
//! - A statement in company has a short limit in the server. All that is under way on a connection
//!   has been executed, or cancelled, within half of a write's time.
//! - What was cancelled by that has not been executed. It is sent once more, alone, and then has
//!   all of its time. A write that has less than the half left is sent alone at once.

use std::time::Duration;

use standin_protocol::time::Micros;

/// Writes in company at the most: with twice as many the throughput hardly grows.
const MOST: usize = 8;
/// Statements of one write that may have to wait: BEGIN, put, get, COMMIT.
const STATEMENTS: u32 = 4;
/// No statement is cancelled sooner: a busy server takes so long for quick ones, now and then.
const LIMIT_LEAST: Duration = Duration::from_millis(10);
/// A write that is executed for longer waits for something.
const QUICK: Duration = Duration::from_millis(10);

/// What company there may be, by `origin.timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Company {
    /// Writes at once.
    pub(super) most: usize,
    /// The limit of each of their statements.
    pub(super) limit: Duration,
    /// How long all of it takes at the most: a write that has less time left must be alone.
    pub(super) lasts: Duration,
}

impl Company {
    pub(super) fn new(timeout: Duration) -> Self {
        let lasts = timeout / 2;
        let least = LIMIT_LEAST * STATEMENTS;
        let most = usize::try_from(lasts.as_micros() / least.as_micros()).unwrap_or(MOST);
        let most = most.clamp(1, MOST);
        let statements = STATEMENTS * u32::try_from(most).unwrap_or(1);
        Self { most, limit: lasts / statements, lasts }
    }
}

/// What a connection has shown of late.
#[derive(Debug)]
pub(super) struct Pace {
    most: usize,
    depth: usize,
    under_way: usize,
    /// Since when the first of them is executed.
    since: Micros,
}

impl Pace {
    pub(super) fn new(most: usize) -> Self {
        Self { most, depth: 1, under_way: 0, since: Micros(0) }
    }

    /// How many writes it may have at once; with one, that one is alone.
    pub(super) fn depth(&self, now: Micros) -> usize {
        let waits = self.under_way > 0 && now.since(self.since) > QUICK;
        if waits { 1 } else { self.depth }
    }

    /// A write is sent.
    pub(super) fn began(&mut self, now: Micros) {
        if self.under_way == 0 {
            self.since = now;
        }
        self.under_way += 1;
    }

    /// One has ended, and the next is executed.
    pub(super) fn ended(&mut self, now: Micros, was_executed: bool) {
        let is_quick = now.since(self.since) <= QUICK;
        self.depth = match was_executed {
            true if is_quick => (2 * self.depth).min(self.most),
            true => (self.depth / 2).max(1),
            false => 1,
        };
        self.under_way -= 1;
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;

    #[test]
    fn company_is_over_within_half_of_a_writes_time() {
        for timeout_ms in [1, 10, 50, 100, 500, 1_000, 5_000, 60_000] {
            let timeout = Duration::from_millis(timeout_ms);
            let Company { most, limit, lasts } = Company::new(timeout);
            let statements = STATEMENTS * u32::try_from(most).unwrap();
            assert!(limit * statements <= lasts && lasts <= timeout / 2, "{timeout_ms} ms");
            assert!(most == 1 || limit >= LIMIT_LEAST, "{timeout_ms} ms");
        }
        assert_eq!(Company::new(Duration::from_millis(50)).most, 1);
        assert_eq!(Company::new(Duration::from_secs(1)).most, MOST);
    }

    #[test]
    fn a_connection_whose_writes_are_quick_gets_more_at_once() {
        let mut pace = Pace::new(8);
        let mut depths = Vec::new();
        for turn in 0..5 {
            let now = Micros(turn * MS);
            depths.push(pace.depth(now));
            pace.began(now);
            pace.ended(Micros(now.0 + MS / 2), true);
        }
        assert_eq!(depths, [1, 2, 4, 8, 8]);
    }

    #[test]
    fn a_connection_whose_write_waits_takes_no_further_ones_and_fewer_afterwards() {
        let mut pace = Pace::new(8);
        for _ in 0..4 {
            pace.began(Micros(0));
            pace.ended(Micros(MS), true);
        }
        pace.began(Micros(2 * MS));
        pace.began(Micros(3 * MS));
        assert_eq!(pace.depth(Micros(12 * MS)), 8);
        assert_eq!(pace.depth(Micros(13 * MS)), 1, "the first waits");
        pace.ended(Micros(14 * MS), true);
        assert_eq!(pace.depth(Micros(14 * MS)), 4);
        // The second was not executed before the first had ended.
        pace.ended(Micros(20 * MS), true);
        assert_eq!(pace.depth(Micros(20 * MS)), 8);
    }

    #[test]
    fn what_was_not_executed_shows_nothing_good() {
        let mut pace = Pace::new(8);
        pace.began(Micros(0));
        pace.ended(Micros(MS), true);
        pace.began(Micros(MS));
        pace.ended(Micros(2 * MS), false);
        assert_eq!(pace.depth(Micros(2 * MS)), 1);
    }
}
