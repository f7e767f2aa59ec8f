//! The limit on misses after a change of owner (scenarios 17, 19). A new owner has nothing cached,
//! and all its reads would reach the origin at once. So for a while all fetches of the shard are
//! rate-limited together. Fetches of partitions that the shard had before pass and count. Fetches
//! of new partitions wait for the tokens that are left, in the order in which their clients give
//! up. A small rate is reserved for new partitions alone.
//!
//! The rate is chosen so that all N servers together ask the database for about twice as much as
//! before. The N−1 unaffected servers need their usual N−1 shares. The remaining N+1 shares are for
//! the keys of the one server that changed. If that is a returning home, it gets all of them. If
//! n−1 stand-ins replace it, they divide them, in addition to the share that each needs itself.
//! When several servers change at once, they divide the remaining shares among them.
//!
//! When the last fetch in line would wait for longer than clients do, the rate rises, up to twice
//! its value. If that is not enough either, requests are refused with a hint. Writes are never held
//! back, but a CAS that has to read first counts as a read. A new process has no measure of its own
//! and uses that of a member of its group. As long as there is none, there is no limit.

use std::time::Duration;

use standin_protocol::map::Topology;
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use super::measure::Measure;
use super::pace::{Bucket, Entry, FetchQueue, Rate};
use crate::node::NodeConfig;
use crate::node::state::Name;

/// The rate of all servers together, as a percentage of the usual rate. It is less than 200 because
/// usual reads arrive in bursts too.
const SURGE_PERCENT: u64 = 175;
/// The largest believable number of fetches per second of one shard. A larger figure from a peer is
/// wrong.
const USUAL_MAX: u64 = 1_000_000;

/// A fetch that wants to begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    pub(super) partition: u32,
    /// Whether this server is the partition's home.
    pub(super) is_home: bool,
    /// The deadline of the client that gives up first.
    pub(super) deadline: Micros,
    /// Whether there is room for one more waiting request.
    pub(super) may_wait: bool,
}

/// The servers that share the rate that the database can bear.
#[derive(Debug, Clone, Copy)]
struct Sharing {
    /// The number of all partitions, as a percentage of those whose home is this server. It is 100
    /// × N if all N servers have equally many.
    whole_percent: u64,
    /// The number of other members of this server's group.
    peers: u64,
    /// The number of fetches per second of a shard's new partitions that always pass.
    reserved: u64,
}

impl Sharing {
    /// Returns the percentage of its usual rate that a shard may reach, if this many servers change
    /// at once.
    fn percent(self, is_home: bool, changed: u64) -> u64 {
        let left = self.whole_percent * (SURGE_PERCENT - 100) / 100 / changed.max(1) + 100;
        if is_home { left } else { 100 + left / self.peers.max(1) }
    }
}

/// The rate that waiting fetches need: the highest of the current stretch of time and of the one
/// before. A stretch is as long as the longest wait, so the rate stays raised until the fetches
/// that needed it have passed, and falls when fewer wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Raised {
    /// The start of the current stretch.
    since: Micros,
    highest: u64,
    highest_before: u64,
}

impl Raised {
    /// Returns the rate at this time, zero if the rate was not raised.
    fn at(&self, now: Micros, stretch: Duration) -> u64 {
        if now < self.since + stretch {
            self.highest.max(self.highest_before)
        } else if now < self.since + stretch * 2 {
            self.highest
        } else {
            0
        }
    }

    /// Raises it to what is needed now.
    fn to(&mut self, now: Micros, needed: u64, stretch: Duration) {
        if now >= self.since + stretch {
            let highest_before = self.at(now, stretch);
            *self = Self { since: now, highest: 0, highest_before };
        }
        self.highest = self.highest.max(needed);
    }
}

/// One shard's limit after a change of owner.
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
    /// The measure of a member of the group; zero if it is unknown.
    told: u64,
    /// The percentage of the usual rate that is allowed during the current change.
    percent: u64,
    /// Whether some of the cold partitions are those of another server.
    stands_in: bool,
    /// Fetches per second during the change, in addition to [`Sharing::reserved`]. If it is zero,
    /// nothing is held back, because the usual rate is unknown.
    rate: u64,
    raised: Raised,
    /// The tokens for `rate`, or for `raised` if that is higher.
    shared: Bucket,
    /// The tokens at the rate of [`Sharing::reserved`] for new partitions, whatever the other
    /// partitions need.
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

    /// Creates the limit. `warm` is the time after which a partition's misses are as usual.
    /// `patience` is the longest time that a fetch should wait.
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
            raised: Raised::default(),
            shared: Bucket::new(now),
            reserved: Bucket::new(now),
            queue: FetchQueue::default(),
        }
    }

    /// Returns the usual number of fetches per second of the server's own partitions while nothing
    /// is cold; zero if it is unknown.
    pub(super) fn usual(&self) -> u64 {
        self.measure.usual().unwrap_or(self.told)
    }

    /// Whether another server has to be asked for its measure.
    pub(super) fn needs_measure(&self) -> bool {
        self.usual() == 0
    }

    /// Sets the measure of a similar shard; zero if it has none yet.
    pub(super) fn told(&mut self, now: Micros, usual: u64) {
        self.told = self.told.max(usual.min(USUAL_MAX));
        if now < self.any_cold_until && self.rate == 0 {
            self.set_rate(now);
        }
    }

    /// Notes that this server owns the partition, or is about to, with hardly anything of it
    /// cached. `is_home` says that the server is back, and does not stand in for another one.
    /// `changed` is the number of servers that change at the same time.
    pub(super) fn took_over(&mut self, now: Micros, partition: u32, is_home: bool, changed: u64) {
        if self.rate == 0 && self.usual() != 0 {
            // There was no limit for the cold partitions, and the usual rate has been measured
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

    /// Sets the rate of a change. The change begins with empty buckets. The measure does not change
    /// until the change is over.
    fn set_rate(&mut self, now: Micros) {
        (self.shared, self.reserved) = (Bucket::new(now), Bucket::new(now));
        self.raised = Raised::default();
        self.rate = match self.usual() {
            0 => 0,
            usual => (usual * self.percent / 100).saturating_sub(self.sharing.reserved).max(usual),
        };
    }

    /// Asks whether a fetch may begin. If the fetch has to wait, [`Self::release`] returns its name
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
        // The rate is raised so that the last fetch does not wait for too long.
        let needed = self.queue.len() as u64 * 1_000 / self.patience_ms();
        // The fetches of the shard's own partitions do not wait, so they are added.
        let own = if self.stands_in { self.usual() } else { 0 };
        let needed = (needed + own).saturating_sub(self.sharing.reserved);
        self.raised.to(now, needed.min(2 * self.rate), self.patience);
        Entry::Wait(until)
    }

    /// Shortens the wait of a fetch, which now ends at `until`, if this client gives up earlier.
    /// Returns the time at which the wait ends.
    pub(super) fn expedite(
        &mut self,
        now: Micros,
        partition: u32,
        name: &Name,
        deadline: Micros,
        until: Micros,
    ) -> Micros {
        // The old place in the queue is returned later and then ignored.
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

    /// Returns the next fetch that has waited. The boolean is true if it may begin, and false if it
    /// has waited too long.
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
        let shared = self.rate_at(self.shared.filled());
        let reserved = Rate::per_second(self.sharing.reserved);
        let token = self.shared.next(shared).min(self.reserved.next(reserved));
        Some(token.min(until))
    }

    /// Removes and returns the fetches of the partitions for which `is_left` holds, because other
    /// servers answer them.
    pub(super) fn take(&mut self, is_left: impl Fn(u32) -> bool) -> Vec<Name> {
        let left = self.queue.take(is_left);
        self.rest_if_empty();
        left
    }

    /// Returns the number of waiting fetches.
    pub(super) fn held_back(&self) -> usize {
        self.queue.len()
    }

    fn rest_if_empty(&mut self) {
        if self.queue.is_empty() {
            self.raised = Raised::default();
        }
    }

    fn patience_ms(&self) -> u64 {
        u64::try_from(self.patience.as_millis()).unwrap_or(u64::MAX).max(1)
    }

    fn rate_at(&self, now: Micros) -> Rate {
        Rate::per_second(self.rate.max(self.raised.at(now, self.patience)).max(1))
    }

    fn refill(&mut self, now: Micros) {
        self.shared.refill(now, self.rate_at(now));
        self.reserved.refill(now, Rate::per_second(self.sharing.reserved));
    }

    fn take_token(&mut self) -> bool {
        self.shared.take() || self.reserved.take()
    }
}

#[cfg(test)]
mod tests;
