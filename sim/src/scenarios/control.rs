//! Schedules in which the state or identity of a party is mistaken.

use standin_protocol::mutant::Mutant;

use super::{Scenario, count, nothing_else};
use crate::clock::{MS, S};
use crate::plan::{BEGINS, Forged, Host, Mode, Rule, What, script};
use crate::world::{Answered, Outcome};

const A: Host = Host::Server(0);
const B: Host = Host::Server(1);
const C: Host = Host::Server(2);
const MASTER: Host = Host::Master(0);

pub(super) const LOST_ANNOUNCEMENT: Scenario = Scenario {
    name: "s09_lost_announcement",
    plan: || {
        let crash = What::Crash { server: 0, down: 3 * S, silent: false };
        let mute = What::Mute { from: MASTER, to: C, lasts: 4 * S };
        // Server c is alone in its group, so it gets maps only from the master.
        let script = script(2).with(|setup| (setup.groups, setup.keys) = (vec![2, 1], 3));
        script.at(0).get(0, 0).at(100 * MS).fault(crash).at(3 * S).fault(mute).plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::NoResend), "does not come to rest: server c has map")],
};

pub(super) const REORDERED_ANNOUNCEMENT: Scenario = Scenario {
    name: "s09_reordered_announcement",
    plan: || {
        let crash = What::Crash { server: 0, down: 300 * MS, silent: false };
        let noise = What::Noise { loss: 10, twice: 90, late_max: 40 * MS, lasts: 8 * S };
        let mut script = script(2).at(0).fault(noise);
        for round in 0..6 {
            script = script.at(200 * MS + round * 1_200 * MS).get(0, 0).fault(crash);
            script = script.then(50 * MS).get(0, 0).put(1, 0);
        }
        script.plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::NoEpochCheck), "its map went back from")],
};

pub(super) const MASTER_RESTART: Scenario = Scenario {
    name: "s10_master_restart",
    plan: || {
        // In mode available, a's own word that it has lost the master would prevent this.
        let script = script(2).with(|setup| setup.mode = Mode::Strict);
        let script = script.at(0).get(0, 0).get(1, 0).at(100 * MS);
        // Server a comes back to a master that has just started.
        let script = script.fault(What::Isolate { host: A, lasts: 4_050 * MS }).at(3 * S);
        let script = script.get(0, 1).then(200 * MS).put(0, 0).at(3_800 * MS);
        let script = script.fault(What::CrashMaster { down: 300 * MS, forgets: false });
        script.at(4_100 * MS).gets(1, 0, 20 * MS, 5 * S).plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::ForgetOffline), "of k0 from server a, HIT")],
};

pub(super) const TWO_MASTERS: Scenario = Scenario {
    name: "s11_two_masters",
    plan: || {
        // The first master can't reach a, the second can; b hears both.
        let other = |host, lasts| What::OtherMaster { host, lasts };
        let mut script = script(2).at(0).get(0, 0).get(1, 0).at(100 * MS).part(A, MASTER, 6 * S);
        script = script.at(200 * MS).fault(other(A, 6 * S));
        for round in 0..6 {
            script = script.at(S + round * 800 * MS).fault(other(B, 400 * MS));
            script = script.put(0, 0).then(300 * MS).put(1, 0).then(50 * MS);
        }
        script.at(S).gets(0, 0, 35 * MS, 8 * S).gets(1, 0, 35 * MS, 8 * S).plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::NoEpochCheck), "its map went back from")],
};

pub(super) const REPLAY: Scenario = Scenario {
    name: "s12_replay",
    plan: || {
        let mut script = script(2).at(0).get(0, 0).get(1, 0);
        // A short pause makes client 0 report to the master. Then its datagrams are replayed.
        script = script.at(100 * MS).pause(A, 250 * MS).then(MS).get(0, 0).get(1, 0);
        script = script.at(2 * S).gets(0, 0, 50 * MS, 5 * S);
        for host in [Host::Client(0), Host::Client(1), A, B] {
            script = script.at(2 * S).fault(What::Replay { from: host, lasts: 5 * S });
        }
        // There must be a datagram that can be replayed.
        script = script.at(2_500 * MS).part(Host::Client(0), A, 3 * S);
        script.plan()
    },
    expect: |outcome| match count(outcome, "event_reported") {
        0..=4 => Ok(()),
        times => Err(format!("the master took {times} reports from what were a few")),
    },
    fails_without: &[(Rule::Code(Mutant::NoReplayWindow), "reports from what were a few")],
};

pub(super) const FORGED: Scenario = Scenario {
    name: "s12_forged",
    plan: || {
        let mut script = script(3).at(0).get(0, 0).get(1, 1).get(1, 2);
        for (round, forged) in (1..).zip(Forged::ALL) {
            let server = usize::try_from(round % 3).unwrap_or(0);
            script = script.at(round * 300 * MS).fault(What::Forge { server, forged });
            script = script.gets(0, server, 20 * MS, 200 * MS).put(1, server);
        }
        script.plan()
    },
    expect: |outcome| match count(outcome, "agent datagrams_distrusted") {
        4 => match outcome.answers.iter().find(|answer| answer.by.is_none()) {
            None => Ok(()),
            Some(failed) => Err(format!("a request failed: {failed:?}")),
        },
        other => Err(format!("of four forged datagrams {other} are not believed")),
    },
    fails_without: &[(Rule::Code(Mutant::BelieveAnybody), "")],
};

pub(super) const GRAY_HOME: Scenario = Scenario {
    name: "s13_gray_home",
    plan: || {
        script(2)
            .with(|setup| {
                setup.shards = 2;
                setup.keys = 12;
            })
            .at(0)
            .fault(What::StallShard { server: 0, shard: 1, lasts: 6 * S })
            .at(10 * MS)
            .gets(0, 0, 50 * MS, 5 * S)
            .gets(0, 2, 50 * MS, 5 * S)
            .gets(0, 4, 50 * MS, 5 * S)
            .gets(1, 6, 50 * MS, 5 * S)
            .gets(1, 8, 50 * MS, 5 * S)
            .gets(1, 10, 50 * MS, 5 * S)
            .at(4 * S)
            .put(0, 0)
            .put(0, 2)
            .put(0, 4)
            .put(1, 6)
            .put(1, 8)
            .put(1, 10)
            .plan()
    },
    expect: served_in_time,
    fails_without: &[(
        Rule::Code(Mutant::ProbeOneShard),
        "is not served although there is a stand-in",
    )],
};

/// From four seconds on, every request is answered before the home resumes.
fn served_in_time(outcome: &Outcome) -> Result<(), String> {
    let mut late = outcome.answers.iter().filter(|answer| answer.asked >= BEGINS + 4 * S);
    match late.find(|answer| answer.by.is_none() || answer.ended >= answer.asked + S) {
        None => Ok(()),
        Some(failed) => Err(format!("k{} is not served although there is a stand-in", failed.key)),
    }
}

/// A server is restarted faster than its lease expires, in the mode in which a refused connection
/// proves nothing. It has acknowledged that it owns nothing, so nothing waits for the lease.
pub(super) const LEFT_AND_BACK: Scenario = Scenario {
    name: "s03_left_and_back",
    plan: || {
        let mut script = script(2).with(|setup| setup.mode = Mode::Strict).at(0);
        script = script.put(0, 0).put(1, 0).at(S);
        script = script.fault(What::Leave { server: 0, down: 100 * MS });
        for step in 0..40 {
            script = script.at(900 * MS + step * 50 * MS).put(1, 0);
        }
        script.plan()
    },
    expect: |outcome| {
        let stalled = |answer: &&Answered| answer.ended - answer.asked > 500 * MS;
        match outcome.answers.iter().find(stalled) {
            Some(answer) => Err(format!("a write stalled at a restart: {answer:?}")),
            None => Ok(()),
        }
    },
    fails_without: &[(Rule::Code(Mutant::ReleasedMayOwn), "a write stalled at a restart")],
};
