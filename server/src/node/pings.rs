//! Pings over this shard's own links. They reach every shard of a server for a probe of the master,
//! peers that could not be reached, and members of the group that report how much they usually
//! fetch.

use bytes::Bytes;
use standin_protocol::body::PingReply;
use standin_protocol::map::MapEpoch;
use standin_protocol::mutant::{self, Mutant};

use super::answer::{Answer, PeerAnswer, Status};
use super::command::{Action, CommandHead, OwnedCommand};
use super::peers::{Asked, Ended};
use super::{ForwardFailure, Forwarded, Node, Now, Output, PeerProbe};

impl Node {
    /// Returns the answer of this shard to a ping.
    pub(super) fn ping(&self) -> Answer {
        if !self.health.control_runs {
            return Answer::text(Status::Unavailable, "the control thread of this server is stuck");
        }
        let reply = PingReply {
            boot_id: self.config.boot_id,
            map_epoch: self.partitions.map().map_or(0, |map| map.epoch.to_u64()),
            drained_epoch: self.partitions.drained_epoch().to_u64(),
            usual_fetches_per_s: self.fetches.usual(),
            loop_lag_us: u32::try_from(self.counters.loop_lag_us).unwrap_or(u32::MAX),
            in_flight: u32::try_from(self.requests.len()).unwrap_or(u32::MAX),
            server: self.config.server,
            shard: self.config.shard,
            origin_up: u8::from(self.health.origin_up),
            reserved: [0; 3],
        };
        Answer::value(reply.to_bytes().into())
    }

    /// Pings a peer to find out whether it can be reached again.
    pub(super) fn ping_peer(&mut self, server: u16) {
        if self.peers.begin_ping(server) {
            self.send_ping(server, 0, Forwarded::Ping { server });
        }
    }

    pub(super) fn ping_done(&mut self, now: Now, server: u16, is_answered: bool) {
        self.peers.end_ping(server);
        if is_answered {
            self.peer_answered(now, server);
        } else {
            self.unpark_all(now);
        }
    }

    /// Pings a peer to find out whether clients can be referred to it.
    pub(super) fn check_peer(&mut self, server: u16) {
        let shard = self.config.shard % self.topology.servers[usize::from(server)].shards;
        self.send_ping(server, shard, Forwarded::Check { server });
    }

    fn send_ping(&mut self, peer: u16, shard: u16, state: Forwarded) {
        let head = CommandHead::new(Action::Ping, 0);
        let command = OwnedCommand::new(head, Box::default(), Bytes::new());
        self.send(peer, shard, state, command);
    }

    /// Pings every shard of that server. [`Output::Probed`] gives the result.
    pub fn ask_probe(&mut self, nonce: u64, server: u16) {
        // The master may have another cluster file.
        let Some(info) = self.topology.servers.get(usize::from(server)) else { return };
        let asked = match server == self.config.server {
            true => Asked::Refused,
            false => self.peers.ask_probe(nonce, server, info.shards),
        };
        match asked {
            Asked::Begun => self.ping_shards(server),
            Asked::Waits => {}
            Asked::Refused => {
                let outcome = PeerProbe::Silent;
                self.outputs.push_back(Output::Probed { nonce, server, outcome });
            }
        }
    }

    fn ping_shards(&mut self, server: u16) {
        for shard in 0..self.topology.servers[usize::from(server)].shards {
            self.send_ping(server, shard, Forwarded::Probe { server });
        }
    }

    pub(super) fn probe_done(&mut self, server: u16, answer: PeerAnswer<'_>) {
        let one = match answer {
            Ok((head, value)) => match PingReply::from_bytes(value) {
                Ok(pong) if head.status == Status::Ok => PeerProbe::Answered {
                    boot_id: pong.boot_id,
                    map_epoch: MapEpoch::from_u64(pong.map_epoch),
                },
                _ => PeerProbe::Silent,
            },
            Err(ForwardFailure::Refused) => PeerProbe::Refused,
            Err(ForwardFailure::NoRoom) => PeerProbe::Busy,
            Err(
                ForwardFailure::Unreachable | ForwardFailure::TimedOut | ForwardFailure::Stopped,
            ) => PeerProbe::Silent,
        };
        let shards = self.topology.servers[usize::from(server)].shards;
        // Other shards have not answered yet.
        let Some(ended) = self.peers.probe_answered(server, shards, one) else { return };
        let Ended { outcome, asked, is_next_begun } = ended;
        for nonce in asked {
            self.outputs.push_back(Output::Probed { nonce, server, outcome });
        }
        if is_next_begun {
            self.ping_shards(server);
        }
    }

    /// Asks the members of the group how much they usually fetch, because this server returns and
    /// has no measure of its own.
    pub(super) fn ask_measure(&mut self) {
        if !self.fetches.needs_measure() {
            return;
        }
        let members: Vec<u16> = self.topology.group_peers(self.config.server).collect();
        for server in members {
            let shard = self.config.shard % self.topology.servers[usize::from(server)].shards;
            self.send_ping(server, shard, Forwarded::Measure { server });
        }
    }

    pub(super) fn measure_done(&mut self, now: Now, server: u16, answer: PeerAnswer<'_>) {
        // Without an answer nothing changes, because another member may answer.
        let Ok((_, value)) = answer else { return };
        if mutant::is(Mutant::NoToldMeasure) {
            return;
        }
        // A refusal contains no measure.
        let Ok(pong) = PingReply::from_bytes(value) else { return };
        // The measure is weighted by partitions. Servers have different numbers of them, and each
        // shard has a share of those of its server.
        let partitions_per_shard = |server: u16| {
            let is_home = |partition: &u32| self.topology.home(*partition) == server;
            let partitions = (0..self.topology.partitions).filter(is_home).count() as u64;
            partitions / u64::from(self.topology.servers[usize::from(server)].shards)
        };
        let theirs = partitions_per_shard(server).max(1);
        // The number may be of any size if the peer sends a wrong one.
        let fetches = pong.usual_fetches_per_s.min(u64::from(u32::MAX));
        self.fetches
            .told_usual(now.mono, fetches * partitions_per_shard(self.config.server) / theirs);
    }
}
