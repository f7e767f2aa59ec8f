//! `--cold-reads`: reads that find nothing, so that a known share of all reads reaches the database.

use clap::Args;
use standin_config::{Report, Section};

use super::words::percent;
use crate::workload::Cold;

const KEYS: u32 = 1_000_000;

/// Reads of keys that nobody has written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Args)]
pub struct ColdArgs {
    /// Percentage of the reads that go to keys which nobody has written, so that they find nothing in a cache, and no row in
    /// a database; 0 by default. They are not judged. Not with --trace.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub cold_reads: Option<f64>,
    /// Number of these keys, all alike; 1 million by default. What finds a key twice may find in a cache that there is no
    /// row. They follow the other keys.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub cold_keys: Option<u32>,
}

/// What else is asked for.
pub(super) struct Beside {
    pub(super) has_trace: bool,
    pub(super) has_rows: bool,
    pub(super) fills_judged: bool,
}

impl ColdArgs {
    /// Those of a section of a scenario.
    pub(super) fn read(section: &mut Section<'_>, report: &mut Report<'_>) -> Self {
        let count_max = u64::from(u32::MAX);
        Self {
            cold_reads: section.decimal("cold_reads", 0.0..=100.0, "5", report).good(),
            cold_keys: section
                .whole_or_absent("cold_keys", 1..=count_max, "1000000", report)
                .good(),
        }
    }

    /// These over those of a scenario.
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            cold_reads: self.cold_reads.or(below.cold_reads),
            cold_keys: self.cold_keys.or(below.cold_keys),
        }
    }

    /// What can't be said of one option alone.
    pub(super) fn check(self, beside: &Beside) -> Result<(), &'static str> {
        let has = self.cold_reads.is_some_and(|percent| percent > 0.0);
        if !has && self.cold_keys.is_some() {
            Err("--cold-keys needs --cold-reads")
        } else if has && beside.has_trace {
            Err("--trace has its own requests: leave --cold-reads away")
        } else if has && beside.has_rows {
            Err("existing rows have keys of their own: leave --cold-reads away")
        } else if has && beside.fills_judged {
            Err(
                "--fill-misses writes what --cold-reads reads, which --check does not know: leave one of the three away",
            )
        } else {
            Ok(())
        }
    }

    /// The keys and their share.
    pub(super) fn cold(self) -> Cold {
        match self.cold_reads {
            Some(percent) if percent > 0.0 => {
                Cold { keys: self.cold_keys.unwrap_or(KEYS), percent }
            }
            _ => Cold::default(),
        }
    }
}
