//! Client libraries of other languages, unmodified, through the fault and the return of a server, as one table.
//! Run by `cargo xtask clients`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use standin_benches::Failure;
use standin_benches::languages::row::{Figures, Row, head, line};
use standin_benches::languages::run::{AFTER, INTERVAL, OUTAGE_MAX, SCRIPTS, Setting, run};
use standin_benches::languages::{Case, Fault};
use standin_loadgen::interrupt::Interrupt;
use standin_testkit::languages::{Service, names};

/// Drives client libraries of memcached and Redis against a Standin cluster of two groups with two servers each:
/// first all that a framework's cache does, then reads and writes while a server is killed and started again, or
/// paused. Prints one row for each library and protocol. The exit code is 1 if a check was wrong, a read stale, or a
/// request failed before the fault, with Standin.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask clients", max_term_width = 100)]
struct Args {
    /// Only rows whose name (`redis-py, redis-cluster, Standin`) contains this text; may be given several times.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Also the same client on Redis Cluster, and on memcached with and without nutcracker.
    #[arg(long)]
    beside: bool,
    /// The fault of the server.
    #[arg(long, value_enum, default_value_t = Kind::Kill)]
    fault: Kind,
    /// Seconds of a pause.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=60))]
    pause: u32,
    /// Seconds of load after the return. Clients that leave out a server for 30 s use it again after that.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    after: u32,
    /// Runs of each row; the table has medians, and sums of what was asked and read.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    repeat: u32,
    /// Also write the figures as JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The `standin` program.
    #[arg(long, value_name = "FILE", default_value = "standin")]
    program: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// SIGKILL; the server is started again.
    Kill,
    /// SIGSTOP, and SIGCONT after some seconds: the server is silent, with its connections open.
    Pause,
}

impl Args {
    fn fault(&self) -> Fault {
        match self.fault {
            Kind::Kill => Fault::Kill,
            Kind::Pause => Fault::Pause { seconds: self.pause },
        }
    }
}

fn main() -> ExitCode {
    match measure(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("clients: {error}");
            ExitCode::from(2)
        }
    }
}

/// Returns whether all was as it should be with Standin.
fn measure(args: &Args) -> Result<bool, Failure> {
    let interrupt = Interrupt::listen()?;
    let mut cases = Case::all(args.beside);
    let is_wanted = |case: &Case| {
        let name = case.to_string();
        args.only.is_empty() || args.only.iter().any(|text| name.contains(text.as_str()))
    };
    cases.retain(is_wanted);
    if cases.is_empty() {
        let names: Vec<String> = Case::all(true).iter().map(ToString::to_string).collect();
        return Err(
            format!("no row contains that text; the rows are:\n{}", names.join("\n")).into()
        );
    }
    let until_return = match args.fault {
        Kind::Kill => format!(
            "load until each client has its keys again (at most {} s) and {} s more; the server is started again",
            OUTAGE_MAX.as_secs(),
            AFTER.as_secs()
        ),
        Kind::Pause => "and SIGCONT".to_owned(),
    };
    println!(
        "{SCRIPTS} processes with a client each, which ask for the next at most every {} ms: 65 % get, 5 % get of \
         8 keys, 25 % set, 5 % delete; {} of a server, {until_return}, and {} s more\n",
        INTERVAL.as_millis(),
        args.fault(),
        args.after,
    );
    println!("{}", head());
    let (mut rows, mut notes, mut is_clean) = (Vec::new(), Vec::new(), true);
    for case in &cases {
        match runs(case, args, &interrupt, &mut notes) {
            Ok((version, figures)) => {
                is_clean &= !case.system.is_standin() || figures.iter().all(Figures::is_clean);
                let row = Row::of(case, &version, figures);
                println!("{}", line(&row));
                rows.push(row);
            }
            Err(error) if interrupt.is_set() => return Err(error),
            Err(error) => println!("{case}: left out: {error}"),
        }
    }
    if !notes.is_empty() {
        println!("\nWrong checks, and failures or stale reads of each kind:");
        notes.iter().for_each(|note| println!("- {note}"));
    }
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_string_pretty(&rows)?)?;
    }
    Ok(is_clean)
}

/// Returns the library's version and the figures of each run.
fn runs(
    case: &Case,
    args: &Args,
    interrupt: &Interrupt,
    notes: &mut Vec<String>,
) -> Result<(String, Vec<Figures>), Failure> {
    let (_, version) =
        case.library.version().ok_or_else(|| format!("it needs {}", case.library.needs))?;
    if case.service == Service::Redis && !names::is_available() {
        return Err("a host name with several addresses needs nss_wrapper".into());
    }
    let mut all = Vec::new();
    for _ in 0..args.repeat {
        let folder = tempfile::Builder::new().prefix("standin-clients-").tempdir()?;
        let setting = Setting {
            program: &args.program,
            folder: folder.path(),
            fault: args.fault(),
            after: Duration::from_secs(args.after.into()),
            interrupt,
        };
        let figures = Figures::of(&run(case, &setting)?);
        notes.extend(figures.notes().into_iter().map(|what| format!("{case}: {what}")));
        all.push(figures);
    }
    Ok((version, all))
}
