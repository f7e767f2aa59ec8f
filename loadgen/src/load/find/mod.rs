//! `standin load --find`: the highest rate that keeps an objective.
//!
//! ```text
//! ../objective/: p99<1ms,failed=0 ──────────────┐
//! search.rs: which rate is next ─► a run (warm-up, measurement, settling) ─► outcome.rs: kept, or what was missed
//!      ▲───────────────────────────────────────────────────────────────────────┘
//! ```

mod outcome;
mod search;
pub(super) mod section;

use std::sync::Arc;
use std::time::Duration;

use standin_protocol::time::Micros;

use self::outcome::{Circumstances, FindReport, Step};
use self::search::{Next, Search};
use super::objective::Find;
use super::{Load, LoadError, Prepared, Run};
use crate::console::Console;
use crate::drive::Pacing;
use crate::interrupt::Interrupt;
use crate::live::Live;
use crate::report::FilesError;
use crate::report::files::Files;
use crate::schedule::Rates;
use crate::watch::Shown;

/// The shortest sleep of a pause, after which Ctrl-C is noticed.
const PAUSE: Duration = Duration::from_millis(20);

/// Writes the result.
pub(super) fn write_files(load: &Load, report: &FindReport) -> Result<(), FilesError> {
    let mut files = Files::default();
    if let Some(path) = &load.json {
        files.save_json(path, report);
    }
    files.finish()
}

/// Searches; each measurement has a line.
pub(super) fn run(
    load: &Load,
    find: &Find,
    command: &[String],
    interrupt: &Interrupt,
    console: &mut Console,
) -> Result<FindReport, LoadError> {
    let Rates::Steady(start) = load.rates else {
        unreachable!("phases and a search were refused together")
    };
    let live = Arc::new(Live::new(load.workers).ended_by(interrupt.flag()));
    let prepared = Prepared::new(load, &live, interrupt, console)?;
    console.line(&Step::heading());
    let mut search = Search::new(start, find.resolution_percent);
    let mut steps: Vec<Step> = Vec::new();
    let is_interrupted = || interrupt.is_set();
    let mut error = None;
    let end = loop {
        let next = search.next();
        // The search is over.
        let Next::Try(rate_per_s) = next else { break next };
        if !steps.is_empty() {
            settle(find.settle, interrupt);
        }
        if is_interrupted() {
            break search.so_far();
        }
        let step = match measure(&prepared, find, rate_per_s, &steps, interrupt, console) {
            Ok(step) => step,
            // What was measured is worth more than nothing.
            Err(failed) if !steps.is_empty() => {
                error = Some(failed.to_string());
                break search.so_far();
            }
            Err(failed) => return Err(failed),
        };
        // A measurement that was cut short says nothing.
        let Some(step) = step.filter(|_| !is_interrupted()) else { break search.so_far() };
        console.line(&step.to_text());
        search.tell(rate_per_s, step.is_kept);
        steps.push(step);
    };
    let is_complete = search.is_complete() && !is_interrupted() && error.is_none();
    let target = prepared.plan.target.name();
    let circumstances = Circumstances { load, find, target, command, is_complete, error };
    Ok(FindReport::new(circumstances, end, steps))
}

/// Measures a rate; `None`: it was interrupted.
fn measure(
    prepared: &Prepared<'_>,
    find: &Find,
    rate_per_s: u32,
    steps: &[Step],
    interrupt: &Interrupt,
    console: &mut Console,
) -> Result<Option<Step>, LoadError> {
    let load = &*prepared.load;
    let pacing = Pacing::Open { rates: rate_per_s.into(), arrivals: load.arrivals };
    // Other requests each time, so that a repeat is more than the same once more.
    let seed = load.seed.wrapping_add(steps.len() as u64);
    let live = Arc::new(Live::new(load.workers).ended_by(interrupt.flag()));
    let run = Run { pacing, seed, live: &live, shown: Shown::Search, command: &[], gate: None };
    let (document, warm_up) = match prepared.measure(run, interrupt, console) {
        Ok(measured) => measured,
        Err(LoadError::Interrupted(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let is_repeat = steps.iter().any(|step| step.rate_per_s == rate_per_s);
    let measured = (&document, &warm_up);
    Ok(Some(Step::of(rate_per_s, is_repeat, &find.objective, load.arrivals, measured)))
}

/// Lets the target recover from the last rate.
fn settle(pause: Duration, interrupt: &Interrupt) {
    let end = Micros::boottime() + pause;
    while Micros::boottime() < end && !interrupt.is_set() {
        std::thread::park_timeout(PAUSE);
    }
}
