//! Schedules in which a client could read an old value.

use standin_protocol::mutant::Mutant;

use super::{Scenario, count, nothing_else};
use crate::clock::{MS, S};
use crate::plan::{Act, Host, Mode, Plan, Rule, Script, Setup, What, script};
use crate::world::Outcome;

const A: Host = Host::Server(0);
const B: Host = Host::Server(1);
const C: Host = Host::Server(2);
const C0: Host = Host::Client(0);
const MASTER: Host = Host::Master(0);

fn strict(script: Script) -> Script {
    script.with(|setup| setup.mode = Mode::Strict)
}

pub(super) const RETURNED_HOME: Scenario = Scenario {
    name: "s01_returned_home",
    plan: || {
        strict(script(2))
            .at(0)
            .get(0, 0)
            .at(100 * MS)
            .fault(What::Isolate { host: A, lasts: 4 * S })
            // Server b gives client 0 the newest map, so client 0 sends nothing to a.
            .at(3_300 * MS)
            .get(0, 1)
            .at(3_500 * MS)
            .put(0, 0)
            // Everything that b sends to a by TCP from now on is late.
            .at(3_900 * MS)
            .fault(What::Stall { from: B, to: A, lasts: 2 * S })
            .at(4_400 * MS)
            .gets(1, 0, 10 * MS, 2 * S)
            .plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::NoHandback), "of k0 from server a, HIT")],
};

pub(super) const SPLIT_SERVING: Scenario = Scenario {
    name: "s02_split_serving",
    plan: || {
        let script = strict(split()).at(S).put(0, 0);
        script.at(1_290 * MS).gets(1, 0, 100, 40 * MS).plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::VerdictIgnored), "of k0 from server a, HIT")],
};

pub(super) const SPLIT_SERVING_MIRRORED: Scenario = Scenario {
    name: "s02_split_serving_mirrored",
    plan: || {
        // No verdict of the master reaches b.
        let mute = |from, to| What::Mute { from, to, lasts: 7 * S };
        let script = strict(split()).part(B, MASTER, 7 * S).fault(mute(B, C)).fault(mute(C, B));
        let script = script.at(600 * MS).gets(0, 0, 20 * MS, 6 * S);
        script.at(1_500 * MS).put(1, 0).plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::ProvisionalCaches), "two servers cache partition")],
};

/// Client 0 and server b can't reach a; client 1 and c can.
fn split() -> Script {
    let script = script(3).at(0).get(0, 0).get(1, 0).at(100 * MS);
    script.part(C0, A, 7 * S).part(B, A, 7 * S).part(C, C0, 7 * S)
}

pub(super) const PAUSED_HOME: Scenario = Scenario {
    name: "s03_paused_home",
    plan: || strict(paused(4 * S, 3 * S)).plan(),
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::NoLease), "two servers cache partition")],
};

pub(super) const PAUSED_HOME_SHORTLY: Scenario = Scenario {
    name: "s03_paused_home_shortly",
    plan: || strict(paused(1_200 * MS, 800 * MS)).plan(),
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::NoWaiting), "two servers cache partition")],
};

/// Server a is paused with k0 cached. Meanwhile k0 is written, and it is read when a resumes.
fn paused(lasts: u64, write_at: u64) -> Script {
    let mut script = script(2).at(0).get(0, 0).get(1, 0).at(100 * MS).pause(A, lasts);
    script = script.at(200 * MS).get(0, 0).at(write_at).put(0, 0);
    let resumes = 100 * MS + lasts;
    script.at(resumes - 20 * MS).gets(1, 0, 500, 40 * MS)
}

pub(super) const CLOCK: Scenario = Scenario {
    name: "s16_clock",
    plan: || strict(paused(4 * S, 3 * S)).plan(),
    expect: nothing_else,
    fails_without: &[(Rule::BootClock, "two servers cache partition")],
};

pub(super) const DELAYED_WRITE: Scenario = Scenario {
    name: "s04_delayed_write",
    plan: || {
        let mut script = strict(script(2).with(|setup| setup.keys = 12)).at(0).get(1, 1);
        let homes_keys = [0, 2, 4, 6, 8, 10];
        for key in homes_keys {
            script = script.get(0, key);
        }
        // Server a loses its lease while its writes are under way; b then owns their keys.
        script = script.at(100 * MS).part(A, MASTER, 4 * S).part(A, B, 4 * S);
        let slow = What::OriginSlow { server: Some(0), by: 980 * MS, lasts: 4 * S };
        script = script.at(500 * MS).fault(slow).at(1_250 * MS);
        for key in homes_keys {
            script = script.put(0, key).then(20 * MS);
        }
        // Client 1 has the newest map, and asks b.
        script = script.at(1_900 * MS).gets(1, 1, 10 * MS, 1_500 * MS);
        for key in homes_keys {
            script = script.gets(1, key, 10 * MS, 1_500 * MS);
        }
        script.plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::NoSettle), "from server b, HIT, STAND_IN")],
};

/// The origin's answers are late, and out of order. Three operations on one key are repeated.
fn slow_rounds(acts: [(u64, usize, Act); 3]) -> Plan {
    let mut script = strict(script(2)).at(0);
    script = script.fault(What::OriginSlow { server: None, by: 40 * MS, lasts: 4 * S });
    for round in 0..30 {
        script = script.at(100 * MS + round * 120 * MS);
        script = script.fault(What::Act { client: 0, key: 0, act: Act::Invalidate });
        let begin = 100 * MS + round * 120 * MS + MS;
        for (after, client, act) in acts {
            let what = What::Act { client, key: 0, act };
            script = script.at(begin + after * (1 + round % 3)).fault(what);
        }
        script = script.at(begin + 100 * MS).get(1, 0);
    }
    script.plan()
}

pub(super) const FILL_AFTER_INVALIDATE: Scenario = Scenario {
    name: "s05_fill_after_invalidate",
    plan: || slow_rounds([(0, 0, Act::Get), (200, 1, Act::Put), (90 * MS / 3, 0, Act::Get)]),
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::NoFillToken), "of k0 from server a, HIT")],
};

pub(super) const COALESCED_STALE_READ: Scenario = Scenario {
    name: "s06_coalesced_stale_read",
    plan: || {
        let mut script = strict(script(2));
        for round in 0..30 {
            let slow = What::OriginSlow { server: None, by: 90 * MS, lasts: 2 * MS };
            script = script.at(round * 150 * MS);
            script = script.fault(What::Act { client: 0, key: 0, act: Act::Invalidate }).then(MS);
            // Only the first read is slow, not the write after it.
            script = script.fault(slow).get(0, 0).then(3 * MS).put(1, 0).then(3 * MS);
            // The write has left its value in the cache.
            script = script.fault(What::Act { client: 1, key: 0, act: Act::Invalidate });
            script = script.then(2 * MS).get(1, 0);
        }
        script.plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::JoinRunningFetch), "of k0 from server a, FILLED; v")],
};

pub(super) const UNKNOWN_OUTCOME: Scenario = Scenario {
    name: "s07_unknown_outcome",
    plan: || {
        script(2)
            .at(0)
            .fault(What::OriginLate { percent: 100, by_max: 1_400 * MS, lasts: 400 * MS })
            .then(MS)
            .put(0, 0)
            .put(0, 1)
            .then(100 * MS)
            .put(1, 0)
            .put(1, 1)
            .then(50 * MS)
            .gets(1, 0, 20 * MS, 500 * MS)
            .gets(1, 1, 20 * MS, 500 * MS)
            .plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::NoQuarantine), "HIT, CACHED although all is well")],
};

pub(super) const FORGOTTEN_UNKNOWN: Scenario = Scenario {
    name: "s07_forgotten_unknown",
    plan: || {
        // When a is back, with nothing cached, b has forgotten which writes may still take effect.
        let keys = || (0..16).map(|key| 2 * key);
        let script = script(2).with(|setup| (setup.keys, setup.log_keys_max) = (32, 1));
        let crash = What::Crash { server: 0, down: 900 * MS, silent: false };
        let script = script.at(0).get(1, 1).at(100 * MS).fault(crash).then(MS).get(1, 0);
        let late = What::OriginLate { percent: 100, by_max: 1_400 * MS, lasts: 400 * MS };
        let script = script.at(600 * MS).fault(late).then(MS);
        let script = keys().fold(script, |script, key| script.put(1, key).then(3 * MS));
        let script = script.at(1_010 * MS);
        keys().fold(script, |script, key| script.gets(0, key, 20 * MS, 200 * MS)).plan()
    },
    expect: nothing_else,
    fails_without: &[(
        Rule::Code(Mutant::NoOverflow),
        "from server a, HIT, CACHED although all is well",
    )],
};

pub(super) const SECOND_FAILOVER: Scenario = Scenario {
    name: "s08_second_failover",
    plan: || {
        let down = What::Crash { server: 0, down: 3_500 * MS, silent: false };
        script(2)
            .at(0)
            .get(0, 0)
            .at(100 * MS)
            .fault(down)
            // The stand-in caches it.
            .at(3 * S)
            .gets(0, 0, 50 * MS, 400 * MS)
            .at(5 * S)
            .put(0, 0)
            .at(5_500 * MS)
            .fault(down)
            .at(7_700 * MS)
            .gets(1, 0, 20 * MS, 1_200 * MS)
            .plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::KeepStandInEntries), "from server b, HIT, STAND_IN")],
};

pub(super) const ZOMBIE_RETRY: Scenario = Scenario {
    name: "s14_zombie_retry",
    plan: || {
        let mut script = script(2).at(0).get(0, 0).get(1, 0);
        for round in 0..3 {
            let at = 200 * MS + round * 900 * MS;
            // The write is in a's socket. It is sent again, and a resumes.
            script = script.at(at).pause(A, 180 * MS + round * 20 * MS).then(MS).put(0, 0);
            script = script.at(at + 182 * MS + round * 20 * MS).put(1, 0).then(3 * MS).put(1, 0);
        }
        script.plan()
    },
    expect: executed_once,
    fails_without: &[(Rule::Code(Mutant::NoIdentity), "carried out a second time")],
};

fn executed_once(outcome: &Outcome) -> Result<(), String> {
    match super::count(outcome, "sim executed_twice") {
        0 => Ok(()),
        times => Err(format!("{times} writes were carried out a second time")),
    }
}

pub(super) const STOPPED_SERVER: Scenario = Scenario {
    name: "s14_stopped_server",
    plan: || stopped(4 * S, 3_500 * MS),
    expect: executed_once,
    fails_without: &[(Rule::Code(Mutant::KeepConnections), "which it had when it was stopped")],
};

pub(super) const STOPPED_SERVER_SHORTLY: Scenario = Scenario {
    name: "s14_stopped_server_shortly",
    plan: || stopped(900 * MS, 700 * MS),
    expect: executed_once,
    fails_without: &[(Rule::Code(Mutant::KeepConnections), "which it had when it was stopped")],
};

/// The first write is in a's socket, and b processes it. Later b processes the second.
fn stopped(lasts: u64, second: u64) -> Plan {
    let script = script(2).at(0).get(0, 0).get(1, 0).at(100 * MS).pause(A, lasts);
    let script = script.then(MS).put(0, 0).at(second).put(1, 0);
    script.at(lasts + 200 * MS).get(1, 0).plan()
}

pub(super) const STOPPING_OWNER: Scenario = Scenario {
    name: "s04_stopping_owner",
    plan: || {
        let script = strict(script(2).with(|setup| setup.keys = 12)).at(0).get(1, 1);
        let script = script.at(100 * MS);
        let slow = What::OriginSlow { server: Some(0), by: 400 * MS, lasts: 100 * MS };
        // Server a is asked to stop while they are under way. The only thing that it then hears is
        // that it is leaving.
        let mute = |from| What::Mute { from, to: A, lasts: 900 * MS };
        // Some of its writes are delayed before their execution, some after it.
        let keys = || (0..6).map(|key| 2 * key);
        let write = |script: Script, key| script.put(0, key).then(5 * MS);
        let script = keys().fold(script.fault(slow), write).at(150 * MS);
        let script = script.fault(What::Leave { server: 0, down: 4 * S });
        let script = script.then(3_200).fault(mute(MASTER)).fault(mute(B));
        let script = script.at(160 * MS).gets(1, 1, 5 * MS, 50 * MS);
        keys().fold(script, |script, key| script.gets(1, key, 5 * MS, 900 * MS)).plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::NoDrain), "from server b, HIT, STAND_IN")],
};

pub(super) const OWED_KEY: Scenario = Scenario {
    name: "s02_owed_key",
    plan: || {
        let shards = |setup: &mut Setup| (setup.shards, setup.keys) = (2, 12);
        let mut script = strict(script(2).with(shards)).at(0).get(1, 1);
        // Server a loses its lease while its writes are under way. Then b owns their keys, and
        // keeps them while one shard of a is stuck.
        script = script.at(100 * MS).part(A, MASTER, 2_300 * MS).part(A, B, 2_300 * MS);
        let slow = What::OriginSlow { server: Some(0), by: 980 * MS, lasts: 4 * S };
        script = script.at(500 * MS).fault(slow).at(1_250 * MS);
        for key in [0, 2, 4, 6, 8, 10] {
            script = script.put(0, key).then(20 * MS);
        }
        script.at(1_500 * MS).fault(What::StallShard { server: 0, shard: 1, lasts: 4 * S }).plan()
    },
    expect: |outcome| match count(outcome, "sim unknown") {
        0 => Ok(()),
        unknown => Err(format!("{unknown} writes were not acknowledged by their owner's word")),
    },
    fails_without: &[(Rule::Code(Mutant::NoOwed), "by their owner's word")],
};

pub(super) const KEPT_WHILE_WAITING: Scenario = Scenario {
    name: "s02_kept_while_waiting",
    plan: || {
        // Server a is silent for all but client 1, and has a lease for a while. The next owner is
        // b.
        let script = script(2).at(0).get(0, 0).get(1, 0).at(100 * MS).part(C0, A, 7 * S);
        let script = script.part(MASTER, A, 7 * S).part(B, A, 7 * S).then(10 * MS).get(0, 0);
        // Server b reads the key. Client 1 writes through a, of which b does not hear.
        let script = script.at(900 * MS).get(0, 0).at(1_200 * MS).put(1, 0);
        script.at(3_800 * MS).gets(0, 0, 50 * MS, 2 * S).plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::BriefStays), "of k0 from server b, HIT, STAND_IN")],
};

pub(super) const OVERFLOWED_LOG: Scenario = Scenario {
    name: "s01_overflowed_log",
    plan: || {
        let away = What::Isolate { host: A, lasts: 4 * S };
        let keys = (0..16).map(|key| 2 * key);
        let script = strict(script(2)).with(|setup| (setup.keys, setup.log_keys_max) = (32, 1));
        let script = keys.clone().fold(script.at(0), |script, key| script.get(0, key));
        let script = script.at(100 * MS).fault(away).at(3_300 * MS).get(0, 1).at(3_500 * MS);
        let script = keys.clone().fold(script, |script, key| script.put(0, key).then(3 * MS));
        let script = script.at(4_100 * MS);
        keys.fold(script, |script, key| script.gets(1, key, 20 * MS, S)).plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::NoOverflow), "from server b, HIT, FORWARDED")],
};

pub(super) const WRITE_RACE: Scenario = Scenario {
    name: "s15_write_race",
    plan: || slow_rounds([(0, 0, Act::Put), (100, 1, Act::Put), (9 * MS, 0, Act::Get)]),
    expect: nothing_else,
    // With some latencies the race itself is seen, with others that the cache keeps the older value.
    fails_without: &[(Rule::Code(Mutant::WritesRace), "of k0")],
};
