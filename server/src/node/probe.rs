//! Pings over this shard's own links: of every shard of a server for the master, and of members
//! of the group for what they usually fetch.

use standin_protocol::body::PingReply;
use standin_protocol::map::MapEpoch;
use standin_protocol::mutant::{self, Mutant};

use super::answer::{Answer, PeerAnswer, Status};
use super::{ForwardFailure, Forwarded, Node, Now, Output, PeerProbe};

/// Questions about one server that are not answered; more are answered as silent.
const QUESTIONS_MAX: usize = 64;

/// The probe of one server whose answers are coming in. There is at most one: a shard that was
/// stuck finds many questions in its mailbox, and must not send a ping for each.
#[derive(Debug)]
pub(super) struct Probe {
    server: u16,
    /// The questions that it answers.
    asked: Vec<u64>,
    /// Those that came after it had begun: the next probe answers them all.
    waiting: Vec<u64>,
    unanswered: u16,
    outcome: Option<PeerProbe>,
}

impl Node {
    /// What this shard answers to a ping.
    pub(super) fn ping(&self) -> Answer {
        if !self.control_runs {
            return Answer::text(Status::Unavailable, "the control thread of this server is stuck");
        }
        let reply = PingReply {
            boot_id: self.config.boot_id,
            map_epoch: self.map.as_ref().map_or(0, |map| map.epoch.to_u64()),
            drained_epoch: self.drain.reported.to_u64(),
            usual_fetches_per_s: self.surge.usual(),
            loop_lag_us: u32::try_from(self.counters.loop_lag_us).unwrap_or(u32::MAX),
            in_flight: u32::try_from(self.pending.len()).unwrap_or(u32::MAX),
            server: self.config.server,
            shard: self.config.shard,
            origin_up: u8::from(self.origin_up),
            reserved: [0; 3],
        };
        Answer::value(reply.to_bytes().into())
    }

    /// Pings every shard of that server; [`Output::Probed`] says what came of it.
    pub fn ask_probe(&mut self, nonce: u64, server: u16) {
        if self.topology.servers.get(usize::from(server)).is_none() {
            return;
        }
        let running = self.probes.iter_mut().find(|probe| probe.server == server);
        if let Some(Probe { asked, waiting, .. }) = running {
            if asked.contains(&nonce) || waiting.contains(&nonce) {
                return;
            }
            if asked.len() + waiting.len() < QUESTIONS_MAX {
                return waiting.push(nonce);
            }
        } else if server != self.config.server {
            return self.begin_probe(server, vec![nonce]);
        }
        let outcome = PeerProbe::Silent;
        self.outputs.push_back(Output::Probed { nonce, server, outcome });
    }

    fn begin_probe(&mut self, server: u16, asked: Vec<u64>) {
        let shards = self.topology.servers[usize::from(server)].shards;
        let waiting = Vec::new();
        self.probes.push(Probe { server, asked, waiting, unanswered: shards, outcome: None });
        for shard in 0..shards {
            self.send_ping(server, shard, Forwarded::Probe { server });
        }
    }

    pub(super) fn probe_done(&mut self, server: u16, answer: PeerAnswer<'_>) {
        let is_it = |probe: &Probe| probe.server == server;
        let Some(at) = self.probes.iter().position(is_it) else { return };
        let probe = &mut self.probes[at];
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
        probe.outcome = Some(probe.outcome.map_or(one, |all| worse(all, one)));
        probe.unanswered = probe.unanswered.saturating_sub(1);
        if probe.unanswered > 0 {
            return;
        }
        let Probe { asked, waiting, outcome, .. } = self.probes.swap_remove(at);
        let outcome = outcome.unwrap_or(PeerProbe::Silent);
        for nonce in asked {
            self.outputs.push_back(Output::Probed { nonce, server, outcome });
        }
        if !waiting.is_empty() {
            self.begin_probe(server, waiting);
        }
    }

    /// This server returns, and has measured nothing: the others know what is usual.
    pub(super) fn ask_measure(&mut self) {
        if !self.surge.needs_measure() {
            return;
        }
        let members: Vec<u16> = self.topology.group_peers(self.config.server).collect();
        for server in members {
            let shard = self.config.shard % self.topology.servers[usize::from(server)].shards;
            self.send_ping(server, shard, Forwarded::Measure { server });
        }
    }

    pub(super) fn measure_done(&mut self, now: Now, server: u16, answer: PeerAnswer<'_>) {
        let Ok((_, value)) = answer else { return };
        if mutant::is(Mutant::NoToldMeasure) {
            return;
        }
        let Ok(pong) = PingReply::from_bytes(value) else { return };
        // By the partition: no two servers have equally many, and a shard has its server's part.
        let partitions_per_shard = |server: u16| {
            let is_home = |partition: &u32| self.topology.home(*partition) == server;
            let partitions = (0..self.topology.partitions).filter(is_home).count() as u64;
            partitions / u64::from(self.topology.servers[usize::from(server)].shards)
        };
        let theirs = partitions_per_shard(server).max(1);
        // Of any size, if the peer says nonsense.
        let fetches = pong.usual_fetches_per_s.min(u64::from(u32::MAX));
        self.surge.told(now.mono, fetches * partitions_per_shard(self.config.server) / theirs);
    }
}

/// What two shards say together: one that refuses is proof that the server is gone, one that is
/// silent is enough to doubt it, and all must be of one incarnation.
fn worse(a: PeerProbe, b: PeerProbe) -> PeerProbe {
    use PeerProbe::{Answered, Busy, Refused, Silent};
    match (a, b) {
        (Refused, _) | (_, Refused) => Refused,
        (Silent, _) | (_, Silent) => Silent,
        (Busy, _) | (_, Busy) => Busy,
        (
            Answered { boot_id, map_epoch },
            Answered { boot_id: other_boot_id, map_epoch: other_epoch },
        ) if boot_id == other_boot_id => {
            Answered { boot_id, map_epoch: map_epoch.min(other_epoch) }
        }
        _ => Silent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_what_its_worst_shard_says() {
        let epoch = |counter| MapEpoch { term: 1, counter };
        let answered =
            |boot_id, counter| PeerProbe::Answered { boot_id, map_epoch: epoch(counter) };
        assert_eq!(worse(answered(7, 3), answered(7, 2)), answered(7, 2));
        assert_eq!(worse(answered(7, 3), answered(8, 3)), PeerProbe::Silent);
        assert_eq!(worse(answered(7, 3), PeerProbe::Silent), PeerProbe::Silent);
        assert_eq!(worse(PeerProbe::Refused, PeerProbe::Silent), PeerProbe::Refused);
        assert_eq!(worse(answered(7, 3), PeerProbe::Busy), PeerProbe::Busy);
        assert_eq!(worse(PeerProbe::Busy, PeerProbe::Silent), PeerProbe::Silent);
    }
}
