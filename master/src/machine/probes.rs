//! The result of contacting every shard of a server (claims 19–21).

use standin_protocol::body::PingReply;
use standin_protocol::map::MapEpoch;
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use crate::event::MasterEvent;
use crate::machine::{Machine, ProbeFailure};
use crate::phase::Seen;

impl Machine {
    pub(super) fn on_probed(
        &mut self,
        now: Micros,
        id: u16,
        probe_id: u64,
        shards: &[Result<PingReply, ProbeFailure>],
    ) {
        // There is no such server, so it was not probed.
        let Some(server) = self.servers.get(usize::from(id)) else { return };
        // A probe that was given up may still have a result.
        let Some(under_way) = server.verify.probe_under_way() else { return };
        if under_way.probe_id != probe_id {
            return;
        }
        let judged = self.judge_shards(id, shards).and_then(|answer| {
            self.server(id).origin.probe_found(now, answer.origin_down.is_none());
            match answer.origin_down {
                Some(shard) if self.needs_origin(now, id) => Err((shard, ProbeFailure::OriginDown)),
                _ => Ok(answer),
            }
        });
        match judged {
            Ok(answer) => self.on_answered(now, id, probe_id, answer),
            Err((shard, failure)) => {
                self.counters.probes_failed += 1;
                let attempt = under_way.attempt;
                self.event(MasterEvent::ProbeFailed { server: id, attempt, shard, failure });
                if !self.waits_for_peers(now, id, failure) {
                    self.on_unanswered(now, id, failure);
                }
            }
        }
    }

    pub(super) fn on_unanswered(&mut self, now: Micros, id: u16, failure: ProbeFailure) {
        self.server(id).last_failure = Some(failure);
        let seen = match failure.is_evidence() {
            true => Seen::Unanswered { is_dead: self.is_dead(id, failure) },
            false => Seen::Busy,
        };
        self.see(now, id, seen);
    }

    pub(super) fn on_answered(&mut self, now: Micros, id: u16, probe_id: u64, answer: Answer) {
        let Answer { boot_id, loop_lag_us, map_epoch, drained_epoch, .. } = answer;
        self.server(id).last_failure = None;
        self.event(MasterEvent::ProbeOk { server: id, boot_id, loop_lag_us });
        let known = self.registry.decided()[usize::from(id)].boot_id;
        let same = known == 0 || known == boot_id;
        let mut needs_another = false;
        if known == boot_id {
            needs_another = self.senders.refute(id, probe_id);
        } else {
            self.senders.confirm(id, boot_id, known);
            self.registry.set_boot_id(id, boot_id);
            let may_outlive = known != 0 && !self.rules.refusal_is_death();
            let server = self.server(id);
            // A server that has acknowledged that it owns nothing can't act on its lease any more.
            let is_released =
                server.released_boot_id == known && !mutant::is(Mutant::ReleasedMayOwn);
            // The incarnation that left was the previous one. A master that restarts now must not
            // mistake this incarnation for it.
            server.by_verdict |= server.verify.is_out();
            let over_at = server.verify.lease_over_at();
            server.predecessor_over_at =
                if may_outlive && !is_released { over_at } else { Micros(0) };
        }
        self.see(now, id, Seen::Answered { same });
        if needs_another {
            self.see(now, id, Seen::OtherIncarnation);
        }
        self.ack_by_probe(now, id, map_epoch, drained_epoch);
    }

    /// Whether the failure shows that the known incarnation is dead. If another incarnation has
    /// become known since the probe began, the refusal came from that one.
    pub(super) fn is_dead(&self, id: u16, failure: ProbeFailure) -> bool {
        let boot_id = self.registry.decided()[usize::from(id)].boot_id;
        failure == ProbeFailure::Refused
            && self.rules.refusal_is_death()
            && self.servers[usize::from(id)].probed_boot_id == boot_id
    }

    /// Takes the drained epoch of an answer as an acknowledgement, in case the server's datagrams
    /// are lost.
    ///
    /// An epoch beyond the published one belongs to another master, and acknowledges nothing of
    /// this master's. A server may still answer with a map from before a return after twice the
    /// time to drain. Although it was told repeatedly, it has not heard of the return: it is deaf.
    /// It has no lease, or will soon have none. It is marked offline, so that the return does not
    /// wait for it for ever.
    fn ack_by_probe(&mut self, now: Micros, id: u16, map_epoch: MapEpoch, drained_epoch: MapEpoch) {
        let overdue = self.rules.drain_overdue();
        let awaited = |returning: &u16| {
            let at = self.servers[usize::from(*returning)].returning_at;
            self.registry.undrained(*returning).is_some_and(|peers| peers.contains(&id))
                && at + overdue <= now
        };
        let since = |returning: u16| self.registry.published()[usize::from(returning)].since;
        let group = self.topology.group_peers(id).chain(std::iter::once(id));
        // No return waits for this server.
        let Some(newest) = group.filter(awaited).map(since).max() else { return };
        if map_epoch < newest {
            // A server that has just returned has yet to hear of the return.
            if self.servers[usize::from(id)].returning_at + overdue <= now {
                self.see(now, id, Seen::Deaf);
            }
            return;
        }
        self.registry.acked(now, id, drained_epoch);
        self.check_all_drains(now);
    }

    /// Returns the combined answer of all shards, or the first failure that is evidence against the
    /// server. Failures that are no evidence are returned only if there is no other.
    fn judge_shards(
        &self,
        id: u16,
        shards: &[Result<PingReply, ProbeFailure>],
    ) -> Result<Answer, (u16, ProbeFailure)> {
        let mut expected = self.topology.servers[usize::from(id)].shards;
        let mut shards = shards;
        if mutant::is(Mutant::ProbeOneShard) {
            (shards, expected) = (&shards[..shards.len().min(1)], 1);
        }
        let mut excuse = None;
        let mut answer: Option<Answer> = None;
        for (shard, result) in (0u16..).zip(shards) {
            let reply = match result {
                Ok(reply) => reply,
                Err(failure) if failure.is_evidence() => return Err((shard, *failure)),
                Err(failure) => {
                    excuse.get_or_insert((shard, *failure));
                    continue;
                }
            };
            let has_left = reply.boot_id == self.servers[usize::from(id)].left_boot_id;
            let is_other = answer.is_some_and(|a| a.boot_id != reply.boot_id);
            // The shards answer as different incarnations, so the server is restarting.
            if reply.server != id || reply.shard != shard || reply.boot_id == 0 || is_other {
                return Err((shard, ProbeFailure::Nonsense));
            }
            if has_left {
                return Err((shard, ProbeFailure::Closed));
            }
            let map_epoch = MapEpoch::from_u64(reply.map_epoch);
            let drained_epoch = MapEpoch::from_u64(reply.drained_epoch);
            let so_far = answer.get_or_insert(Answer {
                boot_id: reply.boot_id,
                loop_lag_us: reply.loop_lag_us,
                map_epoch,
                drained_epoch,
                origin_down: None,
            });
            if reply.origin_up == 0 {
                so_far.origin_down.get_or_insert(shard);
            }
            so_far.loop_lag_us = so_far.loop_lag_us.max(reply.loop_lag_us);
            so_far.map_epoch = so_far.map_epoch.min(map_epoch);
            so_far.drained_epoch = so_far.drained_epoch.min(drained_epoch);
        }
        match (excuse, answer) {
            (Some(excuse), _) => Err(excuse),
            (None, Some(answer)) if shards.len() == usize::from(expected) => Ok(answer),
            _ => Err((0, ProbeFailure::Nonsense)),
        }
    }
}

/// The combined answer of all shards.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) boot_id: u64,
    pub(super) loop_lag_us: u32,
    /// The oldest map that any shard has applied.
    pub(super) map_epoch: MapEpoch,
    /// The oldest map for which any shard has drained.
    pub(super) drained_epoch: MapEpoch,
    /// The first shard that can't reach the database.
    pub(super) origin_down: Option<u16>,
}
