//! Commands that are not hits. They are refused, answered at once, or wait for the origin or a
//! peer.

use std::time::Duration;

use standin_protocol::body::NotOwner;
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use super::answer::{Answer, AnswerHead, Status};
use super::command::{Action, Command, Hop, ReplyTo};
use super::partitions::serving::Serving;
use super::requests::Pending;
use super::state::PendingKey;
use super::{Aimed, Node, Now};

impl Node {
    /// Serves a command that is not a hit. Returns the answer, or `None` if it comes later.
    pub(super) fn serve_other(
        &mut self,
        now: Now,
        to: ReplyTo,
        command: &Command<'_>,
        place: Aimed,
        may_wait: bool,
    ) -> Option<Answer> {
        let Command { head, key, .. } = *command;
        match head.action {
            Action::Ping => return Some(self.ping()),
            Action::Map => {
                let unavailable = Answer::status(Status::Unavailable);
                return Some(self.partitions.map_bytes().map_or(unavailable, Answer::value));
            }
            // The shard carries it out.
            Action::Walk => return Some(Answer::status(Status::NotSupported)),
            Action::Settle | Action::Handback if !head.is_peer => {
                return Some(Answer::text(Status::NotSupported, "for servers only"));
            }
            Action::Handback => return Some(self.hear_handback(now, command)),
            Action::Settle => return self.serve_settle(now, to, command, place),
            _ => {}
        }
        if let Some(refusal) = self.refuse(command, place) {
            return Some(refusal);
        }
        let serving = self.partitions.serving(place.partition);
        match head.action {
            Action::Touch => {
                if let Some(head) = self.touch(now, command, place) {
                    return Some(head.into());
                }
            }
            // What its owner does not have is nowhere.
            Action::Get if serving.keeps() && self.keyspaces.is_cache(head.keyspace) => {
                self.counters.misses += 1;
                return Some(Answer::status(Status::NotFound));
            }
            Action::Put | Action::Delete | Action::Modify => {
                if let Some(answer) = self.write_at_once(now, command, place) {
                    return Some(answer);
                }
            }
            // This server can drop the key at once if it is the owner and the home. If another
            // server is the owner, or the home has to be told, the command waits like a write.
            Action::Invalidate
                if serving == Serving::Cached && self.partitions.is_home(place.partition) =>
            {
                self.invalidate(head.keyspace, key, place.hash);
                return Some(Answer::status(Status::Ok));
            }
            Action::Flush
                if serving == Serving::Cached && self.partitions.is_home(place.partition) =>
            {
                self.flush(now, head.keyspace, place.partition);
                return Some(Answer::status(Status::Ok));
            }
            _ => {}
        }
        if !may_wait {
            return Some(self.refuse_full());
        }
        let Some(pending) = self.insert_pending(now, to, command, place) else {
            return Some(self.refuse_full());
        };
        let known = self.requests.arrive(pending);
        if !self.is_answered_with_its_copy(pending, known) {
            self.dispatch(now, pending);
        }
        None
    }

    /// Refuses a command that this server can't or may not carry out.
    fn refuse(&mut self, command: &Command<'_>, place: Aimed) -> Option<Answer> {
        let head = command.head;
        if self.health.stopping {
            return Some(Answer::status(Status::ShuttingDown));
        }
        if self.keyspaces.get(head.keyspace).is_none() {
            return Some(Answer::status(Status::UnknownKeyspace));
        }
        let is_supported = match head.action {
            Action::Put | Action::Cas => self.has_statement(head.keyspace, false),
            Action::Delete => self.has_statement(head.keyspace, true),
            _ => true,
        };
        if !is_supported {
            return Some(Self::no_statement());
        }
        if head.action == Action::Transact
            && let Some(refusal) = self.refuse_transaction(command, place)
        {
            return Some(refusal);
        }
        if head.item_flags != 0 && !self.keyspaces.has_flags(head.keyspace) {
            let text = "the rows of this keyspace have no column for flags: `put` has no `:flags`";
            return Some(Answer::text(Status::NotSupported, text));
        }
        let serving = self.partitions.serving(place.partition);
        match head.hop {
            Hop::Forwarded if !serving.is_own() && !mutant::is(Mutant::ForwardTwice) => {
                self.counters.not_owner += 1;
                Some(self.not_owner())
            }
            Hop::Relay if !serving.is_own() && !matches!(serving, Serving::Forward(_)) => {
                Some(Answer::status(Status::Unavailable))
            }
            _ => None,
        }
    }

    /// Whether the keyspace has the statement that deletes or writes rows, or no rows.
    pub(super) fn has_statement(&self, keyspace: u8, is_delete: bool) -> bool {
        self.keyspaces.get(keyspace).is_some_and(|keyspace| match is_delete {
            true => keyspace.is_deletable(),
            false => keyspace.is_writable(),
        })
    }

    pub(super) fn no_statement() -> Answer {
        let text = "the cluster file has no statement for this operation in this keyspace";
        Answer::text(Status::NotSupported, text)
    }

    /// Returns the answer to a request that was forwarded to a server that is not the owner.
    pub(super) fn not_owner(&self) -> Answer {
        let map_epoch = self.partitions.map().map_or(0, |map| map.epoch.to_u64());
        let value = NotOwner { map_epoch }.to_bytes().into();
        Answer { head: AnswerHead::status(Status::NotOwner), value }
    }

    pub(super) fn refuse_full(&mut self) -> Answer {
        self.counters.overloaded += 1;
        AnswerHead::overloaded().into()
    }

    /// Makes a request wait. Returns `None` if there is no room.
    pub(super) fn insert_pending(
        &mut self,
        now: Now,
        to: ReplyTo,
        command: &Command<'_>,
        place: Aimed,
    ) -> Option<PendingKey> {
        if !self.requests.has_room(command.key.len() + command.value.len()) {
            return None;
        }
        let deadline = match command.head.deadline_ms {
            0 => Micros::NEVER,
            ms => now.mono + Duration::from_millis(u64::from(ms)),
        };
        let place = (place.hash, place.partition);
        let mut command = *command;
        if command.head.action.is_write() && !mutant::is(Mutant::SentOnUnnamed) {
            command.head.identity.get_or_insert_with(|| self.requests.own_identity());
        }
        Some(self.requests.insert(Pending::new(to, &command, place, deadline)))
    }

    /// Processes a waiting request on this server.
    pub(super) fn process(&mut self, now: Now, key: PendingKey) {
        let pending = &self.requests[key];
        match self.partitions.serving(pending.partition) {
            Serving::Cached | Serving::Early => {
                let stand_in = !self.partitions.is_home(pending.partition);
                self.counters.stand_in_requests += u64::from(stand_in);
            }
            Serving::Through | Serving::Waiting | Serving::Unowned => {
                self.counters.through_requests += 1;
            }
            Serving::Forward(_) | Serving::Relay(_) | Serving::Provisional(_) => {
                self.counters.provisional_requests += 1;
            }
        }
        match pending.head.action {
            _ if pending.is_write() => self.write(now, key),
            _ => self.read(now, key),
        }
    }

    /// Processes a waiting request here although another server owns its partition, because the
    /// owner can't be reached by any path.
    pub(super) fn process_here(&mut self, now: Now, key: PendingKey) {
        self.requests.process_here(key);
        self.process(now, key);
    }
}
