//! Translates the decisions of a server's machine into states, epochs and events, and ends the
//! intermediate states.

use standin_protocol::map::ServerState;
use standin_protocol::time::Micros;

use crate::event::{MasterEvent, OfflineReason};
use crate::machine::{Machine, ProbeFailure};
use crate::phase::{Mark, Phase, Seen};

impl Machine {
    /// Whether one more server may be marked by verdict. A master without history changes no owner.
    /// When too many servers would be marked, it assumes that the fault is its own.
    pub(super) fn may_mark(&self) -> bool {
        !self.restart.is_learning() && self.out_by_verdict() < self.rules.offline_servers_max
    }

    pub(super) fn out_by_verdict(&self) -> usize {
        self.servers.iter().filter(|s| s.verify.is_out() && s.by_verdict).count()
    }

    pub(super) fn mark(&mut self, now: Micros, id: u16, mark: Mark, seen: Seen) {
        self.server(id).is_decided_here = true;
        match mark {
            Mark::Offline => {
                let was = self.registry.decided()[usize::from(id)].state;
                if self.registry.is_released(id) {
                    let boot_id = self.registry.decided()[usize::from(id)].boot_id;
                    self.server(id).released_boot_id = boot_id;
                }
                let reason = match seen {
                    _ if was == ServerState::Leaving => OfflineReason::Leaving,
                    Seen::Answered { .. } => OfflineReason::Flapping,
                    _ if self.note_origin(id) => OfflineReason::Origin,
                    _ => OfflineReason::Verdict,
                };
                let by_verdict = reason != OfflineReason::Leaving;
                self.server(id).by_verdict = by_verdict;
                match by_verdict {
                    true => self.counters.verdicts_offline += 1,
                    false => self.counters.leavings += 1,
                }
                let epoch = self.registry.change(id, ServerState::Offline);
                self.event(MasterEvent::MarkedOffline { server: id, epoch, reason });
            }
            Mark::Waiting => {
                let reason = match self.note_origin(id) {
                    true => OfflineReason::Origin,
                    false => OfflineReason::Verdict,
                };
                self.server(id).by_verdict = true;
                self.counters.waitings += 1;
                let until = self.servers[usize::from(id)].verify.lease_over_at();
                let epoch = self.registry.change(id, ServerState::Waiting);
                let at_most = until.since(now);
                self.event(MasterEvent::MarkedWaiting { server: id, epoch, at_most, reason });
            }
            Mark::Leaving => {
                let epoch = self.registry.change(id, ServerState::Leaving);
                self.event(MasterEvent::Leaving { server: id, epoch });
            }
            Mark::Returning => {
                let drain_check_at = now + self.rules.drain_overdue();
                let server = self.server(id);
                server.by_verdict = false;
                server.origin.is_out = false;
                server.left_boot_id = 0;
                server.released_boot_id = 0;
                server.returning_at = now;
                server.drain_check_at = drain_check_at;
                self.counters.returns += 1;
                let epoch = self.registry.change(id, ServerState::Returning);
                let boot_id = self.registry.decided()[usize::from(id)].boot_id;
                self.event(MasterEvent::Returning { server: id, epoch, boot_id });
            }
            Mark::Online => {
                let epoch = self.registry.change(id, ServerState::Online);
                self.event(MasterEvent::Online { server: id, epoch });
            }
        }
    }

    /// Remembers and reports whether the server is marked offline because it can't reach the
    /// database.
    fn note_origin(&mut self, id: u16) -> bool {
        let server = self.server(id);
        server.origin.is_out |= server.last_failure == Some(ProbeFailure::OriginDown);
        server.origin.is_out
    }

    /// Marks the server online once it and its group have acknowledged the return and drained.
    /// Members that do not acknowledge are verified.
    pub(super) fn check_drain(&mut self, now: Micros, id: u16) {
        let server = &self.servers[usize::from(id)];
        match server.verify.phase() {
            Phase::Returning { attempt: 0, .. } => {}
            Phase::Leaving { .. } => {
                if self.registry.undrained(id).is_some_and(|peers| peers.is_empty()) {
                    self.see(now, id, Seen::Drained);
                }
                return;
            }
            _ => return,
        }
        let is_overdue = server.drain_check_at <= now;
        if server.predecessor_over_at <= now {
            self.server(id).predecessor_over_at = Micros(0);
        }
        if is_overdue {
            let again = now + self.rules.drain_overdue();
            self.server(id).drain_check_at = again;
        }
        // The server is neither returning nor leaving.
        let Some(undrained) = self.registry.undrained(id) else { return };
        let waits_for_itself = self.servers[usize::from(id)].predecessor_over_at > Micros(0);
        if undrained.is_empty() {
            if !waits_for_itself {
                self.see(now, id, Seen::Drained);
            }
        } else if is_overdue {
            for peer in undrained {
                self.event(MasterEvent::DrainOverdue { server: id, peer });
                self.see(now, peer, Seen::Reported);
            }
        }
    }
}
