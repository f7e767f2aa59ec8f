//! Faults that the simulator has found, as shrunk plans. The seeds that are named drew these plans
//! before there was swarm testing (plan/swarm.rs; commit 46c30f6 is the last one). The plan is repeated
//! here, whatever the seed draws now.

use standin_protocol::mutant::Mutant;

use super::{Scenario, nothing_else};
use crate::clock::{MS, S, Time};
use crate::plan::{Act, Entry, Host, Mode, Plan, Rule, Script, What, script};

const A: Host = Host::Server(0);
const B: Host = Host::Server(1);
const M: Host = Host::Master(0);

pub(super) fn plan(seed: u64, servers: usize, keys: usize, entries: &[(Time, What)]) -> Plan {
    let mut plan = script(servers).with(|setup| setup.keys = keys).plan();
    plan.entries = entries.iter().map(|(at, what)| Entry { at: *at, what: *what }).collect();
    plan.setup.quiet_at = 9_400_000;
    plan.seed = seed;
    plan
}

pub(super) fn act(client: usize, act: Act, key: usize) -> What {
    What::Act { client, key, act }
}

/// Seed 1024, mode available: c, which had written for b while b was away, was killed and restarted.
/// Before any map named its new incarnation, it heard that b was returning, and told b that its log was
/// complete from the beginning. So b kept an old value.
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

/// Seed 8004941, mode strict: b stood in for a, which was cut off, and was killed and restarted while the
/// master lost its state file. All servers answered, but a's old map was the newest that any of them had,
/// and by it a owned the keys that b had written.
pub(super) const FORGOTTEN_BY_ALL: Scenario = Scenario {
    name: "f02_forgotten_by_all",
    plan: || forgotten(&[]),
    expect: nothing_else,
    fails_without: &[],
};

/// As the previous one, found in review: the master is killed while it is still learning, and has
/// only saved what a's old map says.
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

/// Seed 78314074, mode strict: b stood in for a, which was paused, and wrote. The master lost its file, and
/// heard neither a nor b's map: it let all return, and could name no incarnation of a. b concluded that a was
/// a new incarnation, which need not be told of anything, and forgot its log. Since a log says what it has
/// forgotten (dead.rs), a would drop everything, also k2, which nobody has written.
pub(super) const UNNAMED: Scenario = Scenario {
    name: "f04_unnamed_incarnation",
    plan: || {
        let mut plan = plan(
            78_314_074,
            2,
            4,
            &[
                (1_049_355, act(1, Act::Put, 0)),
                (1_050_000, act(1, Act::Get, 2)),
                (1_057_797, What::Pause { host: A, lasts: 3_353_000 }),
                (2_498_697, What::CrashMaster { down: 131_500, forgets: true }),
                (2_521_543, act(0, Act::Put, 0)),
                (2_674_137, act(0, Act::Get, 1)),
                (2_680_287, What::StallShard { server: 1, shard: 0, lasts: 863_000 }),
                (4_273_608, What::Isolate { host: Host::Master(0), lasts: 1_156 }),
            ],
        );
        (plan.setup.mode, plan.setup.lease) = (Mode::Strict, 700 * MS);
        (plan.setup.shards, plan.setup.log_keys_max) = (2, 1);
        plan
    },
    expect: |outcome| {
        let is_fetch =
            |line: &&String| line.contains(" of k2,") && line.contains("server a, FILLED");
        match outcome.lines.iter().filter(is_fetch).count() {
            1 => Ok(()),
            fetches => Err(format!("a has fetched k2 {fetches} times")),
        }
    },
    fails_without: &[(Rule::Code(Mutant::UnnamedIsAnother), "a has fetched k2 2 times")],
};

/// Seed 77029441: the master lost its file while a was paused, and let all return. b and c had handed over,
/// and a had just resumed and done so, when the master was killed again: a wrote as an orphan, by c's word
/// that it had lost the master. The next master relied on what had been acknowledged before that, and c on
/// what it had been told.
pub(super) const WRITTEN_AFTER_HANDING_OVER: Scenario = Scenario {
    name: "f05_written_after_handing_over",
    plan: || {
        let mut plan = plan(
            77_029_441,
            3,
            6,
            &[
                (4_932_491, What::CrashMaster { down: 401_000, forgets: true }),
                (4_951_384, act(0, Act::Get, 5)),
                (4_978_219, What::Pause { host: A, lasts: 1_932_000 }),
                (4_990_921, act(0, Act::Get, 2)),
                (5_001_360, act(1, Act::Get, 0)),
                (6_292_496, act(1, Act::Put, 5)),
                (6_840_804, act(0, Act::Cas, 2)),
                (6_890_556, What::CrashMaster { down: 286_250, forgets: false }),
            ],
        );
        plan.setup.lease = 700 * MS;
        (plan.setup.shards, plan.setup.log_keys_max) = (2, 1);
        plan
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::HandbackOutlivesWord), "HIT")],
};

/// Derived from the previous one: nobody hears the master, and a is dead. The master reaches b again, which
/// then owns a's keys, while c, cut off from both, still relies on b's word that it has lost the master.
pub(super) const WORD_GIVEN_AWAY: Scenario = Scenario {
    name: "f06_word_given_away",
    plan: || {
        let (next, other) = (B, Host::Server(2));
        let mut story = script(3)
            .with(|setup| setup.lease = 700 * MS)
            .get(0, 0)
            .part(Host::Client(1), next, 4 * S)
            .fault(What::Isolate { host: Host::Master(0), lasts: 3 * S })
            .at(S)
            .fault(What::Crash { server: 0, down: 9 * S, silent: false })
            .at(2 * S)
            .put(1, 0)
            .at(2_980 * MS);
        for host in [next, Host::Master(0), Host::Client(0)] {
            story = story.part(other, host, 2 * S);
        }
        story.gets(0, 0, 5 * MS, 300 * MS).at(3_050 * MS).put(1, 0).at(6 * S).get(0, 0).plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::WordForgotten), "HIT")],
};

/// Seed 78579075: shard 0 of a was stuck while a did not hear the master, and was asked repeatedly whether
/// the others are dead. When it resumed, it pinged them once for each time.
pub(super) const MANY_QUESTIONS: Scenario = Scenario {
    name: "f07_many_questions",
    plan: || {
        let mut plan = plan(
            78_579_075,
            3,
            3,
            &[
                (997_111, What::CrashMaster { down: 4_688_000, forgets: false }),
                (1_035_862, act(1, Act::Get, 2)),
                (1_845_882, act(1, Act::Get, 2)),
                (1_846_639, What::StallShard { server: 0, shard: 0, lasts: 5_916_000 }),
                (1_917_206, What::Crash { server: 1, down: 2_229_000, silent: false }),
                (3_198_776, What::Cut { from: Host::Server(2), to: A, lasts: 1_400_000 }),
                (5_185_028, What::Isolate { host: A, lasts: 2_587_500 }),
            ],
        );
        (plan.setup.lease, plan.setup.log_keys_max) = (700 * MS, 1);
        plan
    },
    expect: nothing_else,
    fails_without: &[],
};

/// Seed 78656408: the simulated origin was slow in three ways at once, and began a read long after the
/// server had given it up. No database does that.
pub(super) const READ_GIVEN_UP: Scenario = Scenario {
    name: "f08_read_given_up",
    plan: || {
        let slow = |by, lasts| What::OriginSlow { server: None, by, lasts };
        let mut plan = plan(
            78_656_408,
            4,
            5,
            &[
                (8_280_198, slow(1_699_000, 1_121_000)),
                (8_349_307, slow(1_442_000, 1_070_000)),
                (8_661_176, slow(1_938_000, 1_148_000)),
                (9_240_684, act(0, Act::Get, 1)),
            ],
        );
        (plan.setup.groups, plan.setup.lease) = (vec![2, 2], 700 * MS);
        plan.setup.origin_concurrency = 13;
        plan
    },
    expect: nothing_else,
    fails_without: &[],
};

/// Seed 91067728, mode strict: the master lost its file, and the first datagram that it got from b was an
/// old one by which an earlier incarnation leaves. The master mistook that incarnation for b, and so did a,
/// which forgot what it had to tell the live one. Since a log says what it has forgotten (dead.rs), b would
/// drop everything; but a server that is alive must not be announced as leaving.
pub(super) const LEFT_LONG_AGO: Scenario = Scenario {
    name: "f09_left_long_ago",
    plan: || {
        let master = Host::Master(0);
        let cut = |from, to, lasts| What::Cut { from, to, lasts };
        let mut plan = plan(
            91_067_728,
            2,
            2,
            &[
                (0, What::ClockRate { host: master, rate_ppm: 943_700 }),
                (2_241_960, What::Isolate { host: B, lasts: 1_250_000 }),
                (2_427_678, What::CrashMaster { down: 1_375, forgets: false }),
                (3_273_334, What::Leave { server: 1, down: 1_424_000 }),
                (3_889_761, cut(master, A, 5_166_000)),
                (4_623_322, act(0, Act::Get, 1)),
                (4_946_620, act(0, Act::Put, 1)),
                (5_065_655, act(0, Act::Get, 1)),
                (5_117_817, cut(Host::Client(0), A, 3_202_000)),
                (5_819_408, What::CrashMaster { down: 1_348_000, forgets: true }),
                (6_836_430, act(0, Act::Touch, 1)),
                (7_229_919, act(0, Act::Get, 0)),
                (7_287_025, What::Replay { from: B, lasts: 14_906 }),
                (7_448_739, act(0, Act::Cas, 0)),
                (7_614_482, act(0, Act::Put, 1)),
            ],
        );
        (plan.setup.mode, plan.setup.ttl_s) = (Mode::Strict, 3);
        plan
    },
    expect: |outcome| match outcome.lines.iter().any(|line| line.contains("s1 is stopping")) {
        false => Ok(()),
        true => Err("the master has believed that b leaves".to_owned()),
    },
    fails_without: &[(Rule::Code(Mutant::LeavingWhileLearning), "believed that b leaves")],
};

/// Seed 9100, mode available: nobody heard the master, and b's only shard was stuck while its word that it
/// had lost the master was valid: c wrote b's key as an orphan, acknowledged the write, and ended before it
/// had told b, which kept the old value.
pub(super) const ENDED_BEFORE_IT_TOLD: Scenario = Scenario {
    name: "f10_ended_before_it_told",
    plan: || {
        let master = Host::Master(0);
        plan(
            9_100,
            3,
            5,
            &[
                (4_877_939, What::Pause { host: B, lasts: 133_000 }),
                (6_583_131, What::Isolate { host: master, lasts: 3_032_000 }),
                (6_598_552, act(1, Act::Get, 4)),
                (6_670_088, What::StallShard { server: 1, shard: 0, lasts: 2_748_500 }),
                (6_912_744, act(0, Act::Put, 4)),
                (8_039_291, What::Leave { server: 2, down: 2_216_500 }),
            ],
        )
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::OrphanSkipsSilent), "of k4 from server b, HIT, CACHED")],
};

/// Found by reasoning about the previous one: nobody hears the master, and a is dead; c finds its
/// port closed. Then a is started again while c is cut off from it, and the master is back, but not
/// for c. The new process of a, which has given no word, becomes the owner, while c still relies on
/// the closed port and on b's word.
pub(super) const STARTED_AGAIN: Scenario = Scenario {
    name: "f11_started_again",
    plan: || {
        let (next, other, master) = (B, Host::Server(2), Host::Master(0));
        let (reader, writer) = (Host::Client(0), Host::Client(1));
        script(3)
            .get(0, 0)
            .at(S)
            .fault(What::Isolate { host: master, lasts: 3_990 * MS })
            .at(2_500 * MS)
            .fault(What::Crash { server: 0, down: 2_500 * MS, silent: false })
            .at(3 * S)
            .part(writer, A, 9 * S)
            .part(writer, next, 9 * S)
            .at(3_800 * MS)
            .put(1, 0)
            .at(4_975 * MS)
            .part(other, next, 6 * S)
            .part(other, master, 6 * S)
            .at(4_990 * MS)
            .gets(0, 0, 5 * MS, S)
            .gets(0, 2, 50 * MS, S)
            .at(4_995 * MS)
            .part(other, A, 6 * S)
            .part(other, reader, 6 * S)
            .at(6 * S)
            .fault(What::Crash { server: 2, down: 9 * S, silent: false })
            .at(8 * S)
            .gets(0, 0, 500 * MS, 4 * S)
            .plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::ClosedPortForgotten), "of k0 from server a, HIT")],
};

/// The master's own random tests: a master without its file hears from b that there are newer states, in
/// which c is offline. Before b can give them it is killed. Its new process has heard only from c, which
/// was cut off, and gives the states of before.
pub(super) const TOLD_AND_FORGOTTEN: Scenario = Scenario {
    name: "f12_told_and_forgotten",
    plan: || {
        let (c, master) = (Host::Server(2), Host::Master(0));
        let mute = |from, to, lasts| What::Mute { from, to, lasts };
        script(3)
            .get(0, 2)
            .at(S)
            .part(c, master, 3_200 * MS)
            .part(c, A, 12 * S)
            .part(c, B, 4_420 * MS)
            .part(c, Host::Client(1), 12 * S)
            .at(3_600 * MS)
            .put(1, 2)
            .at(4 * S)
            .fault(What::CrashMaster { down: 300 * MS, forgets: true })
            .fault(What::Stall { from: master, to: B, lasts: 1_600 * MS })
            .fault(mute(A, master, 850 * MS))
            .at(5_400 * MS)
            .fault(mute(B, master, 250 * MS))
            .fault(mute(A, B, 300 * MS))
            .fault(What::Crash { server: 1, down: 50 * MS, silent: false })
            .at(6_500 * MS)
            .gets(0, 2, 100 * MS, 3 * S)
            .plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::OlderMapBelieved), "of k2 from server c, HIT")],
};

/// Seed 200540217, mode available: the master lost its file while it could hear nobody, and drew a lower term
/// than that of its predecessor. b, started again, stood in for a, and a new process of it told a that it
/// remembered all since a map of the lower term. a took that for long ago, and kept its cache.
pub(super) const LOWER_TERM: Scenario = Scenario {
    name: "f14_lower_term",
    plan: || {
        let script = lower_term(3_200 * MS).part(A, M, 10 * S).part(A, B, 10 * S);
        written_for_a(script, 50 * MS).plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::EpochsOfOthers), "of k0 from server a, HIT")],
};

/// As the previous one, derived from it: b was offline when a was cut off, and is offline again when a
/// returns. a took it for offline all the time, because the epoch since when it was offline was a low one.
pub(super) const OFFLINE_UNDER_A_LOWER_TERM: Scenario = Scenario {
    name: "f15_offline_under_a_lower_term",
    plan: || {
        let script = lower_term(1_500 * MS).part(A, M, 10 * S).part(A, B, 10 * S);
        let script = script.with(|setup| (setup.groups, setup.keys) = (vec![2, 2], 4));
        let others = [2, 3].map(|server| What::Crash { server, down: 3_400 * MS, silent: false });
        let script = script.at(3_200 * MS).fault(others[0]).fault(others[1]);
        written_for_a(script, 9 * S).plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::EpochsOfOthers), "of k0 from server a, HIT")],
};

/// As the first of them, derived from it: b hears of a's map while the master is away. The next master, whose
/// file says that a is offline, took over from that map that a is online: a kept its cache.
pub(super) const ONLINE_BY_A_HIGHER_TERM: Scenario = Scenario {
    name: "f16_online_by_a_higher_term",
    plan: || {
        let script = lower_term(3_200 * MS).part(A, B, 9_700 * MS).part(A, M, 11 * S);
        let killed = What::CrashMaster { down: 500 * MS, forgets: false };
        written_for_a(script, 50 * MS).at(12_800 * MS).fault(killed).plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::EpochsOfOthers), "of k0 from server a, HIT")],
};

/// b writes k0 for a and is killed. When a is back, it is read.
fn written_for_a(script: Script, b_is_down: Time) -> Script {
    script
        .at(9_500 * MS)
        .put(1, 0)
        .at(10 * S)
        .fault(What::Crash { server: 1, down: b_is_down, silent: false })
        .at(15 * S)
        .gets(0, 0, 100 * MS, 3 * S)
}

/// Server a caches k0 under the 121st term and is to be cut off from the others, b ends, and the
/// master loses its file: it goes on under a term below 103, in which b, started again, stands in for
/// a.
fn lower_term(b_ends_at: Time) -> Script {
    let mut script = script(2);
    for start in 0..120 {
        let restart = What::CrashMaster { down: MS, forgets: false };
        script = script.at(start * 5 * MS).fault(restart);
    }
    let down = 6_200 * MS - b_ends_at;
    script
        .at(b_ends_at)
        .fault(What::Crash { server: 1, down, silent: false })
        .at(3 * S)
        .get(0, 0)
        .at(3_200 * MS)
        .fault(What::CrashMaster { down: 300 * MS, forgets: true })
}

/// Seed 200072218, mode strict: the master lost its file a second time, and heard nobody until the time for
/// learning was over. It announced that all servers return, under the term of its predecessor: c took one
/// of these epochs for the one that it had, acknowledged it, and went on caching what a owned next.
pub(super) const TERM_USED_TWICE: Scenario = Scenario {
    name: "f13_term_used_twice",
    plan: || {
        let (c, master) = (Host::Server(2), Host::Master(0));
        let (reader, writer) = (Host::Client(0), Host::Client(1));
        let cut = |from, to, lasts| What::Cut { from, to, lasts };
        let mut plan = plan(
            200_072_218,
            3,
            6,
            &[
                (2_533_583, cut(B, A, 1_365_000)),
                (2_533_583, cut(c, A, 1_365_000)),
                (2_533_583, cut(c, writer, 341_250)),
                (2_533_583, cut(reader, A, 341_250)),
                (2_533_583, cut(master, A, 1_365_000)),
                (2_533_583, cut(master, writer, 1_365_000)),
                (2_557_919, act(0, Act::Get, 0)),
                (2_577_802, act(1, Act::Touch, 5)),
                (3_480_641, What::Pause { host: master, lasts: 721_000 }),
                (3_884_353, What::CrashMaster { down: 329_000, forgets: true }),
                (4_642_265, What::Isolate { host: master, lasts: 1_393_000 }),
                (4_766_069, What::StallShard { server: 0, shard: 0, lasts: 1_218_000 }),
                (4_791_269, act(1, Act::Get, 3)),
                (4_810_475, act(1, Act::Invalidate, 0)),
                (4_901_402, What::CrashMaster { down: 1_750, forgets: true }),
                (5_575_915, What::Crash { server: 1, down: 1_848_000, silent: false }),
                (6_059_850, cut(A, c, 761_250)),
                (6_059_850, cut(c, reader, 380_625)),
                (6_059_850, cut(master, c, 761_250)),
                (6_135_038, act(0, Act::Get, 4)),
            ],
        );
        (plan.setup.mode, plan.setup.lease) = (Mode::Strict, 700 * MS);
        (plan.setup.origin_concurrency, plan.setup.some_puts_change_nothing) = (14, true);
        plan
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::TermUsedTwice), "two servers cache partition")],
};
