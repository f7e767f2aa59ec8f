//! Announcements that are not acknowledged: what the master says does not reach a server, or
//! the server can't end what it has begun. Nobody else would notice: such a server may well
//! answer probes.
//!
//! And how often the master complains, here and of strangers.

use std::time::Duration;

use standin_protocol::time::Micros;

use crate::event::MasterEvent;
use crate::machine::Machine;

/// Between two complaints, whomever they are about.
const INTERVAL: Duration = Duration::from_secs(10);

/// When to complain next.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    silence_at: Micros,
    strangers_at: Micros,
}

impl Complaints {
    /// Whether it is time to say that somebody uses a server's name; it is said then.
    pub(super) fn may_complain_of_strangers(&mut self, now: Micros) -> bool {
        let may = now >= self.strangers_at;
        if may {
            self.strangers_at = now + INTERVAL;
        }
        may
    }
}

impl Machine {
    /// Says so when a server that should answer has acknowledged nothing for too long.
    pub(super) fn complain_of_silence(&mut self, now: Micros) {
        if now < self.complaints.silence_at || !self.registry.is_announcing() {
            return;
        }
        let patience = self.rules.drain_overdue();
        let mut late = self.registry.unacknowledged(now, patience);
        let Some((server, waited)) = late.next() else { return };
        let others = late.count();
        self.complaints.silence_at = now + INTERVAL;
        self.counters.announcements_overdue += 1;
        let epoch = self.registry.published_epoch();
        self.event(MasterEvent::Unacknowledged { server, others, epoch, waited });
    }
}
