//! The schedules of docs/FAILOVER.md, written by hand. Each must pass, and must fail if its rule is
//! switched off.
//!
//! ```text
//! at_once.rs   writes without an identity that end when they arrive
//! data.rs      stale and lost values, which the checker sees
//! drops.rs     a value from before a flush
//! bound.rs     a value from before a write in another keyspace
//! cached.rs    an old value of a keyspace without a database
//! control.rs   mistaken states and identities
//! copies.rs    copies of a write that arrive out of order
//! dead.rs      a master that takes a dead incarnation for the living one
//! found.rs     what random runs have found
//! stopped.rs   a server that was stopped holds a write
//! transact.rs  two keys at once, of which one is old
//! load.rs      too much work: too many hops, too many calls to the origin
//! ```
//! Server a is the home of key k0, b of k1, and so on. Times are since the cluster is up.

mod at_once;
mod bound;
mod cached;
mod control;
mod copies;
mod data;
mod dead;
mod drops;
mod found;
mod load;
mod modify;
mod stopped;
mod stored;
#[cfg(test)]
mod tests;
mod transact;

use crate::plan::{Plan, Rule};
use crate::world::{Outcome, run};

/// A schedule and what is expected of it.
pub(crate) struct Scenario {
    /// The table's number and name.
    pub(crate) name: &'static str,
    pub(crate) plan: fn() -> Plan,
    /// The expectation besides the invariants of all runs.
    pub(crate) expect: fn(&Outcome) -> Result<(), String>,
    /// The rules without which it must fail, each with a part of the failure's text.
    pub(crate) fails_without: &'static [(Rule, &'static str)],
}

/// The number of sets of latencies under which tests run each schedule. Without a rule it must fail under at
/// least one of them.
#[cfg(any(test, feature = "mutants"))]
pub(crate) const LATENCIES: u64 = 6;

/// All schedules.
pub(crate) const ALL: &[Scenario] = &[
    data::RETURNED_HOME,
    data::OVERFLOWED_LOG,
    data::SPLIT_SERVING,
    data::OWED_KEY,
    data::SPLIT_SERVING_MIRRORED,
    data::KEPT_WHILE_WAITING,
    data::PAUSED_HOME,
    data::PAUSED_HOME_SHORTLY,
    data::DELAYED_WRITE,
    data::STOPPING_OWNER,
    data::FILL_AFTER_INVALIDATE,
    data::COALESCED_STALE_READ,
    data::UNKNOWN_OUTCOME,
    data::FORGOTTEN_UNKNOWN,
    data::SECOND_FAILOVER,
    control::LOST_ANNOUNCEMENT,
    control::REORDERED_ANNOUNCEMENT,
    control::MASTER_RESTART,
    control::TWO_MASTERS,
    control::REPLAY,
    control::FORGED,
    control::GRAY_HOME,
    control::LEFT_AND_BACK,
    data::ZOMBIE_RETRY,
    data::STOPPED_SERVER,
    data::STOPPED_SERVER_SHORTLY,
    stopped::WAITS_FOR_AN_OWNER,
    stopped::WAITS_FOR_AN_OWNER_AVAILABLE,
    stopped::CLIENT_HAS_LEFT,
    stopped::TIME_IS_UP,
    stopped::WAITS_FOR_THE_ORIGIN,
    stopped::STOPPED_INSIDE,
    data::WRITE_RACE,
    data::CLOCK,
    drops::FLUSHED_HOME,
    drops::FILL_AFTER_FLUSH,
    load::RETURN_STAMPEDE,
    load::NEW_PROCESS_STAMPEDE,
    load::FORWARDING_LOOP,
    load::NODE_LOSS_STAMPEDE,
    load::SILENT_LOSS_STAMPEDE,
    bound::WRITTEN,
    bound::FILL_AFTER_WRITE,
    bound::RETURNED_HOME,
    cached::RETURNED_HOME,
    cached::KEPT_WHILE_WAITING,
    at_once::AWAY_FROM_HOME,
    at_once::NOT_THE_OWNER,
    modify::TWO_SERVERS,
    modify::ANSWER_LOST,
    transact::WRITE_SKEW,
    transact::RETURNED_HOME,
    transact::WHOLE,
    load::COLD_START,
    load::COLD_STAND_IN,
    stored::STORED_OTHERWISE,
    stored::NOT_STORED,
    found::NEW_INCARNATION,
    found::FORGOTTEN_BY_ALL,
    found::FORGOTTEN_TWICE,
    found::UNNAMED,
    found::WRITTEN_AFTER_HANDING_OVER,
    found::WORD_GIVEN_AWAY,
    found::MANY_QUESTIONS,
    found::READ_GIVEN_UP,
    found::LEFT_LONG_AGO,
    found::ENDED_BEFORE_IT_TOLD,
    found::STARTED_AGAIN,
    found::TOLD_AND_FORGOTTEN,
    found::TERM_USED_TWICE,
    found::LOWER_TERM,
    found::OFFLINE_UNDER_A_LOWER_TERM,
    found::ONLINE_BY_A_HIGHER_TERM,
    copies::FORWARDED,
    copies::FORWARDED_ROW,
    copies::SENT_BY_THE_CLIENT,
    copies::WITHOUT_ID,
    dead::NAMED,
    dead::NAMED_AGAIN,
];

/// Returns the schedule of this name.
pub(crate) fn named(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

impl Scenario {
    /// Runs it with these latencies (1: its own); returns what is wrong.
    pub(crate) fn run(&self, seed: u64, missing: Option<Rule>) -> (Outcome, Result<(), String>) {
        let mut plan = (self.plan)();
        plan.seed = plan.seed.wrapping_add(seed).wrapping_sub(1);
        plan.setup.missing = missing;
        let outcome = run(&plan, true);
        let result = match &outcome.violation {
            Some(violation) => Err(violation.clone()),
            None => (self.expect)(&outcome),
        };
        (outcome, result)
    }
}

/// Expects nothing besides the invariants.
fn nothing_else(_: &Outcome) -> Result<(), String> {
    Ok(())
}

fn count(outcome: &Outcome, name: &str) -> u64 {
    outcome.counted.list().get(name).copied().unwrap_or(0)
}
