//! What goes wrong without single rules, for `tests/mutants.rs`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use standin_protocol::mutant::Mutant;

use crate::many::{Options, run_many};
use crate::plan::{DISTURBED, Mode, Rule};
use crate::scenarios::{self, LATENCIES, Scenario};

/// The rules that random runs are expected to miss, too.
const RANDOM: [Rule; 5] = [
    Rule::Code(Mutant::NoLease),
    Rule::Code(Mutant::NoWaiting),
    Rule::Code(Mutant::NoFillToken),
    Rule::Code(Mutant::WritesRace),
    Rule::BootClock,
];
const RANDOM_SEEDS: u64 = 400;

/// Runs each schedule without each of the rules that it needs, under a few sets of latencies. Returns the
/// schedules that go well all the same, or fail for another reason than the expected one.
///
/// # Panics
/// If a run panics.
pub fn schedules() -> Vec<String> {
    let needed = |scenario: &'static Scenario| {
        scenario.fails_without.iter().map(move |(rule, reason)| (scenario, *rule, *reason))
    };
    let all: Vec<_> = scenarios::ALL.iter().flat_map(needed).collect();
    let (next, mistakes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    // Rules are switched off for one thread each.
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((scenario, rule, reason)) =
                    all.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let found = without(scenario, *rule, reason);
                    mistakes.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
                }
            });
        }
    });
    mistakes.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn without(scenario: &Scenario, rule: Rule, reason: &str) -> Option<String> {
    let name = scenario.name;
    let failures = (1..=LATENCIES).filter_map(|seed| scenario.run(seed, Some(rule)).1.err());
    let failures: Vec<String> = failures.collect();
    if failures.is_empty() {
        return Some(format!("{name} goes well without {rule:?}"));
    }
    let other = failures.iter().find(|text| !text.contains(reason))?;
    Some(format!("{name} without {rule:?}: {other}, not: {reason}"))
}

/// Runs a few hundred seeds without each of a few rules. Returns the rules without which all of them go well.
pub fn random_runs() -> Vec<String> {
    let is_missed = |rule: &Rule| {
        let options =
            Options { mode: Mode::Strict, length: DISTURBED, steps: None, missing: Some(*rule) };
        run_many(0..RANDOM_SEEDS, 1, &options, false).failures > 0
    };
    RANDOM.iter().filter(|rule| !is_missed(rule)).map(|rule| format!("{rule:?}")).collect()
}
