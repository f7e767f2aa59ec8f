//! Checks of datagrams whose code is right, because without a secret anybody can make one.
//!
//! * A datagram must come from its sender's address in the cluster file, or from a member of the
//!   group that may have relayed it.
//! * Its epoch must not be far beyond the known ones. A single forged epoch with the highest term
//!   would make a server ignore its master for ever. A server learns of a term that is far ahead
//!   from a grant: it names the newest epoch, and repeats the nonce of a recent renewal, which only
//!   the master can know.

use std::net::SocketAddr;
use std::time::Duration;

use standin_protocol::map::MapEpoch;
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use super::{Agent, Output};

/// The number of terms that a server may have missed. A term rises with every start of a master. A
/// server that has missed more believes a map only after the master has granted (or refused) it a
/// lease under that term.
const TERMS_MISSED_MAX: u32 = 1_024;
/// The interval between two warnings.
const INTERVAL: Duration = Duration::from_secs(10);

/// The confirmed epoch, and the time of the last warning.
#[derive(Debug, Default)]
pub(super) struct Trust {
    confirmed: MapEpoch,
    complain_at: Micros,
}

impl Trust {
    /// Notes that the master has named this epoch in the answer to a renewal of this server.
    pub(super) fn confirm(&mut self, epoch: MapEpoch) {
        self.confirmed = self.confirmed.max(epoch);
    }

    /// Whether a map of this epoch is plausible to a server that has the map `held`.
    pub(super) fn is_plausible(&self, held: MapEpoch, epoch: MapEpoch) -> bool {
        let known = held.term.max(self.confirmed.term);
        epoch.term <= known.saturating_add(TERMS_MISSED_MAX) || mutant::is(Mutant::BelieveAnybody)
    }
}

impl Agent {
    pub(super) fn distrust(&mut self, now: Micros, from: SocketAddr, sender: u16, epoch: MapEpoch) {
        self.counters.datagrams_distrusted += 1;
        if now >= self.trust.complain_at {
            self.trust.complain_at = now + INTERVAL;
            self.outputs.push_back(Output::Distrust { from, sender, epoch });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(term: u32) -> MapEpoch {
        MapEpoch { term, counter: 7 }
    }

    #[test]
    fn a_term_far_ahead_is_believed_only_when_it_is_confirmed() {
        let mut trust = Trust::default();
        assert!(trust.is_plausible(epoch(5), epoch(5 + TERMS_MISSED_MAX)));
        assert!(!trust.is_plausible(epoch(5), epoch(6 + TERMS_MISSED_MAX)));
        assert!(!trust.is_plausible(MapEpoch::default(), MapEpoch::from_u64(u64::MAX)));
        trust.confirm(epoch(2_000_000));
        assert!(trust.is_plausible(epoch(5), epoch(2_000_000)));
        trust.confirm(epoch(1));
        assert!(trust.is_plausible(MapEpoch::default(), epoch(2_000_001)), "not taken back");
        assert!(!trust.is_plausible(epoch(5), MapEpoch::from_u64(u64::MAX)));
    }
}
