//! The lease that the master grants. It counts from when the renewal was sent, and is usable only
//! under a map that is at least as new as the grant (`standin_protocol::lease`).

use std::collections::VecDeque;
use std::time::Duration;

use standin_protocol::lease::held_until;
use standin_protocol::map::MapEpoch;
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::queue::Queue;
use standin_protocol::time::Micros;

/// The number of renewals whose grants may still come. More are not sent within a lease, even if
/// some were sent early, and the grant of an older one has expired when it comes.
const RENEWALS: usize = 16;

/// A lease under a map that has not arrived yet.
#[derive(Debug, Clone, Copy)]
struct Grant {
    until: Micros,
    epoch: MapEpoch,
}

/// The renewals sent, and the grants received.
#[derive(Debug, Default)]
pub(super) struct Leases {
    /// The nonces and the times of sending, the newest last.
    sent: VecDeque<(u64, Micros)>,
    ahead: VecDeque<Grant>,
    until: Micros,
}

impl Leases {
    /// Notes that a renewal with this nonce is sent.
    pub(super) fn renewed(&mut self, nonce: u64, now: Micros) {
        if self.sent.len() == RENEWALS {
            self.sent.pop_front();
        }
        self.sent.push_back((nonce, now));
    }

    /// Whether a renewal with this nonce was sent recently.
    pub(super) fn has_asked(&self, nonce: u64) -> bool {
        self.sent.iter().any(|(name, _)| *name == nonce)
    }

    /// Takes in the answer to a renewal, under this map. Returns whether the renewal was this
    /// server's.
    pub(super) fn granted(
        &mut self,
        nonce: u64,
        lease: Duration,
        epoch: MapEpoch,
        held: MapEpoch,
    ) -> bool {
        // Only the latest renewals are remembered, and anybody can name one that was never sent.
        let Some((_, sent)) = self.sent.iter().find(|(name, _)| *name == nonce) else {
            return false;
        };
        let grant = Grant { until: held_until(*sent, lease), epoch };
        if self.ahead.len() == RENEWALS {
            self.ahead.pop_front();
        }
        self.ahead.push_back(grant);
        self.applied(held);
        true
    }

    /// Notes that a map has been applied: grants under it, or under older ones, become usable.
    pub(super) fn applied(&mut self, held: MapEpoch) {
        let until = &mut self.until;
        self.ahead.retain(|grant| {
            let is_usable = grant.epoch <= held;
            if is_usable {
                *until = grant.until.max(*until);
            }
            !is_usable
        });
    }

    /// Returns the lengths of the records of renewals and grants.
    pub(super) fn queues(&self) -> [Queue; 2] {
        let sent = Queue::new("renewals", self.sent.len(), RENEWALS);
        [sent, Queue::new("grants ahead", self.ahead.len(), RENEWALS)]
    }

    /// Notes that the master has marked this server offline. Everything granted before is void,
    /// even if it arrives later.
    pub(super) fn revoke(&mut self) {
        *self = Self::default();
    }

    /// Returns the time until which the lease may be used.
    pub(super) fn until(&self) -> Micros {
        match mutant::is(Mutant::NoLease) && self.until > Micros(0) {
            true => Micros::NEVER,
            false => self.until,
        }
    }
}
