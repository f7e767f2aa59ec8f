//! Copies of a write that arrive out of order: the network holds the first one up until the second was
//! acknowledged and another client has written the key.

use standin_protocol::mutant::Mutant;

use super::{Scenario, nothing_else};
use crate::clock::{MS, Time};
use crate::plan::{Act, Ask, Host, Mode, Rule, Script, What, script};

const B: Host = Host::Server(1);
const C: Host = Host::Server(2);
/// The key whose home is b.
const KEY: usize = 1;

/// The time at which the writer finds b silent.
const GIVES_UP: Time = 202 * MS;

/// Seed 201470924, mode strict: c forwarded a write to b, was not answered, and sent it to b through a. That
/// copy was executed and acknowledged, and a newer value was written. Then the first copy reached b, which
/// did not recognise it, because only copies marked RETRY were looked up.
pub(super) const FORWARDED: Scenario = Scenario {
    name: "f17_late_first_copy",
    plan: || forwarded(without_database(), true).plan(),
    expect: nothing_else,
    fails_without: &[
        (Rule::Code(Mutant::CopyUnmarked), "of k1 from server"),
        (Rule::Code(Mutant::SentAgainUnmarked), "of k1 from server"),
    ],
};

/// As the previous one, with a database, whose order the reads follow: the newer value is lost.
pub(super) const FORWARDED_ROW: Scenario = Scenario {
    name: "f18_late_first_copy_of_a_row",
    plan: || forwarded(script(3), true).plan(),
    expect: nothing_else,
    fails_without: &[
        (Rule::Code(Mutant::CopyUnmarked), "carried out a second time"),
        (Rule::Code(Mutant::SentAgainUnmarked), "carried out a second time"),
    ],
};

/// As the first of them, derived from it: the client is one of memcached or Redis, whose writes have no
/// identity until a server sends them on.
pub(super) const WITHOUT_ID: Scenario = Scenario {
    name: "f22_late_first_copy_without_id",
    plan: || forwarded(without_database(), false).plan(),
    expect: nothing_else,
    fails_without: &[
        (Rule::Code(Mutant::SentOnUnnamed), "of k1 from server"),
        (Rule::Code(Mutant::CopyUnmarked), "of k1 from server"),
    ],
};

/// As the first of them, derived from it: a client sends both copies to b itself, on two connections.
pub(super) const SENT_BY_THE_CLIENT: Scenario = Scenario {
    name: "f19_late_first_copy_of_a_client",
    plan: || {
        let script = without_database().put(0, KEY);
        let script = late(script, Host::Client(0)).put(0, KEY);
        overwritten(script).plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::CopyUnmarked), "of k1 from server b, HIT")],
};

fn without_database() -> Script {
    let change = |setup: &mut crate::plan::Setup| {
        (setup.without_database, setup.mode) = (true, Mode::Strict);
    };
    script(3).with(change)
}

/// A client sends its write once, to c, which forwards it. c notices b's silence by an earlier request,
/// before it gives up the write alone.
fn forwarded(script: Script, has_id: bool) -> Script {
    let ask = |act| What::Ask(Ask { client: 0, server: 2, key: KEY, act, leaves: None, has_id });
    let script = late(script.fault(ask(Act::Put)), C);
    overwritten(script.fault(ask(Act::Get)).then(20 * MS).fault(ask(Act::Put)))
}

/// Holds up what this host sends to b next, until shortly after it finds b silent.
fn late(script: Script, from: Host) -> Script {
    script.get(1, KEY).at(100 * MS).fault(What::Cut { from, to: B, lasts: 98 * MS }).then(MS)
}

/// Lets another client write the key when the second copy has been acknowledged.
fn overwritten(script: Script) -> Script {
    let script = script.at(GIVES_UP + 2 * MS).put(1, KEY).gets(1, KEY, MS, 30 * MS);
    script.at(GIVES_UP + 100 * MS).gets(0, KEY, 10 * MS, 50 * MS)
}
