//! Injects faults into a real cluster under load, one after the other, and reports the result of each.
//! Run by `cargo xtask chaos`; not shipped.
//!
//! ```text
//! options ─► main ─► scenario/           the faults: their files, `standin load`, its results
//!              ├──── row.rs, outage.rs   the result of one  pure
//!              └──── table.rs            text, Markdown     pure
//! ```
//! Everything it starts is a child process that dies with it. Nothing is left behind, however it ends.

mod node;
mod outage;
mod row;
mod scenario;
mod settings;
mod table;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use standin_config::Mode;
use standin_loadgen::interrupt::Interrupt;
use standin_loadgen::net::Namespaces;
use standin_testkit::Postgres;

use row::Row;
use scenario::Scenario;
use scenario::run::RunError;
use settings::Settings;

/// Injects faults into a real cluster under load (kill, stop, cut, lose, slow down), and prints a table
/// that compares the result of each fault with its targets. The exit code is 0 if all were reached.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask chaos", max_term_width = 100)]
struct Args {
    /// Only this fault, or all whose names begin with this and a dash (pause, cut); may be given
    /// several times. Also accepted: pause-SECONDS, isolate-X, cut-X-and-Y, cut-X-to-Y with the nodes
    /// client, master, a1, a2, b1, b2. See --list.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Length in seconds of each fault without a length of its own (cuts, loss, a slow or absent
    /// database, an absent master).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: Option<u32>,
    /// Number of times to run each fault, each time with another seed, to see how its figures vary.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    repeat: u32,
    /// The cluster's mode.
    #[arg(long, value_enum, default_value_t = ModeArg::Available)]
    mode: ModeArg,
    /// Requests per second, on a fixed schedule, 95 % reads.
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// `surge_reads` of the cluster file: the reads per second and shard that a change of owner may
    /// always add to the load of the database.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    surge_reads: Option<u32>,
    /// Seed of keys and ports.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keep everything in this folder: the table, its figures as JSON, and for each fault its scenario, the results of
    /// `standin load`, and the files and logs of the processes.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Run on loopback even as root; leaves out faults that need links that can be cut.
    #[arg(long)]
    loopback: bool,
    /// List the faults.
    #[arg(long)]
    list: bool,
    /// The `standin` program.
    #[arg(long, value_name = "FILE", default_value = "standin")]
    program: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ModeArg {
    Available,
    Strict,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether all targets were reached.
fn run(args: &Args) -> Result<bool, Box<dyn Error>> {
    let mut faults = faults(&args.only)?;
    if args.list {
        faults.iter().for_each(|fault| println!("{}", fault.name));
        return Ok(true);
    }
    let interrupt = Interrupt::listen()?;
    Postgres::available()?;
    let namespaces = if args.loopback {
        Err("--loopback was given".to_owned())
    } else {
        Namespaces::available().map_err(|error| {
            format!("{error}; with --loopback, cuts and datagram loss are left out")
        })
    };
    let folder = folder(args.report.as_deref())?;
    let settings = Settings {
        program: args.program.clone(),
        mode: match args.mode {
            ModeArg::Available => Mode::Available,
            ModeArg::Strict => Mode::Strict,
        },
        rate_per_s: args.rate,
        seed: args.seed,
        lasts: args.seconds.map(|seconds| Duration::from_secs(seconds.into())),
        surge_reads: args.surge_reads,
    };
    println!(
        "a master and 4 servers in 2 groups, mode {:?}, {} requests/s from 8 clients, on {}",
        settings.mode,
        settings.rate_per_s,
        if namespaces.is_ok() { "a network namespace per node" } else { "loopback" }
    );
    println!("{}", table::head());
    let mut rows = Vec::new();
    if let Err(why) = &namespaces {
        for fault in faults.extract_if(.., |fault| fault.needs_namespaces()) {
            println!("{:<26} left out: {why}", fault.name);
        }
    }
    for (fault, time) in faults.iter().flat_map(|f| (0..args.repeat).map(move |t| (f, t))) {
        let settings = Settings { seed: args.seed.wrapping_add(time.into()), ..settings.clone() };
        rows.push(play_once(fault, time, &settings, namespaces.is_ok(), &folder, &interrupt)?);
        if folder.is_kept() {
            std::fs::write(folder.path().join("chaos.json"), serde_json::to_string_pretty(&rows)?)?;
            std::fs::write(folder.path().join("chaos.md"), table::markdown(&rows))?;
        }
    }
    table::spreads(&rows).iter().for_each(|spread| println!("{spread}"));
    let missed = rows.iter().filter(|row| !row.is_good()).count();
    println!("{} faults, {missed} of them with a missed target", rows.len());
    Ok(missed == 0)
}

/// Plays a fault for the `time`-th time, counted from zero, and prints its row.
fn play_once(
    fault: &Scenario,
    time: u32,
    settings: &Settings,
    has_namespaces: bool,
    folder: &Folder,
    interrupt: &Interrupt,
) -> Result<Row, Box<dyn Error>> {
    let name = match time {
        0 => fault.name.clone(),
        _ => format!("{}.{}", fault.name, time + 1),
    };
    let own = folder.path().join(name);
    std::fs::create_dir_all(&own)?;
    let row = match scenario::run::run(fault, settings, has_namespaces, &own, interrupt) {
        Ok(run) => Row::of_run(&fault.name, settings.seed, &run),
        Err(RunError::Interrupted) => return Err(RunError::Interrupted.into()),
        Err(error) => return Err(format!("{}: {error}", fault.name).into()),
    };
    println!("{}", table::line(&row));
    table::remarks(&row).iter().for_each(|remark| println!("    {remark}"));
    Ok(row)
}

/// The one with this name, or those of the table whose names begin with it and a dash.
fn chosen(name: &str) -> Vec<Scenario> {
    if let Some(scenario) = Scenario::of_name(name) {
        return vec![scenario];
    }
    let family = format!("{name}-");
    Scenario::defaults().into_iter().filter(|one| one.name.starts_with(&family)).collect()
}

fn faults(only: &[String]) -> Result<Vec<Scenario>, String> {
    if only.is_empty() {
        return Ok(Scenario::defaults());
    }
    let mut faults = Vec::new();
    for name in only {
        let chosen = chosen(name);
        if chosen.is_empty() {
            let known: Vec<String> = Scenario::defaults().into_iter().map(|one| one.name).collect();
            return Err(format!(
                "there is no fault {name:?}; the faults are: {}",
                known.join(", ")
            ));
        }
        faults.extend(chosen);
    }
    Ok(faults)
}

enum Folder {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

fn folder(report: Option<&Path>) -> std::io::Result<Folder> {
    match report {
        None => Ok(Folder::Temporary(tempfile::Builder::new().prefix("standin-chaos-").tempdir()?)),
        Some(path) => {
            std::fs::create_dir_all(path)?;
            Ok(Folder::Kept(path.canonicalize()?))
        }
    }
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(path) => path,
        }
    }

    fn is_kept(&self) -> bool {
        matches!(self, Self::Kept(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_chosen_by_its_first_word() {
        let count = |name: &str| chosen(name).len();
        assert_eq!([count("pause"), count("cut"), count("kill"), count("flood")], [4, 16, 1, 0]);
        assert_eq!([count("pause-7"), count("cut-b1-to-b2"), count("isolate")], [1, 1, 1]);
        assert_eq!(Scenario::defaults().len(), 30);
    }
}
