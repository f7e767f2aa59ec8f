//! The lease: whether this server may act as the owner of what the map says is its own.
//!
//! `Node::begin` is called with a clock that was read after the last byte of a wake-up came
//! in, before any of its requests is served: whoever asks after the lease has run out finds
//! that it has. Losing it drops nothing: values are not served until it is back and it is
//! clear that nobody else was the owner meanwhile (reconcile.rs).

use standin_config::Mode;
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use super::{Lease, Node, Now};

/// What the shard holds of it.
#[derive(Debug)]
pub(super) struct Held {
    lease: Lease,
    /// Whether this server may act as an owner.
    may_own: bool,
    /// When that ends unless something is heard before.
    ends: Micros,
    /// How often it has ended.
    losses: u32,
}

impl Default for Held {
    fn default() -> Self {
        let lease = Lease { until: Micros(0), orphan: false };
        Self { lease, may_own: false, ends: Micros::NEVER, losses: 0 }
    }
}

impl Held {
    pub(super) fn may_own(&self) -> bool {
        self.may_own
    }

    /// While this stays the same, nobody else has become the owner of what this server owns.
    pub(super) fn losses(&self) -> u32 {
        self.losses
    }
}

impl Node {
    /// The lease that the shard holds from now on. The map that it needs has been applied.
    pub fn lease(&mut self, now: Now, lease: Lease) {
        let was_orphan = self.is_orphan();
        self.held.lease = lease;
        self.look_at_lease(now);
        if was_orphan != self.is_orphan() {
            self.counters.orphaned += u64::from(!was_orphan);
            self.unpark_all(now);
        }
    }

    /// A wake-up's requests are about to be served, or something else is about to happen: ends
    /// a lease whose time is up, then the waiting of writes that have waited for long enough.
    /// What comes with the wake-up, a map for example, is too late for them.
    #[inline]
    pub fn begin(&mut self, now: Now) {
        if now.mono >= self.held.ends {
            self.look_at_lease(now);
        }
        if now.mono >= self.parked.first_ends() {
            self.end_waiting(now);
        }
    }

    /// Whether values of the partition may be served from the cache at this time, by its owner. What
    /// the next owner keeps briefly does not count.
    #[must_use]
    pub fn caches(&self, now: Micros, partition: u32) -> bool {
        let serving = self.partitions[partition as usize].serving;
        serving == super::Serving::Cached && now < self.held.ends
    }

    /// The same, and by a lease: not as an orphan, which others may be too.
    #[must_use]
    pub fn caches_by_lease(&self, now: Micros, partition: u32) -> bool {
        self.caches(now, partition) && !self.held.lease.orphan
    }

    /// Whether this server goes on without a master that nobody in its group hears. The
    /// group's word is good for as long as a lease would be, and no longer: a process that
    /// was stopped meanwhile must not go by it.
    pub(super) fn is_orphan(&self) -> bool {
        self.held.lease.orphan && self.held.may_own
    }

    fn look_at_lease(&mut self, now: Now) {
        let until = self.held.lease.until;
        let never_ends = mutant::is(Mutant::NoLease) && until > Micros(0);
        let is_allowed = !self.held.lease.orphan || self.config.mode == Mode::Available;
        let may_own = is_allowed && (never_ends || now.mono < until);
        self.held.ends = match may_own && !never_ends {
            true => until,
            false => Micros::NEVER,
        };
        if may_own == self.held.may_own {
            return;
        }
        self.held.may_own = may_own;
        if !may_own {
            self.held.losses = self.held.losses.wrapping_add(1);
            self.counters.leases_lost += 1;
        }
        self.refresh_serving(now, self.map.clone().as_deref());
        self.announce_drained(now);
    }
}
