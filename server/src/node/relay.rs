//! Requests whose owner only this server can't reach. A member of the group that reaches the owner
//! relays them (RELAY). It does not process them as a stand-in, because the owner goes on serving.

use standin_protocol::mutant::{self, Mutant};

use super::answer::{AnswerHead, Status};
use super::command::Hop;
use super::partitions::serving::Reach;
use super::{Node, Now, PendingKey};

impl Node {
    /// Returns the members that could relay a request to the partition's owner.
    pub(super) fn relays(&self, partition: u32, owner: u16) -> impl Iterator<Item = u16> + '_ {
        let members = self.topology.rank(partition).iter().copied();
        members.filter(move |member| self.is_relay(*member, owner))
    }

    fn is_relay(&self, member: u16, owner: u16) -> bool {
        let is_between = member != self.config.server && member != owner;
        let reach = self.peers.reach(member);
        is_between && self.partitions.is_online(member) && reach == Reach::Direct
    }

    /// Sends a waiting request to the next member that has not been tried for it.
    pub(super) fn relay(&mut self, now: Now, key: PendingKey, owner: u16) {
        let pending = &self.requests[key];
        if pending.is_forwarded() {
            return self.refuse_forwarded(key);
        }
        let is_write = pending.is_write();
        if mutant::is(Mutant::VerdictIgnored) && is_write {
            return self.process(now, key);
        }
        let (partition, passed) = (pending.partition, pending.places_passed());
        let rank = self.topology.rank(partition);
        let is_next = |place: &usize| self.is_relay(rank[*place], owner);
        let Some(place) = (passed..rank.len()).find(is_next) else {
            return self.relay_failed(now, key, owner);
        };
        let via = rank[place];
        self.requests.pass_places(key, place + 1);
        let command = self.requests[key].command(now, Hop::Relay);
        let shard = self.topology.shard(via, partition);
        self.counters.relayed += 1;
        self.send_request(now, via, shard, key, command);
    }

    /// Handles a request whose owner can't be reached by any path: a read goes to the origin, a
    /// write is refused.
    fn relay_failed(&mut self, now: Now, key: PendingKey, owner: u16) {
        self.requests.pass_places(key, 0);
        if !self.requests[key].is_write() {
            return self.process_here(now, key);
        }
        // The owner has just been pinged, and may be reachable again.
        match self.peers.is_pinged(owner) {
            true => self.park_for_retry(now, key),
            false => self.reply(key, AnswerHead::status(Status::Unavailable)),
        }
    }

    /// Answers a request that another server sent here, and that this server can't or may not
    /// forward.
    pub(super) fn refuse_forwarded(&mut self, key: PendingKey) {
        let pending = &self.requests[key];
        if pending.head.hop == Hop::Relay {
            return self.reply(key, AnswerHead::status(Status::Unavailable));
        }
        self.counters.not_owner += 1;
        let answer = self.not_owner();
        self.reply_with(key, answer);
    }
}
