//! Warnings about announcements that are not acknowledged. They do not reach the server, or the
//! server can't end what it has begun. Nothing else would reveal this, because such a server may
//! well answer probes.
//!
//! This file also limits how often the master logs such warnings, and warnings about datagrams from
//! unexpected addresses.

use std::time::Duration;

use standin_protocol::time::Micros;

use crate::event::MasterEvent;
use crate::machine::Machine;

/// The time between two warnings, for all servers together.
const INTERVAL: Duration = Duration::from_secs(10);

/// The time of the next warning.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    silence_at: Micros,
    strangers_at: Micros,
}

impl Warnings {
    /// Whether the master may now warn that another address uses a server's name. If so, sets the
    /// time of the next warning.
    pub(super) fn take_warning_of_strangers(&mut self, now: Micros) -> bool {
        let may = now >= self.strangers_at;
        if may {
            self.strangers_at = now + INTERVAL;
        }
        may
    }
}

impl Machine {
    /// Warns if a server that answers has acknowledged nothing for too long.
    pub(super) fn warn_of_silence(&mut self, now: Micros) {
        if now < self.warnings.silence_at || !self.registry.is_announcing() {
            return;
        }
        let patience = self.rules.drain_overdue();
        let mut late = self.registry.unacknowledged(now, patience);
        // All servers have acknowledged in time.
        let Some((server, waited)) = late.next() else { return };
        let others = late.count();
        self.warnings.silence_at = now + INTERVAL;
        self.counters.announcements_overdue += 1;
        let epoch = self.registry.published_epoch();
        self.event(MasterEvent::Unacknowledged { server, others, epoch, waited });
    }
}
