//! What each moment of a timeline of faults did to the requests that were due after it, until the next moment.
//!
//! A key whose request has failed is *struck*. The first good answer for a struck key is the end of the outage for the
//! first of them; the last bad request is its end for all.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Answers, Ending, Sample, micros};

/// Struck keys that a worker remembers of a window: 256 KiB and the set's own room.
const STRUCK_MAX: usize = 65_536;

/// The moments of a timeline, from the start of the run. Each begins a [`Window`]. That of something that waits for an
/// event becomes known while the run lasts.
#[derive(Debug, Default)]
pub struct Moments(Box<[AtomicU64]>);

/// The time of a moment that is not known yet.
const UNKNOWN: u64 = u64::MAX;

impl Moments {
    /// These moments; `None`: it is not known yet.
    pub fn new(times: impl IntoIterator<Item = Option<Duration>>) -> Self {
        let times = times.into_iter();
        Self(times.map(|time| AtomicU64::new(time.map_or(UNKNOWN, micros))).collect())
    }

    /// Sets when a moment is.
    pub fn set(&self, index: usize, at: Duration) {
        self.0[index].store(micros(at), Ordering::Relaxed);
    }

    /// The number of moments.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// When a moment is.
    #[must_use]
    pub fn at(&self, index: usize) -> Option<Duration> {
        let at_us = self.0.get(index)?.load(Ordering::Relaxed);
        (at_us != UNKNOWN).then(|| Duration::from_micros(at_us))
    }

    /// The window in which a request is that was due at this time: that of the last moment until then. Of several at the
    /// same time it is the last.
    #[must_use]
    pub fn window_at(&self, due: Duration) -> Option<usize> {
        let due_us = micros(due);
        let begun = (0..).zip(&self.0).map(|(index, at)| (at.load(Ordering::Relaxed), index));
        begun
            .filter(|(at_us, _)| *at_us <= due_us && *at_us != UNKNOWN)
            .max()
            .map(|(_, index)| index)
    }
}

/// The requests that were due between two moments. Times are from its beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Requests.
    pub requests: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Stale reads. Here and below, a request for many keys counts as a read of each of them.
    pub stale: u64,
    /// Stale reads that were older than the target's mode allows.
    #[serde(default)]
    pub stale_beyond: u64,
    /// Reads of what nobody had written there.
    pub wrong: u64,
    /// Reads that were answered.
    #[serde(default)]
    pub reads: u64,
    /// Of these, from a cache.
    #[serde(default)]
    pub hits: u64,
    /// The longest latency, in microseconds.
    #[serde(default)]
    pub max_us: u64,
    /// The end of the last request that failed, or was stale or wrong, in microseconds.
    pub last_bad_us: Option<u64>,
    /// The first good answer for a key of which a request had failed before, in microseconds.
    pub first_good_us: Option<u64>,
}

impl Window {
    fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.stale += other.stale;
        self.stale_beyond += other.stale_beyond;
        self.wrong += other.wrong;
        self.reads += other.reads;
        self.hits += other.hits;
        self.max_us = self.max_us.max(other.max_us);
        self.last_bad_us = self.last_bad_us.max(other.last_bad_us);
        let first = [self.first_good_us, other.first_good_us].into_iter().flatten().min();
        self.first_good_us = first;
    }
}

/// See the head of the file.
#[derive(Debug, Clone)]
pub(super) struct Windows {
    begins: Arc<Moments>,
    windows: Vec<Window>,
    struck: Vec<HashSet<u32>>,
}

impl Windows {
    /// Without a moment, nothing is recorded.
    pub(super) fn new(begins: Arc<Moments>) -> Self {
        let windows = vec![Window::default(); begins.count()];
        let struck = vec![HashSet::new(); begins.count()];
        Self { begins, windows, struck }
    }

    /// Takes in a request. Of each of its keys there is whether it has failed for it. Times are from the start of the run.
    pub(super) fn record(
        &mut self,
        keys: impl Iterator<Item = (u32, bool)>,
        due: Duration,
        ended: Duration,
        (sample, answers): (&Sample, Answers),
    ) {
        let Some(index) = self.begins.window_at(due) else { return };
        let begin = self.begins.at(index).unwrap_or(due);
        let since_us = micros(ended.saturating_sub(begin));
        let (window, struck) = (&mut self.windows[index], &mut self.struck[index]);
        window.requests += 1;
        let is_failed = matches!(sample.ending, Ending::Failed(_));
        window.failed += u64::from(is_failed);
        window.stale += answers.stale;
        window.stale_beyond += answers.stale_beyond;
        window.wrong += answers.wrong;
        window.reads += answers.reads;
        window.hits += answers.hits;
        window.max_us = window.max_us.max(micros(ended.saturating_sub(due)));
        let has_bad_reads = answers.stale + answers.wrong > 0;
        if is_failed || has_bad_reads {
            window.last_bad_us = window.last_bad_us.max(Some(since_us));
        }
        for (key, is_failed) in keys {
            if window.first_good_us.is_some() {
                return;
            }
            if is_failed {
                if struck.len() < STRUCK_MAX {
                    struck.insert(key);
                }
            } else if !has_bad_reads && struck.contains(&key) {
                window.first_good_us = Some(since_us);
                *struck = HashSet::new();
            }
        }
    }

    pub(super) fn finish(self) -> Vec<Window> {
        self.windows
    }
}

/// Adds the windows of another worker.
pub(super) fn merge(windows: &mut [Window], others: &[Window]) {
    assert_eq!(windows.len(), others.len(), "recordings of one run");
    windows.iter_mut().zip(others).for_each(|(window, other)| window.merge(other));
}

#[cfg(test)]
mod tests {
    use super::super::{Displaced, FailureKind, OpKind};
    use super::*;
    use crate::checker::Verdict;
    use standin_protocol::time::Micros;

    const GOOD: Ending =
        Ending::Answered { flags: 0, is_absent: false, verdict: Some(Verdict::Fresh) };
    const FAILED: Ending = Ending::Failed(FailureKind::Unavailable);

    fn record(windows: &mut Windows, key: u32, due_ms: u64, ended_ms: u64, ending: Ending) {
        let at = |ms: u64| Micros(ms * 1_000);
        let sample = Sample {
            op: OpKind::Read,
            is_fill: false,
            is_scheduled: true,
            phase: 0,
            due: at(due_ms),
            sent: at(due_ms),
            ended: at(ended_ms),
            sends: 1,
            displaced: Displaced::default(),
            ending,
        };
        let ms = Duration::from_millis;
        let keys = std::iter::once((key, matches!(ending, Ending::Failed(_))));
        let answers = Answers::of_one(&sample);
        windows.record(keys, ms(due_ms), ms(ended_ms), (&sample, answers));
    }

    #[test]
    fn an_outage_ends_with_the_first_good_answer_for_a_key_that_had_failed() {
        let begins =
            Arc::new(Moments::new([Some(1_000), None].map(|at| at.map(Duration::from_millis))));
        let mut windows = Windows::new(Arc::clone(&begins));
        let stale = Verdict::Stale { behind: 1, age: Duration::ZERO, is_beyond: true };
        let stale = Ending::Answered { flags: 0, is_absent: false, verdict: Some(stale) };
        for (key, due, ended, ending) in [
            (1, 500, 600, FAILED),
            (1, 1_000, 1_250, FAILED),
            (2, 1_300, 1_301, GOOD),
            (1, 1_400, 1_650, FAILED),
            (1, 1_500, 1_700, GOOD),
            (3, 1_600, 1_900, FAILED),
            (3, 1_950, 1_960, GOOD),
            (4, 2_999, 3_500, FAILED),
            (5, 3_000, 3_001, stale),
        ] {
            if due == 3_000 {
                begins.set(1, Duration::from_millis(3_000));
            }
            record(&mut windows, key, due, ended, ending);
        }
        let mut other = Windows::new(begins);
        record(&mut other, 7, 1_000, 1_001, FAILED);
        record(&mut other, 7, 1_100, 1_101, GOOD);
        let mut all = windows.finish();
        let [first, second] = all[..] else { panic!("two windows") };
        assert_eq!((first.requests, first.failed, first.stale), (7, 4, 0));
        assert_eq!(first.first_good_us, Some(700_000));
        assert_eq!(first.last_bad_us, Some(2_500_000));
        assert_eq!((second.failed, second.stale, second.last_bad_us), (0, 1, Some(1_000)));
        assert_eq!((second.stale_beyond, second.reads, second.max_us), (1, 1, 1_000));
        assert_eq!((first.stale_beyond, first.reads, first.max_us), (0, 3, 501_000));
        assert_eq!(second.first_good_us, None);
        merge(&mut all, &other.finish());
        assert_eq!((all[0].requests, all[0].first_good_us), (9, Some(101_000)));
    }

    #[test]
    fn a_request_is_in_the_window_of_the_last_moment_before_it() {
        let second = Duration::from_secs;
        let moments = Moments::new([Some(second(0)), None, Some(second(5)), Some(second(5))]);
        let at = |due_s| moments.window_at(second(due_s));
        assert_eq!([at(0), at(4), at(5), at(9)], [Some(0), Some(0), Some(3), Some(3)]);
        moments.set(1, second(8));
        assert_eq!([at(5), at(9)], [Some(3), Some(1)]);
        assert_eq!(Moments::default().window_at(second(1)), None);
    }
}
