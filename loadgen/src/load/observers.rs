//! What is observed beside the requests of a run: the database's load by the servers' count, the processor time of target
//! and generator, and what the servers say of themselves afterwards.

use std::sync::Arc;
use std::time::Duration;

use standin_protocol::time::Micros;

use super::{Load, LoadError};
use crate::database::Database;
use crate::drive::Plan;
use crate::observer::told::{self, Told};
use crate::observer::usage::{Processes, UsageWatch, Watched};
use crate::observer::{OriginPoint, StatsReading, StatsWatch, origin_timeline};

const STATS_WITHIN: Duration = Duration::from_millis(500);

/// Those that look.
pub(super) struct Observers {
    /// Other caches have no database behind them.
    stats: Option<StatsWatch>,
    /// The rows that this program itself has asked the database for.
    asked: Option<u64>,
    before: Option<StatsReading>,
    usage: UsageWatch,
}

/// What they have seen.
#[derive(Debug)]
pub(super) struct Observed {
    /// Fetches from the database.
    pub(super) origin_reads: Option<u64>,
    /// The load of the database over time.
    pub(super) origin: Vec<OriginPoint>,
    /// The processor time of target and generator over time.
    pub(super) watched: Watched,
    /// What the target's servers have said.
    pub(super) told: Vec<Told>,
}

impl Observers {
    /// Begins to look.
    pub(super) fn start(load: &Load, plan: &Plan) -> Result<Self, LoadError> {
        let processes = Processes::find(&load.processes)?;
        let stats = plan.target.standin().map(|standin| {
            StatsWatch::start(Arc::clone(&standin.topology), &standin.client)
                .map_err(LoadError::system("asking for statistics"))
        });
        let stats = stats.transpose()?;
        let before = stats.as_ref().and_then(|stats| stats.read_now(STATS_WITHIN));
        let asked = plan.target.database().map(Database::reads);
        Ok(Self { stats, before, asked, usage: UsageWatch::start(processes, load.interval)? })
    }

    /// Looks once more after a run that began at `start`.
    pub(super) fn finish(self, plan: &Plan, start: Micros) -> Observed {
        let Self { stats, before, asked, usage } = self;
        let watched = usage.finish();
        let after = stats.as_ref().and_then(|stats| stats.read_now(STATS_WITHIN));
        let origin_reads = before.zip(after);
        let origin_reads =
            origin_reads.map(|(from, to)| to.origin_reads.saturating_sub(from.origin_reads));
        let own = asked.zip(plan.target.database());
        let origin_reads = origin_reads.or(own.map(|(before, database)| database.reads() - before));
        let readings = stats.as_ref().map(StatsWatch::readings).unwrap_or_default();
        drop(stats);
        Observed {
            origin_reads,
            origin: origin_timeline(&readings, start),
            watched,
            told: told::ask(&plan.target),
        }
    }
}
