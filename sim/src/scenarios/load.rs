//! Schedules in which a party could get too much to do.

use standin_protocol::mutant::Mutant;

use super::{Scenario, nothing_else};
use crate::clock::{MS, S, Time};
use crate::plan::{Act, BEGINS, Entry, Host, Plan, Rule, What, script};
use crate::world::Outcome;

const A: Host = Host::Server(0);
const B: Host = Host::Server(1);
const C: Host = Host::Server(2);
const MASTER: Host = Host::Master(0);

pub(super) const FORWARDING_LOOP: Scenario = Scenario {
    name: "s18_forwarding_loop",
    plan: || {
        let mut script = script(3).with(|setup| setup.keys = 12).at(0);
        // Server a goes away. Server c hears of it, and b does not, so c forwards to b requests for
        // keys that b still considers a's. Client 0 reaches only c.
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
    fails_without: &[(Rule::Code(Mutant::ForwardTwice), "on a second time")],
};

/// The number of keys of each server.
const KEYS: u64 = 600;

/// All keys are cached. After an event, those of one server are requested at once.
fn loaded(what: What, happens: Time, wanted: Time, home: usize) -> Plan {
    let mut script = script(2).with(|setup| {
        setup.keys = 2 * usize::try_from(KEYS).unwrap_or(0);
        setup.origin_concurrency = 256;
        setup.reads_at_the_end = false;
    });
    // Spread over enough seconds that the servers know the usual rate.
    for step in 0..2 * KEYS {
        let key = usize::try_from(step).unwrap_or(0);
        script = script.at(step * 10 * MS).get(key % 2, key);
    }
    script = script.at(happens).fault(what);
    for step in 0..3 * KEYS {
        let key = usize::try_from(step * 2 % (2 * KEYS)).unwrap_or(0) + home;
        script = script.at(wanted + step * MS / 2).get(key / 2 % 2, key);
    }
    script.plan()
}

pub(super) const RETURN_STAMPEDE: Scenario = Scenario {
    name: "s17_return_stampede",
    plan: || {
        // So much is written while a is away that the log overflows, and a keeps nothing.
        let away = What::Isolate { host: A, lasts: 4 * S };
        let mut plan = loaded(away, 13 * S, 17_700 * MS, 0);
        plan.setup.log_keys_max = 1;
        for step in 0..60 {
            let key = usize::try_from(step * 2).unwrap_or(0);
            let what = What::Act { client: 1, key, act: Act::Put };
            plan.entries.push(Entry { at: BEGINS + 15_800 * MS + step * 5 * MS, what });
        }
        plan.entries.sort_by_key(|entry| entry.at);
        plan
    },
    expect: load_is_bounded,
    fails_without: &[(Rule::Code(Mutant::NoSurgeLimit), "reads of the origin in a second")],
};

pub(super) const NODE_LOSS_STAMPEDE: Scenario = Scenario {
    name: "s19_node_loss_stampede",
    plan: || {
        let crash = What::Crash { server: 1, down: 5 * S, silent: true };
        loaded(crash, 13 * S, 16 * S, 1)
    },
    expect: load_is_bounded,
    fails_without: &[(Rule::Code(Mutant::NoSurgeLimit), "reads of the origin in a second")],
};

pub(super) const SILENT_LOSS_STAMPEDE: Scenario = Scenario {
    name: "s19_silent_loss_stampede",
    plan: || {
        // The death is noticed at once, long before the lease expires.
        let crash = What::Crash { server: 1, down: 5 * S, silent: true };
        let mut plan = loaded(crash, 13 * S, 13_900 * MS, 1);
        let what = What::Act { client: 0, key: 1, act: Act::Get };
        plan.entries.push(Entry { at: BEGINS + 13_050 * MS, what });
        plan.entries.sort_by_key(|entry| entry.at);
        plan
    },
    expect: load_is_bounded,
    fails_without: &[(Rule::Code(Mutant::NoSurgeLimit), "reads of the origin in a second")],
};

pub(super) const NEW_PROCESS_STAMPEDE: Scenario = Scenario {
    name: "s17_new_process_stampede",
    plan: || {
        // Server a is away for longer than a minute, and has measured nothing, so b has to tell it
        // the usual rate.
        let crash = What::Crash { server: 0, down: 62 * S, silent: false };
        loaded(crash, 13 * S, 80 * S, 0)
    },
    expect: load_is_bounded,
    fails_without: &[
        (Rule::Code(Mutant::NoSurgeLimit), "reads of the origin in a second"),
        (Rule::Code(Mutant::NoToldMeasure), "reads of the origin in a second"),
    ],
};

/// The `reads_per_second` of the next two schedules.
const READS_PER_SECOND: u32 = 200;

/// All keys of three servers are requested within half a second, while no server knows its usual
/// rate.
fn wanted_by_all(faults: &[What], wanted: Time, many: usize) -> Plan {
    let mut script = script(3).with(|setup| {
        setup.keys = 900;
        setup.origin_concurrency = 256;
        setup.reads_per_second = Some(READS_PER_SECOND);
        setup.reads_at_the_end = false;
    });
    script = script.at(S);
    for fault in faults {
        script = script.fault(*fault);
    }
    for number in 0..many {
        script = script.at(wanted + number as Time * MS / 2).get(number % 2, number * 7 % 900);
    }
    script.plan()
}

pub(super) const COLD_START: Scenario = Scenario {
    name: "s27_cold_start",
    plan: || {
        let crash = |server| What::Crash { server, down: 300 * MS, silent: false };
        wanted_by_all(&[0, 1, 2].map(crash), 1_400 * MS, 900)
    },
    expect: all_of_it_is_used,
    fails_without: &[(Rule::Code(Mutant::NoReadCeiling), "reads of the origin in a second")],
};

pub(super) const COLD_STAND_IN: Scenario = Scenario {
    name: "s27_cold_stand_in",
    plan: || {
        let crash = What::Crash { server: 1, down: 4 * S, silent: false };
        wanted_by_all(&[crash], 1_100 * MS, 900)
    },
    expect: all_of_it_is_used,
    fails_without: &[(Rule::Code(Mutant::NoReadCeiling), "reads of the origin in a second")],
};

/// Checks that the limit is used. That it is not exceeded is an invariant of all runs. While all
/// partitions are owned, three quarters of the limit are for them.
fn all_of_it_is_used(outcome: &Outcome) -> Result<(), String> {
    let (from, to) = (BEGINS + 2_500 * MS, BEGINS + 4_500 * MS);
    match outcome.fetches.iter().filter(|at| (from..to).contains(*at)).count() {
        240.. => Ok(()),
        few => Err(format!("only {few} reads of the origin in two seconds")),
    }
}

/// The largest number of reads in a second. Before, two servers read all keys once in 12 s: 50 per
/// second each, 100 together. Afterwards 1.75 times that is allowed, 175. If 600 reads wait, for at
/// most two thirds of an operation's 4 s, that rises to 600 / 2.67 = 225. A full bucket, a
/// twentieth of the rate, and a few reads at the edges are added. Without the limit there are 600
/// in a second, or more.
const READS_MAX: usize = 265;

/// Checks that no second after the disturbance has more reads than that.
fn load_is_bounded(outcome: &Outcome) -> Result<(), String> {
    let after: Vec<Time> =
        outcome.fetches.iter().copied().filter(|at| *at >= BEGINS + 13 * S).collect();
    let from = |at: &Time| after.iter().filter(|other| (*at..at + S).contains(*other)).count();
    match after.iter().map(from).max().unwrap_or(0) {
        0 => Err("nothing was read".to_owned()),
        1..=READS_MAX => Ok(()),
        highest => Err(format!("{highest} reads of the origin in a second")),
    }
}
