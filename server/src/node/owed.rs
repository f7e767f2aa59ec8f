//! What an owner that is online has to be told: keys that were written here although it
//! owns them (scenario 2). Sent until it is acknowledged, directly or through a member of the
//! group, or until the owner has changed.

use std::time::Duration;

use standin_protocol::map::{ClusterMap, ServerState};
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use super::serving::Reach;
use super::{Node, Now};

/// Before keys that could not be told are told again.
const AGAIN: Duration = Duration::from_millis(100);

/// Where telling one server stands.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Owed {
    /// SETTLEs that are not answered yet.
    unanswered: usize,
    has_failed: bool,
    attempts: usize,
    /// When to tell it next.
    at: Option<Micros>,
}

impl Owed {
    pub(super) fn next_deadline(&self) -> Option<Micros> {
        self.at.filter(|_| self.unanswered == 0 && !mutant::is(Mutant::NoOwed))
    }
}

impl Node {
    /// A map is in place: keys are owed to those who own their partitions by it. What was owed
    /// to a stand-in that owns them no more is void: it has dropped them.
    pub(super) fn plan_owed(&mut self, now: Now, map: &ClusterMap) {
        for server in (0u16..).take(self.topology.servers.len()) {
            let topology = &self.topology;
            self.unsettled.forget(server, |partition| {
                topology.home(partition) != server && map.ownership(partition).owner != server
            });
            let is_owed =
                map.state(server) == ServerState::Online && self.unsettled.is_owed(server);
            self.owed[usize::from(server)].at = is_owed.then_some(now.mono);
        }
        self.tell_owed(now);
    }

    /// There is something new to tell this server.
    pub(super) fn owe(&mut self, now: Now, server: u16) {
        let is_online =
            self.map.as_ref().is_some_and(|map| map.state(server) == ServerState::Online);
        if is_online {
            self.counters.keys_owed += 1;
            self.owed[usize::from(server)].at.get_or_insert(now.mono);
        }
    }

    /// Tells those whose time has come.
    pub(super) fn tell_owed(&mut self, now: Now) {
        for server in (0u16..).take(self.owed.len()) {
            let owed = &mut self.owed[usize::from(server)];
            if owed.next_deadline().is_none_or(|at| at > now.mono) {
                continue;
            }
            owed.at = None;
            let attempts = owed.attempts;
            let batches = self.batches_for(now, server);
            let owed = &mut self.owed[usize::from(server)];
            (owed.unanswered, owed.has_failed) = (batches.len(), false);
            for batch in batches {
                let partition = batch.keys.first().map_or(0, |told| told.partition);
                let via = self.way_to(server, partition, attempts);
                self.tell(server, via, batch, None);
            }
        }
    }

    /// `None`: directly. Otherwise through this member; another one each time, and now and
    /// then directly.
    fn way_to(&self, server: u16, partition: u32, attempts: usize) -> Option<u16> {
        if self.peers[usize::from(server)].reach() == Reach::Direct && attempts == 0 {
            return None;
        }
        let members: Vec<u16> = self.relays(partition, server).collect();
        members.get(attempts % (members.len() + 1)).copied()
    }

    pub(super) fn owed_done(&mut self, now: Now, server: u16, is_ok: bool) {
        let owed = &mut self.owed[usize::from(server)];
        owed.unanswered = owed.unanswered.saturating_sub(1);
        owed.has_failed |= !is_ok;
        if owed.unanswered > 0 {
            return;
        }
        let again = if owed.has_failed { now.mono + AGAIN } else { now.mono };
        owed.attempts = if owed.has_failed { owed.attempts + 1 } else { 0 };
        let is_online =
            self.map.as_ref().is_some_and(|map| map.state(server) == ServerState::Online);
        let is_owed = is_online && self.unsettled.is_owed(server);
        self.owed[usize::from(server)].at = is_owed.then_some(again);
        self.tell_owed(now);
    }
}
