//! Judges counters: the sum that an increment returns lies between what was acknowledged before it was asked for and
//! what was sent until it was answered, and is above every sum returned before it was asked for.
//!
//! A counter begins at a number that only this run uses ([`first_number`]), so a counter of another run, or one that
//! the target has made anew from nothing, is told apart from one that went back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::{Verdict, Wrong};

/// A counter is at most this much above its first number.
const ROOM: u64 = 1 << 30;

/// The number at which the counters of a run begin.
#[must_use]
pub fn first_number(run: u32) -> u64 {
    (u64::from(run) + 1) * ROOM
}

/// An increment under way; give it back to [`Checker::end_increment`](super::Checker::end_increment).
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an increment that is not ended counts as one that may have happened"]
pub struct Increment {
    counter: usize,
    by: u64,
    floor: u64,
}

/// The end of an increment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// It was made, with this sum.
    Sum(u64),
    /// There is no such counter.
    Absent,
    /// It may have been made, or will be.
    Unknown,
    /// It was certainly not made.
    NotMade,
}

/// The counters after the last request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SumsAtEnd {
    /// Counters that were read.
    pub counters: u64,
    /// Increments that were acknowledged, and are missing.
    pub lost: u64,
    /// By how much counters are above all that was sent to them.
    pub extra: u64,
    /// Counters that the target has lost as a whole, as a cache may; they are not judged.
    pub gone: u64,
}

#[derive(Debug, Default)]
struct Sum {
    sent: AtomicU64,
    acknowledged: AtomicU64,
    /// The highest sum that was returned.
    seen: AtomicU64,
    is_gone: AtomicBool,
}

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Sums {
    first_number: u64,
    may_lose: bool,
    sums: Box<[Sum]>,
    read: AtomicU64,
    lost: AtomicU64,
    extra: AtomicU64,
}

impl Sums {
    pub(super) fn new(counters: u32, run: u32) -> Self {
        Self {
            first_number: first_number(run),
            may_lose: false,
            sums: (0..counters).map(|_| Sum::default()).collect(),
            read: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            extra: AtomicU64::new(0),
        }
    }

    /// Sets whether a whole counter may be gone at any time.
    pub(super) fn set_losses(&mut self, may_lose: bool) {
        self.may_lose = may_lose;
    }

    pub(super) fn begin(&self, counter: u32, by: u32) -> Increment {
        let (counter, by) = (counter as usize, u64::from(by));
        let sum = &self.sums[counter];
        let floor =
            sum.acknowledged.load(Ordering::Acquire).max(sum.seen.load(Ordering::Acquire)) + by;
        sum.sent.fetch_add(by, Ordering::AcqRel);
        Increment { counter, by, floor }
    }

    /// The verdict on its sum; `None`: there is none to judge.
    pub(super) fn end(&self, increment: Increment, counted: Counted) -> Option<Verdict> {
        let Increment { counter, by, floor } = increment;
        let sum = &self.sums[counter];
        match counted {
            Counted::Sum(number) => {
                sum.acknowledged.fetch_add(by, Ordering::AcqRel);
                Some(self.judge(sum, by, floor, number))
            }
            Counted::Absent => {
                sum.sent.fetch_sub(by, Ordering::AcqRel);
                Some(self.gone(sum, floor))
            }
            Counted::NotMade => {
                sum.sent.fetch_sub(by, Ordering::AcqRel);
                None
            }
            Counted::Unknown => None,
        }
    }

    fn judge(&self, sum: &Sum, by: u64, floor: u64, number: u64) -> Verdict {
        if sum.is_gone.load(Ordering::Acquire) {
            return Verdict::Fresh;
        }
        if number < ROOM {
            // Redis counts from zero where there is nothing.
            return self.gone(sum, floor);
        }
        let value = match number.checked_sub(self.first_number) {
            Some(value) if value < ROOM => value,
            Some(_) | None => return Verdict::Wrong(Wrong::OtherRun),
        };
        sum.seen.fetch_max(value, Ordering::AcqRel);
        let sent = sum.sent.load(Ordering::Acquire);
        let is_reading = by == 0;
        self.read.fetch_add(u64::from(is_reading), Ordering::Relaxed);
        if value < floor {
            if is_reading {
                self.lost.fetch_add(floor - value, Ordering::Relaxed);
            }
            return behind(floor - value);
        }
        if value > sent {
            if is_reading {
                self.extra.fetch_add(value - sent, Ordering::Relaxed);
            }
            return Verdict::Wrong(Wrong::CountedTwice);
        }
        Verdict::Fresh
    }

    /// The verdict on a counter that is not there, or not any more.
    fn gone(&self, sum: &Sum, floor: u64) -> Verdict {
        if !self.may_lose {
            return behind(floor.max(1));
        }
        sum.is_gone.store(true, Ordering::Release);
        Verdict::Fresh
    }

    /// What was found by reading since the last call.
    pub(super) fn at_end(&self) -> SumsAtEnd {
        let gone = self.sums.iter().filter(|sum| sum.is_gone.load(Ordering::Acquire)).count();
        SumsAtEnd {
            counters: self.read.swap(0, Ordering::Relaxed),
            lost: self.lost.swap(0, Ordering::Relaxed),
            extra: self.extra.swap(0, Ordering::Relaxed),
            gone: gone as u64,
        }
    }
}

/// No cluster's mode allows an increment to be lost.
fn behind(by: u64) -> Verdict {
    let behind = u32::try_from(by).unwrap_or(u32::MAX);
    Verdict::Stale { behind, age: Duration::MAX, is_beyond: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: u32 = 7;

    fn sum(value: u64) -> Counted {
        Counted::Sum(first_number(RUN) + value)
    }

    #[test]
    fn sums_in_any_order_that_a_counter_allows_are_right() {
        let sums = Sums::new(1, RUN);
        let (a, b, c) = (sums.begin(0, 5), sums.begin(0, 3), sums.begin(0, 2));
        assert_eq!(sums.end(b, sum(8)), Some(Verdict::Fresh), "behind the first");
        assert_eq!(sums.end(a, sum(5)), Some(Verdict::Fresh), "its answer came later");
        assert_eq!(sums.end(c, Counted::Unknown), None);
        let d = sums.begin(0, 1);
        assert_eq!(sums.end(d, sum(11)), Some(Verdict::Fresh), "the unknown one was made");
        assert_eq!(sums.end(sums.begin(0, 0), sum(11)), Some(Verdict::Fresh));
        assert_eq!(sums.at_end(), SumsAtEnd { counters: 1, ..SumsAtEnd::default() });
    }

    #[test]
    fn a_lost_increment_is_found_by_the_next_and_at_the_end() {
        let sums = Sums::new(2, RUN);
        for counter in 0..2 {
            assert_eq!(sums.end(sums.begin(counter, 5), sum(5)), Some(Verdict::Fresh));
        }
        let next = sums.end(sums.begin(0, 1), sum(1));
        assert!(matches!(next, Some(Verdict::Stale { behind: 5, is_beyond: true, .. })));
        let last = sums.end(sums.begin(1, 0), sum(2));
        assert!(matches!(last, Some(Verdict::Stale { behind: 3, .. })));
        assert_eq!(sums.at_end(), SumsAtEnd { counters: 1, lost: 3, ..SumsAtEnd::default() });
    }

    #[test]
    fn a_sum_never_goes_back_though_the_acknowledged_ones_would_allow_it() {
        let sums = Sums::new(1, RUN);
        let unknown = sums.begin(0, 5);
        assert_eq!(sums.end(unknown, Counted::Unknown), None);
        assert_eq!(sums.end(sums.begin(0, 1), sum(6)), Some(Verdict::Fresh));
        let back = sums.end(sums.begin(0, 1), sum(2));
        assert!(matches!(back, Some(Verdict::Stale { behind: 5, .. })), "{back:?}");
    }

    #[test]
    fn an_increment_made_twice_is_found_at_once_and_at_the_end() {
        let sums = Sums::new(1, RUN);
        let twice = sums.end(sums.begin(0, 4), sum(8));
        assert_eq!(twice, Some(Verdict::Wrong(Wrong::CountedTwice)));
        assert_eq!(sums.end(sums.begin(0, 3), Counted::NotMade), None);
        let last = sums.end(sums.begin(0, 0), sum(8));
        assert_eq!(
            last,
            Some(Verdict::Wrong(Wrong::CountedTwice)),
            "what was not made is no excuse"
        );
        assert_eq!(sums.at_end().extra, 4);
    }

    #[test]
    fn a_cache_may_lose_a_counter_but_not_a_part_of_it() {
        let mut sums = Sums::new(2, RUN);
        sums.set_losses(true);
        assert_eq!(sums.end(sums.begin(0, 5), sum(5)), Some(Verdict::Fresh));
        assert_eq!(sums.end(sums.begin(0, 2), Counted::Sum(2)), Some(Verdict::Fresh));
        assert_eq!(sums.end(sums.begin(1, 2), Counted::Absent), Some(Verdict::Fresh));
        assert_eq!(sums.end(sums.begin(0, 2), Counted::Sum(4)), Some(Verdict::Fresh));
        assert_eq!(sums.at_end().gone, 2);
        let sums = Sums::new(1, RUN);
        for counted in [Counted::Absent, Counted::Sum(5)] {
            let verdict = sums.end(sums.begin(0, 5), counted);
            assert!(matches!(verdict, Some(Verdict::Stale { .. })), "{counted:?}: {verdict:?}");
        }
        let other = Counted::Sum(first_number(RUN + 1));
        assert_eq!(sums.end(sums.begin(0, 1), other), Some(Verdict::Wrong(Wrong::OtherRun)));
    }
}
