//! What is observed beside the requests of a run: the database's load by the servers' count, the processor time of target
//! and generator, and what the servers say of themselves afterwards.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use standin_protocol::time::Micros;

use super::{Load, LoadError, own_cluster};
use crate::drive::Plan;
use crate::faults::Stage;
use crate::observer::told::{self, Risen, Told};
use crate::observer::usage::{Processes, UsageWatch, Watched};
use crate::observer::{Reads, ReadsWatch, StatsWatch, origin_reads as reads_of};

const STATS_WITHIN: Duration = Duration::from_millis(500);

/// Those that look.
pub(super) struct Observers {
    /// Other caches have no database behind them.
    stats: Option<StatsWatch>,
    /// The rows that the database was asked for: by this program itself, or through a proxy of the scenario.
    asked: Option<ReadsWatch>,
    /// The counters about which something is expected, and what they were before.
    counters: BTreeSet<String>,
    told: Vec<Told>,
    usage: UsageWatch,
}

/// What they have seen.
#[derive(Debug)]
pub(super) struct Observed {
    /// Fetches from the database.
    pub(super) origin_reads: Option<u64>,
    /// The load of the database over time.
    pub(super) reads: Reads,
    /// By how much counters have risen about which something is expected.
    pub(super) risen: Risen,
    /// The processor time of target and generator over time.
    pub(super) watched: Watched,
    /// What the target's servers have said.
    pub(super) told: Vec<Told>,
}

impl Observers {
    /// Begins to look.
    pub(super) fn start(load: &Load, plan: &Plan, stage: &Stage) -> Result<Self, LoadError> {
        let processes = Processes::find(&load.processes)?;
        let stats = plan.target.standin().map(|standin| {
            StatsWatch::start(Arc::clone(&standin.topology), &standin.client)
                .map_err(LoadError::system("asking for statistics"))
        });
        let stats = stats.transpose()?;
        let _before = stats.as_ref().and_then(|stats| stats.read_now(STATS_WITHIN));
        let asked = match (plan.target.database().cloned(), own_cluster::reads(load, stage)) {
            (Some(database), _) => Some(ReadsWatch::start(move || database.reads())),
            (None, Some(passed)) => Some(ReadsWatch::start(passed)),
            (None, None) => None,
        };
        let asked = asked.transpose().map_err(LoadError::system("counting reads"))?;
        let counters: BTreeSet<String> =
            load.expect.iter().flat_map(|one| one.that.counters()).collect();
        let told = match counters.is_empty() {
            true => Vec::new(),
            false => told::ask(&plan.target, &counters),
        };
        let usage = UsageWatch::start(processes, load.interval)?;
        Ok(Self { stats, asked, counters, told, usage })
    }

    /// Looks once more after a run that began at `start`.
    pub(super) fn finish(self, plan: &Plan, start: Micros) -> Observed {
        let Self { stats, asked, counters, told, usage } = self;
        let watched = usage.finish();
        let _after = stats.as_ref().and_then(|stats| stats.read_now(STATS_WITHIN));
        // What was counted at the database itself is exact.
        let readings = match (asked, stats) {
            (Some(asked), _) => asked.finish(),
            (None, Some(stats)) => reads_of(&stats.readings()),
            (None, None) => Vec::new(),
        };
        let reads = Reads::since(start, &readings);
        let after = told::ask(&plan.target, &counters);
        let risen = told::risen(&told, &after, &counters);
        // The others are not part of what is reported.
        Observed { origin_reads: reads.total(), reads, risen, watched, told: after }
    }
}
