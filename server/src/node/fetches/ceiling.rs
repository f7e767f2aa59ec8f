//! The upper limit on the reads that the whole cluster sends to the origin (`reads_per_second`).
//! Each shard has a part of it. The sum of the parts never exceeds the whole, whatever maps the
//! servers have. Three quarters are divided by the partitions that a shard owns under a lease,
//! because no other server owns them at the same time. The last quarter is divided equally among
//! all shards, for reads of partitions that the shard does not own.
//!
//! Fetches that find no token left wait, and begin as tokens arrive. The fetches whose clients give
//! up first begin first. A fetch that would wait for longer than its client is refused with a hint.
//!
//! The limit after a change of owner (surge/) is different: it depends on the usual rate, lets
//! fetches of partitions owned before pass, and rises when many fetches wait. This limit does none
//! of that. So the two have buckets of their own, and a fetch needs a token from both.

use std::time::Duration;

use standin_protocol::map::Topology;
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use super::pace::{Bucket, Entry, FetchQueue, Rate};
use crate::node::NodeConfig;
use crate::node::state::Name;

/// The part of the limit that is divided by owned partitions, in quarters.
const OWNED_QUARTERS: u64 = 3;

/// A shard's parts of the limit.
#[derive(Debug, Clone, Copy)]
struct Parts {
    /// Reads per second of the whole cluster; zero for no limit.
    whole: u64,
    /// The number of partitions of the cluster.
    partitions: u64,
    /// The number of shards of the cluster.
    shards: u64,
}

/// A fetch that wants to begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    pub(super) partition: u32,
    /// Whether this server owns the partition under a lease.
    pub(super) is_owned: bool,
    /// The deadline of the client that gives up first.
    pub(super) deadline: Micros,
    /// Whether there is room for one more waiting request.
    pub(super) may_wait: bool,
}

/// The fetches that share one rate.
#[derive(Debug)]
struct Lane {
    rate: Rate,
    bucket: Bucket,
    queue: FetchQueue,
}

impl Lane {
    fn new(now: Micros, rate: Rate) -> Self {
        Self { rate, bucket: Bucket::new(now), queue: FetchQueue::default() }
    }

    fn take(&mut self, now: Micros) -> bool {
        self.bucket.refill(now, self.rate);
        self.bucket.take()
    }

    /// Changes the rate from now on.
    fn set_rate(&mut self, now: Micros, rate: Rate) {
        self.bucket.refill(now, self.rate);
        self.rate = rate;
        self.bucket.refill(now, rate);
    }

    fn next_deadline(&self) -> Option<Micros> {
        Some(self.queue.first_until()?.min(self.bucket.next(self.rate)))
    }
}

/// One shard's part of the limit.
#[derive(Debug)]
pub(super) struct Ceiling {
    parts: Parts,
    patience: Duration,
    owned: Lane,
    through: Lane,
}

impl Ceiling {
    pub(super) fn by(config: &NodeConfig, topology: &Topology) -> Self {
        let parts = Parts {
            whole: config.reads_per_second,
            partitions: u64::from(topology.partitions),
            shards: topology.servers.iter().map(|server| u64::from(server.shards)).sum(),
        };
        Self::new(parts, config.patience, config.started)
    }

    /// Creates a shard's part. `patience` is the longest time that a fetch should wait.
    fn new(parts: Parts, patience: Duration, now: Micros) -> Self {
        let through = Self::whole(parts).part(4 - OWNED_QUARTERS, 4 * parts.shards);
        let (owned, through) = (Lane::new(now, Rate::default()), Lane::new(now, through));
        Self { parts, patience, owned, through }
    }

    fn whole(parts: Parts) -> Rate {
        Rate::per_second(parts.whole)
    }

    fn is_unbounded(&self) -> bool {
        self.parts.whole == 0
    }

    /// Sets the number of partitions that the shard owns under a lease from now on.
    pub(super) fn owns(&mut self, now: Micros, partitions: u64) {
        let rate = Self::whole(self.parts).part(OWNED_QUARTERS, 4);
        let rate = rate.part(partitions, self.parts.partitions);
        if rate != self.owned.rate {
            self.owned.set_rate(now, rate);
        }
    }

    /// Asks whether a fetch may begin. If the fetch has to wait, [`Self::release`] returns its name
    /// in time for its client.
    pub(super) fn enter(&mut self, now: Micros, name: &Name, ask: Ask) -> Entry {
        if self.is_unbounded() || mutant::is(Mutant::NoReadCeiling) {
            return Entry::Begin;
        }
        let lane = if ask.is_owned { &mut self.owned } else { &mut self.through };
        if lane.queue.is_empty() && lane.take(now) {
            return Entry::Begin;
        }
        let until = FetchQueue::until(now, ask.deadline, self.patience);
        let passing = lane.rate.within(until.since(now));
        if !ask.may_wait || lane.queue.len() as u64 >= passing {
            return Entry::Refused;
        }
        lane.queue.push(until, ask.partition, name);
        Entry::Wait(until)
    }

    /// Whether a read may begin that can't wait.
    pub(super) fn pass(&mut self, now: Micros, ask: Ask) -> bool {
        if self.is_unbounded() || mutant::is(Mutant::NoReadCeiling) {
            return true;
        }
        let lane = if ask.is_owned { &mut self.owned } else { &mut self.through };
        lane.queue.is_empty() && lane.take(now)
    }

    /// Shortens the wait of a fetch, which now ends at `until`, if this client gives up earlier.
    /// Returns the time at which the wait ends.
    pub(super) fn expedite(&mut self, now: Micros, name: &Name, ask: Ask, until: Micros) -> Micros {
        let wanted = FetchQueue::until(now, ask.deadline, self.patience);
        if wanted >= until {
            return until;
        }
        // The old place in the queue is returned later and then ignored.
        let lane = if ask.is_owned { &mut self.owned } else { &mut self.through };
        lane.queue.push(wanted, ask.partition, name);
        wanted
    }

    /// Returns the next fetch that has waited. The boolean is true if it may begin, and false if it
    /// has waited too long.
    pub(super) fn release(&mut self, now: Micros) -> Option<(Name, bool)> {
        for lane in [&mut self.owned, &mut self.through] {
            let Some(until) = lane.queue.first_until() else { continue };
            let is_late = now >= until;
            if is_late || lane.take(now) {
                return Some((lane.queue.pop()?, !is_late));
            }
        }
        None
    }

    /// Removes and returns the fetches whose place has changed: another server processes the
    /// partition by now, or this server has begun or ceased to own it.
    pub(super) fn take(&mut self, place: impl Fn(u32) -> Place) -> Vec<Name> {
        let mut names = self.owned.queue.take(|partition| place(partition) != Place::Owned);
        names.extend(self.through.queue.take(|partition| place(partition) != Place::Through));
        names
    }

    /// Returns the time at which [`Self::release`] has a fetch to release.
    pub(super) fn next_deadline(&self) -> Option<Micros> {
        self.owned.next_deadline().into_iter().chain(self.through.next_deadline()).min()
    }

    /// Returns the number of waiting fetches.
    pub(super) fn held_back(&self) -> usize {
        self.owned.queue.len() + self.through.queue.len()
    }
}

/// The part of the limit from which a partition's fetches take tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node) enum Place {
    Owned,
    Through,
    Elsewhere,
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);
    const PARTS: Parts = Parts { whole: 4_000, partitions: 100, shards: 10 };

    fn name() -> Name {
        b"\x01k".as_slice().into()
    }

    fn ask(is_owned: bool, deadline: Micros) -> Ask {
        Ask { partition: 7, is_owned, deadline, may_wait: true }
    }

    /// Returns the number of fetches that begin in this many seconds while far too many are
    /// requested.
    fn begun(ceiling: &mut Ceiling, start: Micros, seconds: u64, is_owned: bool) -> u64 {
        let mut begun = 0;
        for step in 0..seconds * 10_000 {
            let now = Micros(start.0 + step * 100);
            let entry = ceiling.enter(now, &name(), ask(is_owned, now + Duration::from_secs(4)));
            begun += u64::from(entry == Entry::Begin);
            while let Some((_, may_begin)) = ceiling.release(now) {
                begun += u64::from(may_begin);
            }
        }
        begun
    }

    #[test]
    fn the_part_of_a_shard_is_proportional_to_the_partitions_that_it_owns() {
        for (owned, rate) in [(10, 300), (20, 600), (100, 3_000), (1, 30)] {
            let mut ceiling = Ceiling::new(PARTS, PATIENCE, Micros(0));
            ceiling.owns(Micros(0), owned);
            let begun = begun(&mut ceiling, Micros(0), 10, true);
            assert!((rate * 10 - rate / 5..=rate * 10).contains(&begun), "{begun}");
        }
    }

    #[test]
    fn fetches_of_partitions_not_owned_have_a_small_part_of_their_own() {
        let mut ceiling = Ceiling::new(PARTS, PATIENCE, Micros(0));
        ceiling.owns(Micros(0), 10);
        let through = begun(&mut ceiling, Micros(0), 10, false);
        assert!((990..=1_000).contains(&through), "{through}");
        // Two seconds' worth of the other fetches still wait, and they continue to begin at their
        // own rate.
        let both = begun(&mut ceiling, Micros(10_000_000), 10, true);
        assert!((3_000..=3_225).contains(&both), "{both}");
        ceiling.owns(Micros(20_000_000), 0);
        let asked = ask(true, Micros(24_000_000));
        assert_eq!(ceiling.enter(Micros(20_000_000), &name(), asked), Entry::Refused);
    }

    #[test]
    fn a_part_does_not_grow_by_changing_hands_repeatedly() {
        let mut ceilings = [(); 2].map(|()| Ceiling::new(PARTS, PATIENCE, Micros(0)));
        let mut all = 0;
        for turn in 0..200u64 {
            let (now, owner) = (Micros(turn * 50_000), usize::from(turn % 2 == 0));
            ceilings[1 - owner].owns(now, 0);
            ceilings[owner].owns(now, 20);
            for step in 0..500 {
                let now = now + Duration::from_micros(step * 100);
                let asked = Ask { may_wait: false, ..ask(true, now + Duration::from_secs(4)) };
                let entries = ceilings.iter_mut().map(|c| c.enter(now, &name(), asked));
                all += entries.filter(|entry| *entry == Entry::Begin).count();
            }
        }
        assert!((5_000..=6_000).contains(&all), "600 a second for ten seconds: {all}");
    }

    #[test]
    fn the_client_that_gives_up_first_is_served_first_and_late_fetches_are_returned_as_late() {
        let parts = Parts { whole: 4, partitions: 1, shards: 1 };
        let mut ceiling = Ceiling::new(parts, PATIENCE, Micros(0));
        ceiling.owns(Micros(0), 1);
        let at = |ms: u64| Micros(ms * 1_000);
        let named = |n: u8| -> Name { [1, n].as_slice().into() };
        let enter = |ceiling: &mut Ceiling, ms, n, gives_up| {
            ceiling.enter(at(ms), &named(n), ask(true, at(gives_up)))
        };
        assert_eq!(enter(&mut ceiling, 1_000, 0, 9_000), Entry::Begin);
        assert!(matches!(enter(&mut ceiling, 1_001, 1, 9_000), Entry::Wait(_)));
        assert!(matches!(enter(&mut ceiling, 1_002, 2, 3_000), Entry::Wait(_)));
        assert_eq!(ceiling.release(at(1_100)), None);
        assert_eq!(ceiling.next_deadline(), Some(Micros(1_333_334)));
        assert_eq!(ceiling.release(at(1_334)), Some((named(2), true)));
        assert_eq!(ceiling.release(at(1_335)), None);
        assert_eq!(ceiling.release(at(9_000)), Some((named(1), false)));
        // A client with an earlier deadline asks for the key of a waiting fetch.
        assert_eq!(enter(&mut ceiling, 9_000, 3, 19_000), Entry::Begin);
        let Entry::Wait(until) = enter(&mut ceiling, 9_000, 3, 19_000) else {
            panic!("one at a time");
        };
        let sooner = ceiling.expedite(at(9_001), &named(3), ask(true, at(9_101)), until);
        assert_eq!(sooner, at(9_081));
        assert_eq!(ceiling.expedite(at(9_002), &named(3), ask(true, at(9_900)), sooner), sooner);
    }

    #[test]
    fn waiting_fetches_follow_their_partition() {
        let mut ceiling = Ceiling::new(PARTS, PATIENCE, Micros(0));
        ceiling.owns(Micros(0), 10);
        let deadline = Micros(4_000_000);
        for is_owned in [true, false] {
            assert!(matches!(
                ceiling.enter(Micros(0), &name(), ask(is_owned, deadline)),
                Entry::Wait(_)
            ));
        }
        assert_eq!((ceiling.take(|_| Place::Owned).len(), ceiling.held_back()), (1, 1));
        assert_eq!((ceiling.take(|_| Place::Elsewhere).len(), ceiling.held_back()), (1, 0));
    }

    #[test]
    fn without_a_ceiling_everything_begins() {
        let mut ceiling = Ceiling::new(Parts { whole: 0, ..PARTS }, PATIENCE, Micros(0));
        assert_eq!(begun(&mut ceiling, Micros(0), 1, true), 10_000);
        assert_eq!(begun(&mut ceiling, Micros(0), 1, false), 10_000);
    }
}
