//! The timeline: equal slots of time with a histogram each.
//!
//! A slot's requests are those that were *due* in it; its answers are those that *came* in
//! it. Histograms are large and mostly empty, so a slot that is over is kept as the bytes of
//! HdrHistogram's V2 encoding: a long run costs kilobytes per second.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use serde::{Deserialize, Serialize};

use super::counts::by_name;
use super::{Answers, Ending, FAILURE_KINDS, Sample, add, histogram, micros};

/// The part of the timeline that is open at a time. A later record opens its slot again, and adds
/// another encoding to it.
const OPEN_FOR: Duration = Duration::from_secs(10);
/// The open slots of a worker, at most, however short they are: each has two histograms.
pub(super) const OPEN_MAX: u64 = 8;

#[derive(Debug, Clone, Copy, Default)]
struct SlotCounts {
    requests: u64,
    failures: [u64; FAILURE_KINDS],
    answers: u64,
    scheduled_answers: u64,
    scheduled_ended: u64,
    reads: u64,
    hits: u64,
    stale: u64,
    wrong: u64,
    stand_in: u64,
}

#[derive(Debug)]
struct OpenSlot {
    latency: [Histogram<u64>; 2],
    counts: SlotCounts,
}

/// The slots of a recorder.
#[derive(Debug)]
pub(super) struct OpenSlots {
    open: BTreeMap<u64, OpenSlot>,
    store: SlotStore,
}

#[derive(Debug, Clone, Default)]
struct StoredSlot {
    /// One encoding for each time that a worker closed the slot.
    latency: [Vec<Box<[u8]>>; 2],
    counts: SlotCounts,
}

/// Slots that are over.
#[derive(Debug, Clone)]
pub(super) struct SlotStore {
    slot: Duration,
    slots: BTreeMap<u64, StoredSlot>,
}

/// One slot of the timeline, over all workers.
#[derive(Debug, Clone)]
pub struct Slot {
    /// Its beginning, since the start of the run.
    pub begin: Duration,
    /// Latencies of the requests that were due in it, by [`OpKind`](super::OpKind).
    pub latency: [Histogram<u64>; 2],
    counts: SlotCounts,
}

/// The data of a slot that plots show. Requests, failures, latencies and bad reads are of those that were due in it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TimelinePoint {
    /// The slot's beginning, in milliseconds since the start of the run.
    pub t_ms: u64,
    /// Requests that were due in it.
    pub requests: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Failures, by [`FailureKind`](super::FailureKind).
    #[serde(with = "by_name")]
    pub failures: [u64; FAILURE_KINDS],
    /// Answers that came in it.
    pub answers: u64,
    /// Of these, answers to the schedule's requests.
    #[serde(default)]
    pub scheduled_answers: u64,
    /// The schedule's requests that ended in it, well or not.
    #[serde(default)]
    pub scheduled_ended: u64,
    /// Answers that came in it, per second.
    pub throughput_per_s: f64,
    /// Median latency of the requests due in it.
    pub p50_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// 99.9th percentile.
    pub p999_us: u64,
    /// Longest.
    pub max_us: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Of these, from a cache.
    pub hits: u64,
    /// Share of hits among its reads, 0 to 1.
    pub hit_ratio: f64,
    /// Reads older than a write acknowledged before.
    pub stale: u64,
    /// Reads of what nobody had written there.
    pub wrong: u64,
    /// Requests that a stand-in answered.
    pub stand_in: u64,
}

impl OpenSlots {
    pub(super) fn new(slot: Duration) -> Self {
        let slot = slot.max(Duration::from_millis(1));
        let store = SlotStore { slot, slots: BTreeMap::new() };
        Self { open: BTreeMap::new(), store }
    }

    /// Takes in a request. The times are when it was due, and when it ended.
    pub(super) fn record(
        &mut self,
        (due, ended): (Duration, Duration),
        latency_us: u64,
        sample: &Sample,
        answers: Answers,
    ) {
        let (due, ended) = (self.index(due), self.index(ended));
        let slot = self.slot(due);
        slot.latency[sample.op as usize].saturating_record(latency_us);
        let counts = &mut slot.counts;
        counts.requests += 1;
        counts.reads += answers.reads;
        counts.hits += answers.hits;
        counts.stale += answers.stale;
        counts.wrong += answers.wrong;
        counts.stand_in += answers.stand_in;
        let mut is_answered = 1;
        if let Ending::Failed(kind) = sample.ending {
            counts.failures[kind as usize] += 1;
            is_answered = 0;
        }
        let is_scheduled = u64::from(sample.is_scheduled);
        let counts = &mut self.slot(ended).counts;
        counts.answers += is_answered;
        counts.scheduled_answers += is_answered * is_scheduled;
        counts.scheduled_ended += is_scheduled;
    }

    /// Takes in what was found later of a request that was due at this time.
    pub(super) fn judge_later(&mut self, due: Duration, answers: Answers) {
        let due = self.index(due);
        let counts = match self.open.get_mut(&due) {
            Some(slot) => &mut slot.counts,
            // One that is over needs no histograms for it.
            None => &mut self.store.slots.entry(due).or_default().counts,
        };
        counts.stale += answers.stale;
        counts.wrong += answers.wrong;
    }

    pub(super) fn finish(mut self) -> SlotStore {
        while self.close_oldest() {}
        self.store
    }

    fn index(&self, since_start: Duration) -> u64 {
        // Divisions of 128 bits would take longer than all else here.
        micros(since_start) / micros(self.store.slot)
    }

    fn slot(&mut self, index: u64) -> &mut OpenSlot {
        // A request touches two slots, when it was due and when it ended, so two stay open.
        let open_max = self.index(OPEN_FOR).clamp(2, OPEN_MAX);
        while !self.open.contains_key(&index) && self.open.len() as u64 >= open_max {
            self.close_oldest();
        }
        self.open.entry(index).or_insert_with(|| OpenSlot {
            latency: [histogram(), histogram()],
            counts: SlotCounts::default(),
        })
    }

    fn close_oldest(&mut self) -> bool {
        // All slots are closed.
        let Some((index, slot)) = self.open.pop_first() else { return false };
        let stored = self.store.slots.entry(index).or_default();
        for (encodings, latency) in stored.latency.iter_mut().zip(&slot.latency) {
            if latency.is_empty() {
                continue;
            }
            let mut bytes = Vec::new();
            match V2Serializer::new().serialize(latency, &mut bytes) {
                Ok(_) => encodings.push(bytes.into()),
                // Writing a histogram of counts below 2^63 into memory has no way to fail.
                Err(error) => unreachable!("encoding a histogram: {error}"),
            }
        }
        stored.counts.merge(&slot.counts);
        true
    }
}

impl SlotStore {
    pub(super) fn slot(&self) -> Duration {
        self.slot
    }

    pub(super) fn merge(&mut self, other: Self) {
        assert_eq!(self.slot, other.slot, "recordings of one run");
        for (index, theirs) in other.slots {
            let ours = self.slots.entry(index).or_default();
            for (encodings, their_encodings) in ours.latency.iter_mut().zip(theirs.latency) {
                encodings.extend(their_encodings);
            }
            ours.counts.merge(&theirs.counts);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        let mut deserializer = Deserializer::new();
        self.slots.iter().map(move |(index, stored)| {
            let mut latency = [histogram(), histogram()];
            for (sum, encodings) in latency.iter_mut().zip(&stored.latency) {
                for bytes in encodings {
                    match deserializer.deserialize::<u64, _>(&mut &bytes[..]) {
                        Ok(part) => add(sum, &part),
                        // They are the bytes that `close_oldest` has made.
                        Err(error) => unreachable!("reading our own histogram: {error}"),
                    }
                }
            }
            let begin = self.slot.saturating_mul(u32::try_from(*index).unwrap_or(u32::MAX));
            Slot { begin, latency, counts: stored.counts }
        })
    }
}

impl SlotCounts {
    fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        for (sum, part) in self.failures.iter_mut().zip(other.failures) {
            *sum += part;
        }
        self.answers += other.answers;
        self.scheduled_answers += other.scheduled_answers;
        self.scheduled_ended += other.scheduled_ended;
        self.reads += other.reads;
        self.hits += other.hits;
        self.stale += other.stale;
        self.wrong += other.wrong;
        self.stand_in += other.stand_in;
    }
}

impl Slot {
    /// The slot's point in a timeline of slots of this length.
    #[must_use]
    pub fn point(&self, slot: Duration) -> TimelinePoint {
        let counts = self.counts;
        let point = TimelinePoint {
            t_ms: u64::try_from(self.begin.as_millis()).unwrap_or(u64::MAX),
            requests: counts.requests,
            failed: counts.failures.iter().sum(),
            failures: counts.failures,
            answers: counts.answers,
            scheduled_answers: counts.scheduled_answers,
            scheduled_ended: counts.scheduled_ended,
            reads: counts.reads,
            hits: counts.hits,
            stale: counts.stale,
            wrong: counts.wrong,
            stand_in: counts.stand_in,
            throughput_per_s: 0.0,
            p50_us: 0,
            p99_us: 0,
            p999_us: 0,
            max_us: 0,
            hit_ratio: 0.0,
        };
        point.derived(slot, &self.latency)
    }
}

impl TimelinePoint {
    /// The point with the figures that follow from its counts and latencies.
    #[must_use]
    pub fn derived<'h>(
        self,
        slot: Duration,
        latency: impl IntoIterator<Item = &'h Histogram<u64>>,
    ) -> Self {
        let mut all = histogram();
        latency.into_iter().for_each(|latency| add(&mut all, latency));
        Self {
            throughput_per_s: self.answers as f64 / slot.as_secs_f64(),
            p50_us: all.value_at_quantile(0.5),
            p99_us: all.value_at_quantile(0.99),
            p999_us: all.value_at_quantile(0.999),
            max_us: all.max(),
            hit_ratio: if self.reads == 0 { 0.0 } else { self.hits as f64 / self.reads as f64 },
            ..self
        }
    }

    /// Adds the counts of the same slot of another part of the run. What follows from counts and latencies is as
    /// before, see [`TimelinePoint::derived`].
    pub fn add_counts(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        for (sum, part) in self.failures.iter_mut().zip(other.failures) {
            *sum += part;
        }
        self.answers += other.answers;
        self.scheduled_answers += other.scheduled_answers;
        self.scheduled_ended += other.scheduled_ended;
        self.reads += other.reads;
        self.hits += other.hits;
        self.stale += other.stale;
        self.wrong += other.wrong;
        self.stand_in += other.stand_in;
    }
}

#[cfg(test)]
mod tests {
    use standin_protocol::time::Micros;

    use super::super::{Displaced, OpKind};
    use super::*;

    #[test]
    fn short_slots_cost_no_more_memory() {
        let mut slots = OpenSlots::new(Duration::from_millis(1));
        for ms in 0..10_000 {
            // Half of them end a second later.
            let (due, ended) = (ms, ms + ms % 2 * 1_000);
            let sample = Sample {
                op: OpKind::Read,
                is_fill: false,
                is_scheduled: true,
                phase: 0,
                due: Micros(due * 1_000),
                sent: Micros(due * 1_000),
                ended: Micros(ended * 1_000),
                sends: 1,
                displaced: Displaced::default(),
                ending: Ending::Answered { flags: 0, is_absent: false, verdict: None },
            };
            let times = (Duration::from_millis(due), Duration::from_millis(ended));
            slots.record(times, 5, &sample, Answers::of_one(&sample));
            assert!(slots.open.len() as u64 <= OPEN_MAX);
        }
        let points: Vec<_> = slots.finish().iter().map(|slot| slot.counts).collect();
        assert_eq!(points.iter().map(|counts| counts.requests).sum::<u64>(), 10_000);
        assert_eq!(points.iter().map(|counts| counts.answers).sum::<u64>(), 10_000);
    }
}
