//! Schedules in which a server is stopped while a write is somewhere inside it, and resumes.

use standin_protocol::mutant::Mutant;

use super::{Scenario, nothing_else};
use crate::clock::{MS, S, Time};
use crate::plan::{Act, Ask, BEGINS, Host, Mode, Rule, Script, What, script};
use crate::world::Outcome;

const A: Host = Host::Server(0);
const B: Host = Host::Server(1);
const MASTER: Host = Host::Master(0);

/// Another client program asks a server to write a key.
fn ask(client: usize, server: usize, key: usize, leaves: Option<Time>) -> What {
    What::Ask(Ask { client, server, key, act: Act::Put, leaves, has_id: true })
}

/// Another client program asks b to write k0, whose home is a.
fn ask_b(leaves: Option<Time>) -> What {
    ask(0, 1, 0, leaves)
}

/// The master and a are stopped until 900 ms, so that b can't learn which server owns k0. At 300 ms
/// b has found a silent. When it learns that only it can't reach a, there is a path through c.
fn without_a_verdict(leaves: Option<Time>) -> Script {
    let script = script(3).at(0).get(0, 0).get(1, 0).at(100 * MS).pause(MASTER, 800 * MS);
    script.pause(A, 800 * MS).at(200 * MS).fault(ask_b(leaves))
}

/// Adds a write through a, when a is back.
fn then_another(script: Script) -> Script {
    let newer = ask(1, 0, 0, None);
    script.at(920 * MS).fault(newer)
}

pub(super) const WAITS_FOR_AN_OWNER: Scenario = Scenario {
    name: "s14_write_that_waits_for_an_owner",
    plan: || {
        let script = without_a_verdict(None).with(|setup| setup.mode = Mode::Strict);
        then_another(script).at(500 * MS).pause(B, 550 * MS).plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::KeepWaiting), "which it had when it was stopped")],
};

pub(super) const WAITS_FOR_AN_OWNER_AVAILABLE: Scenario = Scenario {
    name: "s14_write_that_waits_for_an_owner_available",
    plan: || then_another(without_a_verdict(None)).at(500 * MS).pause(B, 550 * MS).plan(),
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::KeepWaiting), "which it had when it was stopped")],
};

pub(super) const CLIENT_HAS_LEFT: Scenario = Scenario {
    name: "s14_client_has_left",
    plan: || then_another(without_a_verdict(Some(0))).plan(),
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::KeepAbandoned), "whose client has left")],
};

pub(super) const TIME_IS_UP: Scenario = Scenario {
    name: "s14_time_is_up_and_a_map_is_there",
    plan: || {
        // Server a dies. The shard of b resumes after the write's time is over, and finds this, and
        // the map that makes it the owner, at once. Writes wait for half a lease.
        let script = script(2).with(|setup| setup.lease = 3 * S).at(0).get(0, 0).get(1, 0);
        let script = script.at(100 * MS).pause(MASTER, 1_600 * MS);
        let script = script.pause(A, 1_500 * MS).at(200 * MS).fault(ask_b(None)).at(1_600 * MS);
        let script = script.fault(What::Crash { server: 0, down: 2 * S, silent: false });
        let stall = What::StallShard { server: 1, shard: 0, lasts: 250 * MS };
        script.at(1_695 * MS).fault(stall).plan()
    },
    expect: |outcome| match write_of_b(outcome) {
        Some(None) => Ok(()),
        Some(Some(_)) => Err("a write was carried out after its time".to_owned()),
        None => Err("the write has no end".to_owned()),
    },
    fails_without: &[(Rule::Code(Mutant::MapBeforeTime), "was carried out after its time")],
};

/// Returns the server that has executed the write that b was asked for.
fn write_of_b(outcome: &Outcome) -> Option<Option<usize>> {
    let is_it = |asked: Time| asked == BEGINS + 200 * MS;
    outcome.answers.iter().find(|answer| is_it(answer.asked)).map(|answer| answer.by)
}

pub(super) const WAITS_FOR_THE_ORIGIN: Scenario = Scenario {
    name: "s14_write_that_waits_for_the_origin",
    plan: || {
        let slow = What::OriginSlow { server: Some(0), by: 900 * MS, lasts: 300 * MS };
        let mut script = script(2).with(|setup| setup.keys = 24).at(100 * MS).fault(slow);
        for key in (0..24).step_by(2) {
            script = script.fault(ask(0, 0, key, None));
        }
        script.at(110 * MS).pause(A, 700 * MS).plan()
    },
    expect: |outcome| match super::count(outcome, "sim calls_not_begun") {
        0 => Err("no write waited for the origin".to_owned()),
        _ => Ok(()),
    },
    fails_without: &[(Rule::Code(Mutant::KeepQueued), "which it had when it was stopped")],
};

pub(super) const STOPPED_INSIDE: Scenario = Scenario {
    name: "s14_stopped_in_the_middle",
    plan: || {
        // It has decided to forward the first write, and to execute the second.
        let mut script = script(2).at(0).get(0, 0).get(1, 0).get(0, 1);
        for (round, key) in [0, 1, 0, 1, 0, 1].into_iter().enumerate() {
            let at = 100 * MS + round as Time * 2 * S;
            let asked = ask(0, 1, key, None);
            // The HELLO has been answered by then, and the request has not arrived.
            let stop = What::PauseInside { server: 1, lasts: 600 * MS };
            script = script.at(at).fault(asked).at(at + 400 + round as Time * 50).fault(stop);
        }
        script.plan()
    },
    expect: nothing_else,
    fails_without: &[
        (Rule::Code(Mutant::KeepWaiting), "which it had when it was stopped"),
        (Rule::Code(Mutant::KeepQueued), "which it had when it was stopped"),
    ],
};
