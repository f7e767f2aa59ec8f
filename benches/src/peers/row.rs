//! One row of the table, from what was seen. Pure.

use std::time::Duration;

use serde::Serialize;
use standin_chaos::outage;
use standin_loadgen::checker::Verdict;
use standin_loadgen::recorder::{Ending, Logged};

use super::drive::Observed;
use super::{Fault, Peer};
use crate::report::{markdown_head, markdown_row};

/// Latencies of the requests due so long after the fault are shown.
const SLOW_WINDOW: Duration = Duration::from_secs(10);

const HEAD: [&str; 9] = [
    "peer",
    "fault",
    "requests",
    "failed",
    "longest time without a good answer for the dead node's keys",
    "p99 in the 10 s after",
    "max",
    "stale reads (oldest)",
    "database reads/s, steady → peak",
];

/// One row; the JSON has these names.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    peer: String,
    fault: String,
    requests: u64,
    failed: u64,
    silence_s: f64,
    p99_ms: f64,
    max_ms: f64,
    stale: u64,
    stale_oldest_s: f64,
    wrong: u64,
    database_reads_steady_per_s: f64,
    database_reads_peak_per_s: f64,
}

impl Row {
    /// Evaluates the requests to a peer under a fault.
    #[must_use]
    pub fn of(peer: Peer, fault: Fault, seen: &Observed) -> Self {
        let [steady, at, end] = seen.times;
        let log = &seen.log;
        let silence = outage::longest_silence(log, |key| seen.struck.contains(&key), at, end);
        let (p99, _) = outage::slow(log, at, at + SLOW_WINDOW);
        let (_, max) = outage::slow(log, at, end);
        let count =
            |is_meant: fn(&Logged) -> bool| log.iter().filter(|r| is_meant(r)).count() as u64;
        let stale_ages = log.iter().filter_map(|request| match request.sample.ending {
            Ending::Answered { verdict: Some(Verdict::Stale { age, .. }), .. } => Some(age),
            _ => None,
        });
        let ages: Vec<Duration> = stale_ages.collect();
        let reads = &seen.database_reads;
        let ms = |d: Duration| d.as_secs_f64() * 1_000.0;
        Self {
            peer: peer.to_string(),
            fault: fault.to_string(),
            requests: log.len() as u64,
            failed: count(|r| matches!(r.sample.ending, Ending::Failed(_))),
            silence_s: silence.as_secs_f64(),
            p99_ms: ms(p99),
            max_ms: ms(max),
            stale: ages.len() as u64,
            stale_oldest_s: ages.iter().max().copied().unwrap_or_default().as_secs_f64(),
            wrong: count(|r| {
                let ending = r.sample.ending;
                matches!(ending, Ending::Answered { verdict: Some(Verdict::Wrong(_)), .. })
            }),
            database_reads_steady_per_s: outage::rate_per_s(reads, steady, at),
            database_reads_peak_per_s: outage::peak_per_s(reads, at, end),
        }
    }

    fn cells(&self) -> [String; 9] {
        let times = self.database_reads_peak_per_s / self.database_reads_steady_per_s.max(1e-9);
        let stale = match self.stale {
            0 => "0".to_owned(),
            stale => format!("{stale} ({:.1} s)", self.stale_oldest_s),
        };
        [
            self.peer.clone(),
            self.fault.clone(),
            self.requests.to_string(),
            self.failed.to_string(),
            format!("{:.2} s", self.silence_s),
            shown_ms(self.p99_ms),
            shown_ms(self.max_ms),
            if self.wrong == 0 { stale } else { format!("{stale}, wrong {}", self.wrong) },
            format!(
                "{:.0} → {:.0} ({times:.1}×)",
                self.database_reads_steady_per_s, self.database_reads_peak_per_s
            ),
        ]
    }
}

fn shown_ms(ms: f64) -> String {
    match ms {
        0.0..10.0 => format!("{ms:.1} ms"),
        10.0..1_000.0 => format!("{ms:.0} ms"),
        _ => format!("{:.2} s", ms / 1_000.0),
    }
}

/// The head of the table, in Markdown.
#[must_use]
pub fn head() -> String {
    markdown_head(&HEAD)
}

/// A row of it.
#[must_use]
pub fn line(row: &Row) -> String {
    markdown_row(&row.cells())
}

#[cfg(test)]
mod tests {
    use standin_loadgen::recorder::{Displaced, FailureKind, OpKind, Sample};
    use standin_protocol::time::Micros;

    use super::*;

    fn request(key: u32, due_ms: u64, took_ms: u64, ending: Ending) -> Logged {
        let due = Micros(due_ms * 1_000);
        let ended = due + Duration::from_millis(took_ms);
        let sample = Sample {
            is_fill: false,
            op: OpKind::Read,
            phase: 0,
            due,
            sent: due,
            ended,
            sends: 1,
            displaced: Displaced::default(),
            ending,
        };
        Logged { worker: 0, key, served_by: Some(0), sample }
    }

    #[test]
    fn a_row_says_what_the_log_holds() {
        let answered = |verdict| Ending::Answered { flags: 0, is_absent: false, verdict };
        let stale =
            |age_s| Verdict::Stale { behind: 1, age: Duration::from_secs(age_s), is_beyond: true };
        let seen = Observed {
            log: vec![
                request(1, 10_100, 1_900, answered(Some(Verdict::Fresh))),
                request(1, 10_200, 100, Ending::Failed(FailureKind::Unavailable)),
                request(2, 11_000, 1, answered(Some(stale(3)))),
                request(2, 12_000, 1, answered(Some(stale(30)))),
                request(1, 12_500, 1, answered(Some(Verdict::Fresh))),
            ],
            times: [Micros(3_000_000), Micros(10_000_000), Micros(13_000_000)],
            database_reads: (0..130).map(|i| Micros(i * 100_000)).collect(),
            struck: [1].into(),
            quotes: Vec::new(),
        };
        let row = Row::of(Peer::Memcached, Fault::Pause { seconds: 5 }, &seen);
        assert_eq!((row.requests, row.failed, row.stale, row.wrong), (5, 1, 2, 0));
        assert!((row.silence_s - 2.0).abs() < 1e-9, "{row:?}");
        let shown = line(&row);
        assert!(
            shown.starts_with(
                "| memcached ×3, client-side hashing | SIGSTOP 5 s | 5 | 1 | 2.00 s |"
            )
        );
        assert!(shown.contains("| 2 (30.0 s) | 10 → 10 (1.0×) |"), "{shown}");
        assert_eq!(head().lines().count(), 2);
    }
}
