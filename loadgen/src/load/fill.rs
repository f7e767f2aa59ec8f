//! What is done with every key before and after a load: all are written once, and counters are read. Those of a trace:
//! `replay.rs`.

use std::ops::Range;
use std::sync::Arc;

use super::subject::depth_max;
use super::{Load, LoadError, among};
use crate::checker::Sums;
use crate::console::Console;
use crate::drive::{self, Pacing, Plan};
use crate::interrupt::Interrupt;
use crate::live::Live;
use crate::recorder::{Counts, Recording};
use crate::report::table::thousands;
use crate::watch::{Shown, Watched, nobody};
use crate::workload::{Supply, SweepAccess};

/// The requests under way, at most, of the closed loop of each worker that fills.
pub(super) const FILL_DEPTH: u32 = 64;

/// Writes every key once, with sequence 0.
pub(super) fn fill(
    load: &Load,
    (plan, live): (&Plan, &Arc<Live>),
    interrupt: &Interrupt,
    console: &mut Console,
) -> Result<(), LoadError> {
    let values = match load.sizes.is_even() {
        true => SweepAccess::Fill(load.sizes.min_bytes),
        false => SweepAccess::FillDrawn(Box::new(load.sizes), load.seed),
    };
    let counts = load.counts();
    let ranges = [
        (0..counts.first_counter(), values),
        (counts.first_counter()..counts.all(), SweepAccess::SetCounters),
    ];
    for (keys, access) in ranges.into_iter().filter(|(keys, _)| !keys.is_empty()) {
        let count = share_of(load, &keys);
        let live = Live::part_of(live, load.workers);
        let recording = sweep(load, (plan, live), (keys, access), interrupt, console)?;
        first_failure(&recording, count)?;
    }
    console.line(&format!("filled {} keys", thousands(counts.all().into())));
    Ok(())
}

/// The error of a fill that has not written all of its keys.
pub(super) fn first_failure(recording: &Recording, keys: u64) -> Result<(), LoadError> {
    let counts = recording.counts();
    let failed = keys.saturating_sub(counts.requests - counts.failed);
    if failed == 0 {
        return Ok(());
    }
    let first = recording.quotes.first().cloned().ok_or(LoadError::Interrupted("--fill"))?;
    Err(LoadError::Fill { failed, keys, first })
}

/// The number of these keys that the threads of this process have.
fn share_of(load: &Load, keys: &Range<u32>) -> u64 {
    let count = keys.end - keys.start;
    let of_thread = |worker| {
        let (number, all) = among(load, worker);
        u64::from(count.saturating_sub(number).div_ceil(all))
    };
    (0..load.workers).map(of_thread).sum()
}

/// Sends one request for each of these keys, as fast as a closed loop does.
fn sweep(
    load: &Load,
    (plan, live): (&Plan, Live),
    (keys, access): (Range<u32>, SweepAccess),
    interrupt: &Interrupt,
    console: &mut Console,
) -> Result<Recording, LoadError> {
    let workers = load.workers;
    let depth = FILL_DEPTH.min(depth_max(&plan.target, load, 1));
    let pacing = Pacing::Closed { clients: workers, depth };
    let plan = Plan { pacing, duration: None, ..plan.clone() };
    let supply = |worker| {
        let (number, step) = among(load, worker);
        let (next, end) = (keys.start.saturating_add(number), keys.end);
        Supply::Sweep { next, end, step, access: access.clone() }
    };
    let live = Arc::new(live);
    let running = drive::start(&plan, (0..workers).map(supply).collect(), &live)?;
    let whole = share_of(load, &keys);
    let what = Watched { live: &live, plan: &plan, whole, shown: Shown::Progress("") };
    Ok(what.until_end(running, None, interrupt, console, &mut nobody)?.0)
}

/// Reads all counters, if there are any that are judged, and counts what was found of them. Returns why some could not be
/// read. The run is over, so nothing that happens here is a reason to discard it.
pub(super) fn read_counters(
    load: &Load,
    (plan, live): (&Plan, &Arc<Live>),
    recording: &mut Recording,
    interrupt: &Interrupt,
    console: &mut Console,
) -> Option<String> {
    // A trace has no counters.
    let checker = plan.checker.as_ref().filter(|checker| checker.counters() > 0)?;
    let counts = load.counts();
    let keys = counts.first_counter()..counts.all();
    let all = share_of(load, &keys);
    let (mut read, mut problem) = (Counts::default(), None);
    if !interrupt.is_set() {
        // A search ends a measurement through what is live, too, whose counters are then read nevertheless.
        let part = match live.is_stopped() {
            true => Live::new(load.workers).ended_by(interrupt.flag()),
            false => Live::part_of(live, load.workers),
        };
        match sweep(load, (plan, part), (keys, SweepAccess::ReadCounters), interrupt, console) {
            Ok(recording) => {
                read = recording.counts();
                problem = recording.quotes.first().cloned().filter(|_| read.failed > 0);
            }
            Err(error) => problem = Some(error.to_string()),
        }
    }
    let Sums { counters, lost, extra, gone } = checker.sums();
    let at_end = Counts {
        checked: read.checked,
        stale: read.stale,
        stale_beyond: read.stale_beyond,
        wrong: read.wrong,
        counters_read: counters,
        increments_lost: lost.times,
        increments_lost_by: lost.by,
        increments_extra: extra.times,
        increments_extra_by: extra.by,
        counters_gone: gone,
        ..Counts::default()
    };
    recording.at_end.merge(&at_end);
    let unread = all.saturating_sub(read.requests - read.failed);
    let why = problem.or_else(|| interrupt.is_set().then(|| "interrupted".to_owned()));
    why.filter(|_| unread > 0).map(|why| {
        format!(
            "{} of {} counters were not read at the end, so increments of them may be lost or doubled: {why}",
            thousands(unread),
            thousands(all)
        )
    })
}
