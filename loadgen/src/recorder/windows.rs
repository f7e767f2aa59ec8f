//! What each moment of a timeline of faults did to the requests that were due after it, until the next moment.
//!
//! A key whose request has failed is *struck*. The first good answer for a struck key is the end of the outage for the
//! first of them; the last bad request is its end for all.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::counts::by_name;
use super::{Answers, Ending, FAILURE_KINDS, Sample, micros};

/// Struck keys that a worker remembers of a window: 256 KiB and the set's own room.
const STRUCK_MAX: usize = 65_536;

/// The moments of a timeline, from the start of the run, which is the first of them. Each begins a [`Window`]. That of something that waits for an
/// event becomes known while the run lasts.
#[derive(Debug, Default)]
pub struct Moments {
    at_us: Box<[AtomicU64]>,
    /// When each was to be. Those that were to be at the same time follow each other by what it takes to bring them about,
    /// and none ends the window of another.
    asked_us: Box<[AtomicU64]>,
    concerned: OnceLock<Concerned>,
}

/// Which keys are watched for silence behind each moment.
#[derive(Debug)]
pub struct Concerned {
    /// The server that usually has each key.
    pub homes: Vec<u16>,
    /// The server that is concerned behind each moment; `None`: all keys are watched.
    pub servers: Vec<Option<u16>>,
}

/// The time of a moment that is not known yet.
const UNKNOWN: u64 = u64::MAX;

impl Moments {
    /// These moments; `None`: it is not known yet.
    pub fn new(times: impl IntoIterator<Item = Option<Duration>>) -> Self {
        let times: Vec<u64> = times.into_iter().map(|time| time.map_or(UNKNOWN, micros)).collect();
        let all = || times.iter().copied().map(AtomicU64::new).collect();
        Self { at_us: all(), asked_us: all(), concerned: OnceLock::new() }
    }

    /// Says when a moment is to be whose time will be known when it is brought about. A request that is due in between is in
    /// no window: what happened to it is not what was before, and not yet what is behind.
    pub fn expect(&self, index: usize, asked: Duration) {
        self.asked_us[index].store(micros(asked), Ordering::Relaxed);
    }

    /// Sets when a moment is that was to be at the time `asked`.
    pub fn set(&self, index: usize, at: Duration, asked: Duration) {
        self.asked_us[index].store(micros(asked), Ordering::Relaxed);
        self.at_us[index].store(micros(at), Ordering::Relaxed);
    }

    /// Says whose keys are watched, before the run. Without it, all are.
    pub fn concern(&self, concerned: Concerned) {
        assert!(self.concerned.set(concerned).is_ok(), "once for each run");
    }

    fn is_watched(&self, index: usize, key: u32) -> bool {
        let Some(Concerned { homes, servers }) = self.concerned.get() else { return true };
        match servers.get(index).copied().flatten() {
            None => true,
            Some(server) => homes.get(key as usize) == Some(&server),
        }
    }

    /// How long the window of a moment lasts in a run of this length.
    #[must_use]
    pub fn length(&self, index: usize, run: Duration) -> Option<Duration> {
        let begin = self.at(index)?;
        let later = (0..self.count()).filter(|other| !self.are_together(*other, index));
        let later = later.filter_map(|other| self.at(other)).filter(|at| *at > begin);
        Some(later.min().unwrap_or(run).min(run).saturating_sub(begin))
    }

    /// Whether two moments were to be at the same time. Nothing shares the window of the run's beginning, the first one.
    fn are_together(&self, one: usize, other: usize) -> bool {
        let asked = |index: usize| self.asked_us[index].load(Ordering::Relaxed);
        one == other || (one.min(other) > 0 && asked(one) == asked(other))
    }

    /// The number of moments.
    #[must_use]
    pub fn count(&self) -> usize {
        self.at_us.len()
    }

    /// When a moment is.
    #[must_use]
    pub fn at(&self, index: usize) -> Option<Duration> {
        let at_us = self.at_us.get(index)?.load(Ordering::Relaxed);
        (at_us != UNKNOWN).then(|| Duration::from_micros(at_us))
    }

    /// The moments until a time, with their times in microseconds.
    fn begun(&self, time_us: u64) -> impl Iterator<Item = (u64, usize)> + '_ {
        let all = (0..).zip(&self.at_us).map(|(index, at)| (at.load(Ordering::Relaxed), index));
        all.filter(move |(at_us, _)| *at_us <= time_us && *at_us != UNKNOWN)
    }

    /// The last moment until a time; without any, the first of all.
    #[must_use]
    pub fn last_at(&self, time: Duration) -> usize {
        self.begun(micros(time)).max().map_or(0, |(_, last)| last)
    }

    /// The windows in which a request is that was due at this time: that of the last moment until then, and those of others
    /// that were to be at the same time as that one. With the times of the moments.
    pub fn windows_at(&self, due: Duration) -> impl Iterator<Item = (usize, Duration)> + '_ {
        let due_us = micros(due);
        let asked = |index: usize| self.asked_us[index].load(Ordering::Relaxed);
        let is_coming = |last: &usize| {
            let mut all = (0..).zip(&self.at_us).map(|(index, at)| (asked(index), at));
            all.any(|(asked_us, at)| {
                let has_come = at.load(Ordering::Relaxed) <= due_us;
                asked_us <= due_us && !has_come && asked_us > asked(*last)
            })
        };
        let last = self.begun(due_us).max().map(|(_, last)| last).filter(|last| !is_coming(last));
        let shared = self
            .begun(due_us)
            .filter(move |(_, one)| last.is_some_and(|last| self.are_together(*one, last)));
        shared.map(|(at_us, index)| (index, Duration::from_micros(at_us)))
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
    /// Of these, judged.
    #[serde(default)]
    pub checked: u64,
    /// Of those that were answered, from a cache.
    #[serde(default)]
    pub hits: u64,
    /// The longest latency, in microseconds.
    #[serde(default)]
    pub max_us: u64,
    /// The end of the last request that failed, or was stale or wrong, in microseconds.
    pub last_bad_us: Option<u64>,
    /// The first good answer for a key of which a request had failed before, in microseconds.
    pub first_good_us: Option<u64>,
    /// Failures, by [`FailureKind`](super::FailureKind).
    #[serde(default, with = "by_name")]
    pub failures: [u64; FAILURE_KINDS],
    /// The time until each load thread had a good answer for a key that is watched, in microseconds: the longest of those
    /// that had one.
    #[serde(default)]
    pub all_answered_us: Option<u64>,
    /// The number of load threads that have asked for such a key, and had no good answer.
    #[serde(default)]
    pub unanswered: u64,
}

/// The milliseconds behind a moment in which there was a good answer for a key that is watched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answered(Vec<u64>);

/// Ten minutes, in 75 KB. What comes later is not watched.
const WATCHED_MS_MAX: usize = 600_000;

impl Answered {
    fn note(&mut self, since: Duration) {
        let ms = usize::try_from(since.as_millis()).unwrap_or(usize::MAX);
        if ms >= WATCHED_MS_MAX {
            return;
        }
        let word = ms / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (ms % 64);
    }

    fn merge(&mut self, other: &Self) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        self.0.iter_mut().zip(&other.0).for_each(|(word, theirs)| *word |= theirs);
    }

    /// The longest time without a good answer, in a window of this length.
    #[must_use]
    pub fn longest_silence(&self, length: Duration) -> Duration {
        let end = usize::try_from(length.as_millis()).unwrap_or(usize::MAX).min(WATCHED_MS_MAX);
        let is_answered =
            |ms: &usize| self.0.get(ms / 64).is_some_and(|word| word & (1 << (ms % 64)) != 0);
        let (last, longest) = (0..end)
            .filter(is_answered)
            .fold((0, 0), |(last, longest), ms| (ms, longest.max(ms - last)));
        Duration::from_millis(longest.max(end - last) as u64)
    }
}

impl Window {
    fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.stale += other.stale;
        self.stale_beyond += other.stale_beyond;
        self.wrong += other.wrong;
        self.reads += other.reads;
        self.checked += other.checked;
        self.hits += other.hits;
        self.max_us = self.max_us.max(other.max_us);
        self.last_bad_us = self.last_bad_us.max(other.last_bad_us);
        let first = [self.first_good_us, other.first_good_us].into_iter().flatten().min();
        self.first_good_us = first;
        self.failures.iter_mut().zip(other.failures).for_each(|(sum, part)| *sum += part);
        self.all_answered_us = self.all_answered_us.max(other.all_answered_us);
        self.unanswered += other.unanswered;
    }
}

/// See the head of the file.
#[derive(Debug, Clone)]
pub(super) struct Windows {
    begins: Arc<Moments>,
    windows: Vec<Window>,
    answered: Vec<Answered>,
    struck: Vec<HashSet<u32>>,
}

impl Windows {
    /// Without a moment, nothing is recorded.
    pub(super) fn new(begins: Arc<Moments>) -> Self {
        let windows = vec![Window::default(); begins.count()];
        let answered = vec![Answered::default(); begins.count()];
        let struck = vec![HashSet::new(); begins.count()];
        Self { begins, windows, answered, struck }
    }

    /// Takes in a request. Of each of its keys there is whether it has failed for it. Times are from the start of the run.
    pub(super) fn record(
        &mut self,
        keys: impl Iterator<Item = (u32, bool)> + Clone,
        due: Duration,
        ended: Duration,
        what: (&Sample, Answers),
    ) {
        if self.windows.is_empty() {
            return;
        }
        let begins = Arc::clone(&self.begins);
        for (index, begin) in begins.windows_at(due) {
            self.record_in((index, begin), keys.clone(), due, ended, what);
        }
    }

    fn record_in(
        &mut self,
        (index, begin): (usize, Duration),
        keys: impl Iterator<Item = (u32, bool)>,
        due: Duration,
        ended: Duration,
        (sample, answers): (&Sample, Answers),
    ) {
        let since = ended.saturating_sub(begin);
        let since_us = micros(since);
        let (window, struck) = (&mut self.windows[index], &mut self.struck[index]);
        window.requests += 1;
        let is_failed = matches!(sample.ending, Ending::Failed(_));
        window.failed += u64::from(is_failed);
        if let Ending::Failed(kind) = sample.ending {
            window.failures[kind as usize] += 1;
        }
        window.stale += answers.stale;
        window.stale_beyond += answers.stale_beyond;
        window.wrong += answers.wrong;
        window.reads += answers.reads;
        window.checked += answers.checked;
        window.hits += answers.hits;
        window.max_us = window.max_us.max(micros(ended.saturating_sub(due)));
        let has_bad_reads = answers.stale + answers.wrong > 0;
        if is_failed || has_bad_reads {
            window.last_bad_us = window.last_bad_us.max(Some(since_us));
        }
        for (key, is_failed) in keys {
            let is_good = !is_failed && answers.wrong + answers.stale_beyond == 0;
            if self.begins.is_watched(index, key) {
                if is_good {
                    self.answered[index].note(since);
                    window.all_answered_us.get_or_insert(since_us);
                }
                window.unanswered = u64::from(window.all_answered_us.is_none());
            }
            if window.first_good_us.is_some() {
                continue;
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

    /// Takes in what was judged later of the answers to a request.
    pub(super) fn judge_later(&mut self, due: Duration, ended: Duration, answers: Answers) {
        for (index, begin) in self.begins.windows_at(due) {
            let window = &mut self.windows[index];
            window.checked += answers.checked;
            window.stale += answers.stale;
            window.stale_beyond += answers.stale_beyond;
            window.wrong += answers.wrong;
            let bad_at = (answers.stale + answers.wrong > 0).then(|| ended.saturating_sub(begin));
            window.last_bad_us = window.last_bad_us.max(bad_at.map(micros));
        }
    }

    pub(super) fn finish(self) -> Vec<(Window, Answered)> {
        self.windows.into_iter().zip(self.answered).collect()
    }
}

/// Adds the windows of another worker.
pub(super) fn merge(windows: &mut [(Window, Answered)], others: &[(Window, Answered)]) {
    assert_eq!(windows.len(), others.len(), "recordings of one run");
    for ((window, answered), (other, theirs)) in windows.iter_mut().zip(others) {
        window.merge(other);
        answered.merge(theirs);
    }
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
                begins.set(1, Duration::from_millis(3_000), Duration::from_millis(3_000));
            }
            record(&mut windows, key, due, ended, ending);
        }
        let mut other = Windows::new(begins);
        record(&mut other, 7, 1_000, 1_001, FAILED);
        record(&mut other, 7, 1_100, 1_101, GOOD);
        let mut all = windows.finish();
        let [(first, _), (second, _)] = all[..] else { panic!("two windows") };
        assert_eq!((first.requests, first.failed, first.stale), (7, 4, 0));
        assert_eq!(first.first_good_us, Some(700_000));
        assert_eq!(first.last_bad_us, Some(2_500_000));
        assert_eq!((second.failed, second.stale, second.last_bad_us), (0, 1, Some(1_000)));
        assert_eq!((second.stale_beyond, second.reads, second.max_us), (1, 1, 1_000));
        assert_eq!((first.stale_beyond, first.reads, first.max_us), (0, 3, 501_000));
        assert_eq!(second.first_good_us, None);
        assert_eq!(first.failures[FailureKind::Unavailable as usize], 4);
        assert_eq!((first.all_answered_us, first.unanswered), (Some(301_000), 0));
        assert_eq!((second.all_answered_us, second.unanswered), (None, 1), "it was stale");
        merge(&mut all, &other.finish());
        assert_eq!((all[0].0.requests, all[0].0.first_good_us), (9, Some(101_000)));
        assert_eq!(all[0].0.all_answered_us, Some(301_000), "that of the last to have one");
    }

    #[test]
    fn a_silence_is_the_longest_time_without_a_good_answer_for_the_keys_that_are_watched() {
        let moments = Arc::new(Moments::new([Some(Duration::ZERO), Some(Duration::from_secs(1))]));
        moments.concern(Concerned { homes: vec![0, 1, 0], servers: vec![None, Some(1)] });
        let mut both = [Windows::new(Arc::clone(&moments)), Windows::new(moments)];
        for (which, key, due, ended, ending) in [
            (0usize, 0, 100, 150, GOOD),
            (0, 1, 400, 450, GOOD),
            (0, 1, 500, 600, FAILED),
            // Another server's keys are answered all the time.
            (0, 0, 1_000, 1_001, GOOD),
            (0, 1, 1_000, 1_300, GOOD),
            (1, 2, 1_400, 1_401, GOOD),
            (1, 1, 1_600, 1_650, GOOD),
        ] {
            record(&mut both[which], key, due, ended, ending);
        }
        let [one, other] = both.map(Windows::finish);
        let mut all = one;
        merge(&mut all, &other);
        let silence =
            |index: usize, ms| all[index].1.longest_silence(Duration::from_millis(ms)).as_millis();
        assert_eq!([silence(0, 1_000), silence(0, 500)], [550, 300]);
        assert_eq!([silence(1, 700), silence(1, 2_000)], [350, 1_350]);
        assert_eq!(Answered::default().longest_silence(Duration::from_secs(2)).as_secs(), 2);
        let moments = Moments::new([Some(0), Some(5), None].map(|at| at.map(Duration::from_secs)));
        let length = |index| moments.length(index, Duration::from_secs(20)).map(|is| is.as_secs());
        assert_eq!([length(0), length(1), length(2)], [Some(5), Some(15), None]);
    }

    #[test]
    fn a_request_is_in_the_window_of_the_last_moment_before_it() {
        let second = Duration::from_secs;
        let moments = Moments::new([Some(second(0)), None, Some(second(5)), Some(second(5))]);
        let at = |due_s| moments.windows_at(second(due_s)).map(|(at, _)| at).collect::<Vec<_>>();
        assert_eq!([at(0), at(4)], [[0], [0]]);
        assert_eq!([at(5), at(9)], [[2, 3], [2, 3]], "both were to be then");
        moments.set(1, second(8), second(8));
        assert_eq!((at(5), at(9)), (vec![2, 3], vec![1]));
        assert_eq!([4, 5, 7, 8].map(|at_s| moments.last_at(second(at_s))), [0, 3, 3, 1]);
        assert_eq!(Moments::default().windows_at(second(1)).count(), 0);
        assert_eq!(Moments::default().last_at(second(1)), 0);
    }

    #[test]
    fn what_is_due_while_a_moment_is_brought_about_is_in_no_window() {
        let ms = Duration::from_millis;
        let moments = Moments::new([Some(ms(0)), None, Some(ms(9_000))]);
        moments.expect(1, ms(5_000));
        let at = |due_ms| moments.windows_at(ms(due_ms)).map(|(at, _)| at).collect::<Vec<_>>();
        assert_eq!(
            (at(4_999), at(5_000), at(5_020), at(9_000)),
            (vec![0], vec![], vec![], vec![2])
        );
        moments.set(1, ms(5_020), ms(5_000));
        assert_eq!(
            (at(4_999), at(5_019), at(5_020), at(9_000)),
            (vec![0], vec![], vec![1], vec![2])
        );
    }

    #[test]
    fn what_was_to_be_at_one_time_and_took_its_own_time_shares_a_window() {
        let ms = Duration::from_millis;
        let moments = Moments::new([Some(ms(0)), Some(ms(5_000)), None, None, Some(ms(9_000))]);
        moments.set(2, ms(5_008), ms(5_000));
        moments.set(3, ms(5_012), ms(5_000));
        let at = |due_ms| moments.windows_at(ms(due_ms)).map(|(at, _)| at).collect::<Vec<_>>();
        assert_eq!([at(4_999), at(5_001)], [[0], [1]]);
        assert_eq!((at(5_010), at(8_999), at(9_000)), (vec![1, 2], vec![1, 2, 3], vec![4]));
        let length = |index| moments.length(index, ms(20_000)).unwrap().as_millis();
        assert_eq!([length(1), length(2), length(3)], [4_000, 3_992, 3_988]);
    }
}
