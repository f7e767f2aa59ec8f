//! `standin load`: load on a running target, open or closed loop, made up or replayed.
//!
//! ```text
//! scenario/, phases.rs, options/, access.rs, database_args.rs, value_args.rs ─► settings.rs: a Load, with presets.rs and the defaults
//! together.rs, with agent_args.rs and agent_bounds.rs: a run of several machines (agents/)
//! describe.rs: a Load as its results have it; objective/: what it must keep
//! Load ─► run ───────┬ trace file, if any
//!                    ├ subject.rs: the cluster of a file, or the target of a URL
//!                    ├ rows/: keys of existing rows, and what the database has of them
//!                    ├ fill.rs, --fill: every key written once (a closed loop)
//!                    ├ the warm-up: the same load, which nobody counts
//!                    ├ own_cluster.rs: keys of servers that faults concern, and what the database has at the end
//!                    ├ observers.rs: database, processors, what the servers say
//!                    ├ the run, watched by ../watch.rs: drive, recorder, checker (with --check); with --find many (find/)
//!                    ├ fill.rs and rows/: the counters, and existing rows, read once more (with --check)
//!                    └ outcome.rs: the Document and its table, what the generator itself held up
//! ```

mod access;
mod agent_args;
mod agent_bounds;
mod cold_args;
mod database;
mod database_args;
mod describe;
mod error;
mod faults;
mod fill;
mod find;
mod interval;
mod objective;
mod observers;
mod options;
mod outcome;
mod own_cluster;
mod phases;
mod presets;
mod replay;
mod rows;
mod scenario;
mod settings;
mod subject;
mod together;
mod value_args;
mod words;

use std::borrow::Cow;
use std::cell::RefCell;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

pub use access::{AccessArgs, AccessError};
pub use agent_args::AgentArgs;
use agent_bounds::check_connections;
pub use database_args::DatabaseArgs;
pub use error::LoadError;
use fill::{fill, read_counters};
pub use interval::Interval;
pub use objective::expect::Expect;
use objective::expect::{self, Begin, Beside};
pub use objective::{Find, Objective};
use observers::Observers;
pub use options::{Closed, LoadArgs};
use outcome::Circumstances;
pub use presets::Preset;
use replay::{Demands, clamped};
pub use settings::Load;
pub use settings::trace::Replay;
use subject::{Subject, check_depth, check_lossless};
pub use value_args::ValueArgs;

use crate::checker::{Checker, Initial};
use crate::console::{Console, Show};
use crate::drive::{self, Gate, Pacing, Plan, Together};
use crate::faults::Stage;
use crate::folder::RunFolder;
use crate::interrupt::Interrupt;
use crate::live::Live;
use crate::origin::RunOrigin;
use crate::recorder::{Counts, wall_time};
use crate::report::FilesError;
use crate::report::document::Document;
use crate::report::events::{self, Event};
use crate::report::files::Outputs;
use crate::report::table::thousands;
use crate::request::KeyCounts;
use crate::targets::address::TargetUrl;
use crate::trace::{Feeding, Numbering};
use crate::watch::{Shown, Watched, nobody};
use crate::workload::{Keys, Mix, Supply};

/// Makes the requests of the warm-up others than those to come.
const WARM_UP_SEED: u64 = 0x3A3A;

/// The whole of `standin load`: runs it, prints the result, writes the files, and chooses the exit
/// code (0: what is expected was kept; by default, no request failed, and no read was stale or wrong). For `show` see [`Console::new`].
///
/// # Errors
/// [`LoadError`]; [`LoadError::Files`] after everything else is done.
pub fn main(args: &LoadArgs, show: Option<Show>) -> Result<ExitCode, Box<dyn Error>> {
    if let Some(address) = &args.together.agent {
        let console = Console::new(show);
        return together::serve(address, args, &|line| console.line(line), run_share);
    }
    let load = args.resolve()?;
    outputs(&load).check().map_err(LoadError::Options)?;
    let command = describe::command_line(std::env::args_os());
    let interrupt = Interrupt::listen()?;
    let live = Arc::new(Live::new(load.workers).ended_by(interrupt.flag()));
    let mut console = Console::new(show);
    if args.target.as_ref().is_some_and(TargetUrl::has_password) {
        console.line(
            "warning: every user of this machine can see the password in --target in the list of processes; \
             --password-file and --password-env hide it",
        );
    }
    if args.database.has_password() {
        console.line(
            "warning: every user of this machine can see the password in --database in the list of processes; a cluster \
             file can name a file or a variable with it",
        );
    }
    if let Some(find) = load.find.as_ref().filter(|_| args.together.agents.is_empty()) {
        let report = find::run(&load, find, &command, &interrupt, &mut console)?;
        console.line(&report.to_text());
        find::write_files(&load, &report)?;
        let is_found = report.rate_per_s.is_some() && report.error.is_none();
        return Ok(if is_found { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let document = match args.together.agents.is_empty() {
        true => run_shown(&load, &live, &command, &interrupt, &mut console, None)?,
        false => together::coordinate(args, &load, &command, &interrupt, &mut console)?,
    };
    // First: there may be no room for the files.
    console.line(&outcome::to_text(&document));
    write_files(&load, &document)?;
    Ok(if document.is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the load without a word, and writes its files. `live`, made for [`Load::workers`], tells how far it is,
/// and can end it.
///
/// # Errors
/// [`LoadError`].
pub fn run(load: &Load, live: &Arc<Live>) -> Result<Document, LoadError> {
    let interrupt = Interrupt::of_flag(live.flag());
    let document = run_shown(load, live, &[], &interrupt, &mut Console::silent(), None)?;
    write_files(load, &document)?;
    Ok(document)
}

/// Executes the share of an agent.
fn run_share(
    load: &Load,
    live: &Arc<Live>,
    command: &[String],
    gate: &Gate,
) -> Result<Document, LoadError> {
    let interrupt = Interrupt::of_flag(live.flag());
    run_shown(load, live, command, &interrupt, &mut Console::silent(), Some(gate))
}

fn run_shown(
    load: &Load,
    live: &Arc<Live>,
    command: &[String],
    interrupt: &Interrupt,
    console: &mut Console,
    gate: Option<&Gate>,
) -> Result<Document, LoadError> {
    let prepared = Prepared::new(load, live, interrupt, console)?;
    let pacing = prepared.plan.pacing.clone();
    let run = Run { pacing, seed: load.seed, live, shown: Shown::Table, command, gate };
    prepared.measure(run, interrupt, console).map(|(document, _)| document)
}

/// A load whose target is known and filled. It can be measured several times.
struct Prepared<'l> {
    load: Cow<'l, Load>,
    plan: Plan,
    /// What a trace must be for the target.
    demands: Demands,
    /// The keys of a trace, if they were filled.
    numbering: Option<Arc<Numbering>>,
    /// The table of the run's own, which is dropped before the processes end.
    _table: Option<RunOrigin>,
    /// The scenario's processes, and its faults, which happen in one measurement.
    stage: RefCell<Stage>,
    /// Removed after the processes have ended.
    _folder: Option<RunFolder>,
}

impl Drop for Prepared<'_> {
    /// A table that a fault has locked can't be dropped before the fault is undone.
    fn drop(&mut self) {
        self.stage.get_mut().undo();
    }
}

/// A measurement.
struct Run<'r> {
    pacing: Pacing,
    seed: u64,
    live: &'r Arc<Live>,
    shown: Shown,
    /// The command line, for the results.
    command: &'r [String],
    /// Waits for the other agents of the run, if there are any.
    gate: Option<&'r Gate>,
}

impl<'l> Prepared<'l> {
    fn new(
        load: &'l Load,
        live: &Arc<Live>,
        interrupt: &Interrupt,
        console: &mut Console,
    ) -> Result<Self, LoadError> {
        load.trace.as_ref().map_or(Ok(()), |trace| trace.look(console))?;
        // Temporary files may have no room or no place.
        let folder = load
            .needs_folder()
            .then(|| RunFolder::make("standin-load-", load.folder.as_ref().map(Some)))
            .transpose()
            .map_err(LoadError::system("the run's folder (--folder, or one in TMPDIR)"))?;
        let path = folder.as_ref().map_or(Path::new(""), RunFolder::path);
        let stage = Stage::prepare(&load.script, path, load.seed, Some(interrupt))?;
        let mut subject = Subject::find(load, &stage, path, interrupt, console)?;
        let mut whole = Cow::Borrowed(load);
        if let Keys::Listed(list) = &subject.keys {
            whole.to_mut().keys = list.len();
        }
        let load = &*whole;
        let plan = plan(load, &subject)?;
        let demands = Demands::of(load, &subject);
        let numbering = match &load.trace {
            Some(trace) if load.fill => {
                Some(Arc::new(trace.fill(load, (&plan, demands), live, interrupt, console)?))
            }
            None if load.fill => {
                fill(load, (&plan, live), interrupt, console)?;
                None
            }
            Some(_) | None => None,
        };
        let checker = load.owns_keys().then(|| {
            let counts = match &numbering {
                Some(numbering) => KeyCounts { plain: numbering.keys(), ..KeyCounts::default() },
                None => load.counts(),
            };
            let checker = Checker::of_kinds(counts, plan.run, Initial::Filled);
            Arc::new(subject.checker(load, checker.with_form(plan.form.clone())))
        });
        let (plan, stage) = (Plan { checker, ..plan }, RefCell::new(stage));
        let table = subject.table.take();
        Ok(Self { load: whole, plan, demands, numbering, _table: table, stage, _folder: folder })
    }

    /// Warms up, and measures. Returns the results, and the counts of the warm-up.
    fn measure(
        &self,
        run: Run<'_>,
        interrupt: &Interrupt,
        console: &mut Console,
    ) -> Result<(Document, Counts), LoadError> {
        let Self { load, plan, stage, .. } = self;
        let load = &**load;
        let stage = &mut *stage.borrow_mut();
        let Run { pacing, seed, live, shown, command, gate } = run;
        let together = Together { place: load.place, gate: gate.cloned() };
        let plan = Plan { pacing, seed, ..plan.clone() };
        let workers = load.workers;
        let (feeding, mut supplies) = self.supplies(seed)?;
        let mut of_warm_up = Counts::default();
        if let Some(duration) = load.warm_up {
            let seed = seed ^ WARM_UP_SEED;
            let plan = Plan { duration: Some(duration), seed, ..plan.clone() };
            let live = Live::part_of(live, workers);
            (supplies, of_warm_up) =
                warm_up(&plan, (supplies, &together), live, shown, interrupt, console)?;
        }

        let observers = Observers::start(load, &plan, stage)?;
        let plan = Plan { moments: stage.moments(), ..plan };
        own_cluster::watch(load, &plan, stage);
        let running = drive::start_together(&plan, supplies, live, &together)?;
        stage.begin(running.start);
        let whole = whole(&plan.pacing, plan.duration);
        let what = Watched { live, plan: &plan, whole, shown };
        let (mut recording, _) =
            what.until_end(running, Some(stage), interrupt, console, &mut nobody)?;
        // What comes after the run may be interrupted, too.
        let is_stopped = live.is_stopped();
        stage.undo();
        let is_interrupted = interrupt.is_set();
        let mut problems = stage.problems(is_interrupted);
        if is_interrupted && !load.expect.is_empty() {
            problems.push(
                "the run was interrupted, so what is expected was judged by a part of it"
                    .to_owned(),
            );
        }
        if let Some((trace, feeding)) = load.trace.as_ref().zip(feeding) {
            match feeding.finish() {
                Ok(totals) => clamped(&totals, self.demands).iter().for_each(|l| console.line(l)),
                Err(error) => {
                    let error = trace.failed()(error);
                    problems.push(format!("the trace was not replayed to its end: {error}"));
                }
            }
        }
        // Without the rows that are asked for again behind it.
        let ran_for = recording.threads.iter().map(|thread| thread.ran_for).max();
        let ran_for = ran_for.unwrap_or_default();
        let mut observed = observers.finish(&plan, recording.start);
        let risen = std::mem::take(&mut observed.risen);
        let beside = Beside { reads: observed.reads.clone(), risen };
        problems.extend(read_counters(load, (&plan, live), &mut recording, interrupt, console));
        problems.extend(own_cluster::lost_writes(load, &plan, stage, interrupt));
        // A search has many runs.
        if let Some(rows) = plan.rows.as_ref().filter(|_| shown != Shown::Search) {
            let end = rows::end(&plan.keys, rows, &mut recording, interrupt, console);
            problems.extend(end);
        }
        let started = wall_time(recording.start);
        let circumstances = Circumstances { started, ran_for, is_stopped, observed, command };
        let announcements = stage.announcements();
        let run = plan.duration.unwrap_or(ran_for).min(ran_for);
        let (timeline, windows) = ((&*plan.moments, run), &recording.windows);
        let events = Event::all(stage.marks(), timeline, windows, announcements);
        let document = outcome::document(load, &plan, &recording, circumstances);
        let has_problems = !problems.is_empty();
        let document = outcome::with_faults(document, events, announcements, problems);
        let begin = windows.first().map(|(window, _)| Begin {
            window: *window,
            silence_us: events::silence_us(0, timeline, windows),
        });
        Ok((expect::judged(&load.expect, document, begin, &beside, has_problems), of_warm_up))
    }

    /// The supplies of the load threads, and what reads the trace for them.
    fn supplies(&self, seed: u64) -> Result<(Option<Feeding>, Vec<Supply>), LoadError> {
        let Self { load, demands, numbering, .. } = self;
        let load = &**load;
        match &load.trace {
            Some(trace) => {
                let (feeding, supplies) =
                    trace.supplies(load, *demands, numbering.as_ref(), seed)?;
                Ok((Some(feeding), supplies))
            }
            None => {
                Ok((None, (0..load.workers).map(|worker| supply(load, worker, seed)).collect()))
            }
        }
    }
}

fn pacing(load: &Load) -> Pacing {
    match (load.closed, load.is_recorded()) {
        (Some(Closed { clients, depth }), _) => Pacing::Closed { clients, depth },
        (None, true) => Pacing::Recorded,
        (None, false) => Pacing::Open { rates: load.rates.clone(), arrivals: load.arrivals },
    }
}

fn plan(load: &Load, subject: &Subject) -> Result<Plan, LoadError> {
    let pacing = pacing(load);
    check_depth(&pacing, &subject.target, load)?;
    check_lossless(load)?;
    check_clients(load)?;
    check_connections(load, &subject.target)?;
    // Not from the seed: the values of an earlier run with the same seed are not ours.
    let run = getrandom::u32().unwrap_or(1);
    Ok(Plan {
        keys: subject.keys.clone(),
        duration: load.duration,
        fills: load.fill_misses.then_some(load.sizes),
        form: load.form.clone().numbered_from(load.first_key),
        rows: subject.rows.clone(),
        is_read_only: load.rows.is_some(),
        phases: load.rates.spans().len().max(1),
        slot: load.interval,
        ..Plan::new(subject.target.clone(), pacing, load.seed, run)
    })
}

/// The number of a load thread among those that share its keys, and the number of these: only the threads of this
/// process, if each process has keys of its own.
fn among(load: &Load, worker: u32) -> (u32, u32) {
    if load.owns_keys() {
        (worker, load.workers)
    } else {
        load.place.of_worker(worker, load.workers)
    }
}

/// A trace is dealt out to all load threads, and one without a client would never send its part.
fn check_clients(load: &Load) -> Result<(), LoadError> {
    let (Some(closed), Some(_)) = (load.closed, &load.trace) else { return Ok(()) };
    let (_, threads) = among(load, 0);
    match closed.clients < threads {
        false => Ok(()),
        true => Err(LoadError::Options(format!(
            "--closed has {} clients for the {threads} load threads that replay the trace: use {threads} or more, or fewer \
             --workers",
            closed.clients
        ))),
    }
}

fn supply(load: &Load, worker: u32, seed: u64) -> Supply {
    let (number, all) = among(load, worker);
    // Otherwise agents with keys of their own would all send the same.
    let seed = if load.owns_keys() { seed ^ (u64::from(load.place.first) << 32) } else { seed };
    let mix = Mix {
        keys: load.keys,
        popularity: load.popularity,
        reads_percent: load.reads_percent,
        reads_first: load.reads_first,
        others: load.others,
        sizes: load.sizes,
        cold: load.cold,
    };
    Supply::mixed(mix, seed, number, all)
}

/// Sends the load for a time of which nothing is counted. Failures in it are told; stale reads end the run, or, in a search,
/// are judged by its objective. Returns the supplies, which go on, and what would be counted.
fn warm_up(
    plan: &Plan,
    (supplies, together): (Vec<Supply>, &Together),
    live: Live,
    shown: Shown,
    interrupt: &Interrupt,
    console: &mut Console,
) -> Result<(Vec<Supply>, Counts), LoadError> {
    let live = Arc::new(live);
    let running = drive::start_together(plan, supplies, &live, together)?;
    let whole = whole(&plan.pacing, plan.duration);
    let is_search = shown == Shown::Search;
    let shown = if is_search { shown } else { Shown::Progress("") };
    let what = Watched { live: &live, plan, whole, shown };
    let (recording, mut supplies) =
        what.until_end(running, None, interrupt, console, &mut nobody)?;
    let counts = recording.counts();
    let bad = counts.stale + counts.wrong;
    // A search has many.
    if !is_search {
        console.line(&format!(
            "warm-up: {} requests, failed {}, stale or wrong {}",
            thousands(counts.requests),
            thousands(counts.failed),
            thousands(bad)
        ));
    }
    if interrupt.is_set() {
        return Err(LoadError::Interrupted("the warm-up"));
    }
    match bad > 0 && !is_search {
        // In a cache of somebody else there are some: to find them is what the run is for.
        true if plan.rows.is_some() => recording.quotes.iter().for_each(|quote| {
            console.line(&format!("warm-up: {quote}"));
        }),
        true => return Err(LoadError::StaleWarmUp { bad }),
        false => {}
    }
    let passed = plan.duration.unwrap_or_default();
    supplies.iter_mut().for_each(|supply| supply.go_on_after(passed));
    Ok((supplies, counts))
}

/// Returns how many requests there will be; 0: that is not known, as with a trace.
fn whole(pacing: &Pacing, duration: Option<Duration>) -> u64 {
    match (pacing, duration) {
        (Pacing::Open { rates, .. }, Some(duration)) => rates.requests_until(duration) as u64,
        _ => 0,
    }
}

fn write_files(load: &Load, document: &Document) -> Result<(), FilesError> {
    outputs(load).save(document)
}

fn outputs(load: &Load) -> Outputs {
    Outputs {
        json: load.json.clone(),
        html: load.html.clone(),
        csv: load.csv.clone(),
        hdr: load.hdr.clone(),
        hgrm: load.hgrm.clone(),
    }
}

#[cfg(test)]
mod tests;
