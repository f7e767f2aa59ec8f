//! What the simulator has found, as short as it got.

use super::{Scenario, nothing_else};
use crate::clock::Time;
use crate::plan::{Act, Entry, Host, Plan, What, script};

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
