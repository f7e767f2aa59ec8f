//! Misses after a change of owner (scenarios 17, 19): the new owner has nothing cached, and all its
//! reads would reach the origin at once. So for a while all fetches of the shard are rate-limited
//! together: those of partitions that it had before pass and count, those of new partitions wait
//! for what is left, first those whose clients give up first. A small rate is theirs alone.
//!
//! The rate is such that the database is asked for about twice as much as before by all N servers
//! together. Of that the N−1 others need their usual N−1 shares, and the N+1 that are left are
//! for the keys of the one: a home that returns has all of them, n−1 stand-ins divide them, each
//! beside the share that it needs itself. When several servers change at once, they divide what
//! is left by all of them.
//!
//! When the last one in line would wait longer than clients do, the rate rises, to twice
//! itself; when that is not enough either, requests are refused with a hint. Writes are never
//! held (but a CAS that has to read first is a read). A new process has no measure of its own and
//! takes that of a member of its group; when there is none, there is no limit.

use std::time::Duration;

use standin_protocol::map::Topology;
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use super::measure::Measure;
use super::pace::{Bucket, Entry, FetchQueue, Rate};
use crate::node::NodeConfig;
use crate::node::state::Name;

/// The rate of all servers together, as a percentage of the usual rate. It is less than twice the
/// usual, because usual reads come in bursts too.
const SURGE_PERCENT: u64 = 175;
/// No shard fetches more in a second: what a peer says beyond that is nonsense.
const USUAL_MAX: u64 = 1_000_000;

/// A fetch that wants to begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    pub(super) partition: u32,
    /// The partition's home is this server.
    pub(super) is_home: bool,
    /// The deadline of the client that gives up first.
    pub(super) deadline: Micros,
    /// Whether there is room for one more that waits.
    pub(super) may_wait: bool,
}

/// The servers that share what the database may be asked for.
#[derive(Debug, Clone, Copy)]
struct Sharing {
    /// All partitions, in hundredths of those whose home is this server: N hundred, if all N
    /// servers have equally many.
    whole_percent: u64,
    /// Other members of this server's group.
    peers: u64,
    /// Fetches per second of a shard's new partitions that are always let through.
    reserved: u64,
}

impl Sharing {
    /// Hundredths of its usual rate that a shard may reach, if this many servers change at once.
    fn percent(self, is_home: bool, changed: u64) -> u64 {
        let left = self.whole_percent * (SURGE_PERCENT - 100) / 100 / changed.max(1) + 100;
        if is_home { left } else { 100 + left / self.peers.max(1) }
    }
}

/// One shard's limit.
#[derive(Debug)]
pub(super) struct Surge {
    sharing: Sharing,
    warm: Duration,
    /// The longest time that a fetch should wait.
    patience: Duration,
    /// The time until which each partition's misses count as extra; zero for most.
    cold_until: Vec<Micros>,
    /// The latest of these.
    any_cold_until: Micros,
    measure: Measure,
    /// The measure of a member of the group; zero: not known.
    told: u64,
    /// Hundredths of what is usual, in the change that goes on.
    percent: u64,
    /// Some of what is cold is another server's.
    stands_in: bool,
    /// Fetches per second in it, beside [`Sharing::reserved`]; zero: nothing is held back, because nobody
    /// knows what is usual.
    rate: u64,
    /// The raised rate, while too many fetches wait.
    raised: u64,
    /// The tokens for that rate.
    shared: Bucket,
    /// The tokens at [`Sharing::reserved`] for new partitions, whatever the others need.
    reserved: Bucket,
    queue: FetchQueue,
}

impl Surge {
    pub(super) fn by(config: &NodeConfig, topology: &Topology) -> Self {
        let home = |partition: &u32| topology.home(*partition) == config.server;
        let own = (0..topology.partitions).filter(home).count() as u64;
        let sharing = Sharing {
            whole_percent: u64::from(topology.partitions) * 100 / own.max(1),
            peers: topology.group_peers(config.server).count() as u64,
            reserved: config.surge_reads,
        };
        Self::new(topology.partitions, sharing, config.warm, config.patience, config.started)
    }

    /// `warm`: the time after which a partition's misses are as usual. `patience`: how long a fetch
    /// should wait at most.
    fn new(
        partitions: u32,
        sharing: Sharing,
        warm: Duration,
        patience: Duration,
        now: Micros,
    ) -> Self {
        Self {
            sharing,
            warm,
            patience,
            cold_until: vec![Micros(0); partitions as usize],
            any_cold_until: Micros(0),
            measure: Measure::new(now),
            told: 0,
            percent: 0,
            stands_in: false,
            rate: 0,
            raised: 0,
            shared: Bucket::new(now),
            reserved: Bucket::new(now),
            queue: FetchQueue::default(),
        }
    }

    /// Fetches per second of the server's own partitions while nothing is cold; zero: not known.
    pub(super) fn usual(&self) -> u64 {
        self.measure.usual().unwrap_or(self.told)
    }

    /// Whether another server has to be asked for its measure.
    pub(super) fn needs_measure(&self) -> bool {
        self.usual() == 0
    }

    /// The measure of a shard like this one; zero: nothing yet.
    pub(super) fn told(&mut self, now: Micros, usual: u64) {
        self.told = self.told.max(usual.min(USUAL_MAX));
        if now < self.any_cold_until && self.rate == 0 {
            self.set_rate(now);
        }
    }

    /// The partition is this server's, or will be, and hardly anything of it is cached.
    /// `is_home`: the server is back, and does not stand in for another. `changed`: servers that
    /// do at the same time.
    pub(super) fn took_over(&mut self, now: Micros, partition: u32, is_home: bool, changed: u64) {
        if self.rate == 0 && self.usual() != 0 {
            // Fetches of cold partitions were not held back, and the usual rate has been measured
            // since.
            self.cold_until.fill(Micros(0));
            self.any_cold_until = Micros(0);
        }
        let is_first = now >= self.any_cold_until;
        let percent = self.sharing.percent(is_home, changed);
        let until = now + self.warm;
        self.cold_until[partition as usize] = until;
        self.any_cold_until = self.any_cold_until.max(until);
        self.stands_in = !is_home || self.stands_in && !is_first;
        if is_first || percent > self.percent {
            self.percent = percent;
            self.set_rate(now);
        }
    }

    /// A change begins with empty buckets; the measure stands still until it is over.
    fn set_rate(&mut self, now: Micros) {
        (self.shared, self.reserved, self.raised) = (Bucket::new(now), Bucket::new(now), 0);
        self.rate = match self.usual() {
            0 => 0,
            usual => (usual * self.percent / 100).saturating_sub(self.sharing.reserved).max(usual),
        };
    }

    /// A fetch wants to begin; if it has to wait its name is given back by [`Self::release`],
    /// in time for its client.
    pub(super) fn enter(&mut self, now: Micros, name: &Name, ask: Ask) -> Entry {
        let Ask { partition, is_home, deadline, may_wait } = ask;
        if now >= self.any_cold_until || self.rate == 0 {
            if is_home {
                let cold_until = if self.rate == 0 { Micros(0) } else { self.any_cold_until };
                self.measure.count(now, cold_until);
            }
            return Entry::Begin;
        }
        let is_cold = now < self.cold_until[partition as usize];
        self.refill(now);
        if !is_cold || mutant::is(Mutant::NoSurgeLimit) {
            self.shared.owe(Rate::per_second(self.rate));
            return Entry::Begin;
        }
        if self.queue.is_empty() && self.take_token() {
            return Entry::Begin;
        }
        let most = 2 * (self.rate + self.sharing.reserved) * self.patience_ms() / 1_000;
        if !may_wait || self.queue.len() as u64 >= most {
            return Entry::Refused;
        }
        let until = self.hold(now, partition, name, deadline);
        // So that the last one does not wait for too long; until it has passed.
        let needed = self.queue.len() as u64 * 1_000 / self.patience_ms();
        // What its own partitions need does not wait.
        let own = if self.stands_in { self.usual() } else { 0 };
        let needed = (needed + own).saturating_sub(self.sharing.reserved);
        self.raised = self.raised.max(needed).min(2 * self.rate);
        Entry::Wait(until)
    }

    /// A fetch that waits shall not wait for longer than this client does.
    pub(super) fn expedite(
        &mut self,
        now: Micros,
        partition: u32,
        name: &Name,
        deadline: Micros,
        until: Micros,
    ) -> Micros {
        // The place further behind is given back in vain.
        if self.until(now, deadline) < until {
            self.hold(now, partition, name, deadline)
        } else {
            until
        }
    }

    fn until(&self, now: Micros, deadline: Micros) -> Micros {
        FetchQueue::until(now, deadline, self.patience)
    }

    fn hold(&mut self, now: Micros, partition: u32, name: &Name, deadline: Micros) -> Micros {
        let until = self.until(now, deadline);
        self.queue.push(until, partition, name);
        until
    }

    /// The next fetch that has waited, and whether it may begin; otherwise it has waited too long.
    pub(super) fn release(&mut self, now: Micros) -> Option<(Name, bool)> {
        let is_late = now >= self.queue.first_until()?;
        self.refill(now);
        if !is_late && !self.take_token() {
            return None;
        }
        let name = self.queue.pop()?;
        self.rest_if_empty();
        Some((name, !is_late))
    }

    /// Returns the time at which [`Self::release`] has a fetch to release.
    pub(super) fn next_deadline(&self) -> Option<Micros> {
        let until = self.queue.first_until()?;
        let (shared, reserved) = (self.rate_now(), Rate::per_second(self.sharing.reserved));
        let token = self.shared.next(shared).min(self.reserved.next(reserved));
        Some(token.min(until))
    }

    /// Takes out the fetches that wait for partitions of which this holds: other servers answer them.
    pub(super) fn take(&mut self, is_left: impl Fn(u32) -> bool) -> Vec<Name> {
        let left = self.queue.take(is_left);
        self.rest_if_empty();
        left
    }

    /// How many wait.
    pub(super) fn held_back(&self) -> usize {
        self.queue.len()
    }

    fn rest_if_empty(&mut self) {
        if self.queue.is_empty() {
            self.raised = 0;
        }
    }

    fn patience_ms(&self) -> u64 {
        u64::try_from(self.patience.as_millis()).unwrap_or(u64::MAX).max(1)
    }

    fn rate_now(&self) -> Rate {
        Rate::per_second(self.rate.max(self.raised).max(1))
    }

    fn refill(&mut self, now: Micros) {
        self.shared.refill(now, self.rate_now());
        self.reserved.refill(now, Rate::per_second(self.sharing.reserved));
    }

    fn take_token(&mut self) -> bool {
        self.shared.take() || self.reserved.take()
    }
}

#[cfg(test)]
mod tests;
