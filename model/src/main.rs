//! `cargo model`: explores the failover rules, and prints how many states there are and what
//! is wrong in them, as schedules in words.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use standin_model::explore::{Options, Outcome, explore};
use standin_model::rules::{Mode, Rule, Rules};
use standin_model::suite::{Exploration, FULL, SMALL, hunt};
use standin_protocol::time::Micros;

/// Checks the rules of failover in every state that a small cluster can get into.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    /// What to explore.
    #[arg(value_enum, default_value = "full")]
    what: What,
    /// Only this mode.
    #[arg(long, value_enum)]
    mode: Option<ModeName>,
    /// Only this mutant (with `mutants`).
    #[arg(long)]
    only: Option<String>,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// The design in small scopes, with a way home from every state: seconds.
    Small,
    /// The design in large scopes: minutes.
    Full,
    /// Every rule switched off in turn: each must break something.
    Mutants,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ModeName {
    Strict,
    Available,
}

impl ModeName {
    fn mode(self) -> Mode {
        match self {
            Self::Strict => Mode::Strict,
            Self::Available => Mode::Available,
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let is_well = match cli.what {
        What::Small => check(&cli, SMALL),
        What::Full => check(&cli, FULL),
        What::Mutants => hunt_all(&cli),
    };
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn check(cli: &Cli, explorations: &[Exploration]) -> bool {
    let mut is_well = true;
    let mut events = BTreeMap::<&str, u64>::new();
    println!("{:10} {:40} {:>12} {:>6} {:>8}", "mode", "scope", "states", "depth", "seconds");
    for name in [ModeName::Strict, ModeName::Available] {
        if cli.mode.is_some_and(|only| only != name) {
            continue;
        }
        for exploration in explorations {
            // Only in mode `available` is it of any use to know that others hear nothing.
            if exploration.scope.orphans && name == ModeName::Strict {
                continue;
            }
            let rules = Rules::all(name.mode());
            let options = Options {
                threads: cli.threads,
                heals: cli.what == What::Small,
                is_shortest: false,
            };
            let begin = Micros::boottime();
            let outcome = explore(rules, exploration.scope, options);
            let seconds = Micros::boottime().since(begin).as_secs_f64();
            let (mode, scope) = (format!("{:?}", name.mode()).to_lowercase(), exploration.name);
            let Outcome { states, depth, .. } = outcome;
            println!("{mode:10} {scope:40} {states:>12} {depth:>6} {seconds:>8.1}");
            print_violations(&outcome);
            is_well &= outcome.violations.is_empty();
            for (event, count) in outcome.events {
                *events.entry(event).or_default() += count;
            }
        }
    }
    println!("\nSteps on the way:");
    for (event, count) in events {
        println!("  {count:>12} {event}");
    }
    is_well
}

fn hunt_all(cli: &Cli) -> bool {
    let mut is_well = true;
    for &rule in Rule::ALL {
        if cli.only.as_deref().is_some_and(|only| only != rule.mutant()) {
            continue;
        }
        let (mode, scope) = hunt(rule);
        let options = Options { threads: cli.threads, heals: false, is_shortest: true };
        let outcome = explore(Rules::without(mode, rule), scope, options);
        let verdict = if outcome.violations.is_empty() { "SURVIVES" } else { "is found" };
        let mode = format!("{mode:?}").to_lowercase();
        println!("\n{} {verdict} ({mode}, {} states)", rule.mutant(), outcome.states);
        print_violations(&outcome);
        is_well &= !outcome.violations.is_empty();
    }
    is_well
}

fn print_violations(outcome: &Outcome) {
    for violation in &outcome.violations {
        println!("  does not hold: {}", violation.property);
        for (number, action) in (1..).zip(&violation.schedule) {
            println!("  {number:4}. {action}");
        }
    }
}
