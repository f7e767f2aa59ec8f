//! Requests whose owner only this server can't reach: a member of the group that reaches it
//! sends them on (RELAY). It does not process them as a stand-in: the owner goes on serving.

use slotmap::Key as _;
use standin_protocol::frame::{Opcode, Request, RequestHeader, Status, request_flags};
use standin_protocol::map::ServerState;
use standin_protocol::mutant::{self, Mutant};

use super::reply::Reply;
use super::serving::Reach;
use super::{Forwarded, Node, Now, Output, PendingKey};

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
        let value_bytes_max = self.config.value_bytes_max;
        let frame = pending.frame(now, request_flags::RELAY, self.map_tag, value_bytes_max);
        let shard = self.topology.shard(via, partition);
        let token = self.forwards.insert(Forwarded::Request(key)).data().as_ffi();
        self.counters.relayed += 1;
        self.outputs.push_back(Output::Forward { peer: via, shard, token, frame });
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
            false => self.reply(key, Reply::status(Status::Unavailable)),
        }
    }

    /// The answer of a server that had to send a request on and can't, or may not.
    pub(super) fn refuse_sent_on(&mut self, key: PendingKey) {
        let Some(pending) = self.pending.get(key) else { return };
        if pending.header.flags & request_flags::RELAY != 0 {
            return self.reply(key, Reply::status(Status::Unavailable));
        }
        self.counters.not_owner += 1;
        let version = self.map.as_ref().map_or(0, |map| map.epoch.to_u64());
        self.reply(key, Reply { version, ..Reply::status(Status::NotOwner) });
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
        let mut frame = Vec::new();
        Request::write(RequestHeader::new(Opcode::Ping, 0, 0), &[], &[], &mut frame);
        let token = self.forwards.insert(state).data().as_ffi();
        self.outputs.push_back(Output::Forward { peer, shard, token, frame });
    }
}
