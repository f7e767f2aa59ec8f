//! Announcements that are not acknowledged: what the master says does not reach a server, or
//! the server can't end what it has begun. Nobody else would notice: such a server may well
//! answer probes.

use std::time::Duration;

use standin_protocol::time::Micros;

use crate::event::MasterEvent;
use crate::machine::Machine;

/// Between two complaints, whomever they are about.
const INTERVAL: Duration = Duration::from_secs(10);

/// When to complain next.
#[derive(Debug, Default)]
pub(super) struct Overdue {
    not_before: Micros,
}

impl Machine {
    /// Says so when a server that should answer has acknowledged nothing for too long.
    pub(super) fn complain_of_silence(&mut self, now: Micros) {
        if now < self.overdue.not_before || !self.registry.is_announcing() {
            return;
        }
        let patience = self.rules.drain_overdue();
        let mut late = self.registry.unacknowledged(now, patience);
        let Some((server, waited)) = late.next() else { return };
        let others = late.count();
        self.overdue.not_before = now + INTERVAL;
        self.counters.announcements_overdue += 1;
        let epoch = self.registry.published_epoch();
        self.event(MasterEvent::Unacknowledged { server, others, epoch, waited });
    }
}
