//! Incoming datagrams: from the master, from members of the group, and for others.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use standin_protocol::control::{Datagram, DatagramKind, SENDER_MASTER};
use standin_protocol::map::{ClusterMap, MapEpoch, ServerState, ServerStatus};
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use super::{Agent, Output, Tell};

impl Agent {
    pub(super) fn heard(&mut self, now: Micros, from: SocketAddr, datagram: Datagram) {
        // A datagram of the master may come through a member. All others come directly.
        let (sender, is_own) = (datagram.sender, datagram.recipient == self.config.server);
        let relayed_for = (is_own && sender == SENDER_MASTER).then_some(self.config.server);
        let is_known = self.topology.may_send(sender, from, relayed_for);
        if !is_known && !mutant::is(Mutant::BelieveAnybody) {
            return self.distrust(now, from, sender, datagram.epoch);
        }
        if !is_own {
            return self.pass_on(datagram);
        }
        if datagram.kind == DatagramKind::Grant && self.leases.has_asked(datagram.nonce) {
            self.trust.confirm(datagram.epoch);
        }
        if !self.trust.is_plausible(self.epoch(), datagram.epoch) {
            return self.distrust(now, from, sender, datagram.epoch);
        }
        let is_member = self.group.member(datagram.sender).is_some();
        let is_expected = match datagram.kind {
            DatagramKind::Gossip => is_member,
            _ => datagram.sender == SENDER_MASTER && !self.is_outdated(&datagram),
        };
        if !is_expected || !self.senders.accept(&datagram) {
            self.counters.datagrams_dropped += 1;
            return;
        }
        match datagram.kind {
            DatagramKind::Gossip => self.heard_gossip(now, datagram),
            _ => self.heard_master(now, datagram),
        }
    }

    /// Relays a datagram for the master, or from it to a member of the group, unchanged. It goes
    /// directly to its recipient, so it is relayed only once.
    fn pass_on(&mut self, datagram: Datagram) {
        let (sender, to) = (datagram.sender, datagram.recipient);
        let for_whom = if sender == SENDER_MASTER { to } else { sender };
        let with_master = (sender == SENDER_MASTER) != (to == SENDER_MASTER);
        if with_master && self.group.member(for_whom).is_some() {
            self.counters.datagrams_relayed += 1;
            self.outputs.push_back(Output::Send { to, datagram });
        } else {
            self.counters.datagrams_dropped += 1;
        }
    }

    /// Whether it comes from a master that has a successor (scenario 11). Its leases are void,
    /// because the successor does not wait for them. A master that has just started has no epoch
    /// yet.
    fn is_outdated(&self, datagram: &Datagram) -> bool {
        let epoch = datagram.epoch;
        let is_older = epoch != MapEpoch::default() && epoch.term < self.epoch().term;
        is_older && !mutant::is(Mutant::NoEpochCheck)
    }

    fn heard_master(&mut self, now: Micros, datagram: Datagram) {
        if datagram.epoch != MapEpoch::default() {
            // A master that is still learning grants no leases, but changes no owner either. It
            // counts as lost, and the group goes on without it.
            self.heard_at = now;
        }
        self.heard_epoch = self.heard_epoch.max(datagram.epoch);
        let Datagram { kind, subject, epoch, nonce, first, statuses, arg, .. } = datagram;
        match kind {
            DatagramKind::Announce | DatagramKind::Verdict => {
                if self.take_states(now, epoch, first, statuses) {
                    // A member that does not hear the master gets this map from nobody else.
                    for member in self.group.without_master() {
                        self.gossip_to(now, member, Tell::States);
                    }
                }
                // A verdict is valid under the map that it belongs to. Until that map arrives, the
                // report is repeated.
                if kind == DatagramKind::Verdict && self.epoch() >= epoch {
                    self.answered(subject, nonce, arg);
                }
                // A repeated announcement means that the acknowledgement was lost.
                if self.map.as_ref().is_some_and(|map| map.epoch == epoch)
                    && self.acknowledged == epoch
                    && first == 0
                {
                    self.tell_master(now, DatagramKind::Ack, 0, 0, 0);
                }
                self.leave_if_taken_out();
            }
            DatagramKind::Grant => {
                let lease = Duration::from_millis(arg.into());
                let held = self.epoch();
                if arg > 0 && self.leases.granted(nonce, lease, epoch, held) {
                    self.counters.leases_granted += 1;
                    self.since.granted = now;
                }
            }
            DatagramKind::AskProbe => {
                let asked = |probe: &super::Probe| probe.for_master == Some(nonce);
                let is_under_way = self.probes.iter().any(asked);
                if self.group.member(subject).is_some() && !is_under_way {
                    self.ask_probe(now, subject, Some(nonce));
                }
            }
            DatagramKind::ReportFailed
            | DatagramKind::ReportOk
            | DatagramKind::Renew
            | DatagramKind::Ack
            | DatagramKind::Leaving => {}
            DatagramKind::Gossip | DatagramKind::ProbeResult => {}
        }
    }

    /// Takes in gossip. It carries full state, as the master's datagrams do: a newer map is taken
    /// over from any member that has it.
    fn heard_gossip(&mut self, now: Micros, mut gossip: Datagram) {
        self.counters.gossip_received += 1;
        let statuses = std::mem::take(&mut gossip.statuses);
        let (is_bare, is_first) = (statuses.is_empty(), gossip.first == 0);
        let held = self.epoch();
        let is_taken = self.take_states(now, gossip.epoch, gossip.first, statuses);
        self.counters.maps_by_gossip += u64::from(is_taken);
        let (own, map) = (self.config.boot_id, self.map.clone());
        let member = self.group.member(gossip.sender);
        let is_back = member.is_some_and(|m| m.gossip(now, &gossip, own, map.as_deref()));
        if is_back && self.is_master_lost && self.leaving.is_none() {
            // The master is reachable again, at least through this member.
            self.renew_at = now;
        }
        if gossip.epoch < held && is_first {
            // The sender lacks this map.
            self.gossip_to(now, gossip.sender, Tell::States);
        } else if is_taken || (gossip.epoch > held && is_bare) {
            // The sender waits for this server's word under the sender's map, or has to learn that
            // this server lacks that map.
            self.gossip_to(now, gossip.sender, Tell::Epoch);
        }
    }

    /// Takes over the states of a newer map as soon as all of them have arrived.
    fn take_states(
        &mut self,
        now: Micros,
        epoch: MapEpoch,
        first: u16,
        statuses: Vec<ServerStatus>,
    ) -> bool {
        if !self.is_newer(epoch) {
            return false;
        }
        let (servers, patience) = (self.topology.servers.len(), self.config.lease);
        let whole = self.parts.add(now, patience, servers, epoch, first, statuses);
        let is_whole = whole.is_some();
        if let Some(statuses) = whole {
            self.take_map(now, epoch, statuses);
        }
        is_whole
    }

    /// Whether a map of this epoch has to be taken over (scenarios 9 to 11).
    fn is_newer(&self, epoch: MapEpoch) -> bool {
        // Without a map, any map is newer.
        let Some(held) = self.map.as_ref().map(|map| map.epoch) else { return true };
        held < epoch || (held != epoch && mutant::is(Mutant::NoEpochCheck))
    }

    fn take_map(&mut self, now: Micros, epoch: MapEpoch, statuses: Vec<ServerStatus>) {
        let map = Arc::new(ClusterMap::new(Arc::clone(&self.topology), epoch, statuses));
        self.map = Some(Arc::clone(&map));
        self.counters.map_epoch = epoch.to_u64();
        self.since.map = now;
        self.group.map_changed();
        let is_out = !map.state(self.config.server).answers();
        self.outputs.push_back(Output::Map(map));
        if is_out {
            // This server has been marked offline. Acknowledging this map gives the lease back.
            self.leases.revoke();
        }
        self.leases.applied(epoch);
        if now >= self.leases.until() && self.leaving.is_none() {
            // An owner without a lease does not wait for the next regular renewal.
            self.renew_at = now;
        }
    }

    fn answered(&mut self, subject: u16, nonce: u64, arg: u32) {
        if self.reports.get(&subject).is_none_or(|question| question.nonce != nonce) {
            return;
        }
        let state = u8::try_from(arg).ok().and_then(ServerState::from_wire);
        if let Some(state) = state {
            self.reports.remove(&subject);
            self.outputs.push_back(Output::Verdict { server: subject, state });
        }
    }
}
