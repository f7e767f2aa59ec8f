//! A master without its file takes a dead incarnation of a server for the living one, because the only map
//! that it gets names that one.

use standin_protocol::mutant::Mutant;

use super::found::{act, plan};
use super::{Scenario, nothing_else};
use crate::clock::{MS, Time};
use crate::plan::{Act, Entry, Host, Mode, Plan, Rule, What};

const A: Host = Host::Server(0);
const B: Host = Host::Server(1);
const M: Host = Host::Master(0);

/// Seed 201683327, mode strict: a was restarted and owned k2 under the second master. The third one got only
/// b's map, which named a's incarnation from before. b, which knew the new one, stood in for a, and logged k2.
/// When the living incarnation had answered the master, b took it for a new one, forgot its log, and said that
/// the log was complete.
pub(super) const NAMED: Scenario = Scenario {
    name: "f20_dead_incarnation_named",
    plan: || named(3_612_000, &[]),
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::ForgottenUnsaid), "of k2 from server a, HIT, CACHED")],
};

/// Derived from the previous one: b had never heard of a's living incarnation. It told it of nothing but a
/// write of unknown outcome, and then said that the log was complete.
pub(super) const NAMED_AGAIN: Scenario = Scenario {
    name: "f21_living_incarnation_unknown",
    plan: || {
        let late = What::OriginLate { percent: 100, by_max: 500 * MS, lasts: 200_000 };
        let mut plan = named(5_011_288, &[(6_950_000, late), (7_060_000, act(0, Act::Put, 0))]);
        plan.setup.shards = 1;
        plan
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::ForgottenUnsaid), "of k2 from server a, HIT, CACHED")],
};

/// b hears nothing from a for this long, which begins when a's living incarnation returns.
fn named(b_is_deaf_for: Time, more: &[(Time, What)]) -> Plan {
    let cut = |from, to, lasts| What::Cut { from, to, lasts };
    let entries = [
        (604_096, What::CrashMaster { down: 1_309_000, forgets: true }),
        (712_718, What::Crash { server: 0, down: 1_107, silent: false }),
        (1_888_712, cut(A, B, b_is_deaf_for)),
        (1_888_712, cut(M, B, 3_612_000)),
        (4_706_812, act(0, Act::Get, 2)),
        (4_900_190, cut(B, A, 1_995_000)),
        (4_900_190, cut(M, A, 3_990_000)),
        (5_502_857, What::CrashMaster { down: 1_750, forgets: true }),
        (6_408_423, act(0, Act::Behind, 2)),
        (6_425_193, act(0, Act::Invalidate, 2)),
    ];
    let mut plan = plan(201_683_327, 2, 5, &[&entries, more].concat());
    plan.entries.sort_by_key(|entry: &Entry| entry.at);
    (plan.setup.mode, plan.setup.lease) = (Mode::Strict, 700 * MS);
    plan.setup.shards = 2;
    plan
}
