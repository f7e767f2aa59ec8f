//! One exhaustive exploration, and its result.

use stateright::{Checker, CheckerBuilder, HasDiscoveries, Model};

use crate::clock::Rates;
use crate::failover::Failover;
use crate::rules::Rules;
use crate::schedule::tell;
use crate::scope::Scope;
use crate::tally::Event;

/// The options of an exploration.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The number of threads.
    pub threads: usize,
    /// Whether to check for every state that the key can return to its home.
    pub heals: bool,
    /// Whether to explore breadth first. Counterexamples are then the shortest, but the exploration
    /// takes more memory.
    pub is_shortest: bool,
}

/// A property that does not hold, and the steps that violate it.
#[derive(Debug)]
pub struct Violation {
    /// The property.
    pub property: &'static str,
    /// The steps to the state in which it does not hold.
    pub schedule: Vec<String>,
}

/// The result of an exploration.
#[derive(Debug)]
pub struct Outcome {
    /// The number of distinct states.
    pub states: usize,
    /// The number of steps of the longest path followed.
    pub depth: usize,
    /// The violation that ended the exploration, if there was one.
    pub violations: Vec<Violation>,
    /// The counts of events.
    pub events: Vec<(&'static str, u64)>,
}

/// Visits every state that these rules allow in this scope, or stops at the first violation.
#[must_use]
pub fn explore(rules: Rules, scope: Scope, options: Options) -> Outcome {
    let mut model = Failover::new(rules, scope, Rates::WORST);
    if options.heals {
        model.healer = Some(Box::new(Failover::new(rules, scope, Rates::WORST)));
    }
    let builder: CheckerBuilder<Failover> =
        model.checker().threads(options.threads).finish_when(HasDiscoveries::AnyFailures);
    match options.is_shortest {
        true => outcome(&builder.spawn_bfs().join()),
        false => outcome(&builder.spawn_dfs().join()),
    }
}

fn outcome(checker: &impl Checker<Failover>) -> Outcome {
    let violations = checker
        .discoveries()
        .into_iter()
        .map(|(property, path)| Violation { property, schedule: tell(path.into_vec()) });
    let tally = &checker.model().tally;
    Outcome {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        violations: violations.collect(),
        events: Event::ALL.iter().map(|(event, name)| (*name, tally.of(*event))).collect(),
    }
}
