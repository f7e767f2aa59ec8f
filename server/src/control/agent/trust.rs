//! What is not believed of a datagram although its code is right: without a secret anybody can
//! make one.
//!
//! * It comes from the address of its sender in the cluster file, or through a member of the
//!   group that may have passed it on.
//! * Its epoch is not far beyond those that are known: a single forged epoch of the highest
//!   term would make a server deaf to its master for ever. A grant repeats the nonce of a
//!   renewal that was sent a moment ago, which only who is asked can know, and says which epoch
//!   is the newest: that is how a server hears of a term that is far ahead.

use std::net::SocketAddr;
use std::time::Duration;

use standin_protocol::map::MapEpoch;
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use super::{Agent, Output};

/// A term rises with every start of a master. Who has missed more of them than this believes
/// a map only when the master has granted (or refused) it a lease under that term.
const TERMS_MISSED_MAX: u32 = 1_024;
/// Between two complaints.
const INTERVAL: Duration = Duration::from_secs(10);

/// What is known, and when it was complained last.
#[derive(Debug, Default)]
pub(super) struct Trust {
    confirmed: MapEpoch,
    complain_at: Micros,
}

impl Trust {
    /// The master has named this epoch in the answer to a renewal of this server.
    pub(super) fn confirm(&mut self, epoch: MapEpoch) {
        self.confirmed = self.confirmed.max(epoch);
    }

    /// Whether a map of this epoch can be, for one who holds that one.
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
