//! Schedules in which a client could read an old value through another keyspace. Client 0 uses one
//! keyspace and client 1 the other, over the same rows.

use standin_protocol::mutant::Mutant;

use super::{Scenario, nothing_else};
use crate::clock::{MS, S};
use crate::plan::{Host, Mode, Rule, Script, What, script};

const A: Host = Host::Server(0);

fn shared_rows() -> Script {
    script(2).with(|setup| {
        setup.mode = Mode::Strict;
        setup.shares_rows = true;
    })
}

pub(super) const WRITTEN: Scenario = Scenario {
    name: "s25_written",
    plan: || shared_rows().at(0).get(1, 0).at(100 * MS).put(0, 0).at(200 * MS).get(1, 0).plan(),
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::BoundForgotten), "of k0 from server a, HIT")],
};

pub(super) const FILL_AFTER_WRITE: Scenario = Scenario {
    name: "s25_fill_after_write",
    plan: || {
        let mut script = shared_rows();
        for round in 0..30 {
            // Only the fetch is slow. The write in the other keyspace ends before it.
            let slow = What::OriginSlow { server: None, by: 90 * MS, lasts: 2 * MS };
            script = script.at(100 * MS + round * 150 * MS).fault(slow).get(1, 0);
            script = script.then(3 * MS).put(0, 0).then(110 * MS).get(1, 0);
        }
        script.plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::NoFillToken), "of k0 from server a, HIT")],
};

pub(super) const RETURNED_HOME: Scenario = Scenario {
    name: "s25_returned_home",
    plan: || {
        // Server a is away with k0 cached for client 1's keyspace, and b writes it in the other.
        let away = What::Isolate { host: A, lasts: 4 * S };
        let script = shared_rows().at(0).get(0, 0).get(1, 0).at(100 * MS).fault(away);
        let script = script.at(3_300 * MS).put(0, 0).at(4_050 * MS);
        script.gets(1, 0, 20 * MS, 2 * S).plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::BoundForgotten), "of k0 from server")],
};
