//! The design holds in every state of the small scopes, and no rule is there for nothing.

use standin_model::explore::{Options, Outcome, explore};
use standin_model::rules::{Mode, Rule, Rules};
use standin_model::suite::{SMALL, scope_for};

fn words(outcome: &Outcome) -> String {
    let violation = outcome.violations.first();
    let steps = violation.iter().flat_map(|violation| &violation.schedule);
    steps.map(|step| format!("{step}\n")).collect()
}

fn holds(mode: Mode) {
    let mut met = std::collections::BTreeMap::<&str, u64>::new();
    for exploration in SMALL.iter().filter(|e| mode == Mode::Available || !e.scope.orphans) {
        let options = Options { threads: 2, heals: true, is_shortest: false };
        let outcome = explore(Rules::all(mode), exploration.scope, options);
        let name = exploration.name;
        assert!(outcome.violations.is_empty(), "{name}:\n{}", words(&outcome));
        assert!(outcome.states > 1_000, "{name} has only {} states", outcome.states);
        for (event, count) in outcome.events {
            *met.entry(event).or_default() += count;
        }
    }
    // The events that only happen in the other mode.
    let only_available = ["begun without an owner", "acknowledged without an owner"];
    let only_orphans = ["begun by an orphan", "owed key settled"];
    for (event, count) in met {
        let may_be = mode == Mode::Available
            || !(only_available.contains(&event) || only_orphans.contains(&event));
        assert_eq!(count > 0, may_be, "{event}: {count} times");
    }
}

#[test]
fn strict_no_read_is_older_than_an_acknowledged_write() {
    holds(Mode::Strict);
}

#[test]
fn available_no_read_is_older_than_a_lease() {
    holds(Mode::Available);
}

#[test]
fn each_rule_is_needed() {
    for &rule in Rule::ALL {
        let (mode, scope) = scope_for(rule);
        let options = Options { threads: 2, heals: false, is_shortest: true };
        let outcome = explore(Rules::without(mode, rule), scope, options);
        assert!(!outcome.violations.is_empty(), "without {rule:?} nothing goes wrong");
    }
}
