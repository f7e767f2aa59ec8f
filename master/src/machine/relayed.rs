//! Contacts a server through other members of its group, so that one bad link between it and the
//! master does not take it offline.
//!
//! ```text
//! master ──── probe every shard ─────────► server     fails, but is not refused
//! master ──── probe every shard ─────────► server
//!    └─ ASK_PROBE ─► up to three peers ──────┘ ▲      side by side; one that answers is enough
//!    ◄─ PROBE_RESULT ─┘
//! ```
//! The second attempt of a verification uses other members. All attempts do so while the server's
//! own datagrams arrive through a peer. A member that is asked and does not answer delays the
//! result by half a timeout at most.

use standin_protocol::control::{Datagram, DatagramKind, ProbeOutcome};
use standin_protocol::frame::Status;
use standin_protocol::map::{MapEpoch, ServerState};
use standin_protocol::time::Micros;

use crate::event::MasterEvent;
use crate::machine::probes::Answer;
use crate::machine::server::Asked;
use crate::machine::{Machine, ProbeFailure};
use crate::phase::{Attempt, Phase};

/// The number of members that are asked for one probe.
const PEERS_MAX: usize = 3;

impl Machine {
    /// Asks other members to contact the server too, if that may reveal more.
    pub(super) fn ask_peers(&mut self, now: Micros, id: u16, attempt: Attempt) {
        let server = &self.servers[usize::from(id)];
        let is_repeated = attempt.attempt >= self.rules.probe_attempts.min(2);
        let was_refused = server.last_failure == Some(ProbeFailure::Refused);
        let is_known_dead = was_refused && self.rules.refusal_is_death();
        let is_relayed = server.relay_at(now, &self.rules).is_some();
        self.server(id).asked = None;
        if !is_relayed && (!is_repeated || attempt.attempt == 0 || is_known_dead) {
            return;
        }
        let peers = self.peers_to_ask(id, attempt.probe_id);
        if peers.is_empty() {
            return;
        }
        self.event(MasterEvent::ProbeAsked { server: id, peers: peers.len() });
        for peer in &peers {
            self.counters.probes_asked += 1;
            for address in self.ways_to(now, *peer) {
                let mut datagram = self.datagram(DatagramKind::AskProbe, *peer);
                datagram.subject = id;
                datagram.nonce = nonce(self.term(), attempt.probe_id);
                self.send(address, datagram);
            }
        }
        let probe_id = attempt.probe_id;
        self.server(id).asked = Some(Asked { probe_id, waits_for: peers, failed: None });
    }

    /// Returns online members of the server's group. Successive probes ask different ones if there
    /// are more than needed.
    fn peers_to_ask(&self, id: u16, probe_id: u64) -> Vec<u16> {
        let is_fit = |peer: &u16| {
            let at = usize::from(*peer);
            self.registry.decided()[at].state == ServerState::Online
                && self.servers[at].is_heard()
                && matches!(self.servers[at].verify.phase(), Phase::Online { .. })
        };
        let mut peers: Vec<u16> = self.topology.group_peers(id).filter(is_fit).collect();
        if !peers.is_empty() {
            let turn = probe_id % peers.len() as u64;
            peers.rotate_left(usize::try_from(turn).unwrap_or(0));
        }
        peers.truncate(PEERS_MAX);
        peers
    }

    /// Handles the result of a member that was asked.
    pub(super) fn on_probe_result(&mut self, now: Micros, by: u16, datagram: &Datagram) -> bool {
        let id = datagram.subject;
        if usize::from(id) >= self.servers.len() {
            return false;
        }
        let Some(outcome) = u8::try_from(datagram.arg).ok().and_then(ProbeOutcome::from_wire)
        else {
            return false;
        };
        let term = self.term();
        // The answer of a peer may arrive after the probe has ended.
        let Some(asked) = self.server(id).asked() else { return false };
        let probe_id = asked.probe_id;
        let is_awaited = asked.waits_for.contains(&by);
        if !is_awaited || datagram.nonce != nonce(term, probe_id) {
            return false;
        }
        asked.waits_for.retain(|peer| *peer != by);
        let is_last_word = asked.waits_for.is_empty() && asked.failed.is_some();
        self.event(MasterEvent::ProbeTold { server: id, by, outcome });
        let left = self.servers[usize::from(id)].left_boot_id;
        let probed = datagram.probed.filter(|p| p.boot_id != 0 && p.boot_id != left);
        match (outcome, probed) {
            // A peer can't say whether the server reaches the database.
            (ProbeOutcome::Answered, Some(probed)) if !self.lacks_origin(now, id) => {
                self.counters.probes_relayed += 1;
                let answer = Answer {
                    boot_id: probed.boot_id,
                    loop_lag_us: 0,
                    map_epoch: probed.map_epoch,
                    // A peer can't say what the server has drained either.
                    drained_epoch: MapEpoch::default(),
                    origin_down: None,
                };
                self.on_answered(now, id, probe_id, answer);
            }
            (ProbeOutcome::Refused, _) if self.is_dead(id, ProbeFailure::Refused) => {
                self.on_unanswered(now, id, ProbeFailure::Refused);
            }
            // A server without room for another connection is alive.
            (ProbeOutcome::Busy, _) => {
                self.on_unanswered(now, id, ProbeFailure::Refusing(Status::Overloaded));
            }
            _ if is_last_word => self.end_asking(now, id),
            _ => {}
        }
        true
    }

    /// Handles the failure of the master's own probe. Returns whether the answers of the other
    /// members are awaited.
    pub(super) fn waits_for_peers(&mut self, now: Micros, id: u16, failure: ProbeFailure) -> bool {
        if !failure.is_evidence() || self.is_dead(id, failure) {
            return false;
        }
        let until = now + self.rules.probe_timeout / 2;
        // No peer was asked.
        let Some(asked) = self.server(id).asked() else { return false };
        asked.failed = Some((failure, until));
        !asked.waits_for.is_empty()
    }

    /// Stops waiting for the other members, which do not reach the server either or take too long.
    pub(super) fn end_asking(&mut self, now: Micros, id: u16) {
        let asked = self.server(id).asked.take();
        if let Some((failure, _)) = asked.and_then(|asked| asked.failed) {
            self.on_unanswered(now, id, failure);
        }
    }
}

/// Returns the name of a probe, for the members that are asked.
fn nonce(term: u32, probe_id: u64) -> u64 {
    u64::from(term) << 32 | (probe_id & u64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_probe_of_each_term_has_a_name_of_its_own() {
        let names = [nonce(0, 1), nonce(0, 2), nonce(1, 1), nonce(1, 2), nonce(2, 1 << 31)];
        let different: std::collections::BTreeSet<u64> = names.into_iter().collect();
        assert_eq!(different.len(), names.len(), "{names:?}");
        assert_eq!(nonce(1, 2), 1 << 32 | 2);
    }
}
