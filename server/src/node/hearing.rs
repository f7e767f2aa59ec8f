//! Messages from other servers to this one: keys that it has to drop (SETTLE), and the statement
//! that a server has told of all its keys (HANDBACK).

use standin_protocol::handback::{Handback, KEYS_MAX, Keys, marks};

use super::answer::{Answer, Status};
use super::command::{Command, Hop, ReplyTo};
use super::handback::Told;
use super::partitions::serving::Serving;
use super::{Aimed, Node, Now};

impl Node {
    /// Handles a SETTLE. Drops keys that were written elsewhere, and makes sure that fetches and
    /// writes under way do not cache their old values, whichever server owns their partitions by
    /// now. Only an owner under a lease can answer that the keys are settled, except for keys that
    /// are handed over for a return. Otherwise the owner may have changed, and the new owner may
    /// have cached the old value.
    fn settle(&mut self, now: Now, value: &[u8]) -> Answer {
        let Ok(Keys { keys, handover }) = Keys::from_bytes(value) else {
            return Answer::text(Status::Malformed, "not the keys of a SETTLE");
        };
        if keys.len() > KEYS_MAX {
            return Answer::text(Status::Malformed, "too many keys in one SETTLE");
        }
        let mut is_owner = true;
        for written in keys {
            let (hash, partition) = self.hash(written.keyspace, &written.key);
            match written.marks & marks::OPEN {
                0 => self.cache.disturb(hash),
                _ => self.cache.close(hash, now.mono + self.config.ambiguity),
            }
            if written.marks & marks::FLUSH != 0 {
                self.flush(now, written.keyspace, partition);
            }
            self.cache.forget(written.keyspace, &written.key);
            self.counters.keys_settled += 1;
            let serving = self.partitions.serving(partition);
            is_owner &= matches!(serving, Serving::Cached | Serving::Early);
        }
        match is_owner || handover != 0 {
            true => Answer::status(Status::Ok),
            false => self.not_owner(),
        }
    }

    /// Handles a SETTLE that is for this server, or that it has to relay to the owner of the key.
    pub(super) fn serve_settle(
        &mut self,
        now: Now,
        to: ReplyTo,
        command: &Command<'_>,
        place: Aimed,
    ) -> Option<Answer> {
        let serving = self.partitions.serving(place.partition);
        if command.head.hop != Hop::Relay || serving.is_own() {
            return Some(self.settle(now, command.value));
        }
        // The forward is tried even if the owner was unreachable a moment ago, because a client
        // waits for the result.
        let Some(owner) = serving.other() else {
            return Some(Answer::status(Status::Unavailable));
        };
        let Some(key) = self.insert_pending(now, to, command, place) else {
            return Some(self.refuse_full());
        };
        self.forward(now, key, owner);
        None
    }

    /// Handles a HANDBACK: a member's shard has told of all keys that it wrote.
    pub(super) fn hear_handback(&mut self, now: Now, command: &Command<'_>) -> Answer {
        let Ok(handback) = Handback::from_bytes(command.value) else {
            return Answer::text(Status::Malformed, "not the value of a HANDBACK");
        };
        let Handback { epoch, complete_since, boot_id, server, shard, overflowed } = handback;
        let shards = self.topology.servers.get(usize::from(server)).map_or(0, |s| s.shards);
        if shard >= shards {
            return Answer::text(Status::Malformed, "no such sender of a HANDBACK");
        }
        let until = now.mono + self.config.ambiguity;
        let told = Told { epoch, complete_since, boot_id };
        self.handback.heard(server, shard, told, overflowed, until);
        Answer::status(Status::Ok)
    }
}
