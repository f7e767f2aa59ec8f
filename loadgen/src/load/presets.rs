//! Workloads with a name: those of the Yahoo! Cloud Serving Benchmark, as far as a cache can do them.
//!
//! Source: `workloads/workloada` to `workloadf` of github.com/brianfrankcooper/YCSB, and the defaults of its
//! `CoreWorkload`: a Zipf constant of 0.99, and 10 fields of 100 bytes. Here a record is one value, and an update
//! writes the whole of it. E scans ranges of keys, which no target can.

use crate::popularity::PopularityKind;
use crate::request::ValueSizes;

/// The record of all of them.
const RECORD_BYTES: u32 = 1_000;

/// The name of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Preset {
    /// Half reads, half updates (update heavy).
    YcsbA,
    /// 95 % reads, 5 % updates (read mostly).
    YcsbB,
    /// Reads alone.
    YcsbC,
    /// 95 % reads of what was written lately, 5 % inserts. An insert takes the place of the oldest key, so that the
    /// number of keys stays the same.
    YcsbD,
    /// 95 % scans, 5 % inserts: refused, as no cache scans ranges of keys.
    YcsbE,
    /// Half reads, half reads with a write of the same key behind them (read-modify-write).
    YcsbF,
}

/// What a preset sets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Workload {
    pub(super) reads_percent: f64,
    pub(super) reads_first: bool,
    pub(super) popularity: PopularityKind,
    pub(super) sizes: ValueSizes,
}

impl Preset {
    /// The workload; `None`: caches have no such requests.
    pub(super) fn workload(self) -> Option<Workload> {
        let zipf = Workload {
            reads_percent: 50.0,
            reads_first: false,
            popularity: PopularityKind::Zipf,
            sizes: ValueSizes::fixed(RECORD_BYTES),
        };
        match self {
            Self::YcsbA => Some(zipf),
            Self::YcsbB => Some(Workload { reads_percent: 95.0, ..zipf }),
            Self::YcsbC => Some(Workload { reads_percent: 100.0, ..zipf }),
            Self::YcsbD => {
                let popularity = PopularityKind::Latest;
                Some(Workload { reads_percent: 95.0, popularity, ..zipf })
            }
            Self::YcsbE => None,
            Self::YcsbF => Some(Workload { reads_first: true, ..zipf }),
        }
    }
}
