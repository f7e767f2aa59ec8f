//! Fetches. All reads of a key share one fetch (scenario 6). Three limits hold fetches back on
//! their way to the origin: the limit after a change of owner (surge/), room for their rows
//! (gate.rs), and the limit of the whole cluster (ceiling.rs).
//!
//! At most one fetch per key runs. A read joins only a fetch that starts after the read has
//! arrived. Reads that arrive while a fetch runs wait for its end.
//!
//! ```text
//! begin ─► Surge ─► start ─► Gate ─► Ceiling ─► the fetch runs ─► end
//!          release(Surge)    release_room  release(Ceiling)
//! ```
//! A fetch that waits for room enters the ceiling only afterwards, so that many fetches that have
//! waited together do not begin together.
//!
//! This part is told which reads arrive, which fetches end, how many bytes callers have not taken,
//! and how owners change. It returns which fetches begin, and which requests have waited too long.
//! pace.rs has the token buckets and queues of both limits, and measure.rs the usual number of
//! fetches of a shard.

mod ceiling;
mod gate;
mod measure;
mod pace;
mod surge;

use std::time::Duration;

use hashbrown::HashMap;
use standin_protocol::map::Topology;
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use ceiling::Ceiling;
pub(super) use ceiling::Place;
use gate::Gate;
pub(super) use gate::Reserved;
use pace::Entry;
use surge::Surge;

use super::NodeConfig;
use super::state::{Name, Names, PendingKey};
use crate::origin::Outcome;

/// All fetches of a shard.
#[derive(Debug)]
pub(super) struct Fetches {
    fetches: Names<Fetch>,
    surge: Surge,
    gate: Gate,
    ceiling: Ceiling,
    /// The longest time that a fetch should wait for room.
    patience: Duration,
}

/// The fetch of a key.
#[derive(Debug, Default)]
struct Fetch {
    /// The reads that the fetch answers; empty if it does not run yet.
    running: Vec<PendingKey>,
    /// The reads that arrived too late for it, or for which it has yet to begin.
    waiting: Vec<PendingKey>,
    held_back: Option<HeldBack>,
}

/// The limit that holds a fetch back.
#[derive(Debug, Clone, Copy)]
struct HeldBack {
    limit: Limit,
    /// The latest time at which the wait ends.
    until: Micros,
}

/// A limit that holds fetches back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// The limit after a change of owner.
    Surge,
    /// `reads_per_second`.
    Ceiling,
}

/// The figures that the limits need.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    pub(super) partition: u32,
    /// Whether this server is the partition's home.
    pub(super) is_home: bool,
    /// Whether this server owns the partition under a lease.
    pub(super) is_owned: bool,
    /// Whether the result may be kept, in which case the limit after a change of owner applies.
    pub(super) keeps: bool,
    /// The earliest deadline of the waiting requests.
    pub(super) deadline: Micros,
    /// Whether there is room for one more waiting request. Waiting requests leave some room for
    /// writes.
    pub(super) may_wait: bool,
}

/// The result of [`Fetches::join`] for a read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// There is no fetch of the key.
    No,
    /// The read waits for the current fetch.
    Yes,
    /// The fetch is held back, and there is no room for one more waiting request.
    Refused(Limit),
}

/// The result of the attempt to begin a fetch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// The fetch runs, and the caller has to submit it to the origin.
    Runs(Reserved),
    /// The fetch waits for its turn under this limit.
    HeldBack(Limit),
    /// The fetch waits for room.
    Delayed,
    /// These requests are refused.
    Refused(Limit, Vec<PendingKey>),
}

/// A fetch whose waiting is over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Released {
    pub(super) name: Name,
    pub(super) waiting: Vec<PendingKey>,
    /// Whether it may begin; otherwise it has waited too long.
    pub(super) may_begin: bool,
}

/// A fetch that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// The reads that it answers.
    pub(super) running: Vec<PendingKey>,
    /// The reads that arrived later.
    pub(super) waiting: Vec<PendingKey>,
}

/// The sizes of everything that grows here.
#[derive(Debug)]
pub(super) struct Sizes {
    pub(super) fetches: usize,
    /// The places in the queues of the two limits.
    pub(super) held_back: usize,
    pub(super) held_back_at_ceiling: usize,
    pub(super) delayed: usize,
    pub(super) reserved_bytes: usize,
    pub(super) reserved_bytes_max: usize,
}

impl Fetches {
    pub(super) fn new(
        config: &NodeConfig,
        topology: &Topology,
        hashing: ahash::RandomState,
    ) -> Self {
        Self {
            fetches: HashMap::with_hasher(hashing),
            surge: Surge::by(config, topology),
            gate: Gate::by(config),
            ceiling: Ceiling::by(config, topology),
            patience: config.patience,
        }
    }

    /// Makes a read of a key wait for the key's fetch, if there is one.
    pub(super) fn join(&mut self, now: Micros, name: &Name, key: PendingKey, ask: Ask) -> Joined {
        let Some(fetch) = self.fetches.get_mut(name) else { return Joined::No };
        if let Some(HeldBack { limit, until }) = &mut fetch.held_back {
            if !ask.may_wait && (ask.keeps || *limit == Limit::Ceiling) {
                return Joined::Refused(*limit);
            }
            *until = match limit {
                Limit::Surge => self.surge.expedite(now, ask.partition, name, ask.deadline, *until),
                Limit::Ceiling => self.ceiling.expedite(now, name, ceiling_ask(ask), *until),
            };
        }
        match mutant::is(Mutant::JoinRunningFetch) {
            true => fetch.running.push(key),
            false => fetch.waiting.push(key),
        }
        Joined::Yes
    }

    /// Returns the requests for which the fetch of the key runs.
    pub(super) fn running(&self, name: &Name) -> &[PendingKey] {
        self.fetches.get(name).map_or(&[], |fetch| &fetch.running)
    }

    /// Begins one fetch for all of these requests, or makes it wait.
    pub(super) fn begin(
        &mut self,
        now: Micros,
        name: Name,
        waiting: Vec<PendingKey>,
        ask: Ask,
    ) -> Begun {
        let Ask { partition, is_home, deadline, may_wait, .. } = ask;
        let surge = surge::Ask { partition, is_home, deadline, may_wait };
        match ask.keeps.then(|| self.surge.enter(now, &name, surge)) {
            None | Some(Entry::Begin) => self.start(now, name, waiting, ask),
            Some(Entry::Wait(until)) => {
                self.hold(name, waiting, HeldBack { limit: Limit::Surge, until })
            }
            Some(Entry::Refused) => Begun::Refused(Limit::Surge, waiting),
        }
    }

    /// Asks whether a read of one request may begin that can't wait: there is room for its row, and
    /// `reads_per_second` allows it.
    pub(super) fn pass(&mut self, now: Micros, keyspace: u8, ask: Ask) -> Option<Reserved> {
        let may_pass = self.gate.fits(keyspace) && self.ceiling.pass(now, ceiling_ask(ask));
        may_pass.then(|| self.gate.enter(keyspace)).flatten()
    }

    /// Begins a fetch that the limit after a change of owner lets pass, or makes it wait.
    pub(super) fn start(
        &mut self,
        now: Micros,
        name: Name,
        waiting: Vec<PendingKey>,
        ask: Ask,
    ) -> Begun {
        // A place under the ceiling is only for a fetch that can begin at once.
        if !self.gate.fits(keyspace_of(&name)) {
            return self.delay(now, name, waiting);
        }
        match self.ceiling.enter(now, &name, ceiling_ask(ask)) {
            Entry::Begin => self.run(now, name, waiting),
            Entry::Wait(until) => {
                self.hold(name, waiting, HeldBack { limit: Limit::Ceiling, until })
            }
            Entry::Refused => Begun::Refused(Limit::Ceiling, waiting),
        }
    }

    /// Begins a fetch that both limits let pass, if there is room for its row.
    pub(super) fn run(&mut self, now: Micros, name: Name, running: Vec<PendingKey>) -> Begun {
        let Some(reserved) = self.gate.enter(keyspace_of(&name)) else {
            return self.delay(now, name, running);
        };
        self.insert(name, Fetch { running, ..Fetch::default() });
        Begun::Runs(reserved)
    }

    fn hold(&mut self, name: Name, waiting: Vec<PendingKey>, held: HeldBack) -> Begun {
        self.insert(name, Fetch { waiting, held_back: Some(held), ..Fetch::default() });
        Begun::HeldBack(held.limit)
    }

    fn delay(&mut self, now: Micros, name: Name, waiting: Vec<PendingKey>) -> Begun {
        self.gate.wait(name.clone(), now + self.patience);
        self.insert(name, Fetch { waiting, ..Fetch::default() });
        Begun::Delayed
    }

    fn insert(&mut self, name: Name, fetch: Fetch) {
        let other = self.fetches.insert(name, fetch);
        assert!(other.is_none(), "there is only one fetch per key, which reads join");
    }

    /// Adds the requests of a fetch that has not begun, or begins again, to another fetch of the
    /// key, if there is one. Otherwise returns them.
    pub(super) fn join_all(
        &mut self,
        name: &Name,
        mut waiting: Vec<PendingKey>,
    ) -> Option<Vec<PendingKey>> {
        match self.fetches.get_mut(name) {
            Some(fetch) => {
                fetch.waiting.append(&mut waiting);
                None
            }
            None => (!waiting.is_empty()).then_some(waiting),
        }
    }

    /// Returns the next fetch that this limit has held back and that may begin now or is late.
    pub(super) fn release(&mut self, now: Micros, limit: Limit) -> Option<Released> {
        loop {
            let (name, may_begin) = match limit {
                Limit::Surge => self.surge.release(now)?,
                Limit::Ceiling => self.ceiling.release(now)?,
            };
            // A queue may return an old place of a fetch that has since got an earlier one. It is
            // ignored.
            if let Some(waiting) = self.take_held(&name, limit) {
                return Some(Released { name, waiting, may_begin });
            }
        }
    }

    /// Returns the next fetch that has waited for room and may begin now or is late.
    pub(super) fn release_room(&mut self, now: Micros) -> Option<Released> {
        let (name, may_begin) = self.gate.release(now)?;
        let fetch =
            self.fetches.remove(&name).expect("a fetch waits for room until it is released");
        let Fetch { mut running, mut waiting, .. } = fetch;
        waiting.append(&mut running);
        Some(Released { name, waiting, may_begin })
    }

    /// Returns the fetches that are held back under a limit that no longer applies to their
    /// partitions. [`Self::take_held`] removes them.
    pub(super) fn misplaced(&mut self, place: impl Fn(u32) -> Place) -> Vec<(Name, Limit)> {
        let elsewhere = self.surge.take(|partition| place(partition) == Place::Elsewhere);
        let surge = elsewhere.into_iter().map(|name| (name, Limit::Surge));
        let ceiling = self.ceiling.take(&place).into_iter().map(|name| (name, Limit::Ceiling));
        surge.chain(ceiling).collect()
    }

    /// Removes a fetch that this limit holds back. Returns `None` if the limit no longer holds it
    /// back.
    pub(super) fn take_held(&mut self, name: &Name, limit: Limit) -> Option<Vec<PendingKey>> {
        self.fetches.get(name)?.held_back.filter(|held| held.limit == limit)?;
        self.fetches.remove(name).map(|fetch| fetch.waiting)
    }

    /// Frees the room that a fetch had reserved, because the origin has answered.
    pub(super) fn answered(&mut self, reserved: Reserved, outcome: &Outcome) {
        self.gate.leave(reserved, outcome);
    }

    /// Ends the fetch of the key.
    pub(super) fn end(&mut self, name: &Name) -> Ended {
        let fetch = self.fetches.remove(name).expect("a fetch is known until it ends");
        Ended { running: fetch.running, waiting: fetch.waiting }
    }

    /// Sets the bytes of replies that callers have not taken.
    pub(super) fn told_unsent(&mut self, bytes: usize) {
        self.gate.told_unsent(bytes);
    }

    /// Notes that this server has taken over the partition, with hardly anything cached. `changed`
    /// is the number of servers that are away at the same time.
    pub(super) fn took_over(&mut self, now: Micros, partition: u32, is_home: bool, changed: u64) {
        self.surge.took_over(now, partition, is_home, changed);
    }

    /// Sets the number of partitions that the shard owns under a lease from now on.
    pub(super) fn owns(&mut self, now: Micros, partitions: u64) {
        self.ceiling.owns(now, partitions);
    }

    /// Returns the usual number of fetches per second of the server's own partitions while nothing
    /// is cold; zero if it is unknown.
    pub(super) fn usual(&self) -> u64 {
        self.surge.usual()
    }

    /// Whether another server has to be asked for a measure.
    pub(super) fn needs_measure(&self) -> bool {
        self.surge.needs_measure()
    }

    /// Sets the number of fetches per second that a similar shard measures; zero if it has no
    /// measure yet.
    pub(super) fn told_usual(&mut self, now: Micros, usual: u64) {
        self.surge.told(now, usual);
    }

    /// Returns the time at which one of the releases has something to return.
    pub(super) fn next_deadline(&self) -> Option<Micros> {
        let held = [self.surge.next_deadline(), self.ceiling.next_deadline()];
        held.into_iter().chain([self.gate.next_deadline()]).flatten().min()
    }

    /// Returns the sizes of everything that grows here.
    pub(super) fn sizes(&self) -> Sizes {
        let (reserved_bytes, reserved_bytes_max) = self.gate.sizes();
        Sizes {
            fetches: self.fetches.len(),
            held_back: self.surge.held_back(),
            held_back_at_ceiling: self.ceiling.held_back(),
            delayed: self.gate.waiting(),
            reserved_bytes,
            reserved_bytes_max,
        }
    }
}

fn keyspace_of(name: &Name) -> u8 {
    name[0]
}

fn ceiling_ask(ask: Ask) -> ceiling::Ask {
    let Ask { partition, is_owned, deadline, may_wait, .. } = ask;
    ceiling::Ask { partition, is_owned, deadline, may_wait }
}

#[cfg(test)]
mod tests;
