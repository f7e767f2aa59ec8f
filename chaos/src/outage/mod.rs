//! The effect of an outage on clients, computed from the log of all requests of a run.
//!
//! Pure: times and requests in, figures out. An answer is *good* if it came, is a value that a client
//! wrote, and is not stale beyond the checker's bound.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use standin_loadgen::checker::Verdict;
use standin_loadgen::recorder::{Ending, Logged, OpKind, histogram};
use standin_protocol::frame::response_flags;
use standin_protocol::time::Micros;

/// Step in which the return to normal is looked for.
const SLOT: Duration = Duration::from_millis(500);
/// A slot with fewer reads says nothing about a hit ratio.
pub(crate) const READS_MIN: u64 = 20;
/// A hit ratio is normal when it is at most this much under the steady one.
const HIT_RATIO_SLACK: f64 = 0.03;
/// A median latency is normal up to this factor of the steady one, or up to [`QUICK`].
const MEDIAN_FACTOR: u32 = 3;
const QUICK: Duration = Duration::from_millis(5);
/// A peak is the busiest stretch of this length.
pub(crate) const PEAK_WINDOW: Duration = Duration::from_secs(1);

/// The times until there was a good answer again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FirstGood {
    /// Each client's first good answer to a request that was due after the fault, since the
    /// fault; shortest first.
    pub(crate) by_client: Vec<Duration>,
    /// The number of clients that asked and never had one.
    pub(crate) without: usize,
}

/// The figures of a period of the run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Level {
    /// Share of hits among the answered reads, 0 to 1.
    pub(crate) hit_ratio: f64,
    /// Median latency.
    pub(crate) median: Duration,
}

/// Whether an answer is one to go on with.
pub(crate) fn is_good(request: &Logged) -> bool {
    match request.sample.ending {
        Ending::Failed(_) => false,
        Ending::Answered { verdict, .. } => {
            !matches!(verdict, Some(Verdict::Wrong(_) | Verdict::Stale { is_beyond: true, .. }))
        }
    }
}

/// The first good answers after `fault` to requests for the affected keys.
pub(crate) fn first_good(
    log: &[Logged],
    is_struck: impl Fn(u32) -> bool,
    fault: Micros,
) -> FirstGood {
    let (mut first, mut asked) = (BTreeMap::new(), BTreeSet::new());
    for request in log.iter().filter(|r| r.sample.due >= fault && is_struck(r.key)) {
        asked.insert(request.worker);
        if is_good(request) {
            let since = request.sample.ended.since(fault);
            let first = first.entry(request.worker).or_insert(since);
            *first = (*first).min(since);
        }
    }
    let without = asked.len() - first.len();
    let mut by_client: Vec<Duration> = first.into_values().collect();
    by_client.sort_unstable();
    FirstGood { by_client, without }
}

impl FirstGood {
    /// The time until this share of the clients had one; `None` if one of these never had any.
    pub(crate) fn quantile(&self, share: f64) -> Option<Duration> {
        let clients = self.by_client.len() + self.without;
        let rank = (share * clients as f64).ceil().max(1.0) as usize;
        self.by_client.get(rank - 1).copied()
    }
}

/// The longest time between `from` and `until` in which no client had a good answer for an affected
/// key.
pub(crate) fn longest_silence(
    log: &[Logged],
    is_struck: impl Fn(u32) -> bool,
    from: Micros,
    until: Micros,
) -> Duration {
    let mut ends: Vec<Micros> = log
        .iter()
        .filter(|request| is_good(request) && is_struck(request.key))
        .map(|request| request.sample.ended)
        .filter(|ended| (from..until).contains(ended))
        .collect();
    ends.sort_unstable();
    ends.push(until);
    let gaps = ends.into_iter().scan(from, |last, ended| {
        let gap = ended.since(*last);
        *last = ended;
        Some(gap)
    });
    gaps.max().unwrap_or_default()
}

/// Returns the figures of the requests due between two times.
pub(crate) fn level(log: &[Logged], from: Micros, until: Micros) -> Option<Level> {
    let mut slot = Slot::default();
    let due = log.iter().filter(|request| (from..until).contains(&request.sample.due));
    due.for_each(|request| slot.add(request));
    slot.level()
}

/// The 99th percentile, and the longest latency, of the reads or of the writes due between two times.
pub(crate) fn slow_of(
    log: &[Logged],
    op: OpKind,
    from: Micros,
    until: Micros,
) -> (Duration, Duration) {
    let mut latencies = histogram();
    let is_meant =
        |request: &&Logged| request.sample.op == op && (from..until).contains(&request.sample.due);
    for request in log.iter().filter(is_meant) {
        latencies.saturating_record(latency_us(request));
    }
    let at = |us| Duration::from_micros(us);
    (at(latencies.value_at_quantile(0.99)), at(latencies.max()))
}

/// The lowest hit ratio of any half second between two times.
pub(crate) fn lowest_hit_ratio(log: &[Logged], from: Micros, until: Micros) -> Option<f64> {
    let slots = slots(log, from, until);
    slots.values().filter_map(Slot::hit_ratio).min_by(f64::total_cmp)
}

/// Returns the time at which everything was normal again (see [`normal_since`]), of the requests that were due between
/// two times.
pub(crate) fn normal_again(
    log: &[Logged],
    steady: Level,
    from: Micros,
    until: Micros,
) -> Option<Micros> {
    let slots = slots(log, from, until);
    let figures = slots.iter().map(|(index, slot)| (*index, slot.figures()));
    normal_since(figures, steady).map(|slots| from + SLOT * slots)
}

/// What a slot of a timeline says about whether it is normal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlotFigures {
    /// Requests that failed, and answers that are none to go on with.
    pub(crate) bad: u64,
    /// Share of hits, if there were reads enough.
    pub(crate) hit_ratio: Option<f64>,
    /// Median latency.
    pub(crate) median: Option<Duration>,
}

/// Returns the number of slots until everything was normal again: the end of the last one in which a request failed, a
/// read was stale beyond the bound, fewer reads were hits, or answers were slow. `None` if that is the last one of all, so
/// that it is not over yet.
pub(crate) fn normal_since(
    slots: impl Iterator<Item = (u32, SlotFigures)>,
    steady: Level,
) -> Option<u32> {
    let slow = (steady.median * MEDIAN_FACTOR).max(QUICK);
    let is_normal = |slot: SlotFigures| {
        let hits = slot.hit_ratio.is_none_or(|r| r >= steady.hit_ratio - HIT_RATIO_SLACK);
        slot.bad == 0 && hits && slot.median.is_none_or(|median| median <= slow)
    };
    let (last, abnormal) = slots.fold((None, None), |(_, abnormal), (index, slot)| {
        (Some(index), if is_normal(slot) { abnormal } else { Some(index) })
    });
    match abnormal {
        None => last.map(|_| 0),
        Some(index) => (Some(index) != last).then_some(index + 1),
    }
}

/// Events per second over a stretch.
pub(crate) fn rate_per_s(times: &[Micros], from: Micros, until: Micros) -> f64 {
    let count = times.iter().filter(|at| (from..until).contains(at)).count();
    count as f64 / until.since(from).as_secs_f64().max(1e-9)
}

/// The most events in any [`PEAK_WINDOW`] between two times, per second. `times` is sorted.
pub(crate) fn peak_per_s(times: &[Micros], from: Micros, until: Micros) -> f64 {
    let within: Vec<Micros> =
        times.iter().copied().filter(|at| (from..until).contains(at)).collect();
    let (mut first, mut most) = (0, 0);
    for (last, at) in within.iter().enumerate() {
        while at.since(within[first]) >= PEAK_WINDOW {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    most as f64 / PEAK_WINDOW.as_secs_f64()
}

#[derive(Debug, Default)]
struct Slot {
    reads: u64,
    hits: u64,
    bad: u64,
    latencies_us: Vec<u64>,
}

fn slots(log: &[Logged], from: Micros, until: Micros) -> BTreeMap<u32, Slot> {
    let mut slots: BTreeMap<u32, Slot> = BTreeMap::new();
    for request in log.iter().filter(|request| (from..until).contains(&request.sample.due)) {
        let index = request.sample.due.since(from).as_micros() / SLOT.as_micros();
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        slots.entry(index).or_default().add(request);
    }
    slots
}

impl Slot {
    fn add(&mut self, request: &Logged) {
        self.bad += u64::from(!is_good(request));
        self.latencies_us.push(latency_us(request));
        if let (OpKind::Read, Ending::Answered { flags, .. }) =
            (request.sample.op, request.sample.ending)
        {
            self.reads += 1;
            self.hits += u64::from(flags & response_flags::HIT != 0);
        }
    }

    fn figures(&self) -> SlotFigures {
        let median = self.level().map(|level| level.median);
        SlotFigures { bad: self.bad, hit_ratio: self.hit_ratio(), median }
    }

    fn hit_ratio(&self) -> Option<f64> {
        (self.reads >= READS_MIN).then(|| self.hits as f64 / self.reads as f64)
    }

    fn level(&self) -> Option<Level> {
        let mut latencies = self.latencies_us.clone();
        let middle = latencies.len() / 2;
        if latencies.is_empty() {
            return None;
        }
        let (_, median, _) = latencies.select_nth_unstable(middle);
        let hit_ratio = self.hits as f64 / self.reads.max(1) as f64;
        Some(Level { hit_ratio, median: Duration::from_micros(*median) })
    }
}

fn latency_us(request: &Logged) -> u64 {
    let latency = request.sample.ended.since(request.sample.due);
    u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
