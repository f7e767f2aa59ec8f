//! Schedules in which a client could read a value from before a flush.

use standin_protocol::mutant::Mutant;

use super::{Scenario, nothing_else};
use crate::clock::{MS, S};
use crate::plan::{Act, Host, Mode, Rule, What, script};

const A: Host = Host::Server(0);

pub(super) const FLUSHED_HOME: Scenario = Scenario {
    name: "s24_flushed_home",
    plan: || {
        // Server a is away with k0 cached. Its partition is flushed at b, which hands it back.
        let away = What::Isolate { host: A, lasts: 4 * S };
        let script = script(2).with(|setup| setup.mode = Mode::Strict).at(0).get(0, 0).get(1, 0);
        let script = script.at(100 * MS).fault(away).at(3_300 * MS).get(0, 1).at(3_500 * MS);
        script.flush(0, 0).at(4_050 * MS).gets(1, 0, 20 * MS, 2 * S).plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::FlushForgotten), "of k0 from server b, HIT, FORWARDED")],
};

pub(super) const FILL_AFTER_FLUSH: Scenario = Scenario {
    name: "s24_fill_after_flush",
    plan: || {
        let mut script = script(2).with(|setup| setup.mode = Mode::Strict).at(0);
        script = script.fault(What::OriginSlow { server: None, by: 40 * MS, lasts: 5 * S });
        for round in 0..30 {
            script = script.at(100 * MS + round * 150 * MS);
            script = script.fault(What::Act { client: 0, key: 0, act: Act::Flush }).then(MS);
            // The row is changed after it was read, and before the answer arrives.
            script = script.get(0, 0).then((2 + 2 * (round % 10)) * MS).flush(1, 0);
            script = script.then(100 * MS).get(1, 0);
        }
        script.plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::FlushKeepsFills), "of k0 from server a, HIT")],
};
