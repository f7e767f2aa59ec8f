//! The lease that the master grants: counted from when the renewal was sent, usable only
//! under a map that is as new as the grant (`standin_protocol::lease`).

use std::collections::VecDeque;
use std::time::Duration;

use standin_protocol::lease::held_until;
use standin_protocol::map::MapEpoch;
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::queue::Queue;
use standin_protocol::time::Micros;

/// Renewals whose grants may still come. More than a lease has, even if some were sent
/// before their time: a grant of an older one is over when it comes.
const RENEWALS: usize = 16;

/// A lease under a map that has not come yet.
#[derive(Debug, Clone, Copy)]
struct Grant {
    until: Micros,
    epoch: MapEpoch,
}

/// Renewals sent, and what they were answered.
#[derive(Debug, Default)]
pub(super) struct Leases {
    /// By nonce, the newest last.
    sent: VecDeque<(u64, Micros)>,
    ahead: VecDeque<Grant>,
    until: Micros,
}

impl Leases {
    /// A renewal of this name goes out.
    pub(super) fn renewed(&mut self, nonce: u64, now: Micros) {
        if self.sent.len() == RENEWALS {
            self.sent.pop_front();
        }
        self.sent.push_back((nonce, now));
    }

    /// Whether a renewal of this name has gone out lately.
    pub(super) fn has_asked(&self, nonce: u64) -> bool {
        self.sent.iter().any(|(name, _)| *name == nonce)
    }

    /// A renewal was answered, under this map; says whether it was one of this server's.
    pub(super) fn granted(
        &mut self,
        nonce: u64,
        lease: Duration,
        epoch: MapEpoch,
        held: MapEpoch,
    ) -> bool {
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

    /// A map is held: grants under it, or older ones, can be used.
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

    /// What is remembered of renewals and grants.
    pub(super) fn queues(&self) -> [Queue; 2] {
        let sent = Queue::new("renewals", self.sent.len(), RENEWALS);
        [sent, Queue::new("grants ahead", self.ahead.len(), RENEWALS)]
    }

    /// The master has taken this server out: nothing that it granted before holds, also if
    /// it comes later.
    pub(super) fn revoke(&mut self) {
        *self = Self::default();
    }

    /// Until when the lease may be used.
    pub(super) fn until(&self) -> Micros {
        match mutant::is(Mutant::NoLease) && self.until > Micros(0) {
            true => Micros::NEVER,
            false => self.until,
        }
    }
}
