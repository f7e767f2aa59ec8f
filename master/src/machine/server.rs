//! The master's knowledge of one server, in addition to its announced state.

use std::net::SocketAddr;

use standin_protocol::map::{MapEpoch, ServerState};
use standin_protocol::queue::Queue;
use standin_protocol::time::Micros;

use crate::machine::ProbeFailure;
use crate::machine::origin::Origin;
use crate::phase::Phase;
use crate::rules::Rules;
use crate::state::SavedServer;
use crate::verify::Verify;

/// The number of reporters of one server that may wait for a verdict. Further ones learn it from
/// the map.
const WAITERS_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct Server {
    pub(super) verify: Verify,
    /// The reporters that wait for a verdict.
    pub(super) waiters: Vec<Waiter>,
    /// The epoch whose publication answers the waiting reporters.
    pub(super) verdict_at: Option<MapEpoch>,
    /// The incarnation that said that it is stopping, and that never returns; 0 if there is none.
    pub(super) left_boot_id: u64,
    /// The incarnation that has released everything; 0 if there is none. Before it was marked
    /// offline, it has acknowledged that it owns nothing and that everything it had begun has
    /// ended. Its lease need not be waited for.
    pub(super) released_boot_id: u64,
    /// Whether it is offline or waiting by verdict, so that it counts towards the cap.
    pub(super) by_verdict: bool,
    /// The incarnations that have renewed since the master started.
    pub(super) heard: Heard,
    /// Whether one of these renewals came from the known incarnation, which also has a map.
    pub(super) has_map: bool,
    /// Whether this master has decided the server's state, and not an earlier master.
    pub(super) is_decided_here: bool,
    /// The time at which the return began, while the server is returning.
    pub(super) returning_at: Micros,
    /// The time at which to check again which servers have not drained for that return.
    pub(super) drain_check_at: Micros,
    /// The time until which the previous incarnation may hold a lease, while the server is
    /// returning; zero if that does not matter.
    pub(super) predecessor_over_at: Micros,
    /// The incarnation that was known when the probe under way began.
    pub(super) probed_boot_id: u64,
    /// The failure of the last probe, if it failed.
    pub(super) last_failure: Option<ProbeFailure>,
    /// Whether it runs in another mode than this master, and gets no lease.
    pub(super) has_other_mode: bool,
    /// Its connection to the database.
    pub(super) origin: Origin,
    /// The other members of its group that contact it as well, for the probe under way.
    pub(super) asked: Option<Asked>,
    /// The sender and time of its last relayed datagram.
    pub(super) relay: Option<(SocketAddr, Micros)>,
}

/// The incarnations of a server that have renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Heard {
    #[default]
    Nobody,
    /// Exactly this one.
    One(u64),
    /// More than one. The knowledge of an earlier one may be lost.
    Several,
}

impl Heard {
    /// Notes a renewal.
    pub(super) fn add(&mut self, boot_id: u64) {
        *self = match *self {
            Self::Nobody => Self::One(boot_id),
            Self::One(heard) if heard == boot_id => Self::One(boot_id),
            Self::One(_) | Self::Several => Self::Several,
        };
    }
}

/// A probe that other members of the group carry out as well.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) probe_id: u64,
    /// The members that have not reported their result yet.
    pub(super) waits_for: Vec<u16>,
    /// The failure of the master's own probe, and the time until which the master then waits for
    /// the other members.
    pub(super) failed: Option<(ProbeFailure, Micros)>,
}

/// A reporter that waits for a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiter {
    /// The address for the answer.
    pub(super) to: SocketAddr,
    /// The recipient of the answer.
    pub(super) recipient: u16,
    pub(super) nonce: u64,
}

impl Server {
    /// Creates a server as the last master knew it. It may still hold a lease of that master.
    pub(super) fn new(now: Micros, known: &SavedServer, rules: &Rules) -> Self {
        let status = known.status;
        let has_left = status.state == ServerState::Offline && !known.by_verdict;
        let lease_over_at = rules.lease_over_at(now);
        Self {
            verify: Verify::new(now, phase_of(now, status.state, rules), lease_over_at),
            waiters: Vec::new(),
            verdict_at: None,
            left_boot_id: if has_left { status.boot_id } else { 0 },
            released_boot_id: 0,
            by_verdict: known.by_verdict,
            heard: Heard::default(),
            has_map: false,
            is_decided_here: false,
            returning_at: now,
            drain_check_at: now,
            predecessor_over_at: Micros(0),
            probed_boot_id: 0,
            last_failure: None,
            has_other_mode: false,
            origin: Origin::default(),
            asked: None,
            relay: None,
        }
    }

    /// Returns the lengths of its lists.
    pub(super) fn queues(&self, servers: usize) -> [Queue; 2] {
        let asked = self.asked.as_ref().map_or(0, |asked| asked.waits_for.len());
        [
            Queue::new("waiters", self.waiters.len(), WAITERS_MAX),
            Queue::new("servers asked to probe", asked, servers),
        ]
    }

    /// Whether it has renewed since the master started.
    pub(super) fn is_heard(&self) -> bool {
        self.heard != Heard::Nobody
    }

    /// Remembers a reporter that waits for the verdict.
    pub(super) fn wait(&mut self, waiter: Waiter) {
        let is_same = |w: &&mut Waiter| w.to == waiter.to && w.recipient == waiter.recipient;
        if let Some(same) = self.waiters.iter_mut().find(is_same) {
            *same = waiter;
        } else if self.waiters.len() < WAITERS_MAX {
            self.waiters.push(waiter);
        }
    }

    /// Returns the address of the member that relays its datagrams, if a datagram was relayed
    /// within a lease.
    pub(super) fn relay_at(&self, now: Micros, rules: &Rules) -> Option<SocketAddr> {
        self.relay.and_then(|(address, at)| (now < at + rules.lease).then_some(address))
    }

    /// Returns the members that were asked for the probe under way.
    pub(super) fn asked(&mut self) -> Option<&mut Asked> {
        let probe_id = self.verify.probe_under_way()?.probe_id;
        self.asked.as_mut().filter(|asked| asked.probe_id == probe_id)
    }

    /// Returns the time until which the master waits for other members, once its own probe has
    /// failed.
    pub(super) fn asked_until(&self) -> Micros {
        let under_way = self.verify.probe_under_way().map(|probe| probe.probe_id);
        let asked = self.asked.as_ref().filter(|asked| under_way == Some(asked.probe_id));
        asked.and_then(|asked| asked.failed).map_or(Micros::NEVER, |(_, until)| until)
    }

    /// Returns the time at which to check its return.
    pub(super) fn next_drain_check(&self) -> Micros {
        let Phase::Returning { attempt: 0, .. } = self.verify.phase() else {
            return Micros::NEVER;
        };
        match self.predecessor_over_at {
            Micros(0) => self.drain_check_at,
            over_at => self.drain_check_at.min(over_at),
        }
    }
}

/// Returns the phase of a server that is announced as `state`.
pub(super) fn phase_of(now: Micros, state: ServerState, rules: &Rules) -> Phase {
    match state {
        ServerState::Online => Phase::Online { verify_at: None },
        ServerState::Offline => Phase::Offline { next_probe: now },
        ServerState::Returning => Phase::Returning { attempt: 0, verify_at: None },
        // The server may have stopped while there was no master, so only its lease is waited for.
        ServerState::Leaving => Phase::Leaving { until: now },
        ServerState::Waiting => Phase::Waiting { until: rules.lease_over_at(now), next_probe: now },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_incarnations_that_have_renewed_are_noticed() {
        let mut heard = Heard::Nobody;
        for (boot_id, expected) in [
            (7, Heard::One(7)),
            (7, Heard::One(7)),
            (8, Heard::Several),
            (8, Heard::Several),
            (7, Heard::Several),
        ] {
            heard.add(boot_id);
            assert_eq!(heard, expected);
        }
    }

    fn server() -> Server {
        let status = standin_protocol::map::ServerStatus::default();
        let known = SavedServer { name: "a1".to_owned(), status, by_verdict: false };
        Server::new(Micros(0), &known, &Rules::example())
    }

    #[test]
    fn a_reporter_waits_once_with_its_last_report_and_the_number_is_bounded() {
        let waiter = |port: u16, recipient, nonce| Waiter {
            to: ([127, 0, 0, 1], port).into(),
            recipient,
            nonce,
        };
        let mut server = server();
        for waiting in [waiter(1, 5, 1), waiter(1, 6, 2), waiter(2, 5, 3), waiter(1, 5, 4)] {
            server.wait(waiting);
        }
        assert_eq!(server.waiters, [waiter(1, 5, 4), waiter(1, 6, 2), waiter(2, 5, 3)]);
        for port in 10..200 {
            server.wait(waiter(port, 5, 1));
        }
        assert_eq!(server.waiters.len(), WAITERS_MAX);
        server.wait(waiter(2, 5, 9));
        assert_eq!(server.waiters[2], waiter(2, 5, 9), "this reporter already waits");
    }

    #[test]
    fn a_member_is_used_as_a_relay_for_a_lease() {
        let (mut server, rules) = (server(), Rules::example());
        assert_eq!(server.relay_at(Micros(0), &rules), None);
        let address = ([127, 0, 0, 1], 7).into();
        server.relay = Some((address, Micros(5)));
        let over_at = Micros(5) + rules.lease;
        assert_eq!(server.relay_at(Micros(over_at.0 - 1), &rules), Some(address));
        assert_eq!(server.relay_at(over_at, &rules), None);
    }
}
