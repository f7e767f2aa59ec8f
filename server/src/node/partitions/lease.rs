//! The lease, which says whether this server may act as the owner of the partitions that the map
//! gives it.
//!
//! `Node::begin` is called before any request of a wake-up is served. Its clock was read after the
//! last byte of the wake-up had arrived. So a request that arrives after the lease has expired is
//! not served under it. When the lease ends, nothing is dropped. Cached values are not served until
//! there is a lease again and it is certain that no other server was the owner meanwhile.

use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use crate::node::Lease;

/// The lease of this server, and whether it may act as an owner now.
#[derive(Debug)]
pub(super) struct LeaseState {
    is_available: bool,
    lease: Lease,
    /// Whether this server may act as an owner.
    may_own: bool,
    /// The time at which the right ends, unless the lease is renewed before.
    ends: Micros,
    /// The number of times that the right has ended.
    losses: u32,
}

/// A change of the right to act as an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node) enum LeaseChange {
    Gained,
    Lost,
}

impl LeaseState {
    /// Creates the state of a server without a lease. `is_available` says whether the cluster's
    /// mode allows orphans.
    pub(super) fn new(is_available: bool) -> Self {
        let lease = Lease { until: Micros(0), orphan: false };
        Self { is_available, lease, may_own: false, ends: Micros::NEVER, losses: 0 }
    }

    pub(super) fn may_own(&self) -> bool {
        self.may_own
    }

    pub(super) fn losses(&self) -> u32 {
        self.losses
    }

    #[inline]
    pub(super) fn ends(&self) -> Micros {
        self.ends
    }

    /// Whether this server is an orphan: it goes on without the master, because no member of its
    /// group hears the master. The members' word is valid only for as long as a lease would be,
    /// because a process that was stopped meanwhile must not rely on it.
    pub(super) fn is_orphan(&self) -> bool {
        self.lease.orphan && self.may_own
    }

    pub(super) fn is_by_word(&self) -> bool {
        self.lease.orphan
    }

    /// Replaces the lease.
    pub(super) fn renew(&mut self, now: Micros, lease: Lease) -> Option<LeaseChange> {
        self.lease = lease;
        self.check(now)
    }

    /// Compares the lease with the time.
    pub(super) fn check(&mut self, now: Micros) -> Option<LeaseChange> {
        let until = self.lease.until;
        let never_ends = mutant::is(Mutant::NoLease) && until > Micros(0);
        let is_allowed = !self.lease.orphan || self.is_available;
        let may_own = is_allowed && (never_ends || now < until);
        self.ends = if may_own && !never_ends { until } else { Micros::NEVER };
        if may_own == self.may_own {
            return None;
        }
        self.may_own = may_own;
        self.losses = self.losses.wrapping_add(u32::from(!may_own));
        Some(if may_own { LeaseChange::Gained } else { LeaseChange::Lost })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNTIL: Micros = Micros(100);

    #[test]
    fn a_lease_is_valid_until_its_end_and_each_loss_is_counted() {
        let mut state = LeaseState::new(true);
        assert!(!state.may_own());
        let lease = Lease { until: UNTIL, orphan: false };
        assert_eq!(state.renew(Micros(1), lease), Some(LeaseChange::Gained));
        assert_eq!((state.check(Micros(99)), state.ends()), (None, UNTIL));
        assert_eq!(state.losses(), 0);
        assert_eq!(state.check(UNTIL), Some(LeaseChange::Lost));
        assert_eq!((state.may_own(), state.losses(), state.ends()), (false, 1, Micros::NEVER));
        let later = Lease { until: Micros(200), orphan: false };
        assert_eq!(state.renew(Micros(150), later), Some(LeaseChange::Gained));
        assert_eq!(state.renew(Micros(151), lease), Some(LeaseChange::Lost), "it was taken back");
    }

    #[test]
    fn an_orphan_goes_on_only_where_the_mode_allows_it() {
        let word = Lease { until: UNTIL, orphan: true };
        let mut available = LeaseState::new(true);
        available.renew(Micros(1), word);
        assert!(available.may_own() && available.is_orphan());
        available.check(UNTIL);
        assert!(!available.is_orphan(), "the group's word is over");
        let mut strict = LeaseState::new(false);
        strict.renew(Micros(1), word);
        assert!(!strict.may_own() && !strict.is_orphan() && strict.is_by_word());
    }
}
