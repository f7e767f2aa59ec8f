//! A server that answers but has lost its way to the database (scenario 13): of no use to
//! anybody, if others of its group have not.
//!
//! It says so with its renewals, and each shard with its answer to a probe. When this has lasted
//! for a lease the master contacts it, as after a report, and a probe that finds a shard
//! without a way to the database then counts as unanswered. It does *not* while nobody else of
//! its group is known to have a way: then it is the database that is down, and taking servers
//! out would mend nothing. So what others have said before the trouble began, or just after,
//! does not count: a database that goes down is noticed by one server before the other.

use standin_protocol::control::renew_flags;
use standin_protocol::map::ServerState;
use standin_protocol::time::Micros;

use crate::event::MasterEvent;
use crate::machine::Machine;
use crate::phase::{Phase, Seen};

/// What is known of a server's way to the database.
#[derive(Debug, Default)]
pub(super) struct Origin {
    /// Since when it is said to be dead.
    down_since: Option<Micros>,
    /// When a renewal said last that it is not.
    up_at: Option<Micros>,
    /// The server is out for this reason, and returns only with a way to the database.
    pub(super) is_out: bool,
}

impl Origin {
    /// A probe has found it so.
    pub(super) fn is_found(&mut self, now: Micros, is_up: bool) {
        match is_up {
            true => self.down_since = None,
            false => {
                self.down_since.get_or_insert(now);
            }
        }
    }
}

impl Machine {
    /// What the known incarnation says with its renewal.
    pub(super) fn on_origin_flag(&mut self, now: Micros, id: u16, flags: u32) {
        let is_up = flags & renew_flags::ORIGIN_DOWN == 0;
        let origin = &mut self.server(id).origin;
        origin.is_found(now, is_up);
        if is_up {
            origin.up_at = Some(now);
        }
        let is_online = self.phase(id) == Phase::Online { verify_at: None };
        if is_online && self.is_gray(now, id) {
            self.event(MasterEvent::OriginDown { server: id });
            self.see(now, id, Seen::Reported);
        }
    }

    /// Whether it alone is without a way to the database, for a lease by now.
    pub(super) fn is_gray(&self, now: Micros, id: u16) -> bool {
        let lease = self.rules.lease;
        let Some(since) = self.servers[usize::from(id)].origin.down_since else { return false };
        since + lease <= now && self.a_peer_has_a_way(now, id, since + lease / 2)
    }

    /// Whether another of its group, one that serves, has said after that time, and lately, that
    /// it has a way to the database.
    fn a_peer_has_a_way(&self, now: Micros, id: u16, after: Micros) -> bool {
        let lease = self.rules.lease;
        let has_way = |peer: u16| {
            let at = usize::from(peer);
            let up_at = self.servers[at].origin.up_at;
            self.registry.decided()[at].state == ServerState::Online
                && up_at.is_some_and(|at| at > after && now < at + lease)
        };
        self.topology.group_peers(id).any(has_way)
    }

    /// Whether an answer without a way to the database counts for nothing. Who is out for any
    /// reason, while another of the group does its work, comes back when it can do it itself.
    pub(super) fn needs_origin(&self, now: Micros, id: u16) -> bool {
        let server = &self.servers[usize::from(id)];
        let is_replaced = || self.a_peer_has_a_way(now, id, Micros(0));
        let is_out = server.verify.is_out() && (server.origin.is_out || is_replaced());
        is_out || self.is_gray(now, id)
    }

    /// The same where the answer does not say, but renewals may have.
    pub(super) fn lacks_origin(&self, now: Micros, id: u16) -> bool {
        let origin = &self.servers[usize::from(id)].origin;
        self.needs_origin(now, id) && (origin.is_out || origin.down_since.is_some())
    }
}
