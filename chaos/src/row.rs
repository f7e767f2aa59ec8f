//! The result of a scenario: one row of the table.

use serde::Serialize;
use standin_loadgen::recorder::Counts;

/// One row; the JSON has these names.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) fault: String,
    /// The seed of keys and latencies.
    pub(crate) seed: u64,
    pub(crate) counts: Counts,
    /// Beyond the bound, or of what nobody has written.
    pub(crate) stale_beyond: u64,
    /// Until each client had a good answer for a key of the affected server.
    pub(crate) first_good_ms: Option<f64>,
    /// The latencies of reads, over all keys.
    pub(crate) reads: Latency,
    pub(crate) writes: Latency,
    /// Longest time without a good answer to anybody for these keys.
    pub(crate) silence_ms: Option<f64>,
    /// The time from the fault to the first announcement that the server is out of service.
    pub(crate) announced_ms: Option<f64>,
    pub(crate) origin_reads_steady_per_s: f64,
    pub(crate) origin_reads_peak_per_s: f64,
    pub(crate) hit_ratio_steady: f64,
    pub(crate) hit_ratio_lowest: f64,
    /// The time from the fault to the return to normal.
    pub(crate) normal_ms: Option<f64>,
    /// The time from the fault to its end.
    pub(crate) healed_ms: Option<f64>,
    /// The missed targets.
    pub(crate) misses: Vec<String>,
    /// Further remarks.
    pub(crate) notes: Vec<String>,
}

/// The latencies of the requests of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

impl Row {
    /// Origin reads at their peak, in multiples of the steady ones.
    pub(crate) fn origin_peak(&self) -> Option<f64> {
        let steady = self.origin_reads_steady_per_s;
        (steady > 0.0).then(|| self.origin_reads_peak_per_s / steady)
    }

    /// Whether every target was reached.
    pub(crate) fn is_good(&self) -> bool {
        self.misses.is_empty()
    }

    /// Failures by kind.
    pub(crate) fn failed_text(&self) -> Option<String> {
        let kinds = self.counts.failures_by_kind();
        let kinds: Vec<String> = kinds.map(|(kind, n)| format!("{n} {}", kind.name())).collect();
        (!kinds.is_empty()).then(|| format!("failed: {}", kinds.join(", ")))
    }

    /// Describes the latencies of reads and writes.
    pub(crate) fn latency_text(&self) -> String {
        let of =
            |latency: Latency| format!("p99 {:.1} ms, max {:.0}", latency.p99_ms, latency.max_ms);
        format!("in all: reads {}; writes {}", of(self.reads), of(self.writes))
    }
}
