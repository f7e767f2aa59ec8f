//! The measurements of a run: histograms per phase and operation, a timeline, counts, failures.
//!
//! ```text
//! worker: Recorder ─ record(Sample) ─► phases: histograms, counts
//!    │                              └► slots.rs: the timeline, closed slots as bytes
//!    └ finish ─► Recording ─ merge ─► Recording of all workers ─► report/, hdr_log.rs, encoded.rs
//! ```
//! A worker's recorder is its own: recording takes no lock. Latencies are in microseconds
//! from the moment a request was due, 1 µs to 1 h, to three significant digits; what takes longer is
//! recorded as [`LATENCY_US_MAX`].

mod counts;
mod encoded;
mod hdr_log;
mod slots;
mod windows;

use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use standin_protocol::frame::response_flags;
use standin_protocol::time::Micros;

pub use counts::{Counts, FAILURE_KINDS, FailureKind};
pub use encoded::{Encoded, EncodingError};
pub use hdr_log::{HdrLogError, LogLine, wall_time, write_hdr_lines, write_hdr_log};
pub use slots::{Slot, TimelinePoint};
pub use windows::{Answered, Concerned, Moments, Window};

use crate::checker::Verdict;
use slots::{OpenSlots, SlotStore};
use windows::Windows;

/// The longest latency that is told apart, one hour: longer than any stall that a run sits out.
pub const LATENCY_US_MAX: u64 = 3_600_000_000;
/// Significant decimal digits of a latency.
const DIGITS: u8 = 3;
/// Failures and bad reads that a recording quotes.
pub const QUOTES_MAX: usize = 8;

/// Reads and writes are measured apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpKind {
    /// GET.
    Read = 0,
    /// PUT and DELETE.
    Write = 1,
}

impl OpKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Read, Self::Write];

    /// As reports have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// The result of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The request was answered.
    Answered {
        /// Bits of [`standin_protocol::frame::response_flags`].
        flags: u8,
        /// Whether the answer was "no such row".
        is_absent: bool,
        /// The checker's assessment of a read; `None` if it was not checked.
        verdict: Option<Verdict>,
    },
    /// The request finally failed.
    Failed(FailureKind),
}

/// The fate of writes whose keys were being written. While a write hangs, writes that would have
/// waited behind it use other keys, or are not made at all, and so are missing from the latencies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Displaced {
    /// So often another key was drawn.
    pub redraws: u8,
    /// No key was free: it was made as a read.
    pub became_read: bool,
}

/// One request, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Read or write.
    pub op: OpKind,
    /// Whether it is a write that fills a key of which a read had found nothing.
    pub is_fill: bool,
    /// Whether the schedule of an open loop has it. What follows from an answer is due when it is sent.
    pub is_scheduled: bool,
    /// Index of the phase to which it belongs.
    pub phase: usize,
    /// The time at which it was due.
    pub due: Micros,
    /// The time at which it was sent.
    pub sent: Micros,
    /// The time at which it ended.
    pub ended: Micros,
    /// The number of times that it was sent, to all servers together.
    pub sends: u32,
    /// The operation that was intended.
    pub displaced: Displaced,
    /// The result.
    pub ending: Ending,
}

/// An answer of a request that was recorded, and is judged later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// Index of the phase to which the request belongs.
    pub phase: usize,
    /// The time at which it was due.
    pub due: Micros,
    /// The time at which it ended.
    pub ended: Micros,
}

/// The time that a load thread had, and what it did with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadThread {
    /// Its number.
    pub worker: u32,
    /// The time from the start of the run to its last answer.
    pub ran_for: Duration,
    /// The part of it on a core.
    pub computed: Duration,
    /// The part of it in which it was ready to run, while other threads had the cores.
    pub waited: Duration,
}

impl LoadThread {
    /// Share of its time that the thread has computed, 0 to 1.
    #[must_use]
    pub fn busy(&self) -> f64 {
        share(self.computed, self.ran_for)
    }

    /// Share of its time that the thread has waited for a core, 0 to 1.
    #[must_use]
    pub fn waiting(&self) -> f64 {
        share(self.waited, self.ran_for)
    }
}

/// The kernel's accounts may be a turn behind or ahead.
fn share(part: Duration, whole: Duration) -> f64 {
    (part.as_secs_f64() / whole.as_secs_f64().max(1e-9)).min(1.0)
}

/// The measurements of one phase.
#[derive(Debug, Clone)]
pub struct PhaseRecord {
    /// Latencies by [`OpKind`].
    pub latency: [Histogram<u64>; 2],
    /// The times of all operations from sending, not from being due.
    pub service: Histogram<u64>,
    /// The counters.
    pub counts: Counts,
}

/// What the answers to a request were; one for many keys has several.
#[derive(Debug, Clone, Copy, Default)]
struct Answers {
    reads: u64,
    checked: u64,
    hits: u64,
    stale: u64,
    stale_beyond: u64,
    wrong: u64,
    stand_in: u64,
}

impl Answers {
    fn of_one(sample: &Sample) -> Self {
        let Ending::Answered { flags, verdict, .. } = sample.ending else { return Self::default() };
        let is_read = sample.op == OpKind::Read;
        Self {
            reads: u64::from(is_read),
            hits: u64::from(is_read && flags & response_flags::HIT != 0),
            stand_in: u64::from(flags & response_flags::STAND_IN != 0),
            ..Self::of_verdict(verdict)
        }
    }

    fn of_verdict(verdict: Option<Verdict>) -> Self {
        let is_checked = verdict.is_some_and(|verdict| verdict != Verdict::Unjudged);
        Self {
            checked: u64::from(is_checked),
            stale: u64::from(matches!(verdict, Some(Verdict::Stale { .. }))),
            stale_beyond: u64::from(matches!(
                verdict,
                Some(Verdict::Stale { is_beyond: true, .. })
            )),
            wrong: u64::from(matches!(verdict, Some(Verdict::Wrong(_)))),
            ..Self::default()
        }
    }

    /// Those that were counted for the keys of a request.
    fn of_keys(counts: &Counts) -> Self {
        let Counts { reads_answered: reads, checked, hits, stale, .. } = *counts;
        let Counts { stale_beyond, wrong, stand_in, .. } = *counts;
        Self { reads, checked, hits, stale, stale_beyond, wrong, stand_in }
    }
}

/// One worker's measurements.
#[derive(Debug)]
pub struct Recorder {
    start: Micros,
    phases: Vec<PhaseRecord>,
    slots: OpenSlots,
    windows: Windows,
    lateness: Histogram<u64>,
    quotes: Vec<String>,
}

/// The measurements of one or more workers, complete.
#[derive(Debug, Clone)]
pub struct Recording {
    /// The time at which the run started.
    pub start: Micros,
    /// By phase.
    pub phases: Vec<PhaseRecord>,
    /// The lateness of the schedule's requests, in microseconds.
    pub lateness: Histogram<u64>,
    /// The load threads.
    pub threads: Vec<LoadThread>,
    /// The first failures and bad reads, in words.
    pub quotes: Vec<String>,
    /// What happened after each moment of the run's timeline of faults.
    pub windows: Vec<(Window, Answered)>,
    /// What was counted after the last request.
    pub at_end: Counts,
    slots: SlotStore,
}

impl PhaseRecord {
    fn new() -> Self {
        Self {
            latency: [histogram(), histogram()],
            service: histogram(),
            counts: Counts::default(),
        }
    }

    fn merge(&mut self, other: &Self) {
        for (latency, their_latency) in self.latency.iter_mut().zip(&other.latency) {
            add(latency, their_latency);
        }
        add(&mut self.service, &other.service);
        self.counts.merge(&other.counts);
    }

    /// Several phases as one.
    #[must_use]
    pub fn sum(phases: &[Self]) -> Self {
        let mut sum = Self::new();
        phases.iter().for_each(|phase| sum.merge(phase));
        sum
    }

    /// Latencies of reads and writes together.
    #[must_use]
    pub fn all(&self) -> Histogram<u64> {
        let mut all = histogram();
        for latency in &self.latency {
            add(&mut all, latency);
        }
        all
    }
}

impl Recorder {
    /// Creates an empty recorder for a run that starts at `start`, with this many phases and a
    /// timeline in steps of `slot`.
    #[must_use]
    pub fn new(start: Micros, phases: usize, slot: Duration) -> Self {
        Self {
            start,
            phases: (0..phases.max(1)).map(|_| PhaseRecord::new()).collect(),
            slots: OpenSlots::new(slot),
            windows: Windows::new(Arc::default()),
            lateness: histogram(),
            quotes: Vec::new(),
        }
    }

    /// Takes in a request for a key that has ended.
    pub fn record(&mut self, key: u32, sample: &Sample) {
        self.counts_mut(sample.phase).add(sample);
        let is_failed = matches!(sample.ending, Ending::Failed(_));
        self.record_times(std::iter::once((key, is_failed)), sample, Answers::of_one(sample));
    }

    /// Takes in a request for many keys, with what was counted for them. Of each key it is told whether the request has
    /// failed for it.
    pub fn record_many(
        &mut self,
        sample: &Sample,
        counted: &Counts,
        keys: impl Iterator<Item = (u32, bool)> + Clone,
    ) {
        let counts = self.counts_mut(sample.phase);
        counts.add_many(sample);
        counts.merge(counted);
        self.record_times(keys, sample, Answers::of_keys(counted));
    }

    /// The counts of a phase.
    pub fn counts_mut(&mut self, phase: usize) -> &mut Counts {
        let phase = phase.min(self.phases.len() - 1);
        &mut self.phases[phase].counts
    }

    fn record_times(
        &mut self,
        keys: impl Iterator<Item = (u32, bool)> + Clone,
        sample: &Sample,
        answers: Answers,
    ) {
        let latency_us = micros(sample.ended.since(sample.due));
        let phase = sample.phase.min(self.phases.len() - 1);
        let record = &mut self.phases[phase];
        record.latency[sample.op as usize].saturating_record(latency_us);
        record.service.saturating_record(micros(sample.ended.since(sample.sent)));
        if sample.is_scheduled {
            self.lateness.saturating_record(micros(sample.sent.since(sample.due)));
        }
        let (due, ended) = (sample.due.since(self.start), sample.ended.since(self.start));
        self.slots.record((due, ended), latency_us, sample, answers);
        self.windows.record(keys, due, ended, (sample, answers));
    }

    /// Sets the moments of the run, of which each begins a [`Window`].
    #[must_use]
    pub fn with_moments(self, moments: Arc<Moments>) -> Self {
        Self { windows: Windows::new(moments), ..self }
    }

    /// Takes in what was found of an answer after its request was recorded.
    pub fn judge_later(&mut self, answer: &Judged, verdict: Verdict) {
        self.counts_mut(answer.phase).add_verdict(verdict);
        let (due, ended) = (answer.due.since(self.start), answer.ended.since(self.start));
        let answers = Answers::of_verdict(Some(verdict));
        self.windows.judge_later(due, ended, answers);
        if verdict.is_bad() {
            self.slots.judge_later(due, answers);
        }
    }

    /// Keeps the text of a failure or bad read, if it is one of the first.
    pub fn quote(&mut self, text: impl FnOnce() -> String) {
        if self.quotes.len() < QUOTES_MAX {
            self.quotes.push(text());
        }
    }

    /// The recording.
    #[must_use]
    pub fn finish(self) -> Recording {
        let Self { start, phases, slots, windows, lateness, quotes } = self;
        let (threads, slots, windows) = (Vec::new(), slots.finish(), windows.finish());
        let at_end = Counts::default();
        Recording { start, phases, lateness, threads, quotes, windows, at_end, slots }
    }
}

impl Recording {
    /// Adds what another worker of the same run has recorded.
    ///
    /// # Panics
    /// If it has another number of phases, or other slots.
    pub fn merge(&mut self, other: Self) {
        assert_eq!(self.phases.len(), other.phases.len(), "recordings of one run");
        for (phase, theirs) in self.phases.iter_mut().zip(&other.phases) {
            phase.merge(theirs);
        }
        add(&mut self.lateness, &other.lateness);
        self.threads.extend(other.threads);
        self.quotes.extend(other.quotes);
        self.quotes.truncate(QUOTES_MAX);
        windows::merge(&mut self.windows, &other.windows);
        self.at_end.merge(&other.at_end);
        self.slots.merge(other.slots);
    }

    /// All phases together, and the end.
    #[must_use]
    pub fn whole(&self) -> PhaseRecord {
        let mut whole = PhaseRecord::sum(&self.phases);
        whole.counts.merge(&self.at_end);
        whole
    }

    /// The counts of all phases together, and of the end.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = self.at_end.clone();
        self.phases.iter().for_each(|phase| counts.merge(&phase.counts));
        counts
    }

    /// Latencies of all phases and operations.
    #[must_use]
    pub fn latency(&self) -> Histogram<u64> {
        let mut all = histogram();
        self.phases.iter().for_each(|phase| add(&mut all, &phase.all()));
        all
    }

    /// Length of a slot of the timeline.
    #[must_use]
    pub fn slot(&self) -> Duration {
        self.slots.slot()
    }

    /// The slots in order of time; those without a request are left out.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.slots.iter()
    }

    /// The timeline.
    #[must_use]
    pub fn timeline(&self) -> Vec<TimelinePoint> {
        let slot = self.slot();
        self.slots().map(|s| s.point(slot)).collect()
    }
}

/// The bytes of the histograms of a load thread with this many phases, at most.
#[must_use]
pub fn histogram_bytes_max(phases: usize) -> u64 {
    let of_phases = 3 * phases.max(1) as u64;
    let (of_slots, lateness) = (2 * slots::OPEN_MAX, 1);
    let each = histogram().distinct_values() as u64 * 8;
    (of_phases + of_slots + lateness) * each
}

/// An empty histogram of latencies, in microseconds.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    match Histogram::new_with_bounds(1, LATENCY_US_MAX, DIGITS) {
        Ok(histogram) => histogram,
        // The bounds are constants that it accepts.
        Err(error) => unreachable!("histogram bounds: {error}"),
    }
}

/// Adds one histogram of [`histogram`]'s bounds to another.
pub fn add(sum: &mut Histogram<u64>, part: &Histogram<u64>) {
    // With the same bounds, nothing can be out of range.
    if let Err(error) = sum.add(part) {
        unreachable!("histograms of the same bounds: {error}")
    }
}

fn micros(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000).saturating_add(duration.subsec_micros().into())
}

#[cfg(test)]
mod tests;
