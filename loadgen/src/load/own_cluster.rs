//! What is known of a Standin cluster because the scenario itself has started it: which keys a fault of one of its servers
//! concerns, and what its database has at the end.

use super::Load;
use crate::drive::Plan;
use crate::faults::Stage;
use crate::faults::script::{Backing, Kind};
use crate::interrupt::Interrupt;
use crate::origin::lost_rows;
use crate::placeholder::process_in;
use crate::recorder::Concerned;
use crate::report::table::thousands;

/// Homes of more keys are not kept, and more rows not read.
const KEYS_MAX: u32 = 2_000_000;
/// Lost writes that are named.
const NAMED_MAX: usize = 3;

/// The name of the cluster.
fn name(load: &Load) -> Option<&str> {
    process_in(load.config.to_str()?)
}

/// Says whose keys are watched behind each moment of the timeline.
pub(super) fn watch(load: &Load, plan: &Plan, stage: &Stage) {
    let (Some(standin), Some(cluster)) = (plan.target.standin(), name(load)) else { return };
    let topology = &standin.topology;
    let id = |process: &str| {
        let server = process.strip_prefix(cluster)?.strip_prefix('-')?;
        let at = topology.servers.iter().position(|one| one.name == server)?;
        u16::try_from(at).ok()
    };
    let servers = stage.concerned().iter().map(|process| process.as_deref().and_then(id));
    let servers: Vec<Option<u16>> = servers.collect();
    // Those of a trace have names of their own.
    let is_known = load.trace.is_none() && load.counts().all() <= KEYS_MAX;
    if !is_known || servers.iter().all(Option::is_none) {
        return;
    }
    let home = |key| topology.home(topology.partition(standin.keyspace, &plan.keys.name(key)));
    let homes = (0..load.counts().all()).map(home).collect();
    stage.moments().concern(Concerned { homes, servers });
}

/// Counts the reads that pass through a proxy of the scenario to the cluster's database, if there is one.
pub(super) fn reads(load: &Load, stage: &Stage) -> Option<impl Fn() -> u64 + Send + 'static> {
    let Kind::Standin(cluster) = &load.script.process(name(load)?)?.kind else { return None };
    match cluster.database.as_ref()? {
        Backing::Process(database) => stage.reads_through(database),
        Backing::Own { .. } => None,
    }
}

/// Rows of the cluster's database that are older than a write that was acknowledged, or are none of this run, in words.
/// `None` also if the run was interrupted: nobody waits for them.
pub(super) fn lost_writes(
    load: &Load,
    plan: &Plan,
    stage: &Stage,
    interrupt: &Interrupt,
) -> Option<String> {
    let checker = plan.checker.as_ref()?;
    let keys = load.counts().plain;
    if interrupt.is_set() || load.trace.is_some() || keys > KEYS_MAX {
        return None;
    }
    let rows = match stage.table(name(load)?)?.read_all(Some(interrupt)) {
        Ok(rows) => rows,
        Err(error) => {
            return Some(format!(
                "the rows of the database were not compared with what was written: {error}"
            ));
        }
    };
    let lost = lost_rows(&rows, checker, &plan.keys, keys);
    let named = lost.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    (!lost.is_empty()).then(|| {
        format!(
            "{} rows of the database are older than writes that were acknowledged, or not of this run: {named}{}",
            thousands(lost.len() as u64),
            if lost.len() > NAMED_MAX { ", …" } else { "" }
        )
    })
}
