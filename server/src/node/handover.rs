//! Giving partitions back to a server that returns: the keys that were written here (SETTLE),
//! then the word that these were all (HANDBACK), then the master learns that this server has
//! let go (`Output::Drained`).
//!
//! ```text
//! Draining ── nothing begun before is left ──► Telling ── all answered ──► Closing ──► Done
//!                                                 └──── one failed: given up ──────────►┘
//! ```
//! Giving up costs the returning server its cache, nothing else: it has not had this one's word.
//! But while a write that was forgotten may still land, nobody may fill a cache: until then this
//! server has not let go.

use bytes::Bytes;
use standin_protocol::handback::Handback;
use standin_protocol::map::{ClusterMap, MapEpoch, ServerState};
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use super::command::{Action, CommandHead, Hop, OwnedCommand};
use super::handback::{Batch, Told};
use super::reconcile::sender;
use super::{Forwarded, Node, Now};

/// Where a handover stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Draining,
    Telling,
    Closing,
    /// Given up, but not let go before this time.
    GivenUp(Micros),
    Done,
}

/// One server's return, as this shard takes part in it.
#[derive(Debug)]
pub(super) struct Handover {
    server: u16,
    /// Which return.
    epoch: MapEpoch,
    /// Of another incarnation: it has nothing that it could keep, and is only told of what may
    /// still land.
    is_new: bool,
    phase: Phase,
    /// Frames that are not answered yet.
    unanswered: usize,
    /// What the HANDBACK says.
    overflowed: Vec<u32>,
}

impl Node {
    /// A map is in place: which members of the group return by it?
    pub(super) fn plan_handovers(&mut self, now: Now, map: &ClusterMap) {
        let members: Vec<u16> = self.topology.group_peers(self.config.server).collect();
        for server in members {
            let status = map.statuses()[usize::from(server)];
            let peer = &mut self.peers[usize::from(server)];
            // A master that has lost its file and not heard a server yet names no incarnation:
            // that is no word of another one.
            let is_named = status.boot_id != 0 || mutant::is(Mutant::UnnamedIsAnother);
            let has_restarted = is_named && peer.boot_id != 0 && peer.boot_id != status.boot_id;
            if is_named {
                peer.boot_id = status.boot_id;
            }
            if is_named && status.state == ServerState::Online {
                peer.online_boot_id = status.boot_id;
            }
            let is_new =
                is_named && peer.online_boot_id != 0 && peer.online_boot_id != status.boot_id;
            if has_restarted {
                self.unsettled.restarted(server, now.mono);
            }
            let is_planned = |h: &Handover| h.server == server && h.epoch == status.since;
            let returns = status.state == ServerState::Returning;
            if returns && self.handovers.iter().any(is_planned) {
                continue;
            }
            self.handovers.retain(|handover| handover.server != server);
            if returns && !mutant::is(Mutant::NoHandback) {
                let phase = Phase::Draining;
                let (unanswered, overflowed) = (0, Vec::new());
                let epoch = status.since;
                let handover = Handover { server, epoch, is_new, phase, unanswered, overflowed };
                self.handovers.push(handover);
            }
        }
    }

    /// Whether nothing is left to hand over. Begins what can begin: nothing that was begun
    /// under older ownerships is left.
    pub(super) fn hand_over(&mut self, now: Now) -> bool {
        for at in 0..self.handovers.len() {
            let Handover { server, epoch, is_new, phase, .. } = self.handovers[at];
            if phase != Phase::Draining {
                continue;
            }
            let batches = self.batches_for(now, server);
            if is_new && batches.is_empty() && self.unsettled.overflowed(server).is_empty() {
                self.handovers[at].phase = Phase::Done;
                continue;
            }
            self.handovers[at].phase = Phase::Telling;
            self.handovers[at].unanswered = batches.len();
            if batches.is_empty() {
                self.close_handover(at);
            }
            for batch in batches {
                self.tell(server, None, batch, Some(epoch));
            }
        }
        self.handovers.iter().all(|handover| handover.phase == Phase::Done)
    }

    pub(super) fn batches_for(&self, now: Now, server: u16) -> Vec<Batch> {
        let topology = &self.topology;
        self.unsettled.batches(server, now.mono, |partition| topology.shard(server, partition))
    }

    fn close_handover(&mut self, at: usize) {
        let Handover { server, epoch, .. } = self.handovers[at];
        let shards = self.topology.servers[usize::from(server)].shards;
        // An incarnation that no map knows yet does not know what the one before it wrote.
        let known_since = match self.known_since == MapEpoch::default() {
            true => epoch,
            false => self.known_since,
        };
        let overflowed = match mutant::is(Mutant::NoOverflow) {
            true => Vec::new(),
            false => self.unsettled.overflowed(server),
        };
        for shard in 0..shards {
            let of_shard = |partition: &u32| self.topology.shard(server, *partition) == shard;
            let handback = Handback {
                epoch: epoch.to_u64(),
                complete_since: known_since.to_u64(),
                overflowed: overflowed.iter().copied().filter(of_shard).collect(),
            };
            let head = CommandHead {
                version: sender(self.config.server, self.config.shard),
                ..CommandHead::new(Action::Handback, 0)
            };
            let value = Bytes::from(handback.to_bytes());
            let command = OwnedCommand { head, key: Box::default(), value };
            self.send(server, shard, Forwarded::Handback { server, epoch }, command);
        }
        let handover = &mut self.handovers[at];
        handover.phase = Phase::Closing;
        handover.unanswered = usize::from(shards);
        handover.overflowed = overflowed;
    }

    /// A SETTLE of a handover has ended.
    pub(super) fn handover_told(&mut self, now: Now, server: u16, epoch: MapEpoch, is_ok: bool) {
        let Some(at) = self.handover_at(server, epoch, Phase::Telling) else { return };
        if !is_ok {
            self.give_up(now, at);
        } else if self.is_last_answer(at) {
            self.close_handover(at);
        }
        self.announce_drained(now);
    }

    /// A HANDBACK has ended.
    pub(super) fn handback_done(&mut self, now: Now, server: u16, epoch: MapEpoch, is_ok: bool) {
        let Some(at) = self.handover_at(server, epoch, Phase::Closing) else { return };
        if !is_ok {
            self.give_up(now, at);
        } else if self.is_last_answer(at) {
            let handover = &mut self.handovers[at];
            handover.phase = Phase::Done;
            let overflowed = std::mem::take(&mut handover.overflowed);
            self.unsettled.told_overflows(server, &overflowed, now.mono);
            self.counters.handed_back += 1;
        }
        self.announce_drained(now);
    }

    fn handover_at(&self, server: u16, epoch: MapEpoch, phase: Phase) -> Option<usize> {
        let is_it = |h: &Handover| (h.server, h.epoch, h.phase) == (server, epoch, phase);
        self.handovers.iter().position(is_it)
    }

    fn is_last_answer(&mut self, at: usize) -> bool {
        let unanswered = &mut self.handovers[at].unanswered;
        *unanswered = unanswered.saturating_sub(1);
        *unanswered == 0
    }

    fn give_up(&mut self, now: Now, at: usize) {
        self.counters.handbacks_failed += 1;
        let handover = &mut self.handovers[at];
        let open_until = self.unsettled.forgotten_open_until(handover.server);
        handover.phase = match open_until > now.mono {
            true => Phase::GivenUp(open_until),
            false => Phase::Done,
        };
    }

    /// Lets go where nothing can land any more.
    pub(super) fn let_go(&mut self, now: Now) {
        let is_over = |phase: Phase| matches!(phase, Phase::GivenUp(until) if now.mono >= until);
        let over = self.handovers.iter_mut().filter(|handover| is_over(handover.phase));
        if over.map(|handover| handover.phase = Phase::Done).count() > 0 {
            self.announce_drained(now);
        }
    }

    pub(super) fn next_let_go(&self) -> Option<Micros> {
        let until = |handover: &Handover| match handover.phase {
            Phase::GivenUp(until) => Some(until),
            _ => None,
        };
        self.handovers.iter().filter_map(until).min()
    }

    /// Sends a SETTLE: to the server, or to a member that will pass it on.
    pub(super) fn tell(
        &mut self,
        server: u16,
        via: Option<u16>,
        batch: Batch,
        handover: Option<MapEpoch>,
    ) {
        let value = batch.value();
        let Batch { shard, keys } = batch;
        let Some(first) = keys.first() else { return };
        let (peer, shard, head, key) = match via {
            None => {
                let mut head = CommandHead::new(Action::Settle, 0);
                head.version = handover.map_or(0, MapEpoch::to_u64);
                (server, shard, head, &[][..])
            }
            // Whoever passes it on finds the owner by one of the keys.
            Some(via) => {
                let (keyspace, key) = first.name.split_first().unwrap_or((&0, &[]));
                let hop = Hop::Relay;
                let head = CommandHead { hop, ..CommandHead::new(Action::Settle, *keyspace) };
                (via, self.topology.shard(via, first.partition), head, key)
            }
        };
        let command = OwnedCommand { head, key: key.into(), value: value.into() };
        self.counters.settles_sent += 1;
        self.send(peer, shard, Forwarded::Settle { server, via, keys, handover }, command);
    }

    /// A SETTLE has been answered, or not.
    pub(super) fn settle_done(
        &mut self,
        now: Now,
        server: u16,
        keys: &[Told],
        handover: Option<MapEpoch>,
        is_ok: bool,
    ) {
        if is_ok {
            for told in keys {
                self.unsettled.settled(server, told, now.mono);
            }
            // Who returns drops the key, but is not the owner yet, and says nothing of who was.
            match handover {
                None => self.acknowledge_settled(server, keys),
                Some(_) => self.settle_anew(server),
            }
        }
        match handover {
            Some(epoch) => self.handover_told(now, server, epoch, is_ok),
            None => self.owed_done(now, server, is_ok),
        }
    }
}
