//! Writes that end when they arrive: those of a keyspace without a database, by the owner under a
//! lease, at the partition's home.
//!
//! Such a write reads nothing from elsewhere, and no other server has to be told of it (ack.rs). It
//! ends before the next one arrives, so that none ever waits for its turn. What is done is what
//! write.rs and modifying.rs do, without a waiting request in between. A write that has an identity
//! goes their way, because its copies are recognised among the requests (scenario 34).

use bytes::Bytes;
use standin_protocol::mutant::{self, Mutant};

use super::answer::{Answer, AnswerHead, Status, flags};
use super::cache::{Content, Lifetime};
use super::command::{Action, Command};
use super::modify::{self, Effect, Modify, Operand, Ttl};
use super::partitions::serving::Serving;
use super::{Aimed, Node, Now};

/// A write of a key whose value is in this server only.
struct Local<'a> {
    keyspace: u8,
    key: &'a [u8],
    partition: u32,
    /// Whether what it leaves may be kept.
    may_keep: bool,
}

impl Node {
    /// Executes a write that ends now. Returns `None` if it is to become a waiting request.
    pub(super) fn write_at_once(
        &mut self,
        now: Now,
        command: &Command<'_>,
        place: Aimed,
    ) -> Option<Answer> {
        let Command { head, key, value, modify } = *command;
        let Aimed { hash, partition, .. } = place;
        let is_plain = matches!(head.action, Action::Put | Action::Delete | Action::Modify)
            && head.identity.is_none();
        let is_owner = self.partitions.serving(partition) == Serving::Cached
            || mutant::is(Mutant::AtOnceUnowned);
        let is_home = self.partitions.is_home(partition) || mutant::is(Mutant::AtOnceAway);
        let is_here = self.keyspaces.is_lone_cache(head.keyspace) && is_owner && is_home;
        if !is_plain || !is_here {
            return None;
        }
        if value.len() > self.value_bytes_max(head.keyspace, key) {
            return Some(Answer::status(Status::TooLarge));
        }
        self.counters.writes_at_once += 1;
        let token = self.cache.begin_write(hash);
        let may_keep = self.cache.end_write(token, now.mono, None)
            && !self.handback.is_closed(partition, now.mono);
        let local = Local { keyspace: head.keyspace, key, partition, may_keep };
        let answer = match (head.action, modify) {
            (_, Some(modify)) => self.modify_at_once(now, &local, modify, value, head.item_flags),
            (Action::Delete, None) => self.delete_at_once(now, &local),
            (_, None) => {
                let content = Content { value: Some(value), flags: head.item_flags, marks: 0 };
                self.keep_at_once(now, &local, content, head.ttl()).into()
            }
        };
        let flags = answer.head.flags | self.partitions.state(partition).flags();
        Some(Answer { head: AnswerHead { flags, ..answer.head }, value: answer.value })
    }

    fn delete_at_once(&mut self, now: Now, local: &Local<'_>) -> Answer {
        let floor = self.partitions.owned_floor(local.keyspace, local.partition);
        let found = self.cache.find(local.keyspace, local.key, floor, now.mono.as_millis());
        let status = if found.is_some() { Status::Ok } else { Status::NotFound };
        self.cache.remove(local.keyspace, local.key);
        Answer::status(status)
    }

    fn modify_at_once(
        &mut self,
        now: Now,
        local: &Local<'_>,
        modify: &Modify,
        value: &[u8],
        flags: u32,
    ) -> Answer {
        let Local { keyspace, key, partition, .. } = *local;
        let found = self.find_value(now, keyspace, key, partition).flatten();
        let value = Bytes::copy_from_slice(value);
        let most = self.value_bytes_max(keyspace, key);
        let operand = Operand { value: &value, flags };
        let applied = modify::apply(modify, found.as_ref(), operand, most);
        let head = match &applied.effect {
            Effect::Store { value, flags, marks, ttl } => {
                let content = Content { value: Some(value), flags: *flags, marks: *marks };
                self.keep_at_once(now, local, content, *ttl)
            }
            Effect::Delete => {
                self.cache.remove(keyspace, key);
                AnswerHead::status(Status::Ok)
            }
            Effect::Nothing | Effect::Header { .. } => {
                let mut head = AnswerHead::status(applied.status);
                if let Some(found) = &found {
                    (head.version, head.ttl_ms) = match applied.effect {
                        Effect::Header { ttl, marks } => self
                            .change_cached(now, keyspace, key, partition, marks, ttl)
                            .unwrap_or_default(),
                        _ => (found.version, found.ttl_ms),
                    };
                    head.flags = if head.version == 0 { 0 } else { flags::HIT | flags::CACHED };
                }
                head
            }
        };
        applied.answer(head)
    }

    /// Keeps the value that a write leaves. If it can't be kept, the key has no value any more.
    fn keep_at_once(
        &mut self,
        now: Now,
        local: &Local<'_>,
        content: Content<'_>,
        ttl: Ttl,
    ) -> AnswerHead {
        let Local { keyspace, key, may_keep, .. } = *local;
        let lifetime = Lifetime { ttl, ends: None };
        let kept = match may_keep {
            true => self.cache.keep(now, keyspace, key, content, lifetime),
            false => None,
        };
        if kept.is_none() {
            self.counters.fills_refused += 1;
            self.cache.remove(keyspace, key);
        }
        Self::written(now, kept)
    }
}
