//! Schedules of a keyspace without a database: its values are in the memory of their owners only, and
//! none may come back after it was overwritten elsewhere.

use standin_protocol::mutant::Mutant;

use super::{Scenario, nothing_else};
use crate::clock::{MS, S};
use crate::plan::{Act, Host, Mode, Rule, Script, What, script};

const A: Host = Host::Server(0);
const B: Host = Host::Server(1);
const MASTER: Host = Host::Master(0);
const C0: Host = Host::Client(0);

fn cache() -> Script {
    script(2).with(|setup| setup.without_database = true)
}

/// Server a holds the value while it is cut off, and b, which has nothing to delete, deletes it.
pub(super) const RETURNED_HOME: Scenario = Scenario {
    name: "s30_cache_returned_home",
    plan: || {
        cache()
            .with(|setup| setup.mode = Mode::Strict)
            .at(0)
            .put(0, 0)
            .at(100 * MS)
            .fault(What::Isolate { host: A, lasts: 4 * S })
            .at(3_300 * MS)
            .get(0, 1)
            .at(3_500 * MS)
            .fault(What::Act { client: 0, key: 0, act: Act::Delete })
            .at(4_400 * MS)
            .gets(1, 0, 10 * MS, 2 * S)
            .plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::CacheUnlogged), "of k0 from server a, HIT")],
};

/// Server b, which comes next, writes while a, which is silent to it and the master, still has a lease
/// and writes later.
pub(super) const KEPT_WHILE_WAITING: Scenario = Scenario {
    name: "s31_cache_kept_while_waiting",
    plan: || {
        cache()
            .at(0)
            .put(1, 0)
            .at(100 * MS)
            .part(A, MASTER, 8 * S)
            .part(A, B, 8 * S)
            .part(A, C0, 8 * S)
            .part(B, Host::Client(1), 8 * S)
            .at(200 * MS)
            .put(0, 0)
            .at(1_300 * MS)
            .put(1, 0)
            .at(4_500 * MS)
            .gets(0, 0, 50 * MS, S)
            .plan()
    },
    expect: nothing_else,
    fails_without: &[(Rule::Code(Mutant::CacheKeptWaiting), "of k0 from server b, HIT")],
};
