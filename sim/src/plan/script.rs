//! Plans written by hand, in the order of events.

use super::{Act, BEGINS, Entry, Host, Mode, Plan, Setup, What};
use crate::clock::{MS, S, Time};

/// A plan that is being written. Times count from when the cluster is up.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    plan: Plan,
    at: Time,
}

/// Creates a script with one group of this many servers, two clients, and a key for each server.
pub(crate) fn script(servers: usize) -> Script {
    let setup = Setup {
        mode: Mode::Available,
        groups: vec![servers],
        shards: 1,
        clients: 2,
        keys: servers,
        origin_concurrency: 8,
        reads_per_second: None,
        in_flight_max: 65_536,
        value_bytes: 8,
        some_puts_change_nothing: false,
        shares_rows: false,
        without_database: false,
        has_pairs: false,
        hashes_slots: false,
        is_without_room: false,
        log_keys_max: 64,
        lease: 2 * S,
        ttl_s: 60,
        reads_at_the_end: true,
        missing: None,
        quiet_at: BEGINS,
    };
    Script { plan: Plan { seed: 1, setup, entries: Vec::new() }, at: BEGINS }
}

impl Script {
    /// Changes the cluster.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Setup)) -> Self {
        change(&mut self.plan.setup);
        self
    }

    /// Sets the time of the following events.
    pub(crate) fn at(mut self, time: Time) -> Self {
        self.at = BEGINS + time;
        self
    }

    /// Moves the time of the following events by this much.
    pub(crate) fn then(mut self, later: Time) -> Self {
        self.at += later;
        self
    }

    /// Adds an event.
    pub(crate) fn fault(mut self, what: What) -> Self {
        self.plan.entries.push(Entry { at: self.at, what });
        self
    }

    pub(crate) fn get(self, client: usize, key: usize) -> Self {
        self.fault(What::Act { client, key, act: Act::Get })
    }

    pub(crate) fn put(self, client: usize, key: usize) -> Self {
        self.fault(What::Act { client, key, act: Act::Put })
    }

    /// Changes the row in the database, and lets a client flush its partition.
    pub(crate) fn flush(self, client: usize, key: usize) -> Self {
        let change = What::Act { client, key, act: Act::Behind };
        self.fault(change).then(MS).fault(What::Act { client, key, act: Act::Flush })
    }

    /// Lets a client read the key at this interval until `lasts` later. The time of the following
    /// events does not change.
    pub(crate) fn gets(mut self, client: usize, key: usize, every: Time, lasts: Time) -> Self {
        let mut at = self.at;
        while at < self.at + lasts {
            let what = What::Act { client, key, act: Act::Get };
            self.plan.entries.push(Entry { at, what });
            at += every;
        }
        self
    }

    /// Cuts two hosts off from each other.
    pub(crate) fn part(self, a: Host, b: Host, lasts: Time) -> Self {
        self.fault(What::Cut { from: a, to: b, lasts }).fault(What::Cut { from: b, to: a, lasts })
    }

    pub(crate) fn pause(self, host: Host, lasts: Time) -> Self {
        self.fault(What::Pause { host, lasts })
    }

    /// Returns the plan. Its disturbed phase ends a second after its last entry.
    pub(crate) fn plan(mut self) -> Plan {
        let ends = |entry: &Entry| entry.at + entry.what.lasts().unwrap_or(0);
        let last = self.plan.entries.iter().map(ends).max().unwrap_or(BEGINS);
        self.plan.setup.quiet_at = self.plan.setup.quiet_at.max(last + S);
        self.plan.entries.sort_by_key(|entry| entry.at);
        self.plan
    }
}
