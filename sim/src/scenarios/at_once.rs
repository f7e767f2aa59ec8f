//! Schedules of clients whose writes have no identity, as those of memcached and Redis: writes that end
//! when they arrive, and copies that servers send.

use standin_protocol::mutant::Mutant;

use super::Scenario;
use crate::clock::{MS, S};
use crate::plan::{Act, Ask, Host, Mode, Rule, Script, What, script};

const A: Host = Host::Server(0);
const B: Host = Host::Server(1);
const MASTER: Host = Host::Master(0);

fn cache(servers: usize) -> Script {
    script(servers).with(|setup| (setup.without_database, setup.mode) = (true, Mode::Strict))
}

fn asks(script: Script, (client, server): (usize, usize), key: usize, act: Act) -> Script {
    script.fault(What::Ask(Ask { client, server, key, act, leaves: None, has_id: false }))
}

/// Server a holds the value while it is cut off, and b, which owns the key by then, replaces it.
pub(super) const AWAY_FROM_HOME: Scenario = Scenario {
    name: "s34_ended_at_once_away_from_home",
    plan: || {
        let script = asks(cache(2).at(0), (0, 0), 0, Act::Put);
        let script = script.at(100 * MS).fault(What::Isolate { host: A, lasts: 4 * S });
        let found_out = script.at(3_300 * MS).get(0, 1).at(3_500 * MS);
        asks(found_out, (0, 1), 0, Act::Put).at(4_400 * MS).gets(1, 0, 10 * MS, 2 * S).plan()
    },
    expect: ended_at_once,
    fails_without: &[(Rule::Code(Mutant::AtOnceAway), "of k0 from server a, HIT")],
};

/// Server b owns the key and has the value, while a, its home, is cut off from b and the master. A client
/// that reaches only a replaces the value there.
pub(super) const NOT_THE_OWNER: Scenario = Scenario {
    name: "s34_ended_at_once_without_owning",
    plan: || {
        let script = asks(cache(2).at(0), (0, 0), 0, Act::Put);
        let parted = script.at(100 * MS).part(A, MASTER, 8 * S).part(A, B, 8 * S);
        let parted = parted.part(A, Host::Client(0), 8 * S).part(B, Host::Client(1), 8 * S);
        let script = asks(parted.at(4 * S), (0, 1), 0, Act::Put);
        let script = asks(script.at(4_200 * MS), (1, 0), 0, Act::Put);
        script.at(4_300 * MS).gets(0, 0, 50 * MS, 500 * MS).plan()
    },
    expect: ended_at_once,
    fails_without: &[(Rule::Code(Mutant::AtOnceUnowned), "of k0 from server b")],
};

fn ended_at_once(outcome: &crate::world::Outcome) -> Result<(), String> {
    match super::count(outcome, "server writes_at_once") {
        0 => Err("no write has ended when it arrived".to_owned()),
        _ => Ok(()),
    }
}
