//! `standin demo`: a whole cluster that loses a server and, it is hoped, no request.
//!
//! ```text
//! options.rs ─► run ─┬ folder                 a temporary folder
//!                    ├ script.rs ─► ../faults 200,000 rows or no database; master and servers; kill, restart
//!                    ├ warm.rs                reads until the hit ratio is steady
//!                    ├ script.rs ─► story.rs  load, watched as any load (../watch.rs); who said what when
//!                    └ outcome.rs ─ files.rs  figures, table, HTML, JSON, HDR log
//! ```
//! Everything it starts and makes is gone afterwards, also when it is interrupted, except
//! for the report and what `--keep` keeps.

mod files;
mod options;
mod outcome;
mod script;
mod story;
mod warm;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use standin_client::ClientConfig;
use standin_config::{ClusterConfig, ConfigErrors};
use standin_protocol::map::MapError;

pub use options::DemoArgs;

use crate::checker::{Checker, Initial, grace};
use crate::console::{Console, Show};
use crate::drive::{DriveError, Pacing, Plan};
use crate::faults::kinds::StartError;
use crate::faults::kinds::standin::KEYSPACE;
use crate::faults::{SettingError, Stage};
use crate::folder::RunFolder;
use crate::interrupt::Interrupt;
use crate::origin::{Rows, RunOrigin};
use crate::popularity::Popularity;
use crate::recorder::Moments;
use crate::report::plots::PlotError;
use crate::report::table::thousands;
use crate::request::ValueSizes;
use crate::rng::Random;
use crate::schedule::Arrivals;
use crate::targets::{Standin, Target};
use crate::workload::{Cold, Mix, Others};
use outcome::{DemoReport, NO_DATABASE, Parameters};
use script::CLUSTER;

/// Rows of the demo's table.
const ROWS: u32 = 200_000;
/// Bytes of a value.
const VALUE_BYTES: u32 = 100;
const ZIPF_EXPONENT: f64 = 0.99;
const READS_PERCENT: f64 = 95.0;
/// Step of the timeline.
const SLOT: Duration = Duration::from_millis(250);

/// Why there was no demo.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The folder, the program's path, a signal handler, the report.
    #[error("{what}: {error}")]
    System {
        /// The action that failed.
        what: String,
        /// The error.
        error: std::io::Error,
    },
    /// The database, or the cluster.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The cluster's file.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// Its servers.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The load.
    #[error(transparent)]
    Drive(#[from] DriveError),
    /// A plot.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// Files of the report.
    #[error(transparent)]
    Files(#[from] crate::report::FilesError),
    /// The user has interrupted it; its processes have ended, and its folder is gone unless kept.
    #[error("interrupted; the cluster is stopped")]
    Interrupted,
}

impl DemoError {
    fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |error| Self::System { what, error }
    }
}

/// The whole of `standin demo`: runs it, prints its events and results, and chooses the exit code (0: nothing failed or
/// was given up, and no read was stale or wrong). For `show` see [`Console::new`].
///
/// # Errors
/// [`DemoError`].
pub fn main(args: &DemoArgs, show: Option<Show>) -> Result<ExitCode, Box<dyn Error>> {
    let mut console = Console::new(show);
    let interrupt = Interrupt::listen().map_err(DemoError::system("signal handlers"))?;
    let seed = match args.seed {
        Some(seed) => seed,
        // Small enough to be typed again.
        None => u64::from(getrandom::u32().unwrap_or(1)),
    };
    let folder = RunFolder::make("standin-demo-", args.keep.as_ref().map(Option::as_ref))
        .map_err(DemoError::system("the folder"))?;
    let result = run_in(args, seed, &folder, &interrupt, &mut console);
    console.end_progress();
    if let Some(path) = folder.kept() {
        console.line(&format!("Kept: {} (cluster file, logs, events)", path.display()));
    }
    match result {
        Err(
            DemoError::Setting(SettingError::Start(StartError::Interrupted))
            | DemoError::Drive(DriveError::Interrupted),
        ) => Err(DemoError::Interrupted.into()),
        Ok(report) if report.is_good() => Ok(ExitCode::SUCCESS),
        Ok(_) => Ok(ExitCode::FAILURE),
        Err(error) => Err(error.into()),
    }
}

fn run_in(
    args: &DemoArgs,
    seed: u64,
    folder: &RunFolder,
    interrupt: &Interrupt,
    console: &mut Console,
) -> Result<DemoReport, DemoError> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let groups = if cores >= 2 { 2 } else { 1 };
    let run = u32::try_from(Random::stream(seed, 0xDE30).below(u32::MAX.into())).unwrap_or(0);
    console.line(&format!("Standin demo, seed {seed}"));

    let rows = Rows { count: ROWS, run, value_bytes: VALUE_BYTES };
    let script = script::script(args, groups, rows);
    let mut stage = Stage::prepare(&script, folder.path(), seed, Some(interrupt))?;
    let count = thousands(ROWS.into());
    let origin = stage.table(CLUSTER).map_or(NO_DATABASE, RunOrigin::name);
    console.line(&match origin {
        NO_DATABASE => format!("  origin    none: {count} keys are only in the servers' memory"),
        name => format!("  origin    {name} with {count} rows"),
    });
    let file = stage.places().file(CLUSTER).expect("the script's cluster");
    let cluster = ClusterConfig::load(file)?;
    console.line(&format!(
        "  cluster   a master and {groups} failover groups of 2 servers, on ports {}",
        ports(&cluster)
    ));

    let moments = stage.moments();
    let (plan, mix) = (plan(args, (seed, run), &cluster, moments)?, mix());
    let workers = u32::try_from(cores.clamp(1, 2)).unwrap_or(1);
    let warm_up = warm::run(&plan, mix, workers, interrupt, console)?;
    console.line(&format!(
        "  warm-up   {} requests, hit ratio {:.1} %",
        thousands(warm_up.counts().requests),
        warm_up.final_hit_ratio * 100.0
    ));
    console.line(&format!(
        "  load      {} requests/s for {} s, {READS_PERCENT} % reads, Zipf {ZIPF_EXPONENT}; \
         latency from the scheduled time",
        thousands(args.rate.into()),
        args.seconds
    ));
    let played = script::play(&plan, mix, workers, &mut stage, (interrupt, console))?;
    console.end_progress();
    drop(stage);

    let parameters = Parameters {
        seconds: args.seconds,
        rate_per_s: args.rate,
        seed,
        rows: ROWS,
        value_bytes: VALUE_BYTES,
        zipf_exponent: ZIPF_EXPONENT,
        reads_percent: READS_PERCENT,
        origin,
        groups,
        workers,
    };
    let mut report = DemoReport::new(parameters, &played, &warm_up);
    let placed = files::place(&mut report, args);
    // First: there may be no room for the files.
    console.line(&report.to_text());
    placed?;
    files::write(&report, &played, args)?;
    Ok(report)
}

/// The load of the demo.
fn plan(
    args: &DemoArgs,
    (seed, run): (u64, u32),
    cluster: &ClusterConfig,
    moments: Arc<Moments>,
) -> Result<Plan, MapError> {
    let initial = if args.cache { Initial::Empty } else { Initial::Filled };
    let checker = Checker::new(ROWS, run, initial).with_losses(args.cache);
    let target = Target::Standin(Box::new(Standin {
        topology: Arc::new(cluster.topology()?),
        client: ClientConfig::from(cluster),
        keyspace: KEYSPACE,
    }));
    let pacing = pacing(args.rate);
    Ok(Plan {
        duration: Some(Duration::from_secs(args.seconds.into())),
        fills: args.cache.then(|| ValueSizes::fixed(VALUE_BYTES)),
        checker: Some(Arc::new(checker.with_grace(grace(cluster)))),
        // Each of them begins one; the report has fewer.
        phases: moments.count(),
        moments,
        slot: SLOT,
        ..Plan::new(target, pacing, seed, run)
    })
}

/// An open loop at this rate.
fn pacing(rate_per_s: u32) -> Pacing {
    Pacing::Open { rates: rate_per_s.into(), arrivals: Arrivals::Constant }
}

/// The requests of the demo.
fn mix() -> Mix {
    Mix {
        keys: ROWS,
        popularity: Popularity::ranked(ZIPF_EXPONENT),
        reads_percent: READS_PERCENT,
        reads_first: false,
        others: Others::NONE,
        sizes: ValueSizes::fixed(VALUE_BYTES),
        cold: Cold::default(),
    }
}

fn ports(cluster: &ClusterConfig) -> String {
    let servers = cluster.servers.iter().map(|server| server.address.port());
    let mut ports: Vec<u16> = servers.chain([cluster.master.address.port()]).collect();
    ports.sort_unstable();
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    ports.join(", ")
}
