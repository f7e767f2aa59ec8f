//! The links from a server to the master: datagrams, direct or relayed, and probes.

use std::time::Duration;

use standin_master::{Input, ProbeFailure, ProbeOrder};
use standin_protocol::body::PingReply;
use standin_protocol::control::{Datagram, DatagramKind, ProbeOutcome, Probed, SENDER_CLIENT};
use standin_protocol::frame::Status;

use super::{Action, CLIENT, Health, LATENCY, World};

impl World {
    /// Makes the datagram reach the master, unless it is lost.
    pub fn reach_master(&mut self, from: u16, datagram: Datagram) {
        self.reach_master_after(LATENCY, from, datagram);
    }

    fn reach_master_after(&mut self, after: Duration, from: u16, datagram: Datagram) {
        let Some(by) = self.way_of(from) else { return };
        let from = self.topology.servers[usize::from(by)].address;
        if !self.is_lost() {
            self.push(after, Action::Master(Input::Datagram { from, datagram }));
        }
    }

    /// Returns the server that sends this server's datagrams: itself, or one that relays them.
    fn way_of(&self, id: u16) -> Option<u16> {
        let passes = |peer: &u16| {
            let model = &self.servers[usize::from(*peer)];
            model.health == Health::Up && !model.is_cut
        };
        match self.servers[usize::from(id)].is_cut {
            true => self.topology.group_peers(id).find(passes),
            false => Some(id),
        }
    }

    /// Makes a server contact another one for the master.
    pub(super) fn ask(&mut self, id: u16, datagram: &Datagram) {
        let subject = &self.servers[usize::from(datagram.subject)];
        let (takes, outcome) = match subject.health {
            Health::Up | Health::Deaf => (LATENCY, ProbeOutcome::Answered),
            Health::Dead => (LATENCY, ProbeOutcome::Refused),
            Health::Paused | Health::Gray => (self.rules.probe_timeout, ProbeOutcome::Silent),
        };
        let probed = Probed { boot_id: subject.boot_id, map_epoch: subject.epoch };
        let mut result = self.server_says(id, DatagramKind::ProbeResult);
        result.subject = datagram.subject;
        result.nonce = datagram.nonce;
        result.arg = outcome as u32;
        result.probed = Some(probed);
        self.reach_master_after(takes, id, result);
    }

    pub(super) fn probe(&self, order: ProbeOrder) -> Input {
        let model = &self.servers[usize::from(order.server)];
        let shards = (0..order.shards).map(|shard| match model.health {
            _ if model.is_cut => Err(ProbeFailure::Timeout),
            Health::Dead => Err(ProbeFailure::Refused),
            Health::Paused => Err(ProbeFailure::Timeout),
            Health::Gray if shard == 1 => Err(ProbeFailure::Timeout),
            _ if model.is_full && shard == 0 => Err(ProbeFailure::Refusing(Status::Overloaded)),
            _ => Ok(PingReply {
                boot_id: model.boot_id,
                map_epoch: model.epoch.to_u64(),
                drained_epoch: model.drained.to_u64(),
                server: order.server,
                shard,
                origin_up: u8::from(!model.origin_down),
                ..PingReply::default()
            }),
        });
        let (server, probe_id) = (order.server, order.probe_id);
        let mut shards = shards.collect();
        (model.twist)(&mut shards);
        Input::Probed { server, probe_id, shards }
    }

    /// Sends a client's notice.
    pub(super) fn notice(&mut self, kind: DatagramKind, subject: u16) {
        self.client_sequence += 1;
        let mut datagram = Datagram::new(kind, SENDER_CLIENT, self.topology.id, 4_711);
        datagram.sequence = self.client_sequence;
        datagram.nonce = self.client_sequence;
        datagram.subject = subject;
        if !self.is_lost() {
            self.push(LATENCY, Action::Master(Input::Datagram { from: CLIENT, datagram }));
        }
    }
}
