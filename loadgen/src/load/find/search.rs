//! The search for the highest rate that keeps an objective: which rate is to be tried next. It measures nothing.
//!
//! ```text
//! doubled until one fails (or halved until one passes) ─► the middle of the two ─► … ─► the last one that passed, again
//! ```
//! A measurement of a rate may pass and another of the same rate fail. One failure is enough: the rate is not kept.

/// The lowest rate that is tried.
const RATE_MIN: u32 = 1;
/// The highest one.
pub(super) const RATE_MAX: u32 = 10_000_000;
/// The largest number of measurements. A search from 1 to the highest rate, with a resolution of 1 %, takes fewer than
/// 40 unless repeats fail.
const STEPS_MAX: usize = 60;

/// The next thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Measure this rate.
    Try(u32),
    /// The search is over.
    Done {
        /// The highest rate that was kept; `None`: not even the lowest was.
        kept: Option<u32>,
        /// The lowest rate above it that was not; `None`: the highest rate was kept.
        missed: Option<u32>,
        /// Whether it was kept twice.
        is_confirmed: bool,
    },
}

/// A search under way.
#[derive(Debug)]
pub(super) struct Search {
    start: u32,
    /// The largest ratio of the lowest rate that is not kept to the highest one that is.
    ratio: f64,
    measured: Vec<(u32, bool)>,
}

impl Search {
    /// A search that begins at `start`, and ends when it is known to `resolution_percent`.
    pub(super) fn new(start: u32, resolution_percent: f64) -> Self {
        let start = start.clamp(RATE_MIN, RATE_MAX);
        Self { start, ratio: 1.0 + resolution_percent / 100.0, measured: Vec::new() }
    }

    /// Takes the outcome of a measurement.
    pub(super) fn tell(&mut self, rate: u32, is_kept: bool) {
        self.measured.push((rate, is_kept));
    }

    /// The end of a search that is stopped now.
    pub(super) fn so_far(&self) -> Next {
        let (kept, missed) = (self.kept(), self.missed());
        Next::Done { kept, missed, is_confirmed: self.times(kept) > 1 }
    }

    /// Whether the search is over because the rate is known.
    pub(super) fn is_complete(&self) -> bool {
        self.measured.len() < STEPS_MAX && matches!(self.next(), Next::Done { .. })
    }

    /// The next rate, or the end.
    pub(super) fn next(&self) -> Next {
        if self.measured.len() >= STEPS_MAX {
            return self.so_far();
        }
        match (self.kept(), self.missed()) {
            (None, None) => Next::Try(self.start),
            (None, Some(RATE_MIN)) => self.so_far(),
            (None, Some(missed)) => Next::Try((missed / 2).max(RATE_MIN)),
            (Some(kept), None) if kept < RATE_MAX => {
                Next::Try(kept.saturating_mul(2).min(RATE_MAX))
            }
            (Some(kept), Some(missed)) if self.is_far(kept, missed) => {
                let middle = (f64::from(kept) * f64::from(missed)).sqrt().round() as u32;
                Next::Try(middle.clamp(kept + 1, missed - 1))
            }
            (Some(kept), _) if self.times(Some(kept)) < 2 => Next::Try(kept),
            (Some(_), _) => self.so_far(),
        }
    }

    /// The lowest rate that was not kept.
    fn missed(&self) -> Option<u32> {
        self.measured.iter().filter(|(_, is_kept)| !is_kept).map(|(rate, _)| *rate).min()
    }

    /// The highest rate below it.
    fn kept(&self) -> Option<u32> {
        let missed = self.missed();
        let is_below = |rate: &u32| missed.is_none_or(|missed| *rate < missed);
        self.measured.iter().map(|(rate, _)| *rate).filter(is_below).max()
    }

    fn times(&self, rate: Option<u32>) -> usize {
        self.measured.iter().filter(|(measured, _)| Some(*measured) == rate).count()
    }

    fn is_far(&self, kept: u32, missed: u32) -> bool {
        missed - kept > 1 && f64::from(missed) > f64::from(kept) * self.ratio
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Searches against a target that keeps rates up to `capacity`, and returns what was found and the rates tried.
    fn search(start: u32, resolution: f64, mut keeps: impl FnMut(u32) -> bool) -> (Next, Vec<u32>) {
        let mut search = Search::new(start, resolution);
        let mut tried = Vec::new();
        loop {
            match search.next() {
                Next::Try(rate) => {
                    tried.push(rate);
                    search.tell(rate, keeps(rate));
                }
                done @ Next::Done { .. } => return (done, tried),
            }
        }
    }

    #[test]
    fn the_rates_double_then_close_in_then_repeat() {
        let (done, tried) = search(1_000, 10.0, |rate| rate <= 5_000);
        let (kept, missed) = (Some(4_757), Some(5_188));
        assert_eq!(done, Next::Done { kept, missed, is_confirmed: true });
        assert_eq!(tried, [1_000, 2_000, 4_000, 8_000, 5_657, 4_757, 5_188, 4_757]);
    }

    #[test]
    fn a_start_that_is_too_high_is_halved() {
        let (done, tried) = search(8_000, 50.0, |rate| rate <= 1_500);
        assert_eq!(done, Next::Done { kept: Some(1_414), missed: Some(2_000), is_confirmed: true });
        assert_eq!(tried, [8_000, 4_000, 2_000, 1_000, 1_414, 1_414]);
    }

    #[test]
    fn a_target_that_keeps_nothing_or_everything_ends_the_search() {
        let (done, tried) = search(8, 5.0, |_| false);
        assert_eq!(done, Next::Done { kept: None, missed: Some(1), is_confirmed: false });
        assert_eq!(tried, [8, 4, 2, 1]);
        let (done, _) = search(8, 5.0, |_| true);
        assert_eq!(done, Next::Done { kept: Some(RATE_MAX), missed: None, is_confirmed: true });
    }

    #[test]
    fn a_repeat_that_fails_lowers_the_rate() {
        let mut times = 0;
        let (done, tried) = search(1_000, 10.0, |rate| {
            times += u32::from(rate == 4_757);
            rate <= 5_000 && !(rate == 4_757 && times == 2)
        });
        let Next::Done { kept: Some(kept), missed: Some(missed), is_confirmed } = done else {
            panic!("{done:?}")
        };
        assert_eq!((missed, is_confirmed), (4_757, true));
        assert!((4_300..4_757).contains(&kept), "{kept}: {tried:?}");
    }

    proptest! {
        #[test]
        fn the_rate_is_found_to_the_resolution(
            start in 1_u32..RATE_MAX, capacity in 1_u32..RATE_MAX, resolution in 1.0..50.0_f64,
        ) {
            let (done, tried) = search(start, resolution, |rate| rate <= capacity);
            let Next::Done { kept: Some(kept), missed: Some(missed), is_confirmed } = done else {
                panic!("{done:?}")
            };
            prop_assert!(kept <= capacity && capacity < missed && is_confirmed);
            let is_close = f64::from(missed) <= f64::from(kept) * (1.0 + resolution / 100.0) + 1.0;
            prop_assert!(is_close, "{kept} to {missed}");
            prop_assert!(tried.len() < STEPS_MAX, "{tried:?}");
        }

        /// A target that decides by chance does not keep the search from ending.
        #[test]
        fn chance_ends_too(seed in any::<u64>(), start in 1_u32..100_000) {
            let mut random = crate::rng::Random::new(seed);
            let (_, tried) = search(start, 5.0, |_| random.below(2) == 0);
            prop_assert!(tried.len() <= STEPS_MAX);
        }
    }
}
