//! The numbers of a report, as the JSON has them.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::recorder::{Counts, OpKind, PhaseRecord};

/// A generator that sends later than this at the 99th percentile, in microseconds, measures itself.
pub const LATE_P99_US_MAX: u64 = 200;

/// Latencies in microseconds, from the time a request was due.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyUs {
    /// Median.
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 99th percentile.
    pub p99: u64,
    /// 99.9th percentile.
    pub p999: u64,
    /// Longest.
    pub max: u64,
}

/// The measurements of a period.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Length in seconds.
    pub seconds: f64,
    /// Requests that have ended, well or not.
    pub requests: u64,
    /// Requests that failed for good.
    pub failed: u64,
    /// Reads older than a write acknowledged before they were sent.
    pub stale: u64,
    /// Reads of what nobody had written there.
    pub wrong: u64,
    /// Answers per second.
    pub throughput_per_s: f64,
    /// Share of the reads answered from a cache, 0 to 1.
    pub hit_ratio: f64,
    /// Fetches from the database, by the servers' own count.
    pub origin_reads: Option<u64>,
    /// Latencies of reads and writes.
    pub latency_us: LatencyUs,
    /// Everything else that was counted.
    pub counts: Counts,
}

/// One kind of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct OperationFigures {
    /// Read or write.
    pub name: &'static str,
    /// Requests.
    pub requests: u64,
    /// Latencies.
    pub latency_us: LatencyUs,
}

/// [`Figures`] of a phase.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PhaseFigures {
    /// Name of the phase.
    pub name: String,
    /// Its figures.
    #[serde(flatten)]
    pub figures: Figures,
    /// Reads and writes apart.
    pub operations: Vec<OperationFigures>,
    /// The distribution of its latencies.
    pub percentiles: Vec<CurvePoint>,
}

/// A point of a percentile curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Share of the requests that took no longer, 0 to 1.
    pub quantile: f64,
    /// Latency in microseconds.
    pub us: u64,
}

/// A vertical line in the plots over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// The time, in seconds since the start.
    pub t_s: f64,
    /// The event.
    pub label: String,
}

impl LatencyUs {
    /// Returns the percentiles of a histogram in microseconds; zeros if it is empty.
    #[must_use]
    pub fn of(latency: &Histogram<u64>) -> Self {
        let at = |quantile| latency.value_at_quantile(quantile);
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: latency.max() }
    }
}

impl OperationFigures {
    /// Reads, then writes.
    #[must_use]
    pub fn of(record: &PhaseRecord) -> Vec<Self> {
        let figures = |op: OpKind| {
            let latency = &record.latency[op as usize];
            let latency_us = LatencyUs::of(latency);
            Self { name: op.name(), requests: latency.len(), latency_us }
        };
        OpKind::ALL.map(figures).to_vec()
    }
}

impl Figures {
    /// Returns the figures of counts and latencies over `seconds`.
    #[must_use]
    pub fn new(
        counts: Counts,
        latency: &Histogram<u64>,
        seconds: f64,
        origin_reads: Option<u64>,
    ) -> Self {
        let answered = counts.requests - counts.failed;
        Self {
            seconds,
            requests: counts.requests,
            failed: counts.failed,
            stale: counts.stale,
            wrong: counts.wrong,
            throughput_per_s: if seconds > 0.0 { answered as f64 / seconds } else { 0.0 },
            hit_ratio: counts.hit_ratio(),
            origin_reads,
            latency_us: LatencyUs::of(latency),
            counts,
        }
    }
}

impl PhaseFigures {
    /// Returns the figures of a phase.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        record: &PhaseRecord,
        seconds: f64,
        origin_reads: Option<u64>,
    ) -> Self {
        let latency = record.all();
        let figures = Figures::new(record.counts.clone(), &latency, seconds, origin_reads);
        let operations = OperationFigures::of(record);
        Self { name: name.into(), figures, operations, percentiles: curve(&latency) }
    }
}

/// A percentile curve in steps that look even where the x axis counts nines.
#[must_use]
pub fn curve(latency: &Histogram<u64>) -> Vec<CurvePoint> {
    if latency.is_empty() {
        return Vec::new();
    }
    let mut points = Vec::new();
    // Beyond this there is less than one request.
    let nines_max = (latency.len() as f64).log10();
    for step in 0..=100 {
        let nines = f64::from(step) * 0.05;
        if nines > nines_max {
            break;
        }
        let quantile = 1.0 - 10f64.powf(-nines);
        points.push(CurvePoint { quantile, us: latency.value_at_quantile(quantile) });
    }
    points
}
