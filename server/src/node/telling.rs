//! Messages that tell other servers which keys were written here (SETTLE, HANDBACK), and the
//! effects of their answers.

use bytes::Bytes;
use standin_protocol::map::MapEpoch;

use super::command::{Action, CommandHead, Hop, OwnedCommand};
use super::handback::{Batch, Due, End, Message, Progress, ToldKey};
use super::partitions::serving::Reach;
use super::{Forwarded, Node, Now};

impl Node {
    /// Begins the handovers that can begin, because nothing that began under older ownerships is
    /// left. Returns whether nothing is left to hand over.
    pub(super) fn hand_over(&mut self, now: Now) -> bool {
        for message in self.handback.begin_handovers(now.mono) {
            match message {
                Message::Keys { server, epoch, batch } => {
                    self.tell(server, None, batch, Some(epoch));
                }
                Message::End(end) => self.tell_end(end),
            }
        }
        self.handback.is_handed_over()
    }

    /// Sends a HANDBACK to every shard of the server.
    fn tell_end(&mut self, end: End) {
        let End { server, epoch, complete_since, overflowed } = end;
        for shard in 0..self.topology.servers[usize::from(server)].shards {
            let of_shard = |partition: &u32| self.topology.shard(server, *partition) == shard;
            let handback = standin_protocol::handback::Handback {
                epoch: epoch.to_u64(),
                complete_since: complete_since.to_u64(),
                boot_id: self.config.boot_id,
                server: self.config.server,
                shard: self.config.shard,
                overflowed: overflowed.iter().copied().filter(of_shard).collect(),
            };
            let head = CommandHead::new(Action::Handback, 0);
            let value = Bytes::from(handback.to_bytes());
            let command = OwnedCommand::new(head, Box::default(), value);
            self.send(server, shard, Forwarded::Handback { server, epoch }, command);
        }
    }

    /// Notes that there is a new key to tell this server. A server that is not online is told when
    /// it returns.
    pub(super) fn owe(&mut self, now: Now, server: u16) {
        if self.partitions.is_online(server) {
            self.counters.keys_owed += 1;
            self.handback.owe(now.mono, server);
        }
    }

    /// Tells the owners that are due.
    pub(super) fn tell_owed(&mut self, now: Now) {
        for Due { server, attempts, batches } in self.handback.due(now.mono) {
            for batch in batches {
                let via = self.way_to(server, batch.partition(), attempts);
                self.tell(server, via, batch, None);
            }
        }
    }

    /// Returns the member through which the server is told, or `None` if it is told directly. Each
    /// attempt takes the next member, and after the last one the direct way.
    fn way_to(&self, server: u16, partition: u32, attempts: usize) -> Option<u16> {
        if self.peers.reach(server) == Reach::Direct && attempts == 0 {
            return None;
        }
        let members: Vec<u16> = self.relays(partition, server).collect();
        members.get(attempts % (members.len() + 1)).copied()
    }

    /// Sends a SETTLE to the server, or to a member that will relay it.
    fn tell(&mut self, server: u16, via: Option<u16>, batch: Batch, handover: Option<MapEpoch>) {
        let value = batch.value(handover);
        let (peer, shard, head, key) = match via {
            None => (server, batch.shard(), CommandHead::new(Action::Settle, 0), &[][..]),
            // The member finds the owner by one of the keys.
            Some(via) => {
                let (keyspace, key) = batch.first_key();
                let hop = Hop::Relay;
                let head = CommandHead { hop, ..CommandHead::new(Action::Settle, keyspace) };
                (via, self.topology.shard(via, batch.partition()), head, key)
            }
        };
        let command = OwnedCommand::new(head, key.into(), value.into());
        let keys = batch.into_keys();
        self.counters.settles_sent += 1;
        self.send(peer, shard, Forwarded::Settle { server, via, keys, handover }, command);
    }

    /// Handles the end of a SETTLE.
    pub(super) fn settle_done(
        &mut self,
        now: Now,
        server: u16,
        keys: &[ToldKey],
        handover: Option<MapEpoch>,
        is_ok: bool,
    ) {
        if is_ok {
            self.handback.settled(now.mono, server, keys);
            // A returning server drops the key, but is not the owner yet. Its answer says nothing
            // about the server that owned the partition meanwhile.
            match handover {
                None => self.acknowledge_settled(server, keys),
                Some(_) => self.writes.settle_again(server),
            }
        }
        match handover {
            Some(epoch) => {
                let progress = self.handback.handover_told(now.mono, server, epoch, is_ok);
                self.handed_over(now, progress);
            }
            None => {
                let is_online = self.partitions.is_online(server);
                self.handback.owed_told(now.mono, server, is_ok, is_online);
                self.tell_owed(now);
            }
        }
    }

    /// Handles the end of a HANDBACK.
    pub(super) fn handback_done(&mut self, now: Now, server: u16, epoch: MapEpoch, is_ok: bool) {
        let progress = self.handback.handover_closed(now.mono, server, epoch, is_ok);
        self.handed_over(now, progress);
    }

    fn handed_over(&mut self, now: Now, progress: Progress) {
        match progress {
            Progress::None => return,
            Progress::End(end) => self.tell_end(end),
            Progress::Done => self.counters.handed_back += 1,
            Progress::GivenUp => self.counters.handbacks_failed += 1,
        }
        self.announce_drained(now);
    }

    /// Ends the handovers that were given up and whose writes can't take effect any more.
    pub(super) fn expire_given_up(&mut self, now: Now) {
        if self.handback.expire_given_up(now.mono) {
            self.announce_drained(now);
        }
    }
}
