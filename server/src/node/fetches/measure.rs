//! The measurement of a shard's usual number of fetches per second.

use std::collections::VecDeque;
use std::time::Duration;

use standin_protocol::time::Micros;

/// Fetches are counted in windows of this length.
const WINDOW: Duration = Duration::from_secs(1);
/// The number of windows that are remembered.
const WINDOWS: usize = 20;
/// The number of windows that have to be counted before there is a measure.
const WINDOWS_MIN: usize = 10;

/// The mean of the middle half of the last windows, so that a burst, or a warm-up that is over, has
/// no effect. Only partitions whose home is this server are counted, because the fetches that it
/// makes as a stand-in are not part of its usual load.
#[derive(Debug)]
pub(super) struct Measure {
    began: Micros,
    fetches: u64,
    rates: VecDeque<u64>,
}

impl Measure {
    pub(super) fn new(now: Micros) -> Self {
        Self { began: now, fetches: 0, rates: VecDeque::with_capacity(WINDOWS) }
    }

    /// Counts a fetch. Fetches before `cold_until` are not counted.
    pub(super) fn count(&mut self, now: Micros, cold_until: Micros) {
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

    pub(super) fn usual(&self) -> Option<u64> {
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
