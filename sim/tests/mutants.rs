//! Every rule is needed: without it a schedule of docs/FAILOVER.md fails, and for some of them random runs do.
//!
//! ```text
//! cargo test --workspace --features standin-sim/mutants,standin-master/mutants --test mutants
//! ```

use standin_sim::without_rules;

#[test]
fn every_schedule_fails_without_each_of_its_rules() {
    let mistakes = without_rules::schedules();
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}

#[test]
fn random_runs_miss_rules_too() {
    let unnoticed = without_rules::random_runs();
    assert!(unnoticed.is_empty(), "random runs go well without {unnoticed:?}");
}
