//! Runs many seeds in parallel on a few threads.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::clock::{S, Time};
use crate::counted::Counted;
use crate::plan::{Mode, Plan, Rule, generate};
use crate::world::{Outcome, run};

/// The runs.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) mode: Mode,
    pub(crate) length: Time,
    /// The number of entries of the plan that are executed.
    pub(crate) steps: Option<usize>,
    /// The rule that is switched off.
    pub(crate) missing: Option<Rule>,
}

/// The length up to which the disturbed phase of a plan is doubled, so that it never exceeds an
/// hour.
const LENGTH_MAX: Time = 3_600 * S / 2;

/// The largest number of failed seeds that are listed.
const NAMED: usize = 20;

/// The result.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    pub(crate) seeds: u64,
    pub(crate) time: Time,
    pub(crate) events: u64,
    pub(crate) counted: Counted,
    /// The lowest seeds that failed, with the reasons.
    pub(crate) failed: BTreeMap<u64, String>,
    pub(crate) failures: u64,
}

/// The plan of a seed.
pub(crate) fn plan_of(seed: u64, options: &Options) -> Plan {
    let mut length = options.length;
    let mut plan = generate(seed, options.mode, length);
    if let Some(steps) = options.steps {
        while plan.entries.len() < steps && length < LENGTH_MAX {
            length *= 2;
            plan = generate(seed, options.mode, length);
        }
        plan.cut_after(steps);
    }
    plan.setup.missing = options.missing;
    plan
}

/// Executes a plan. A panic is a violation.
pub(crate) fn guarded(plan: &Plan, is_told: bool) -> Outcome {
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(plan, is_told)));
    caught.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("?");
        Outcome { violation: Some(format!("panic: {text}")), ..Outcome::default() }
    })
}

/// Runs all seeds of a range, until one fails (or all of them with `goes_on`).
pub(crate) fn run_many(seeds: Range<u64>, jobs: usize, options: &Options, goes_on: bool) -> Sum {
    let next = AtomicU64::new(seeds.start);
    let ends = AtomicBool::new(false);
    let sum = Mutex::new(Sum::default());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                let mut own = Sum::default();
                loop {
                    // There is no seed after the last one.
                    let after = |seed| (seed < seeds.end).then(|| seed + 1);
                    let taken = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after);
                    let Ok(seed) = taken else { break };
                    if ends.load(Ordering::Relaxed) {
                        break;
                    }
                    let outcome = guarded(&plan_of(seed, options), false);
                    own.add(seed, outcome);
                    if own.failures > 0 && !goes_on {
                        ends.store(true, Ordering::Relaxed);
                    }
                }
                if let Ok(mut sum) = sum.lock() {
                    sum.merge(own);
                }
            });
        }
    });
    sum.into_inner().unwrap_or_default()
}

impl Sum {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.seeds += 1;
        self.time += outcome.time;
        self.events += outcome.events;
        if let Some(violation) = outcome.violation {
            self.failures += 1;
            self.name(seed, violation);
        }
        self.counted.add_all(outcome.counted);
    }

    fn name(&mut self, seed: u64, violation: String) {
        self.failed.insert(seed, violation);
        if self.failed.len() > NAMED {
            self.failed.pop_last();
        }
    }

    fn merge(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.time += other.time;
        self.events += other.events;
        self.failures += other.failures;
        other.failed.into_iter().for_each(|(seed, violation)| self.name(seed, violation));
        self.counted.add_all(other.counted);
    }
}
