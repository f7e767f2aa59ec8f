//! The command line: one seed, many seeds, and reports of what failed.

use std::ops::Range;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use standin_protocol::mutant::{self, Mutant};

use crate::clock::{S, Time};
use crate::crowd::growth::{Growth, Heading, SERVERS_MAX, SERVERS_MIN};
use crate::many::{Options, guarded, plan_of, run_many};
use crate::plan::{DISTURBED, Entry, Mode, Rule, What};
use crate::scenarios;
use crate::shrink::shrink;

/// Events that can't happen in the simulator, or need not.
const NOT_HERE: &[&str] = &[
    // There are far fewer callers than places for them, and nobody observes.
    "server clients_refused",
    "server handshakes_refused",
    "server observers_refused",
    // Nobody gives a wrong password.
    "server auth_failures_memcached",
    "server auth_failures_native",
    "server auth_failures_redis",
    // No simulated connection has TLS.
    "server tls_failures",
    "server tls_handshakes",
    "server tls_in_kernel",
    // The real loops measure them; a simulated turn takes no time.
    "server busy_us",
    "server loop_lag_us",
    // Only nodes for clients of Redis Cluster redirect; the simulated clients speak the native protocol.
    "server redirected",
    "server requests_memcached",
    "server requests_redis",
    // The real loops set them, for those who ask.
    "agent map_epoch",
    "server arena_bytes",
    "server fetches_held",
    "server index_bytes",
    "server output_bytes",
    "server waiting_bytes",
    // The shipped client and links ask the key's shard. Only other clients, which do not know about
    // shards, ask another one.
    "server strayed",
    // Copies of a write that come too late, and to another server, are rare, and even more rarely
    // overwrite a newer one.
    "sim executed_after_ack",
    "sim overwrote_newer_ack",
];
/// Events that the mode strict forbids.
pub(crate) const AVAILABLE_ONLY: &[&str] = &[
    "agent is_orphan",
    "agent orphan_spells",
    "server kept_briefly",
    "server orphaned",
    "sim stale_within_bound",
];
/// The number of seeds after which each of the other counters must be above zero. Otherwise the
/// faults are too weak.
const SEEDS_FOR_ALL: u64 = 10_000;

const JOBS_MAX: usize = 1_024;
/// The longest run: an hour.
const SECONDS_MAX: u64 = 3_600;
/// The options that a schedule determines itself.
const NOT_OF_SCENARIOS: [&str; 7] =
    ["seeds", "jobs", "mode", "seconds", "steps", "no_shrink", "keep_going"];

/// Simulates whole clusters from seeds, and checks what must never happen.
#[derive(Debug, Parser)]
#[command(name = "sim")]
struct Arguments {
    /// One seed.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Many seeds: from..to.
    #[arg(long, value_parser = range)]
    seeds: Option<Range<u64>>,
    /// Threads for many seeds.
    #[arg(long, default_value_t = 2, value_parser = jobs, requires = "seeds", conflicts_with = "seed")]
    jobs: usize,
    /// The cluster's mode.
    #[arg(long, value_enum, default_value_t = ModeName::Available)]
    mode: ModeName,
    /// Simulated seconds with faults.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
    seconds: Option<u64>,
    /// Entries of the plan (operations and faults) after which nothing more happens; without
    /// --seconds the plan becomes as long as that takes.
    #[arg(long)]
    steps: Option<usize>,
    /// One of the schedules of docs/FAILOVER.md, by its name; --seed gives the latencies.
    #[arg(long, conflicts_with_all = NOT_OF_SCENARIOS)]
    scenario: Option<String>,
    /// Instead of seeds: clusters of these numbers of servers (2 to 1024), and what their control traffic, their
    /// map and a dead server cost.
    #[arg(long, value_delimiter = ',', value_parser = servers, exclusive = true)]
    growth: Vec<u16>,
    /// Switch off a rule, by the mutant's name, to see that something fails without it.
    #[arg(long, value_parser = rule)]
    mutant: Option<Rule>,
    /// Print everything that happens (with --seed).
    #[arg(long, conflicts_with = "seeds")]
    trace: bool,
    /// Do not shrink a failing plan.
    #[arg(long)]
    no_shrink: bool,
    /// Continue after a failure, and count failures (with --seeds).
    #[arg(long, requires = "seeds", conflicts_with = "seed")]
    keep_going: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ModeName {
    Available,
    Strict,
}

fn rule(text: &str) -> Result<Rule, String> {
    let named = |mutant: &&Mutant| mutant.name() == text;
    match Mutant::ALL.iter().find(named) {
        Some(mutant) => Ok(Rule::Code(*mutant)),
        None if text == "boot-clock" => Ok(Rule::BootClock),
        None => {
            let names: Vec<&str> = Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
            Err(format!("there are boot-clock, {}", names.join(", ")))
        }
    }
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("a range is written as 0..1000")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    let range = number(from)?..number(to)?;
    match range.is_empty() {
        true => Err("the range is empty; the second number must be the higher one".to_owned()),
        false => Ok(range),
    }
}

fn jobs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(jobs @ 1..=JOBS_MAX) => Ok(jobs),
        _ => Err(format!("give 1 to {JOBS_MAX} threads")),
    }
}

fn servers(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(servers @ SERVERS_MIN..=SERVERS_MAX) => Ok(servers),
        _ => Err(format!("a cluster has {SERVERS_MIN} to {SERVERS_MAX} servers")),
    }
}

/// Runs the command; the exit code is 1 if something must not have happened.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !arguments.growth.is_empty() {
        println!("{Heading}");
        arguments.growth.iter().for_each(|servers| println!("{}", Growth::measure(*servers)));
        return ExitCode::SUCCESS;
    }
    if matches!(arguments.mutant, Some(Rule::Code(_))) && !mutant::ARE_COMPILED_IN {
        return run_with_mutants();
    }
    let mode = match arguments.mode {
        ModeName::Available => Mode::Available,
        ModeName::Strict => Mode::Strict,
    };
    let length: Time = arguments.seconds.map_or(DISTURBED, |seconds| seconds * S);
    let options = Options { mode, length, steps: arguments.steps, missing: arguments.mutant };
    if let Some(name) = &arguments.scenario {
        return scenario(name, &arguments);
    }
    match (&arguments.seeds, arguments.seed) {
        (Some(seeds), _) => many(seeds.clone(), &arguments, &options),
        (None, seed) => one(seed.unwrap_or(1), &arguments, &options),
    }
}

/// Builds the simulator with the feature `mutants` and runs it with the same arguments. Without
/// that feature it simulates the code as it is shipped, which can't leave rules out.
fn run_with_mutants() -> ExitCode {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let build = ["run", "--quiet", "--release", "--features", "mutants", "--bin", "sim"];
    let mut command = std::process::Command::new(cargo);
    command.args(build).args(["--manifest-path", manifest, "--"]).args(std::env::args_os().skip(1));
    match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            println!("can't run cargo to build the simulator with mutants: {error}");
            ExitCode::FAILURE
        }
    }
}

fn scenario(name: &str, arguments: &Arguments) -> ExitCode {
    let Some(scenario) = scenarios::named(name) else {
        println!("there is no {name}; the schedules are:");
        for scenario in scenarios::ALL {
            let rules: Vec<Rule> = scenario.fails_without.iter().map(|(rule, _)| *rule).collect();
            println!("  {}, which needs {rules:?}", scenario.name);
        }
        return ExitCode::FAILURE;
    };
    let (outcome, result) = scenario.run(arguments.seed.unwrap_or(1), arguments.mutant);
    if arguments.trace {
        print(&outcome.lines);
    }
    match result {
        Ok(()) => {
            println!("{name} goes well");
            ExitCode::SUCCESS
        }
        Err(text) => {
            println!("{name}: {text}");
            let (seed, missing) = (arguments.seed.unwrap_or(1), missing(arguments.mutant));
            println!("repeat: cargo sim --scenario {name} --seed {seed}{missing} --trace");
            println!("commit: {}", commit());
            ExitCode::FAILURE
        }
    }
}

fn one(seed: u64, arguments: &Arguments, options: &Options) -> ExitCode {
    let plan = plan_of(seed, options);
    let outcome = guarded(&plan, arguments.trace);
    print(&outcome.lines);
    let seconds = outcome.time as f64 / S as f64;
    println!(
        "seed {seed}: {seconds:.1} s simulated, {} events, hash {:016x}",
        outcome.events, outcome.hash
    );
    match outcome.violation {
        None => ExitCode::SUCCESS,
        Some(violation) => {
            report(seed, &violation, arguments, options);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "how long it took is for people, not for the runs")]
fn many(seeds: Range<u64>, arguments: &Arguments, options: &Options) -> ExitCode {
    let started = std::time::Instant::now();
    let sum = run_many(seeds, arguments.jobs, options, arguments.keep_going);
    let took = started.elapsed().as_secs_f64().max(0.001);
    println!(
        "{} seeds in {took:.1} s: {:.0} seeds/s, {:.0} events/s, {:.1} h simulated, mode {}",
        sum.seeds,
        sum.seeds as f64 / took,
        sum.events as f64 / took,
        sum.time as f64 / S as f64 / 3_600.0,
        options.mode
    );
    let counted = sum.counted.list();
    for (name, count) in &counted {
        println!("  {name:<28} {count:>12}");
    }
    let is_missed = |name: &str| {
        let is_of_mode = options.mode == Mode::Available || !AVAILABLE_ONLY.contains(&name);
        is_of_mode && !NOT_HERE.contains(&name)
    };
    let zeros = counted.iter().filter(|(name, count)| **count == 0 && is_missed(name));
    let must_rise = sum.seeds >= SEEDS_FOR_ALL;
    let mut has_risen = true;
    for (name, _) in zeros {
        has_risen = false;
        let kind = if must_rise { "violation" } else { "warning" };
        println!("{kind}: {name} never happened; the faults are too weak for it");
    }
    match sum.failed.first_key_value() {
        None if must_rise && !has_risen => ExitCode::FAILURE,
        None => ExitCode::SUCCESS,
        Some((seed, violation)) => {
            for (seed, violation) in &sum.failed {
                println!("seed {seed}: {violation}");
            }
            println!("{} of {} seeds failed; the first:", sum.failures, sum.seeds);
            report(*seed, violation, arguments, options);
            ExitCode::FAILURE
        }
    }
}

/// Prints a failure so that it can be repeated, shrunk as far as possible.
fn report(seed: u64, violation: &str, arguments: &Arguments, options: &Options) {
    println!("violation: {violation}");
    let seconds = options.length / S;
    let steps = options.steps.map(|steps| format!(" --steps {steps}")).unwrap_or_default();
    // The length matters if --steps makes the plan grow, so only a given length is printed.
    let seconds = match (arguments.seconds, options.steps) {
        (None, Some(_)) => String::new(),
        _ => format!(" --seconds {seconds}"),
    };
    let (mode, missing) = (options.mode, missing(options.missing));
    println!("repeat: cargo sim --seed {seed} --mode {mode}{seconds}{steps}{missing} --trace");
    println!("commit: {}", commit());
    if arguments.no_shrink {
        return;
    }
    std::panic::set_hook(Box::new(|_| {}));
    let (plan, outcome) = shrink(&plan_of(seed, options));
    let setup = &plan.setup;
    println!(
        "shrunk to {} entries (groups {:?}, {} shards, {} keys, mode {}):",
        plan.entries.len(),
        setup.groups,
        setup.shards,
        setup.keys,
        setup.mode
    );
    for (id, Entry { at, what }) in (1..).zip(&plan.entries) {
        let entry = Entry { at: *at, what: *what };
        let name = match what {
            What::Act { .. } | What::Ask(_) => format!(" (o{id})"),
            _ => String::new(),
        };
        println!("  {entry}{name}");
    }
    println!("what happened:");
    for line in &outcome.lines {
        println!("  {line}");
    }
}

/// The option for the rule that is switched off.
fn missing(rule: Option<Rule>) -> String {
    match rule {
        None => String::new(),
        Some(Rule::BootClock) => " --mutant boot-clock".to_owned(),
        Some(Rule::Code(mutant)) => format!(" --mutant {}", mutant.name()),
    }
}

/// Prints lines. An error is ignored, because the reader may be gone.
fn print(lines: &[String]) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    for line in lines {
        if writeln!(out, "{line}").is_err() {
            return;
        }
    }
}

/// Returns the commit that this was built from: `cargo sim` builds the checkout before it runs it.
fn commit() -> String {
    let there = ["-C", env!("CARGO_MANIFEST_DIR")];
    let asks = ["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"];
    let output = std::process::Command::new("git").args(there).args(asks).output();
    let text = output.ok().filter(|o| o.status.success()).map(|o| o.stdout);
    text.map_or("unknown".to_owned(), |t| String::from_utf8_lossy(&t).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(words: &str) -> String {
        let parsed = Arguments::try_parse_from(format!("sim {words}").split_whitespace());
        parsed.expect_err(words).to_string()
    }

    #[test]
    fn mistakes_are_refused() {
        assert!(refused("--seeds 5..3").contains("the second number must be the higher one"));
        assert!(refused("--seeds 5..5").contains("the range is empty"));
        assert!(refused("--seeds 5").contains("a range is written as"));
        assert!(refused("--seconds 0").contains("0 is not in 1..=3600"));
        assert!(refused("--seconds 99999999999999").contains("is not in 1..=3600"));
        assert!(refused("--seeds 0..9 --jobs 0").contains("give 1 to 1024 threads"));
        assert!(refused("--mutant nope").contains("no-handback"), "it says which there are");
    }

    #[test]
    fn nothing_is_ignored() {
        for more in ["--seconds 3", "--steps 3", "--mode strict", "--no-shrink", "--seeds 0..9"] {
            let text = refused(&format!("--scenario s01_returned_home {more}"));
            assert!(text.contains("cannot be used with"), "{text}");
        }
        for words in ["--seeds 0..9 --trace", "--seed 3 --keep-going", "--seed 3 --jobs 4"] {
            assert!(refused(words).contains("cannot be used with"), "{words}");
        }
        assert!(refused("--jobs 4").contains("--seeds"));
    }

    #[test]
    fn the_last_seeds_are_a_range_like_any_other() {
        let options = Options { mode: Mode::Strict, length: S, steps: Some(1), missing: None };
        let sum = run_many(u64::MAX - 3..u64::MAX, 2, &options, false);
        assert_eq!((sum.seeds, sum.failures), (3, 0));
    }
}
