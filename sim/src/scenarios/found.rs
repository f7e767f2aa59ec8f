//! What the simulator has found, as short as it got.

use super::{Scenario, nothing_else};
use crate::clock::Time;
use crate::plan::{Act, Entry, Host, Mode, Plan, What, script};

const B: Host = Host::Server(1);

fn plan(seed: u64, servers: usize, keys: usize, entries: &[(Time, What)]) -> Plan {
    let mut plan = script(servers).with(|setup| setup.keys = keys).plan();
    plan.entries = entries.iter().map(|(at, what)| Entry { at: *at, what: *what }).collect();
    plan.setup.quiet_at = 9_400_000;
    plan.seed = seed;
    plan
}

fn act(client: usize, act: Act, key: usize) -> What {
    What::Act { client, key, act }
}

/// Seed 1024 of mode available: c, which had written for b while b was away, was killed and
/// started again. Before any map knew of it it heard that b returns, and told b that it
/// remembered everything since ever. B kept an old value.
pub(super) const NEW_INCARNATION: Scenario = Scenario {
    name: "f01_new_incarnation_remembers_nothing",
    plan: || {
        let noise = What::Noise { loss: 40, twice: 5, late_max: 55_000, lasts: 3_390_000 };
        let rate = |server, rate_ppm| What::ClockRate { host: Host::Server(server), rate_ppm };
        plan(
            1_024,
            3,
            5,
            &[
                (0, rate(0, 1_054_800)),
                (0, rate(1, 1_073_200)),
                (580_080, act(1, Act::Get, 1)),
                (1_732_698, What::Isolate { host: B, lasts: 1_801_000 }),
                (1_800_815, act(0, Act::Put, 4)),
                (1_831_830, act(0, Act::Get, 1)),
                (1_914_825, act(0, Act::Put, 3)),
                (1_990_137, act(0, Act::Get, 1)),
                (2_093_200, noise),
                (2_101_844, act(0, Act::Get, 0)),
                (2_102_533, act(0, Act::Put, 3)),
                (2_153_106, act(0, Act::Get, 1)),
                (3_262_135, act(0, Act::Put, 1)),
                (4_371_040, What::Crash { server: 2, down: 1_109, silent: false }),
            ],
        )
    },
    expect: nothing_else,
    fails_without: &[],
};

/// Seed 8004941 of mode strict: b stood in for a, which was cut off, and was killed and started
/// again while the master lost its state file. All servers were there, but a's old map was the
/// newest that anybody had, and by it a owned what b had written.
pub(super) const FORGOTTEN_BY_ALL: Scenario = Scenario {
    name: "f02_forgotten_by_all",
    plan: || forgotten(&[]),
    expect: nothing_else,
    fails_without: &[],
};

/// The same (a reviewer's), and that master is killed while it learns: what it has saved by then is
/// no more than a had.
pub(super) const FORGOTTEN_TWICE: Scenario = Scenario {
    name: "f03_forgotten_twice",
    plan: || forgotten(&[(5_000_000, What::CrashMaster { down: 1_000, forgets: false })]),
    expect: nothing_else,
    fails_without: &[],
};

fn forgotten(more: &[(Time, What)]) -> Plan {
    let part = |from, lasts| What::Cut { from, to: Host::Server(0), lasts };
    let entries = [
        (667_568, part(B, 4_000_000)),
        (667_568, part(Host::Client(0), 2_000_000)),
        (667_568, part(Host::Master(0), 4_000_000)),
        (667_568, act(1, Act::Get, 0)),
        (668_568, act(0, Act::Put, 0)),
        (3_665_713, What::Crash { server: 1, down: 119_000, silent: false }),
        (3_751_454, What::CrashMaster { down: 1_156, forgets: true }),
    ];
    let mut plan = plan(8_004_941, 2, 4, &[&entries, more].concat());
    plan.setup.mode = Mode::Strict;
    plan
}
