//! Servers that answer but can't reach the database (scenario 13). Such a server is useless if
//! other members of its group can reach the database.
//!
//! The server reports this in its renewals, and each shard in its answer to a probe. When it has
//! lasted for a lease, the master contacts the server, as after a report. A probe that finds a
//! shard without a connection to the database then counts as unanswered.
//!
//! The probe does *not* count as unanswered while no other member of the group is known to reach
//! the database. In that case the database is down, and marking servers offline would not help.
//! Servers do not notice at the same moment that a database goes down or is up again. So reports of
//! other members from before the outage, or from shortly after its start, do not count. Reports
//! that have lasted only for a moment do not count either.

use std::time::Duration;

use standin_protocol::control::renew_flags;
use standin_protocol::map::ServerState;
use standin_protocol::time::Micros;

use crate::event::MasterEvent;
use crate::machine::Machine;
use crate::phase::{Phase, Seen};

/// The longest time until a server finds out that a database that was down is up again.
const FOUND_WITHIN: Duration = Duration::from_secs(2);

/// The state of a server's connection to the database.
#[derive(Debug, Default)]
pub(super) struct Origin {
    /// The time since which its connection is reported to be lost.
    down_since: Option<Micros>,
    /// The time since which renewals report that its connection works, and the time of the last
    /// such renewal.
    up: Option<(Micros, Micros)>,
    /// Whether the server was marked offline for this reason. It returns only when it reaches the
    /// database.
    pub(super) is_out: bool,
}

impl Origin {
    /// Notes whether a probe has found the connection to work.
    pub(super) fn probe_found(&mut self, now: Micros, is_up: bool) {
        match is_up {
            true => self.down_since = None,
            false => {
                self.down_since.get_or_insert(now);
                self.up = None;
            }
        }
    }
}

impl Machine {
    /// Notes the report in a renewal of the known incarnation.
    pub(super) fn on_origin_flag(&mut self, now: Micros, id: u16, flags: u32) {
        let is_up = flags & renew_flags::ORIGIN_DOWN == 0;
        let origin = &mut self.server(id).origin;
        origin.probe_found(now, is_up);
        if is_up {
            origin.up = Some((origin.up.map_or(now, |(since, _)| since), now));
        }
        let is_online = self.phase(id) == Phase::Online { verify_at: None };
        if is_online && self.is_gray(now, id) {
            self.event(MasterEvent::OriginDown { server: id });
            self.see(now, id, Seen::Reported);
        }
    }

    /// Whether only this server has been unable to reach the database, for at least a lease.
    pub(super) fn is_gray(&self, now: Micros, id: u16) -> bool {
        let lease = self.rules.lease;
        // The server reaches the database.
        let Some(since) = self.servers[usize::from(id)].origin.down_since else { return false };
        since + lease <= now
            && self.has_peer_with_origin(now, id, |up_since, up_at| {
                up_at > since + lease / 2 && up_since + lease.max(FOUND_WITHIN) <= now
            })
    }

    /// Whether another member of its group that is in service has recently reported that it reaches
    /// the database, and for long enough.
    fn has_peer_with_origin(
        &self,
        now: Micros,
        id: u16,
        will_do: impl Fn(Micros, Micros) -> bool,
    ) -> bool {
        let has_way = |peer: u16| {
            let at = usize::from(peer);
            let up = self.servers[at].origin.up;
            self.registry.decided()[at].state == ServerState::Online
                && up.is_some_and(|(since, at)| now < at + self.rules.lease && will_do(since, at))
        };
        self.topology.group_peers(id).any(has_way)
    }

    /// Whether an answer of a server that can't reach the database has to be ignored. A server that
    /// is offline for any reason, while another member does its work, returns only when it can do
    /// the work itself.
    pub(super) fn needs_origin(&self, now: Micros, id: u16) -> bool {
        let server = &self.servers[usize::from(id)];
        let is_replaced = || self.has_peer_with_origin(now, id, |_, _| true);
        let is_out = server.verify.is_out() && (server.origin.is_out || is_replaced());
        is_out || self.is_gray(now, id)
    }

    /// Whether an answer that does not report the connection has to be ignored because renewals
    /// have reported it as lost.
    pub(super) fn lacks_origin(&self, now: Micros, id: u16) -> bool {
        let origin = &self.servers[usize::from(id)].origin;
        self.needs_origin(now, id) && (origin.is_out || origin.down_since.is_some())
    }
}
