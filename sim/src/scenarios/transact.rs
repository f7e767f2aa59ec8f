//! Schedules of transactions, which compare two keys and write one of them or both, in one step.

use standin_protocol::mutant::Mutant;

use super::{Scenario, count};
use crate::clock::{MS, S};
use crate::plan::{Act, Host, Mode, Rule, Script, What, Written, script};
use crate::world::Outcome;

const A: Host = Host::Server(0);

/// Keys k0 and k2, and k1 and k3, are pairs.
fn pairs() -> Script {
    script(2).with(|setup| {
        (setup.without_database, setup.has_pairs, setup.keys) = (true, true, 4);
    })
}

fn transact(script: Script, client: usize, written: Written) -> Script {
    script.fault(What::Act { client, key: 0, act: Act::Transact(written) })
}

/// Both clients have seen both keys, and each writes one of them.
pub(super) const WRITE_SKEW: Scenario = Scenario {
    name: "s35_write_skew",
    plan: || {
        let both = pairs().at(0).put(0, 0).put(0, 2).at(100 * MS);
        let seen = transact(transact(both, 0, Written::Both), 1, Written::Both).at(200 * MS);
        let one = transact(seen, 0, Written::Second).at(300 * MS);
        transact(one, 1, Written::First).at(400 * MS).get(0, 0).plan()
    },
    expect: |outcome: &Outcome| match (
        count(outcome, "sim transactions"),
        count(outcome, "sim transactions_refused"),
    ) {
        (1, 1) => Ok(()),
        other => Err(format!("succeeded and refused: {other:?}")),
    },
    fails_without: &[
        (Rule::Code(Mutant::TransactComparesFirst), "have both succeeded"),
        (Rule::Code(Mutant::TransactWritesRefused), "was refused, and its value was read"),
    ],
};

/// A client writes both keys of a pair, which another one reads later.
pub(super) const WHOLE: Scenario = Scenario {
    name: "s37_transaction_whole",
    plan: || {
        let both = pairs().at(0).put(0, 0).put(0, 2).at(100 * MS);
        let seen = transact(both, 0, Written::Both).at(200 * MS);
        let written = transact(seen, 0, Written::Both).at(300 * MS);
        transact(written, 1, Written::Both).plan()
    },
    expect: |outcome: &Outcome| match (
        count(outcome, "sim transactions"),
        count(outcome, "sim pairs_read"),
    ) {
        (1, 2) => Ok(()),
        other => Err(format!("written and read: {other:?}")),
    },
    fails_without: &[(Rule::Code(Mutant::TransactKeepsFirst), "only one was found")],
};

/// Server a has both keys cached while it is cut off, and b, which stands in for it, writes both in one step.
pub(super) const RETURNED_HOME: Scenario = Scenario {
    name: "s36_transaction_away",
    plan: || {
        let cut = pairs()
            .with(|setup| setup.mode = Mode::Strict)
            .at(0)
            .put(0, 0)
            .put(0, 2)
            .at(100 * MS)
            .fault(What::Isolate { host: A, lasts: 4 * S })
            .at(3_300 * MS);
        let seen = transact(cut, 1, Written::Both).at(3_900 * MS);
        transact(seen, 1, Written::Both)
            .at(4_400 * MS)
            .gets(1, 0, 10 * MS, 2 * S)
            .gets(1, 2, 10 * MS, 2 * S)
            .plan()
    },
    expect: |outcome: &Outcome| match count(outcome, "sim transactions") {
        1 => Ok(()),
        other => Err(format!("{other} transactions succeeded")),
    },
    fails_without: &[(Rule::Code(Mutant::TransactLogsFirst), "v2 of k2 from server")],
};
