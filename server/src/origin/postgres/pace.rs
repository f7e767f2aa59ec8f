//! The pace of a connection: how many writes it may have at once. Pure: no connection, no clock.
//!
//! A write alone on its connection costs a round trip of its own, and a wake-up on each side. So a
//! connection whose writes are answered quickly gets several: they are sent one after another,
//! *pipelined*, and answered in that order. Still, a write that waits, for a lock or anything else,
//! must not delay others, and must end in time:
//!
//! - A connection whose write has been executing for more than a few milliseconds gets no further
//!   ones until it has ended, and half as many afterwards. After a write was cancelled or failed,
//!   there is one at a time until one is quick again.
//! - A pipelined statement has a short limit in the server. Everything under way on a connection
//!   has been executed, or cancelled, within half of a write's time.
//! - A write that this limit cancelled has not been executed. It is sent once more, alone, and then
//!   has all of its time. A write that has less than half of its time left is sent alone at once.

use std::time::Duration;

use standin_protocol::time::Micros;

/// The largest number of pipelined writes on one connection. With twice as many the throughput hardly grows.
const MOST: usize = 8;
/// The number of statements of one write that may have to wait: BEGIN, put, get, COMMIT.
const STATEMENTS: u32 = 4;
/// The shortest limit of a statement. A busy server occasionally takes this long for a quick one.
const LIMIT_LEAST: Duration = Duration::from_millis(10);
/// The execution time beyond which a write is assumed to be waiting for something.
const QUICK: Duration = Duration::from_millis(10);

/// The limits of pipelined writes, derived from `origin.timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pipelining {
    /// The number of writes at once.
    pub(super) most: usize,
    /// The time limit of each of their statements.
    pub(super) limit: Duration,
    /// The longest time that all of them together may take. A write that has less time left must be
    /// alone.
    pub(super) lasts: Duration,
}

impl Pipelining {
    pub(super) fn new(timeout: Duration) -> Self {
        let lasts = timeout / 2;
        let least = LIMIT_LEAST * STATEMENTS;
        let most = usize::try_from(lasts.as_micros() / least.as_micros()).unwrap_or(MOST);
        let most = most.clamp(1, MOST);
        let statements = STATEMENTS * u32::try_from(most).unwrap_or(1);
        Self { most, limit: lasts / statements, lasts }
    }
}

/// The recent behaviour of a connection.
#[derive(Debug)]
pub(super) struct Pace {
    most: usize,
    depth: usize,
    under_way: usize,
    /// The time since which the first of them has been executing.
    since: Micros,
}

impl Pace {
    pub(super) fn new(most: usize) -> Self {
        Self { most, depth: 1, under_way: 0, since: Micros(0) }
    }

    /// Returns how many writes it may have at once. If one, that write is alone.
    pub(super) fn depth(&self, now: Micros) -> usize {
        let waits = self.under_way > 0 && now.since(self.since) > QUICK;
        if waits { 1 } else { self.depth }
    }

    /// Notes that a write is sent.
    pub(super) fn began(&mut self, now: Micros) {
        if self.under_way == 0 {
            self.since = now;
        }
        self.under_way += 1;
    }

    /// Notes that a write has ended, and the next is being executed.
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
    fn pipelined_writes_are_over_within_half_of_a_writes_time() {
        for timeout_ms in [1, 10, 50, 100, 500, 1_000, 5_000, 60_000] {
            let timeout = Duration::from_millis(timeout_ms);
            let Pipelining { most, limit, lasts } = Pipelining::new(timeout);
            let statements = STATEMENTS * u32::try_from(most).unwrap();
            assert!(limit * statements <= lasts && lasts <= timeout / 2, "{timeout_ms} ms");
            assert!(most == 1 || limit >= LIMIT_LEAST, "{timeout_ms} ms");
        }
        assert_eq!(Pipelining::new(Duration::from_millis(50)).most, 1);
        assert_eq!(Pipelining::new(Duration::from_secs(1)).most, MOST);
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
