//! Schedules of read-modify-writes: no two may read the same value, and none is executed twice.

use standin_protocol::mutant::Mutant;

use super::{Scenario, nothing_else};
use crate::clock::{MS, S};
use crate::plan::{Act, Host, Rule, Script, What, script};

const A: Host = Host::Server(0);
const B: Host = Host::Server(1);
const MASTER: Host = Host::Master(0);
const C0: Host = Host::Client(0);
const C1: Host = Host::Client(1);

fn swap(script: Script, client: usize) -> Script {
    script.fault(What::Act { client, key: 0, act: Act::Swap })
}

/// Server b, which comes next, changes the value while a, which is silent to it and the master,
/// still has a lease, and changes the value that it has cached.
pub(super) const TWO_SERVERS: Scenario = Scenario {
    name: "s32_modified_by_two_servers",
    plan: || {
        let parted = swap(script(2).at(0), 1)
            .at(100 * MS)
            .part(A, MASTER, 8 * S)
            .part(A, B, 8 * S)
            .part(A, C0, 8 * S)
            .part(B, C1, 8 * S);
        let found_out = parted.at(200 * MS).get(0, 0).at(700 * MS);
        swap(swap(found_out, 0).at(1_300 * MS), 1).plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::ModifyWithoutLease), "have both replaced")],
};

/// Server a changes the value and is killed, and its client does not learn of either.
pub(super) const ANSWER_LOST: Scenario = Scenario {
    name: "s32_modified_twice",
    plan: || {
        let deaf = script(2)
            .at(0)
            .put(0, 0)
            .at(90 * MS)
            .fault(What::Cut { from: A, to: C0, lasts: 5 * S })
            .at(100 * MS);
        swap(deaf, 0)
            .at(150 * MS)
            .fault(What::Crash { server: 0, down: 4 * S, silent: false })
            .plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::ModifySentAgain), "executed twice")],
};
