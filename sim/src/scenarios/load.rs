//! Schedules in which somebody has too much to do.

use standin_protocol::mutant::Mutant;

use super::{Scenario, nothing_else};
use crate::clock::{MS, S, Time};
use crate::plan::{BEGINS, Host, Plan, Rule, Script, What, script};
use crate::world::Outcome;

const A: Host = Host::Server(0);
const B: Host = Host::Server(1);
const C: Host = Host::Server(2);
const MASTER: Host = Host::Master(0);

pub(super) const FORWARDING_LOOP: Scenario = Scenario {
    name: "s18_forwarding_loop",
    plan: || {
        let mut script = script(3).with(|setup| setup.keys = 12).at(0);
        // A goes away, c hears of it and b does not: c sends on to b what b holds for a's.
        // Client 0 only reaches c.
        for from in [MASTER, C] {
            script = script.at(100 * MS).fault(What::Mute { from, to: B, lasts: 3 * S });
        }
        script = script.part(Host::Client(0), B, 4 * S).at(200 * MS);
        for other in [MASTER, C, Host::Client(0), Host::Client(1)] {
            script = script.part(A, other, 4 * S);
        }
        script = script.at(300 * MS);
        for key in [0, 3, 6, 9] {
            script = script.gets(0, key, 40 * MS, 4 * S);
        }
        script.plan()
    },
    expect: nothing_else,
    fails_without: &[Rule::Code(Mutant::ForwardTwice)],
};

/// Many keys, read evenly: some are always missed, because they don't live for long.
fn loaded() -> Script {
    let mut script = script(2).with(|setup| {
        setup.keys = 240;
        setup.ttl_s = 8;
        setup.origin_concurrency = 64;
    });
    let (mut at, mut key) = (0, 0);
    while at < 16 * S {
        script = script.at(at).get(key % 2, key % 240);
        key = (key * 7 + 13) % 100_003;
        at += 2 * MS;
    }
    script
}

pub(super) const RETURN_STAMPEDE: Scenario = Scenario {
    name: "s17_return_stampede",
    plan: || {
        let crash = What::Crash { server: 0, down: 1_500 * MS, silent: false };
        loaded().at(11 * S).fault(crash).plan()
    },
    expect: load_is_bounded,
    fails_without: &[Rule::Code(Mutant::NoSurgeLimit)],
};

pub(super) const NODE_LOSS_STAMPEDE: Scenario = Scenario {
    name: "s19_node_loss_stampede",
    plan: node_loss,
    expect: load_is_bounded,
    fails_without: &[Rule::Code(Mutant::NoSurgeLimit)],
};

fn node_loss() -> Plan {
    let crash = What::Crash { server: 1, down: 5 * S, silent: true };
    loaded().at(11 * S).fault(crash).plan()
}

/// No second after the disturbance sees more than twice the reads of a usual one.
fn load_is_bounded(outcome: &Outcome) -> Result<(), String> {
    let in_second = |from: Time| {
        let calls = outcome.fetches.iter();
        calls.filter(|at| (from..from + S).contains(*at)).count()
    };
    let usual = (3..10).map(|second| in_second(BEGINS + second * S)).max().unwrap_or(0);
    let highest = (110..150).map(|tenth| in_second(BEGINS + tenth * 100 * MS)).max().unwrap_or(0);
    // A few may always come together.
    match highest <= 2 * usual + 10 {
        true => Ok(()),
        false => Err(format!("{highest} reads of the origin in a second, usually {usual}")),
    }
}
