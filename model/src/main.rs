//! `cargo model` explores the failover rules. It prints the number of states, and describes
//! violations as schedules in words.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser, ValueEnum};
use standin_model::explore::{Options, Outcome, explore};
use standin_model::rules::{Mode, Rule, Rules};
use standin_model::suite::{Exploration, FULL, SMALL, scope_for};
use standin_protocol::time::Micros;

/// Checks the rules of failover in every state that a small cluster can reach.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    /// The scopes to explore.
    #[arg(value_enum, default_value = "full")]
    what: What,
    /// Explore only this mode (not with `mutants`, each of which has its own).
    #[arg(long, value_enum)]
    mode: Option<ModeName>,
    /// Explore only this mutant (with `mutants`).
    #[arg(long, value_parser = rule)]
    only: Option<Rule>,
    /// The number of threads.
    #[arg(long, default_value_t = 2, value_parser = threads)]
    threads: usize,
}

const THREADS_MAX: usize = 1_024;
/// The smallest plausible number of states. Every scope has several thousand, so a smaller number
/// means that nothing was explored.
const STATES_MIN: usize = 100;

fn rule(text: &str) -> Result<Rule, String> {
    Rule::ALL.iter().copied().find(|rule| rule.mutant() == text).ok_or_else(|| {
        let names: Vec<&str> = Rule::ALL.iter().map(|rule| rule.mutant()).collect();
        format!("there are {}", names.join(", "))
    })
}

fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(threads @ 1..=THREADS_MAX) => Ok(threads),
        _ => Err(format!("give 1 to {THREADS_MAX}")),
    }
}

/// Refuses options that would be ignored, because they are mistakes.
fn checked(cli: Cli) -> Result<Cli, clap::Error> {
    let text = match (cli.what, cli.only, cli.mode) {
        (What::Small | What::Full, Some(_), _) => {
            "--only applies to mutants; leave it out, or write `mutants` before it"
        }
        (What::Mutants, _, Some(_)) => {
            "each mutant is checked in one mode; leave out --mode, or write `small` or `full`"
        }
        _ => return Ok(cli),
    };
    Err(Cli::command().error(ErrorKind::ArgumentConflict, text))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// The design in small scopes, with a way home from every state: seconds.
    Small,
    /// The design in large scopes: minutes.
    Full,
    /// Each rule switched off in turn; something must fail each time.
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
    let cli = checked(Cli::parse()).unwrap_or_else(|error| error.exit());
    let is_well = match cli.what {
        What::Small => check(&cli, SMALL),
        What::Full => check(&cli, FULL),
        What::Mutants => find_mutants(&cli),
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
            // It matters only in mode `available` that other servers do not hear the master.
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
            if states < STATES_MIN && outcome.violations.is_empty() {
                println!("  only {states} states were explored; the scope is too small");
                is_well = false;
            }
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

fn find_mutants(cli: &Cli) -> bool {
    let mut is_well = true;
    for &rule in Rule::ALL {
        if cli.only.is_some_and(|only| only != rule) {
            continue;
        }
        let (mode, scope) = scope_for(rule);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_refused() {
        let cases = [
            ("small --threads 0", "give 1 to 1024"),
            ("mutants --only nope", "there are lease-never-ends, "),
            ("small --only no-drain", "--only applies to mutants"),
            ("mutants --mode strict", "leave out --mode"),
        ];
        for (words, part) in cases {
            let parsed = Cli::try_parse_from(format!("model {words}").split_whitespace());
            let text = parsed.and_then(checked).expect_err(words).to_string();
            assert!(text.contains(part), "{text}");
        }
    }
}
