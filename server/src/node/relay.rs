//! Requests whose owner only this server can't reach: a member of the group that reaches it
//! sends them on (RELAY). It does not process them as a stand-in: the owner goes on serving.

use bytes::Bytes;
use standin_protocol::map::ServerState;
use standin_protocol::mutant::{self, Mutant};

use super::answer::{AnswerHead, Status};
use super::command::{Action, CommandHead, Hop, OwnedCommand};
use super::serving::Reach;
use super::{Forwarded, Node, Now, PendingKey};

impl Node {
    /// Members that could pass something on to the partition's owner.
    pub(super) fn relays(&self, partition: u32, owner: u16) -> impl Iterator<Item = u16> + '_ {
        let own = self.config.server;
        self.topology.rank(partition).iter().copied().filter(move |member| {
            let is_online =
                self.map.as_ref().is_some_and(|map| map.state(*member) == ServerState::Online);
            let reach = self.peers[usize::from(*member)].reach();
            *member != own && *member != owner && is_online && reach == Reach::Direct
        })
    }

    /// Sends a waiting request to the next member that has not been tried for it.
    pub(super) fn relay(&mut self, now: Now, key: PendingKey, owner: u16) {
        let Some(pending) = self.pending.get_mut(key) else { return };
        if pending.is_sent_on() {
            return self.refuse_sent_on(key);
        }
        let is_write = pending.is_write();
        if mutant::is(Mutant::VerdictIgnored) && is_write {
            return self.process(now, key);
        }
        let (partition, tried) = (pending.partition, pending.relays_tried);
        let Some(via) = self.relays(partition, owner).nth(tried) else {
            return self.relay_in_vain(now, key, owner);
        };
        let Some(pending) = self.pending.get_mut(key) else { return };
        pending.relays_tried += 1;
        let command = pending.command(now, Hop::Relay);
        let shard = self.topology.shard(via, partition);
        self.counters.relayed += 1;
        self.send_on(via, shard, key, command);
    }

    /// There is no way to the owner: a read goes to the origin, a write nowhere.
    fn relay_in_vain(&mut self, now: Now, key: PendingKey, owner: u16) {
        let Some(pending) = self.pending.get_mut(key) else { return };
        pending.relays_tried = 0;
        if !pending.is_write() {
            return self.process_here(now, key);
        }
        // The owner has just been pinged: it may be back in reach.
        match self.peers[usize::from(owner)].is_pinged {
            true => self.park_for_retry(now, key),
            false => self.reply(key, AnswerHead::status(Status::Unavailable)),
        }
    }

    /// The answer of a server that had to send a request on and can't, or may not.
    pub(super) fn refuse_sent_on(&mut self, key: PendingKey) {
        let Some(pending) = self.pending.get(key) else { return };
        if pending.head.hop == Hop::Relay {
            return self.reply(key, AnswerHead::status(Status::Unavailable));
        }
        self.counters.not_owner += 1;
        let answer = self.not_owner();
        self.reply_with(key, answer);
    }

    /// Looks whether a peer answers after all.
    pub(super) fn ping_peer(&mut self, server: u16) {
        let Some(peer) = self.peers.get_mut(usize::from(server)) else { return };
        if peer.is_pinged {
            return;
        }
        peer.is_pinged = true;
        self.send_ping(server, 0, Forwarded::Ping { server });
    }

    pub(super) fn send_ping(&mut self, peer: u16, shard: u16, state: Forwarded) {
        let head = CommandHead::new(Action::Ping, 0);
        let command = OwnedCommand { head, key: Box::default(), value: Bytes::new() };
        self.send(peer, shard, state, command);
    }
}
