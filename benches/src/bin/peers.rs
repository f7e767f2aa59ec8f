//! A server's death, pause and return in Standin, Redis Cluster and twemproxy under the same load: the scenarios of
//! `benches/scenarios/`, run in turn by `standin load`, with their reports and a comparison. Run by `cargo xtask peers`.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Parser;
use standin_benches::Failure;
use standin_benches::peers::{Figures, head, line};
use standin_loadgen::report::document::Document;
use standin_loadgen::report::table::millis;

/// The scenarios that are compared, each with the name of its system. The others are compared with the first.
const SYSTEMS: [(&str, &str); 4] = [
    ("Standin", "standin"),
    ("Standin before PostgreSQL", "standin-postgres"),
    ("Redis Cluster", "redis-cluster"),
    ("twemproxy", "twemproxy"),
];

/// A run in which requests were sent later than this at the 99th percentile says more about the machine than about the
/// system: servers and generator did not run when they should have.
const LATE_P99_US_MAX: u64 = 50_000;
const ATTEMPTS: u32 = 3;

/// Kills a server, stops another for some seconds, and lets both return: in Standin, Redis Cluster and twemproxy, under
/// the same load. Runs each scenario several times, in turn, and writes the results, a page for each system, and the
/// comparison.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask peers", max_term_width = 100)]
struct Args {
    /// Runs of each system.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Only scenarios whose name contains this text; may be given several times.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// The folder for what is written: the results of each run (JSON), one page for each system (of the run in the
    /// middle), table.md, and the comparison (HTML, JSON, text).
    #[arg(long, value_name = "FOLDER", default_value = "target/peers")]
    report: PathBuf,
    /// Use the results that the folder has already, and run what is missing.
    #[arg(long)]
    resume: bool,
    /// The folder of the scenarios.
    #[arg(long, value_name = "FOLDER", default_value = "benches/scenarios")]
    scenarios: PathBuf,
    /// The `standin` program.
    #[arg(long, value_name = "FILE", default_value = "standin")]
    program: PathBuf,
}

/// A run of a system.
struct Run {
    file: PathBuf,
    figures: Figures,
}

fn main() -> ExitCode {
    match measure(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::from(2)
        }
    }
}

fn measure(args: &Args) -> Result<(), Failure> {
    let is_wanted = |scenario: &str| {
        args.only.is_empty() || args.only.iter().any(|text| scenario.contains(text.as_str()))
    };
    let systems: Vec<_> = SYSTEMS.into_iter().filter(|(_, scenario)| is_wanted(scenario)).collect();
    if systems.is_empty() {
        let known = SYSTEMS.map(|(_, scenario)| scenario).join(", ");
        return Err(format!("no scenario contains that text; they are: {known}").into());
    }
    std::fs::create_dir_all(&args.report)?;
    let mut runs: Vec<Vec<Run>> = systems.iter().map(|_| Vec::new()).collect();
    for round in 0..args.rounds as usize {
        for turn in 0..systems.len() {
            // Another order each round: none always comes after the other.
            let number = (turn + round) % systems.len();
            let (name, scenario) = systems[number];
            let run = load(args, name, scenario, round + 1)?;
            println!(
                "{}",
                line(&format!("{name}, {}", round + 1), std::slice::from_ref(&run.figures))
            );
            runs[number].push(run);
        }
    }
    let mut table = vec![head()];
    for ((name, scenario), runs) in systems.iter().zip(&mut runs) {
        let figures: Vec<Figures> = runs.iter().map(|run| run.figures.clone()).collect();
        table.push(line(name, &figures));
        runs.sort_by(|one, other| one.figures.bad().total_cmp(&other.figures.bad()));
        let middle = &runs[runs.len() / 2].file;
        let page = args.report.join(format!("{scenario}.html"));
        said(standin(args).args(["report", "show"]).arg(middle).arg("--html").arg(page))?;
    }
    let table = table.join("\n") + "\n";
    println!("\n{table}");
    std::fs::write(args.report.join("table.md"), table)?;
    if systems.len() > 1 {
        compare(args, &runs)?;
    }
    Ok(())
}

/// Runs a scenario, again if the machine had no time for the run.
fn load(args: &Args, name: &str, scenario: &str, round: usize) -> Result<Run, Failure> {
    let file = args.report.join(format!("{scenario}-{round}.json"));
    let mut said = String::new();
    for attempt in 0..ATTEMPTS {
        if !(args.resume && attempt == 0 && file.exists()) {
            // An old result is not that of a run that fails.
            let _ = std::fs::remove_file(&file);
            said = self::said(
                standin(args)
                    .arg("load")
                    .arg("--scenario")
                    .arg(args.scenarios.join(format!("{scenario}.toml")))
                    .args(["--label", name, "--seed", &round.to_string()])
                    .arg("--json")
                    .arg(&file),
            )?;
        }
        // The exit code says whether anything failed, which is what is measured here.
        let failed = |error: &dyn std::fmt::Display| format!("{name}: {error}\n{said}");
        let run = Document::load(&file).map_err(|error| failed(&error))?;
        let late_us = run.generator.lateness.p99_us;
        if late_us <= LATE_P99_US_MAX {
            let figures = Figures::of(&run).map_err(|error| failed(&error))?;
            return Ok(Run { file, figures });
        }
        println!(
            "{name}, {round}: not counted, because requests were sent {} ms late at p99",
            millis(late_us)
        );
    }
    Err(format!("{name}: the machine had no time for {ATTEMPTS} runs; end what else runs on it")
        .into())
}

fn compare(args: &Args, runs: &[Vec<Run>]) -> Result<(), Failure> {
    let [html, json] = ["comparison.html", "comparison.json"].map(|name| args.report.join(name));
    let files = runs.iter().flatten().map(|run| &run.file);
    let mut command = standin(args);
    command.args(["report", "compare"]).args(files).arg("--html").arg(html).arg("--json").arg(json);
    let said = said(&mut command)?;
    println!("{said}");
    std::fs::write(args.report.join("comparison.txt"), said)?;
    Ok(())
}

/// The program, under its name: the results have the command line, and should not have the folders of this machine.
fn standin(args: &Args) -> Command {
    let mut command = Command::new(&args.program);
    command.arg0("standin");
    command
}

/// What it printed.
fn said(command: &mut Command) -> Result<String, Failure> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    Ok([output.stdout, output.stderr]
        .map(|text| String::from_utf8_lossy(&text).into_owned())
        .concat())
}
