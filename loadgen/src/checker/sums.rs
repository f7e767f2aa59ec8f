//! Judges counters: the sum that an increment returns lies between what was acknowledged before it was asked for and
//! what was sent until it was answered, and is above every sum returned before it was asked for.
//!
//! A counter begins at a number that only this run uses ([`first_number`]), so a counter of another run, or one that
//! the target has made anew from nothing, is told apart from one that went back.
//!
//! A fault is told once, or in parts if others that were under way hide some of it at first. After a verdict the counter is *corrected*: it is taken to be as much lower or higher as it was
//! found to be, and what comes later is judged by that. A sum after it may show that only that one answer was off:
//!
//! ```text
//! lower by 5 than it must be ─► stale by 5, corrected by -5 ─┬ the next sums are lower, too: 5 are lost
//!                                                            └ they are as high as without the correction: nothing is
//!                                                              lost, and the correction is taken back
//! ```
//! The answer to an increment that was under way during a correction is not judged.

use std::sync::Mutex;
use std::time::Duration;

use super::{Verdict, Wrong};
use crate::threads::locked;

/// The distance of the first numbers of runs. A counter gets that far in months, and is judged beyond it, too.
const ROOM: u64 = 1 << 40;
/// The first numbers: the highest and its room are below 2^63, the largest number of a Redis.
const FIRST_NUMBERS: u64 = 1 << 22;

/// The number at which the counters of a run begin: one of four million.
#[must_use]
pub fn first_number(run: u32) -> u64 {
    (u64::from(run) % FIRST_NUMBERS + 1) * ROOM
}

/// An increment under way; give it back to [`Checker::end_increment`](super::Checker::end_increment).
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an increment that is not ended counts as one that may have happened"]
pub struct Increment {
    counter: usize,
    by: u64,
    floor: u64,
    corrections: u64,
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

/// How often counters were off, and by how much in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Off {
    /// How often one was found to be.
    pub times: u64,
    /// The sum of the differences.
    pub by: u64,
}

/// What was found of the counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Counters that were read.
    pub counters: u64,
    /// Counters below what was acknowledged.
    pub lost: Off,
    /// Counters above all that was sent to them.
    pub extra: Off,
    /// Counters that the target has lost as a whole, as a cache may; they are not judged any more.
    pub gone: u64,
}

#[derive(Debug, Default)]
struct Counter {
    sent: u64,
    acknowledged: u64,
    /// The highest sum that was returned.
    seen: u64,
    /// The number of corrections.
    corrections: u64,
    /// The last correction, until a later sum has confirmed it.
    doubt: i64,
    is_gone: bool,
}

impl Counter {
    /// Takes the counter to be `by` higher, or lower.
    fn correct(&mut self, by: i64, value: u64) {
        self.sent = self.sent.saturating_add_signed(by);
        self.acknowledged = self.acknowledged.saturating_add_signed(by);
        self.seen = value;
        self.corrections += 1;
    }

    /// Takes the last correction back.
    fn undo(&mut self, value: u64) -> Verdict {
        let back = self.doubt.saturating_neg();
        self.doubt = 0;
        self.correct(back, value);
        Verdict::Fresh
    }
}

impl Off {
    fn add(&mut self, by: u64) {
        self.times += 1;
        self.by += by;
    }

    /// Takes back what was added, unless it was told already.
    fn take_back(&mut self, by: u64) {
        self.times = self.times.saturating_sub(1);
        self.by = self.by.saturating_sub(by);
    }
}

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Counters {
    first_number: u64,
    may_lose: bool,
    counters: Box<[Mutex<Counter>]>,
    found: Mutex<Sums>,
}

impl Counters {
    pub(super) fn new(counters: u32, run: u32) -> Self {
        Self {
            first_number: first_number(run),
            may_lose: false,
            counters: (0..counters).map(|_| Mutex::default()).collect(),
            found: Mutex::default(),
        }
    }

    /// Sets whether a whole counter may be gone at any time.
    pub(super) fn set_losses(&mut self, may_lose: bool) {
        self.may_lose = may_lose;
    }

    pub(super) fn begin(&self, counter: u32, by: u32) -> Increment {
        let (index, by) = (counter as usize, u64::from(by));
        let mut counter = locked(&self.counters[index]);
        let floor = counter.acknowledged.max(counter.seen) + by;
        counter.sent += by;
        Increment { counter: index, by, floor, corrections: counter.corrections }
    }

    /// The verdict on its sum; `None`: there is none to judge.
    pub(super) fn end(&self, increment: Increment, counted: Counted) -> Option<Verdict> {
        let mut counter = locked(&self.counters[increment.counter]);
        match counted {
            Counted::Sum(number) => {
                counter.acknowledged += increment.by;
                Some(self.judge(&mut counter, &increment, number))
            }
            Counted::Absent => {
                counter.sent = counter.sent.saturating_sub(increment.by);
                Some(self.gone(&mut counter, &increment))
            }
            Counted::NotMade => {
                counter.sent = counter.sent.saturating_sub(increment.by);
                None
            }
            Counted::Unknown => None,
        }
    }

    fn judge(&self, counter: &mut Counter, increment: &Increment, number: u64) -> Verdict {
        if counter.is_gone {
            return Verdict::Fresh;
        }
        if number < ROOM {
            // Redis counts from zero where there is nothing.
            return self.gone(counter, increment);
        }
        let is_of_other = |value: u64| value >= ROOM && value > counter.sent;
        let value = match number.checked_sub(self.first_number) {
            Some(value) if !is_of_other(value) => value,
            Some(_) | None => return Verdict::Wrong(Wrong::OtherRun),
        };
        // The lock of all counters is for what is rare.
        let found = || locked(&self.found);
        if increment.by == 0 {
            found().counters += 1;
        }
        if increment.corrections != counter.corrections {
            return Verdict::Fresh;
        }
        let (floor, sent, doubt) = (increment.floor, counter.sent, counter.doubt.unsigned_abs());
        if counter.doubt < 0 {
            if value > sent && value <= sent + doubt {
                found().lost.take_back(doubt);
                return counter.undo(value);
            }
            // Without the correction it would be too low.
            if value < floor + doubt {
                counter.doubt = 0;
            }
        } else if counter.doubt > 0 {
            if value < floor && value + doubt >= floor {
                found().extra.take_back(doubt);
                return counter.undo(value);
            }
            if value + doubt > sent {
                counter.doubt = 0;
            }
        }
        if value < floor {
            let lost = floor - value;
            found().lost.add(lost);
            counter.doubt = 0_i64.saturating_sub_unsigned(lost);
            counter.correct(counter.doubt, value);
            return behind(lost);
        }
        if value > sent {
            let extra = value - sent;
            found().extra.add(extra);
            counter.doubt = 0_i64.saturating_add_unsigned(extra);
            counter.correct(counter.doubt, value);
            return Verdict::Wrong(Wrong::CountedTwice);
        }
        counter.seen = counter.seen.max(value);
        Verdict::Fresh
    }

    /// The verdict on a counter that is not there, or not any more.
    fn gone(&self, counter: &mut Counter, increment: &Increment) -> Verdict {
        if std::mem::replace(&mut counter.is_gone, true) || self.may_lose {
            return Verdict::Fresh;
        }
        let lost = (increment.floor - increment.by).max(1);
        locked(&self.found).lost.add(lost);
        behind(lost)
    }

    /// What was found since the last call.
    pub(super) fn found(&self) -> Sums {
        let gone = self.counters.iter().filter(|counter| locked(counter).is_gone).count();
        Sums { gone: gone as u64, ..std::mem::take(&mut *locked(&self.found)) }
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

    /// Makes an increment with this sum.
    fn add(counters: &Counters, counter: u32, by: u32, value: u64) -> Option<Verdict> {
        counters.end(counters.begin(counter, by), sum(value))
    }

    fn is_behind(verdict: Option<Verdict>, by: u32) -> bool {
        matches!(verdict, Some(Verdict::Stale { behind, is_beyond: true, .. }) if behind == by)
    }

    #[test]
    fn sums_in_any_order_that_a_counter_allows_are_right() {
        let counters = Counters::new(1, RUN);
        let (a, b, c) = (counters.begin(0, 5), counters.begin(0, 3), counters.begin(0, 2));
        assert_eq!(counters.end(b, sum(8)), Some(Verdict::Fresh), "behind the first");
        assert_eq!(counters.end(a, sum(5)), Some(Verdict::Fresh), "its answer came later");
        assert_eq!(counters.end(c, Counted::Unknown), None);
        let made = add(&counters, 0, 1, 11);
        assert_eq!(made, Some(Verdict::Fresh), "the unknown one was made");
        assert_eq!(add(&counters, 0, 0, 11), Some(Verdict::Fresh));
        assert_eq!(counters.found(), Sums { counters: 1, ..Sums::default() });
    }

    #[test]
    fn a_lost_increment_is_told_once_with_its_size() {
        let counters = Counters::new(2, RUN);
        for counter in 0..2 {
            assert_eq!(add(&counters, counter, 5, 5), Some(Verdict::Fresh));
        }
        assert!(is_behind(add(&counters, 0, 1, 1), 5));
        for value in 2..10 {
            assert_eq!(add(&counters, 0, 1, value), Some(Verdict::Fresh), "told already");
        }
        assert!(is_behind(add(&counters, 0, 1, 8), 2), "another one");
        assert!(is_behind(add(&counters, 1, 0, 2), 3), "found at the end");
        let lost = Off { times: 3, by: 10 };
        assert_eq!(counters.found(), Sums { counters: 1, lost, ..Sums::default() });
        assert_eq!(counters.found(), Sums::default(), "each is told once");
    }

    #[test]
    fn a_sum_never_goes_back_though_the_acknowledged_ones_would_allow_it() {
        let counters = Counters::new(1, RUN);
        assert_eq!(counters.end(counters.begin(0, 5), Counted::Unknown), None);
        assert_eq!(add(&counters, 0, 1, 6), Some(Verdict::Fresh));
        assert!(is_behind(add(&counters, 0, 1, 2), 5));
    }

    #[test]
    fn an_increment_made_twice_is_told_once_with_its_size() {
        let counters = Counters::new(1, RUN);
        assert_eq!(add(&counters, 0, 4, 8), Some(Verdict::Wrong(Wrong::CountedTwice)));
        assert_eq!(add(&counters, 0, 1, 9), Some(Verdict::Fresh), "told already");
        assert_eq!(counters.end(counters.begin(0, 3), Counted::NotMade), None);
        let last = add(&counters, 0, 0, 12);
        assert_eq!(
            last,
            Some(Verdict::Wrong(Wrong::CountedTwice)),
            "what was not made is no excuse"
        );
        assert_eq!(counters.found().extra, Off { times: 2, by: 7 });
    }

    #[test]
    fn an_old_answer_is_no_lost_increment() {
        let counters = Counters::new(2, RUN);
        assert_eq!(add(&counters, 0, 9, 9), Some(Verdict::Fresh));
        assert!(is_behind(add(&counters, 0, 1, 6), 4), "it is bad, whatever comes");
        assert_eq!(counters.end(counters.begin(0, 3), sum(13)), Some(Verdict::Fresh));
        assert_eq!(add(&counters, 0, 0, 13), Some(Verdict::Fresh));
        assert!(is_behind(add(&counters, 0, 1, 13), 1), "the correction is gone");
        // And one that is too high once.
        assert_eq!(add(&counters, 1, 2, 5), Some(Verdict::Wrong(Wrong::CountedTwice)));
        assert_eq!(add(&counters, 1, 2, 4), Some(Verdict::Fresh));
        let (lost, extra) = (Off { times: 1, by: 1 }, Off::default());
        assert_eq!(counters.found(), Sums { counters: 1, lost, extra, gone: 0 });
    }

    #[test]
    fn what_was_under_way_during_a_correction_is_not_judged() {
        let counters = Counters::new(1, RUN);
        assert_eq!(add(&counters, 0, 5, 5), Some(Verdict::Fresh));
        // Made before the loss, and after it.
        let (before, after) = (counters.begin(0, 2), counters.begin(0, 1));
        assert!(is_behind(add(&counters, 0, 1, 1), 5));
        assert_eq!(counters.end(before, sum(7)), Some(Verdict::Fresh));
        assert_eq!(counters.end(after, sum(2)), Some(Verdict::Fresh));
        assert_eq!(counters.found().lost, Off { times: 1, by: 5 });
    }

    #[test]
    fn a_counter_may_become_as_large_as_the_target_allows() {
        let counters = Counters::new(1, RUN);
        for value in (1..=1_000_u64).map(|step| step * u64::from(u32::MAX)) {
            assert_eq!(add(&counters, 0, u32::MAX, value), Some(Verdict::Fresh), "{value}");
        }
        assert!(1_000 * u64::from(u32::MAX) > 3 * ROOM);
        assert!(first_number(u32::MAX) < 1 << 63 && first_number(0) == ROOM);
        let other = counters.end(counters.begin(0, 1), Counted::Sum(first_number(RUN + 9)));
        assert_eq!(other, Some(Verdict::Wrong(Wrong::OtherRun)));
    }

    #[test]
    fn a_cache_may_lose_a_counter_but_not_a_part_of_it() {
        let mut counters = Counters::new(2, RUN);
        counters.set_losses(true);
        assert_eq!(add(&counters, 0, 5, 5), Some(Verdict::Fresh));
        let end = |counter, counted| counters.end(counters.begin(counter, 2), counted);
        assert_eq!(end(0, Counted::Sum(2)), Some(Verdict::Fresh));
        assert_eq!(end(1, Counted::Absent), Some(Verdict::Fresh));
        assert_eq!(end(0, Counted::Sum(4)), Some(Verdict::Fresh));
        assert_eq!(counters.found(), Sums { gone: 2, ..Sums::default() });
        let counters = Counters::new(2, RUN);
        for (counter, counted) in [(0, Counted::Absent), (1, Counted::Sum(5))] {
            assert_eq!(add(&counters, counter, 4, 4), Some(Verdict::Fresh));
            let end = || counters.end(counters.begin(counter, 5), counted);
            assert!(is_behind(end(), 4), "{counted:?}");
            assert_eq!(end(), Some(Verdict::Fresh), "told already");
        }
        assert_eq!(counters.found().lost, Off { times: 2, by: 8 });
        let counters = Counters::new(1, RUN);
        let other = Counted::Sum(first_number(RUN + 1));
        assert_eq!(
            counters.end(counters.begin(0, 1), other),
            Some(Verdict::Wrong(Wrong::OtherRun))
        );
    }
}
