//! Datagrams of each kind: notices (claims 10, 14, 15, 19), renewals, acknowledgements and
//! departures.
//!
//! Without a secret anybody can send a datagram that names a server as its sender. So such a
//! datagram must come from the address that the cluster file has for that server, or for a member
//! of its group, which may have relayed it. Everything for a server goes to the address in the
//! cluster file. An answer also goes to the address that the datagram came from, if that belongs to
//! a member of the same group. Such a member has relayed the datagram because the direct path is
//! cut. An answer never goes to any other address, because it could be forged. Only clients are
//! answered at any address.

use std::net::SocketAddr;

use standin_config::Mode;
use standin_protocol::control::{
    Datagram, DatagramKind, SENDER_CLIENT, SENDER_MASTER, renew_flags,
};
use standin_protocol::map::{MapEpoch, ServerState};
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use crate::event::{MasterEvent, Reporter};
use crate::machine::Machine;
use crate::machine::server::Waiter;
use crate::phase::{Phase, Seen};
use crate::senders::Standing;

impl Machine {
    pub(super) fn on_datagram(&mut self, now: Micros, from: SocketAddr, datagram: &Datagram) {
        self.counters.datagrams_received += 1;
        let is_taken = match datagram.sender {
            _ if datagram.recipient != SENDER_MASTER => false,
            SENDER_CLIENT => self.on_client(now, from, datagram),
            id if !self.topology.may_send(id, from, self.id_of(id)) => {
                self.distrust(now, id, from);
                false
            }
            id if usize::from(id) < self.servers.len() => self.on_server(now, from, id, datagram),
            _ => false,
        };
        if !is_taken {
            self.counters.datagrams_dropped += 1;
        }
    }

    /// Returns the id if a server has it.
    fn id_of(&self, id: u16) -> Option<u16> {
        (usize::from(id) < self.servers.len()).then_some(id)
    }

    /// Handles a datagram whose address is not the one of its sender in the cluster file.
    fn distrust(&mut self, now: Micros, id: u16, from: SocketAddr) {
        self.counters.datagrams_distrusted += 1;
        if let Some(server) = self.id_of(id)
            && self.warnings.take_warning_of_strangers(now)
        {
            self.event(MasterEvent::Distrusted { server, from });
        }
    }

    fn on_client(&mut self, now: Micros, from: SocketAddr, datagram: &Datagram) -> bool {
        if !self.senders.accept_client(datagram.boot_id, datagram.sequence) {
            return false;
        }
        let by = Reporter::Client(datagram.boot_id);
        let waiter = Waiter { to: from, recipient: SENDER_CLIENT, nonce: datagram.nonce };
        match datagram.kind {
            DatagramKind::ReportFailed => self.on_report(now, datagram.subject, by, waiter),
            DatagramKind::ReportOk => self.on_report_ok(now, datagram.subject, by, waiter),
            _ => false,
        }
    }

    fn on_server(&mut self, now: Micros, from: SocketAddr, id: u16, datagram: &Datagram) -> bool {
        let known = self.registry.decided()[usize::from(id)].boot_id;
        let last_probe_id = self.servers[usize::from(id)].verify.last_probe_id();
        let (boot_id, sequence) = (datagram.boot_id, datagram.sequence);
        // In a cluster that starts, a server that was never heard before is simply new. If the
        // server is considered offline, a probe decides, as for any other.
        let is_first = known == 0 && !self.servers[usize::from(id)].verify.is_out();
        let expected = if is_first { boot_id } else { known };
        let standing = self.senders.judge(id, boot_id, sequence, expected, last_probe_id);
        if standing == Standing::Stale {
            return false;
        }
        let has_left = self.servers[usize::from(id)].left_boot_id == boot_id;
        if has_left && !matches!(datagram.kind, DatagramKind::Leaving | DatagramKind::Ack) {
            return false;
        }
        // Only a renewal carries the epoch that its sender has heard (see `restart.rs`).
        if datagram.kind == DatagramKind::Renew {
            let server = self.server(id);
            server.heard.add(boot_id);
            server.has_map |= boot_id == known && datagram.epoch > MapEpoch::default();
        }
        if is_first {
            self.registry.set_boot_id(id, boot_id);
            self.event(MasterEvent::Heard { server: id, boot_id });
        }
        match standing {
            Standing::Known => self.see(now, id, Seen::Renewed),
            _ => self.see(now, id, Seen::OtherIncarnation),
        }
        let is_known = standing == Standing::Known;
        let to = self.answer_address(now, from, id);
        let waiter = Waiter { to, recipient: id, nonce: datagram.nonce };
        let by = Reporter::Server(id);
        match datagram.kind {
            DatagramKind::ReportFailed if datagram.subject != id => {
                self.on_report(now, datagram.subject, by, waiter)
            }
            DatagramKind::ReportOk if datagram.subject != id => {
                self.on_report_ok(now, datagram.subject, by, waiter)
            }
            DatagramKind::Renew => {
                if is_known {
                    self.on_origin_flag(now, id, datagram.arg);
                    self.on_mode_flag(id, datagram.arg);
                }
                self.on_renew(now, waiter, datagram, is_known);
                true
            }
            DatagramKind::Ack if is_known => {
                if self.registry.acked(now, id, datagram.epoch) {
                    self.counters.acks += 1;
                    self.event(MasterEvent::Acked { server: id, epoch: datagram.epoch });
                }
                self.check_all_drains(now);
                true
            }
            DatagramKind::ProbeResult if is_known => self.on_probe_result(now, id, datagram),
            DatagramKind::Leaving => {
                self.on_leaving(now, boot_id, waiter, is_known);
                true
            }
            _ => false,
        }
    }

    /// Handles a report that a server may be offline: contacts the server (claim 19).
    fn on_report(&mut self, now: Micros, subject: u16, by: Reporter, waiter: Waiter) -> bool {
        if usize::from(subject) >= self.servers.len() {
            return false;
        }
        self.counters.reports += 1;
        self.event(MasterEvent::Reported { server: subject, by });
        self.server(subject).wait(waiter);
        let lease = self.rules.lease;
        let is_discounted = self.reporters.accuse(now, by, subject, &self.topology, lease);
        let server = &self.servers[usize::from(subject)];
        let is_online = matches!(server.verify.phase(), Phase::Online { .. });
        let cool_down = self.rules.discounted_cool_down();
        if is_discounted && is_online && server.verify.was_probed_within(now, cool_down) {
            self.counters.reports_discounted += 1;
            self.event(MasterEvent::Discounted { server: subject, by });
            self.see(now, subject, Seen::Discounted);
        } else {
            self.see(now, subject, Seen::Reported);
        }
        true
    }

    /// Handles a report that a server was reached again (claim 14). A server that is online stays
    /// online. Any other server is probed at once.
    fn on_report_ok(&mut self, now: Micros, subject: u16, by: Reporter, waiter: Waiter) -> bool {
        if usize::from(subject) >= self.servers.len() {
            return false;
        }
        self.event(MasterEvent::ReportedOk { server: subject, by });
        self.see(now, subject, Seen::ReportedOk);
        if self.map().is_some() {
            self.send_verdict(subject, waiter);
        }
        true
    }

    /// Returns the address at which to answer a server (see the head of this file).
    fn answer_address(&mut self, now: Micros, from: SocketAddr, id: u16) -> SocketAddr {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let own = self.topology.servers[usize::from(id)].address;
        let address = |peer: u16| self.topology.servers[usize::from(peer)].address;
        let is_peers = self.topology.group_peers(id).any(|peer| address(peer) == from);
        if !is_peers || from == own {
            return own;
        }
        self.server(id).relay = Some((from, now));
        from
    }

    fn on_renew(&mut self, now: Micros, waiter: Waiter, datagram: &Datagram, is_known: bool) {
        let id = waiter.recipient;
        self.learn_of(now, id, datagram.epoch);
        if self.registry.published_epoch() == MapEpoch::default() {
            return;
        }
        // While the master learns it has no states to announce, and therefore no epoch and no
        // leases.
        let is_announcing = self.registry.is_announcing();
        let newest = match is_announcing {
            true => self.registry.published_epoch(),
            false => MapEpoch::default(),
        };
        // No lease is granted to a server that may no longer use one, to a server of another mode,
        // or to an incarnation that only claims to be the server. A duration of zero only tells the
        // server that it was heard.
        let state = self.registry.decided()[usize::from(id)].state;
        let may_own = matches!(state, ServerState::Online | ServerState::Returning);
        let mut grant = self.datagram(DatagramKind::Grant, id);
        grant.subject = id;
        grant.epoch = newest;
        grant.nonce = datagram.nonce;
        let has_other_mode = self.servers[usize::from(id)].has_other_mode;
        if is_announcing && is_known && may_own && !has_other_mode {
            grant.arg = u32::try_from(self.rules.lease.as_millis()).unwrap_or(u32::MAX);
            self.servers[usize::from(id)].verify.granted(now, &self.rules);
        }
        self.send(waiter.to, grant);
        if is_announcing && datagram.epoch < newest && !mutant::is(Mutant::NoResend) {
            self.announce(now, id);
        }
    }

    /// Notes a server's mode. Two modes in one cluster would guarantee nothing.
    fn on_mode_flag(&mut self, id: u16, flags: u32) {
        let is_strict = flags & renew_flags::STRICT != 0;
        let has_other_mode = is_strict != (self.rules.mode == Mode::Strict);
        let server = self.server(id);
        if std::mem::replace(&mut server.has_other_mode, has_other_mode) != has_other_mode
            && has_other_mode
        {
            self.event(MasterEvent::OtherMode { server: id, is_strict });
        }
    }

    /// Handles a server that says that it is stopping. It is believed regardless of the cap.
    fn on_leaving(&mut self, now: Micros, boot_id: u64, waiter: Waiter, is_known: bool) {
        let id = waiter.recipient;
        self.server(id).wait(waiter);
        let is_learning = self.restart.is_learning() && !mutant::is(Mutant::LeavingWhileLearning);
        if !is_known || is_learning {
            // The probe that this datagram has caused will decide. A master that learns may not
            // know the incarnation yet, and could mistake an old datagram's incarnation for it. A
            // leaving server sends the datagram again.
            return;
        }
        self.server(id).left_boot_id = boot_id;
        self.see(now, id, Seen::Left);
    }

    pub(super) fn check_all_drains(&mut self, now: Micros) {
        for id in self.ids() {
            if matches!(self.phase(id), Phase::Returning { .. } | Phase::Leaving { .. }) {
                self.check_drain(now, id);
            }
        }
    }
}
