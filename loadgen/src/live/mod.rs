//! A run while it runs: what it has done so far and how long that took, and how to end it.
//!
//! Read by progress displays and by tests that wait for a number of answers. Each worker
//! writes its own cache line.

mod tally;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub use tally::Latencies;
use tally::{Tally, add};

#[derive(Debug, Default)]
#[repr(align(128))]
struct Cell {
    ended: AtomicU64,
    failed: AtomicU64,
    reads: AtomicU64,
    hits: AtomicU64,
    bad: AtomicU64,
    latencies: Tally,
}

/// See the head of the file.
#[derive(Debug)]
pub struct Live {
    cells: Box<[Cell]>,
    is_stopped: Arc<AtomicBool>,
    /// What ends it from outside, such as a signal.
    interrupt: Option<Arc<AtomicBool>>,
    /// The run that this is a part of, such as its warm-up: it ends with it.
    whole: Option<Arc<Live>>,
}

/// Sums over the workers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Requests that have ended, well or not.
    pub ended: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Of these, from a cache.
    pub hits: u64,
    /// Reads that were stale or wrong.
    pub bad: u64,
}

/// The contribution of one request.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Step {
    pub(crate) latency_us: u64,
    pub(crate) is_failed: bool,
    pub(crate) is_read_answer: bool,
    pub(crate) is_hit: bool,
    pub(crate) is_bad: bool,
}

impl Live {
    /// Creates the state for a run with at most this many workers.
    #[must_use]
    pub fn new(workers: u32) -> Self {
        Self {
            cells: (0..workers.max(1)).map(|_| Cell::default()).collect(),
            is_stopped: Arc::default(),
            interrupt: None,
            whole: None,
        }
    }

    /// The state of a part of another run, which ends when that is to end.
    #[must_use]
    pub fn part_of(whole: &Arc<Self>, workers: u32) -> Self {
        Self { whole: Some(Arc::clone(whole)), ..Self::new(workers) }
    }

    /// The same state, which this flag ends too.
    #[must_use]
    pub(crate) fn ended_by(self, interrupt: Arc<AtomicBool>) -> Self {
        Self { interrupt: Some(interrupt), ..self }
    }

    /// The flag that [`Self::stop`] sets.
    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_stopped)
    }

    /// The sums so far.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let sum = |of: fn(&Cell) -> &AtomicU64| {
            self.cells.iter().map(|cell| of(cell).load(Ordering::Relaxed)).sum()
        };
        Progress {
            ended: sum(|cell| &cell.ended),
            failed: sum(|cell| &cell.failed),
            reads: sum(|cell| &cell.reads),
            hits: sum(|cell| &cell.hits),
            bad: sum(|cell| &cell.bad),
        }
    }

    /// The latencies so far.
    #[must_use]
    pub fn latencies(&self) -> Latencies {
        let mut sum = Latencies::default();
        self.cells.iter().for_each(|cell| sum.add(&cell.latencies));
        sum
    }

    /// Ends the run: nothing more is sent, and what is under way is waited for, but not for long.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Release);
    }

    /// Whether the run is to end.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
            || self.interrupt.as_ref().is_some_and(|interrupt| interrupt.load(Ordering::Acquire))
            || self.whole.as_ref().is_some_and(|whole| whole.is_stopped())
    }

    /// Only the thread of this worker may add to its counts.
    pub(crate) fn add(&self, worker: u32, step: Step) {
        let cell = &self.cells[worker as usize];
        add(&cell.ended, 1);
        cell.latencies.record(step.latency_us);
        for (counter, is_one) in [
            (&cell.failed, step.is_failed),
            (&cell.reads, step.is_read_answer),
            (&cell.hits, step.is_hit),
            (&cell.bad, step.is_bad),
        ] {
            if is_one {
                add(counter, 1);
            }
        }
    }

    /// A read of this worker that was counted was found to be stale or wrong. Only its thread may add to its counts.
    pub(crate) fn add_bad(&self, worker: u32) {
        add(&self.cells[worker as usize].bad, 1);
    }
}

impl Progress {
    /// The difference to `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            ended: self.ended.saturating_sub(earlier.ended),
            failed: self.failed.saturating_sub(earlier.failed),
            reads: self.reads.saturating_sub(earlier.reads),
            hits: self.hits.saturating_sub(earlier.hits),
            bad: self.bad.saturating_sub(earlier.bad),
        }
    }

    /// Share of hits among the answered reads, 0 to 1; 0 without reads.
    #[must_use]
    pub fn hit_ratio(self) -> f64 {
        if self.reads == 0 { 0.0 } else { self.hits as f64 / self.reads as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_run_ends_with_it_and_not_it_with_the_part() {
        let whole = Arc::new(Live::new(1));
        let (part, other) = (Live::part_of(&whole, 2), Live::part_of(&whole, 1));
        part.stop();
        assert!(part.is_stopped() && !other.is_stopped() && !whole.is_stopped());
        whole.stop();
        assert!(other.is_stopped());
    }

    #[test]
    fn workers_add_up() {
        let live = Live::new(2);
        let step = Step { latency_us: 70, is_read_answer: true, is_hit: true, ..Step::default() };
        live.add(0, step);
        live.add(1, Step { is_hit: false, ..step });
        let earlier = live.progress();
        live.add(1, Step { is_failed: true, ..Step::default() });
        let progress = live.progress();
        assert_eq!(progress, Progress { ended: 3, failed: 1, reads: 2, hits: 1, bad: 0 });
        assert_eq!(
            progress.since(earlier),
            Progress { ended: 1, failed: 1, ..Progress::default() }
        );
        assert!((progress.hit_ratio() - 0.5).abs() < 1e-9);
        let latencies = live.latencies();
        assert_eq!(
            (latencies.count(), latencies.at(0.1), latencies.at(1.0)),
            (3, Some(0), Some(70))
        );
    }
}
