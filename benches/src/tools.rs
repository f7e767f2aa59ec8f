//! Load generators of other projects, run as they are against Standin and another server, in interleaved
//! rounds.

use std::error::Error;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use clap::Args;
use standin_testkit::Scratch;

use crate::cpu;
use crate::report::Spread;
use crate::targets::{SELF, Serving, Target};

/// The room that the servers have, in keys of the benchmarks of this crate.
const KEYS: u32 = 1_000_000;

/// The options of the benchmarks that run other projects' load generators.
#[derive(Debug, Args)]
pub struct Options {
    /// Rounds of each run.
    #[arg(long, default_value_t = 5)]
    pub rounds: u32,
    /// Requests of a run: a multiple of this.
    #[arg(long, default_value_t = 50_000)]
    pub requests: u32,
    /// Core for the target.
    #[arg(long, default_value_t = 0)]
    pub server_core: usize,
    /// Core for the load generator.
    #[arg(long, default_value_t = 1)]
    pub driver_core: usize,
}

/// Reads what a load generator has printed.
pub type Reader = Box<dyn Fn(&str) -> Option<Printed>>;

/// A run of a load generator.
pub struct Run {
    /// Its name in the table.
    pub name: String,
    /// The command for a server at this address.
    pub command: Box<dyn Fn(SocketAddr) -> Command>,
    /// Reads what it has printed.
    pub read: Reader,
}

/// The result that a load generator prints.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Printed {
    /// The number of requests, or of keys if a request has several.
    pub requests: f64,
    /// The number of these per second.
    pub per_s: f64,
}

/// The rounds of a run against one target.
#[derive(Debug, Default)]
struct Rounds {
    cpu_us: Vec<f64>,
    per_s: Vec<f64>,
}

/// Runs everything against both targets in turn, and returns the table.
///
/// # Errors
/// A target can't be started, or a load generator fails or prints something else.
pub fn compare(
    targets: [Target; 2],
    runs: &[Run],
    options: &Options,
) -> Result<String, Box<dyn Error>> {
    for target in targets {
        let version = target.version().ok_or_else(|| format!("{} is missing", target.name()))?;
        println!("{}: {version}", target.name());
    }
    let scratch = Scratch::new("tools");
    let mut serving = Vec::new();
    for target in targets {
        let directory = scratch.file(target.name());
        std::fs::create_dir(&directory)?;
        let own = Path::new(SELF);
        serving.push(Serving::start(target, own, &directory, KEYS, options.server_core, None)?);
    }
    // The load generators are children of this thread.
    cpu::pin_self(options.driver_core)?;
    let mut table = Table::new(targets);
    for run in runs {
        let mut rounds = [Rounds::default(), Rounds::default()];
        for round in 0..options.rounds as usize {
            eprintln!("{}: round {} of {}", run.name, round + 1, options.rounds);
            for turn in 0..targets.len() {
                // Another order each round: none always comes after the other.
                let number = (turn + round) % targets.len();
                let before = serving[number].cpu()?;
                let output = (run.command)(serving[number].address).output()?;
                let cpu = serving[number].cpu()?.saturating_sub(before);
                let text = String::from_utf8_lossy(&output.stdout);
                let printed = (run.read)(&text).filter(|_| output.status.success());
                let printed = printed.ok_or_else(|| {
                    let errors = String::from_utf8_lossy(&output.stderr);
                    let name = targets[number].name();
                    format!("{} against {name}: {text}{errors}", run.name)
                })?;
                rounds[number].cpu_us.push(cpu.as_secs_f64() * 1e6 / printed.requests);
                rounds[number].per_s.push(printed.per_s);
            }
        }
        table.add(&run.name, &rounds);
    }
    Ok(table.0)
}

/// A table in Markdown.
struct Table(String);

impl Table {
    fn new(targets: [Target; 2]) -> Self {
        let [one, other] = targets.map(Target::name);
        Self(format!(
            "| run | {one}: CPU µs (min–max) | {other}: CPU µs (min–max) | ratio (min–max) | \
             {one}: requests/s | {other}: requests/s |\n|---|---|---|---|---|---|\n"
        ))
    }

    fn add(&mut self, name: &str, rounds: &[Rounds; 2]) {
        let spread = |Spread { median, min, max }| format!("{median:.2} ({min:.2}–{max:.2})");
        let [one, other] = rounds;
        let pairs = one.cpu_us.iter().zip(&other.cpu_us);
        let ratio = Spread::of(pairs.map(|(one, other)| one / other));
        let rate = |rounds: &Rounds| Spread::of(rounds.per_s.iter().copied()).median / 1e3;
        let cpu = |rounds: &Rounds| spread(Spread::of(rounds.cpu_us.iter().copied()));
        // Writing to a String can't fail.
        let _ = writeln!(
            self.0,
            "| {name} | {} | {} | {} | {:.0}k | {:.0}k |",
            cpu(one),
            cpu(other),
            spread(ratio),
            rate(one),
            rate(other),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_medians_and_the_ratio_round_by_round() {
        let mut table = Table::new([Target::StandinResp, Target::Redis]);
        let one = Rounds { cpu_us: vec![1.0, 2.0, 4.0], per_s: vec![1e6; 3] };
        let other = Rounds { cpu_us: vec![2.0, 2.0, 2.0], per_s: vec![5e5; 3] };
        table.add("GET", &[one, other]);
        let row = "| GET | 2.00 (1.00–4.00) | 2.00 (2.00–2.00) | 1.00 (0.50–2.00) | 1000k | 500k |";
        assert!(table.0.contains(row), "{}", table.0);
    }
}
