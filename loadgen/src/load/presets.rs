//! Workloads with a name: those of the Yahoo! Cloud Serving Benchmark, as far as a cache can do them, and of some of
//! Twitter's cache clusters.
//!
//! Source: `workloads/workloada` to `workloadf` of github.com/brianfrankcooper/YCSB, and the defaults of its
//! `CoreWorkload`: a Zipf constant of 0.99, and 10 fields of 100 bytes. Here a record is one value, and an update
//! writes the whole of it. E scans ranges of keys, which no target can.
//!
//! Source of the others: the table `stat/2020Mar.md` of github.com/twitter/cache-trace, described in Yang, Yue and
//! Rashmi, "A large scale analysis of hundreds of in-memory cache clusters at Twitter", OSDI 2020. It has shares of
//! operations (two digits; here the reads get what rounding leaves), one value size, and the Zipf exponent. Its
//! distributions of sizes are not in the table, so all values have that size. Lifetimes are left to `ttl`.

use super::LoadError;
use crate::popularity::PopularityKind;
use crate::request::ValueSizes;
use crate::value::{VALUE_BYTES_MAX, VALUE_BYTES_MIN};
use crate::value_form::ValueForm;

/// The usual Zipf exponent, which is YCSB's.
pub(super) const EXPONENT: f64 = 0.99;
/// The record of YCSB's workloads.
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
    /// Twitter's cluster 7: 82 % reads, 18 % writes of 1936 bytes.
    #[value(name = "twitter-7")]
    Twitter7,
    /// Twitter's cluster 12: 20 % reads, 80 % writes of 1030 bytes, hardly any popular keys.
    #[value(name = "twitter-12")]
    Twitter12,
    /// Twitter's cluster 14: 65 % reads, 22 % deletes, 13 % writes of 414 bytes.
    #[value(name = "twitter-14")]
    Twitter14,
    /// Twitter's cluster 23: 37 % reads, 31 % writes of 224 bytes, 30 % increments, 2 % deletes.
    #[value(name = "twitter-23")]
    Twitter23,
    /// Twitter's cluster 34: 94 % reads, 6 % writes of 322 bytes.
    #[value(name = "twitter-34")]
    Twitter34,
    /// Twitter's cluster 52: 94 % reads, 4 % adds of 273 bytes, 2 % compare-and-swaps.
    #[value(name = "twitter-52")]
    Twitter52,
}

/// Percentages of requests that are neither reads nor plain writes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Shares {
    pub(super) adds: Option<f64>,
    pub(super) deletes: Option<f64>,
    pub(super) cas: Option<f64>,
    pub(super) increments: Option<f64>,
}

/// What a preset sets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Workload {
    pub(super) reads_percent: f64,
    pub(super) reads_first: bool,
    pub(super) popularity: PopularityKind,
    pub(super) exponent: f64,
    pub(super) shares: Shares,
    pub(super) sizes: ValueSizes,
}

impl Workload {
    /// Reads and plain writes, with the usual popularity.
    pub(super) fn plain(reads_percent: f64, sizes: ValueSizes) -> Self {
        Self {
            reads_percent,
            reads_first: false,
            popularity: PopularityKind::default(),
            exponent: EXPONENT,
            shares: Shares::default(),
            sizes,
        }
    }
}

impl Preset {
    /// The workload; `None`: caches have no such requests.
    pub(super) fn workload(self) -> Option<Workload> {
        let zipf = Workload::plain(50.0, ValueSizes::fixed(RECORD_BYTES));
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
            Self::Twitter7 => Some(twitter(82.0, 1_936, 1.0666)),
            Self::Twitter12 => Some(twitter(20.0, 1_030, 0.3048)),
            Self::Twitter14 => {
                let shares = Shares { deletes: Some(22.0), ..Shares::default() };
                Some(Workload { shares, ..twitter(65.0, 414, 1.2959) })
            }
            Self::Twitter23 => {
                let shares =
                    Shares { deletes: Some(2.0), increments: Some(30.0), ..Shares::default() };
                Some(Workload { shares, ..twitter(37.0, 224, 0.274) })
            }
            Self::Twitter34 => Some(twitter(94.0, 322, 1.1401)),
            Self::Twitter52 => {
                let shares = Shares { adds: Some(4.0), cas: Some(2.0), ..Shares::default() };
                Some(Workload { shares, ..twitter(94.0, 273, 1.2117) })
            }
        }
    }
}

/// A cluster whose other requests are plain writes.
fn twitter(reads_percent: f64, value_bytes: u32, exponent: f64) -> Workload {
    Workload {
        reads_percent,
        reads_first: false,
        popularity: PopularityKind::Zipf,
        exponent,
        shares: Shares::default(),
        sizes: ValueSizes::fixed(value_bytes),
    }
}

/// Refuses sizes that a value can't have. A template's own size is not asked for.
pub(super) fn check_sizes(form: &ValueForm, sizes: ValueSizes) -> Result<(), LoadError> {
    let (least, begin) = (form.bytes_min(), sizes.min_bytes);
    let wrong = |text: String| Err(LoadError::Options(text));
    match &form.template {
        Some(template) if template.fills() && begin < least => {
            return wrong(format!(
                "values of --value-template have {least} bytes without what {{random}} adds, and --value-bytes begins at \
                 {begin}: raise it, or shorten the template"
            ));
        }
        None if begin < VALUE_BYTES_MIN => {
            return wrong(format!(
                "--value-bytes {begin} is too small: a value begins with {VALUE_BYTES_MIN} bytes that identify its writer"
            ));
        }
        None if begin < least => {
            return wrong(format!(
                "values in JSON have {least} bytes at least, and --value-bytes begins at {begin}: raise it, or use another \
                 --value-kind"
            ));
        }
        Some(_) | None => {}
    }
    match sizes.max_bytes > VALUE_BYTES_MAX {
        true => wrong(format!(
            "--value-bytes {} is too large: {VALUE_BYTES_MAX} at most",
            sizes.max_bytes
        )),
        false => Ok(()),
    }
}
