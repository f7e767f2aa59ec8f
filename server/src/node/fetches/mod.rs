//! Fetches: one for all who read a key (scenario 6), and what holds them back on their way to the
//! origin: the limit after a change of owner (surge.rs), room for their rows (gate.rs), and the
//! limit of the whole cluster (ceiling.rs).
//!
//! At most one fetch per key runs. A read joins only a fetch that starts after it; reads that come
//! while one runs wait for its end.
//!
//! ```text
//! begin ─► Surge ─► start ─► Gate ─► Ceiling ─► the fetch runs ─► end
//!          release(Surge)    release_room  release(Ceiling)
//! ```
//! A fetch that waits for room takes its place under the ceiling after that, so that many that have
//! waited together do not begin together.
//!
//! Told: the reads, the end of fetches, the size of what callers have not taken, changes of owner.
//! Returns: which fetches begin, and the requests that have waited too long. pace.rs has the token
//! buckets and queues of both limits, measure.rs what a shard usually fetches.

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
    /// The reads that it answers; none if it does not run yet.
    running: Vec<PendingKey>,
    /// The reads that came too late for it, or for which it has to begin.
    waiting: Vec<PendingKey>,
    held_back: Option<HeldBack>,
}

/// The fetch is held back.
#[derive(Debug, Clone, Copy)]
struct HeldBack {
    limit: Limit,
    /// At the latest.
    until: Micros,
}

/// The limit that holds a fetch back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// The owner has changed.
    Surge,
    /// `reads_per_second`.
    Ceiling,
}

/// The figures that the limits need.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    pub(super) partition: u32,
    /// The partition's home is this server.
    pub(super) is_home: bool,
    /// This server owns the partition under a lease.
    pub(super) is_owned: bool,
    /// The result may be kept: the limit after a change of owner applies.
    pub(super) keeps: bool,
    /// The earliest deadline of the requests that wait.
    pub(super) deadline: Micros,
    /// Whether there is room for one more request that waits. Those leave room for writes.
    pub(super) may_wait: bool,
}

/// The result of [`Fetches::join`] for a read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// There is no fetch of the key.
    No,
    /// It waits for the fetch there is.
    Yes,
    /// The fetch is held back, and there is no room for one more that waits.
    Refused(Limit),
}

/// The result of the attempt to begin a fetch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// It runs: the origin is to be asked.
    Runs(Reserved),
    /// It waits for its turn.
    HeldBack(Limit),
    /// It waits for room.
    Delayed,
    /// These requests are refused.
    Refused(Limit, Vec<PendingKey>),
}

/// A fetch whose waiting is over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Released {
    pub(super) name: Name,
    pub(super) waiting: Vec<PendingKey>,
    /// It may begin; otherwise it has waited too long.
    pub(super) may_begin: bool,
}

/// A fetch has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    /// The reads that it answers.
    pub(super) running: Vec<PendingKey>,
    /// The reads that came later.
    pub(super) waiting: Vec<PendingKey>,
}

/// The sizes of all that grows here.
#[derive(Debug)]
pub(super) struct Sizes {
    pub(super) fetches: usize,
    /// Places under the two limits.
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

    /// A read of a key: it waits for the key's fetch, if there is one.
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

    /// The requests for which the fetch of the key runs.
    pub(super) fn running(&self, name: &Name) -> &[PendingKey] {
        self.fetches.get(name).map_or(&[], |fetch| &fetch.running)
    }

    /// Begins one fetch for all of these, or makes it wait.
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

    /// Begins a fetch that the limit after a change of owner lets pass, or makes it wait.
    pub(super) fn start(
        &mut self,
        now: Micros,
        name: Name,
        waiting: Vec<PendingKey>,
        ask: Ask,
    ) -> Begun {
        // A place under the ceiling is for what begins at once.
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
        assert!(other.is_none(), "reads join the fetch of their key: there is only one");
    }

    /// The requests of a fetch that has not begun, or begins again: they wait for another fetch of
    /// the key, if there is one; otherwise they are given back.
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

    /// The next fetch that this limit has held back and that begins now, or is late.
    pub(super) fn release(&mut self, now: Micros, limit: Limit) -> Option<Released> {
        loop {
            let (name, may_begin) = match limit {
                Limit::Surge => self.surge.release(now)?,
                Limit::Ceiling => self.ceiling.release(now)?,
            };
            // A place further behind of a fetch that was in more of a hurry is given back in vain.
            if let Some(waiting) = self.take_held(&name, limit) {
                return Some(Released { name, waiting, may_begin });
            }
        }
    }

    /// The next fetch that has waited for room and begins now, or is late.
    pub(super) fn release_room(&mut self, now: Micros) -> Option<Released> {
        let (name, may_begin) = self.gate.release(now)?;
        let fetch =
            self.fetches.remove(&name).expect("a fetch waits for room until it is released");
        let Fetch { mut running, mut waiting, .. } = fetch;
        waiting.append(&mut running);
        Some(Released { name, waiting, may_begin })
    }

    /// The fetches that are held back where they do not belong any more, by the place of their
    /// partitions. [`Self::take_held`] takes them out.
    pub(super) fn misplaced(&mut self, place: impl Fn(u32) -> Place) -> Vec<(Name, Limit)> {
        let elsewhere = self.surge.take(|partition| place(partition) == Place::Elsewhere);
        let surge = elsewhere.into_iter().map(|name| (name, Limit::Surge));
        let ceiling = self.ceiling.take(&place).into_iter().map(|name| (name, Limit::Ceiling));
        surge.chain(ceiling).collect()
    }

    /// Takes out a fetch that this limit holds back; `None` if it does not any more.
    pub(super) fn take_held(&mut self, name: &Name, limit: Limit) -> Option<Vec<PendingKey>> {
        self.fetches.get(name)?.held_back.filter(|held| held.limit == limit)?;
        self.fetches.remove(name).map(|fetch| fetch.waiting)
    }

    /// The origin has answered a fetch: what it had reserved is free.
    pub(super) fn answered(&mut self, reserved: Reserved, outcome: &Outcome) {
        self.gate.leave(reserved, outcome);
    }

    /// The fetch of the key ends.
    pub(super) fn end(&mut self, name: &Name) -> Ended {
        let fetch = self.fetches.remove(name).expect("a fetch is known until it ends");
        Ended { running: fetch.running, waiting: fetch.waiting }
    }

    /// The bytes of replies that callers have not taken.
    pub(super) fn told_unsent(&mut self, bytes: usize) {
        self.gate.told_unsent(bytes);
    }

    /// This server has taken over the partition, with hardly anything cached. `changed`: the number
    /// of servers that are away at the same time.
    pub(super) fn took_over(&mut self, now: Micros, partition: u32, is_home: bool, changed: u64) {
        self.surge.took_over(now, partition, is_home, changed);
    }

    /// The shard owns this many partitions under a lease from now on.
    pub(super) fn owns(&mut self, now: Micros, partitions: u64) {
        self.ceiling.owns(now, partitions);
    }

    /// Fetches per second of the server's own partitions while nothing is cold; zero: not known.
    pub(super) fn usual(&self) -> u64 {
        self.surge.usual()
    }

    /// Whether another server has to be asked for a measure.
    pub(super) fn needs_measure(&self) -> bool {
        self.surge.needs_measure()
    }

    /// The fetches per second that a shard like this one measures; zero: nothing yet.
    pub(super) fn told_usual(&mut self, now: Micros, usual: u64) {
        self.surge.told(now, usual);
    }

    /// The time at which one of the releases has something to give.
    pub(super) fn next_deadline(&self) -> Option<Micros> {
        let held = [self.surge.next_deadline(), self.ceiling.next_deadline()];
        held.into_iter().chain([self.gate.next_deadline()]).flatten().min()
    }

    /// All requests that wait for a fetch.
    pub(super) fn waiters(&self) -> impl Iterator<Item = PendingKey> + '_ {
        self.fetches.values().flat_map(|fetch| fetch.running.iter().chain(&fetch.waiting)).copied()
    }

    /// The sizes of all that grows here.
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
