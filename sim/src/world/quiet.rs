//! The phase after the disturbances: everything must come to rest, and then every read must be
//! right.
//!
//! ```text
//! Disturbed ─► Converging: reads and a few writes, until all agree ─► Resting: longer than any
//!   bound on staleness ─► Reading: every client reads every key, twice ─► Over
//! ```

use standin_protocol::map::ServerState;

use super::World;
use super::events::Event;
use crate::clock::{MS, S, Time};
use crate::plan::{Act, Host};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Disturbed,
    Converging {
        step: u32,
    },
    Resting,
    /// Every client reads every key; this many of these reads have begun.
    Reading {
        begun: usize,
        since: Time,
    },
    Over,
}

/// The interval between two steps.
const STEP: Time = 100 * MS;
/// The number of steps between operations if few reads per second are allowed: a read may wait for
/// almost half of the operation's time, which is 2.7 s.
const LIMITED_STEPS: usize = 40;
/// The longest time until all agree. It includes the hold-down of a server that has flapped.
const SETTLES_WITHIN: Time = 40 * S;
/// A time longer than a lease with its drift, and than any late commit.
const RESTS: Time = 2_800 * MS;
/// The longest time of an operation when nothing is wrong.
const READS: Time = 300 * MS;
/// The interval of checks whether more reads may begin.
const SOON: Time = 2 * MS;
/// The longest time that all reads take, even if servers that have just become owners fetch only a
/// few rows per second.
const READING_WITHIN: Time = 300 * S;
/// The number of reads that each client begins at once, if a shard has room for those of all
/// clients.
const READ_AT_ONCE: usize = 16;
const READS_NEED: u32 = 64;

impl World {
    pub(crate) fn quiet(&mut self) {
        let pause = match self.phase {
            Phase::Disturbed => {
                self.note(|| "nothing is wrong any more ─────".to_owned());
                self.phase = Phase::Converging { step: 0 };
                0
            }
            Phase::Converging { step } => match self.disagreement() {
                None => {
                    self.note(|| "all agree".to_owned());
                    self.phase = Phase::Resting;
                    RESTS
                }
                Some(why) if self.time > self.setup.quiet_at + SETTLES_WITHIN => {
                    return self.violation(format!("does not come to rest: {why}"));
                }
                Some(_) => {
                    self.phase = Phase::Converging { step: step + 1 };
                    self.traffic(step as usize);
                    STEP
                }
            },
            Phase::Resting if !self.setup.reads_at_the_end => {
                self.phase = Phase::Over;
                return;
            }
            Phase::Resting => {
                self.checker.must_be_current(self.next_id);
                self.phase = Phase::Reading { begun: 0, since: self.time };
                0
            }
            Phase::Reading { since, .. } if self.open_operations() > 0 => {
                if self.time > since + READING_WITHIN {
                    return self.violation("the last reads take too long".to_owned());
                }
                SOON
            }
            Phase::Reading { begun, since } if begun < 2 * self.clients.len() * self.setup.keys => {
                self.read_some(begun, since)
            }
            Phase::Reading { .. } => {
                self.last_look();
                self.phase = Phase::Over;
                return;
            }
            Phase::Over => return,
        };
        self.queue.push(self.time + pause, Event::Quiet);
    }

    /// Returns the number of operations that clients wait for.
    fn open_operations(&self) -> usize {
        self.clients.iter().map(|client| client.engine.open_operations()).sum()
    }

    /// Begins an operation of each client, with each key in turn. If few reads per second are
    /// allowed, they begin only now and then, and none while another is open: there would always be
    /// one that waits.
    fn traffic(&mut self, step: usize) {
        let is_limited = self.setup.reads_per_second.is_some();
        if is_limited && (!step.is_multiple_of(LIMITED_STEPS) || self.open_operations() > 0) {
            return;
        }
        let step = if is_limited { step / LIMITED_STEPS } else { step };
        for client in 0..self.clients.len() {
            let key = (step + client) % self.setup.keys;
            let act = if step % 5 == 4 { Act::Put } else { Act::Get };
            self.act_now(client, key, act);
        }
    }

    fn act_now(&mut self, client: usize, key: usize, act: Act) {
        let id = self.next_id;
        self.next_id += 1;
        self.act(client, key, act, id);
    }

    /// Lets the clients in turn read a few keys, as many at once as there is room for. The next ones
    /// follow after the answers: a server that has just become the owner fetches only a few rows per
    /// second, delays the rest, and refuses reads that would wait for too long.
    fn read_some(&mut self, begun: usize, since: Time) -> Time {
        let round = self.clients.len() * self.setup.keys;
        let many = self.setup.keys.min(READ_AT_ONCE);
        let has_room = self.setup.in_flight_max >= READS_NEED;
        let many = if has_room && self.setup.reads_per_second.is_none() { many } else { 1 };
        let end = (begun + many).min(begun / round * round + round);
        for number in begun..end {
            let (client, key) = (number / self.setup.keys, number % self.setup.keys);
            self.act_now(client % self.clients.len(), key, Act::Get);
        }
        self.phase = Phase::Reading { begun: end, since };
        if end.is_multiple_of(round) { READS } else { SOON }
    }

    /// Returns why the cluster has not come to rest.
    fn disagreement(&self) -> Option<String> {
        let Some(master) = &self.masters[0].process else { return Some("no master".to_owned()) };
        let registry = master.machine.registry();
        let epoch = registry.published_epoch();
        if registry.epoch() != epoch || master.machine.map().is_none() {
            return Some("the master has something to say".to_owned());
        }
        for (id, host) in self.servers.iter().enumerate() {
            let name = Host::Server(id);
            let Some(process) = &host.process else { return Some(format!("{name} is down")) };
            let status = registry.published()[id];
            if status.state != ServerState::Online || status.boot_id != process.boot_id {
                return Some(format!("{name} is held for {}", status.state));
            }
            for shard in &process.shards {
                let held = shard.core.node.map().map(|map| map.epoch);
                if held != Some(epoch) {
                    return Some(format!("{name} has map {held:?}, the master {epoch}"));
                }
            }
            if !process.is_idle() {
                let queues = process.shards.iter().flat_map(|shard| shard.core.queues());
                let filled = queues.filter(|queue| queue.length > 0 && queue.bound > 0);
                let named = filled.map(|queue| format!("{}: {}", queue.name, queue.length));
                let list = named.collect::<Vec<_>>().join(", ");
                return Some(format!("{name} has requests that wait ({list})"));
            }
        }
        for (id, client) in self.clients.iter().enumerate() {
            let name = Host::Client(id);
            if client.engine.open_operations() > 0 {
                return Some(format!("{name} has open operations"));
            }
            let held = client.engine.map().map(|map| map.epoch);
            let is_same =
                client.engine.map().map(|map| map.statuses()) == Some(registry.published());
            if self.has_forgotten && (held > Some(epoch) || held == Some(epoch) && !is_same) {
                // The file was lost and every server has restarted, so only a client knows that
                // this is not a new cluster, which no rule can prevent. The epoch of its map is
                // used again. It uses that map until the next one, and its requests are forwarded.
                continue;
            }
            if held != Some(epoch) {
                return Some(format!("{name} has map {held:?}, the master {epoch}"));
            }
            for server in 0..self.servers.len() {
                let state = client.engine.failover_state(u16::try_from(server).unwrap_or(0));
                if state != Some(standin_client::failover::State::Home) {
                    return Some(format!("{name} has {} as {state:?}", Host::Server(server)));
                }
            }
        }
        None
    }

    /// Checks that the last reads have been answered, each by the key's home.
    fn last_look(&mut self) {
        if let Some(why) = self.disagreement() {
            return self.violation(format!("it was at rest, and is not any more: {why}"));
        }
        let has_calls = self.origin.calls.iter().any(Option::is_some);
        if has_calls || self.origin.queued.iter().any(Option::is_some) {
            self.violation("the origin has open calls while nobody asks".to_owned());
        }
    }
}
