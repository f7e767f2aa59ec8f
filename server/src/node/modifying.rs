//! The execution of MODIFY: a read, a change and a write of one value, in the key's queue of writes,
//! by the owner under a lease.
//!
//! ```text
//! start_write ─┬─ cached, or no database ───────────────► apply
//!              ├─ not cached ─► read (joins a fetch) ───► start_write again
//!              └─ read before, and not cached again ────► Output::Origin ─► value_read ─► apply
//! apply ───────┬─ no effect on a row ───────────────────► end_write
//!              └─ stored, deleted ──────────────────────► Output::Origin ─► end_write
//! ```

use bytes::Bytes;
use standin_protocol::mutant::{self, Mutant};

use super::answer::{Answer, AnswerHead, flags, ms_left};
use super::cache::Content;
use super::calls::{Started, StartedWrite};
use super::modify::{self, Applied, Effect, Found, Ttl};
use super::partitions::serving::Serving;
use super::read::failure_answer;
use super::{Node, Now, PendingKey};
use crate::origin::{Operation, Outcome, Stored};

impl Node {
    /// Whether a MODIFY may be executed now. If not, it waits for a fetch of its value, after which
    /// it is routed again.
    pub(super) fn may_modify(&mut self, now: Now, key: PendingKey) -> bool {
        let pending = &self.requests[key];
        if self.keyspaces.is_cache(pending.head.keyspace) || pending.has_read() {
            return true;
        }
        let (keyspace, partition) = (pending.head.keyspace, pending.partition);
        let row = pending.key.clone();
        if self.find_value(now, keyspace, &row, partition).is_some() {
            return true;
        }
        self.requests.note_read(key);
        self.read(now, key);
        false
    }

    /// Executes a MODIFY, or begins to. Returns whether a call to the origin is under way.
    pub(super) fn modify(&mut self, now: Now, write: StartedWrite) -> bool {
        let pending = &self.requests[write.pending];
        let (keyspace, deadline) = (pending.head.keyspace, pending.deadline);
        let row = pending.key.clone();
        match self.find_value(now, keyspace, &row, write.partition) {
            Some(found) => self.apply(now, write, found),
            None if self.keyspaces.is_cache(keyspace) => self.apply(now, write, None),
            None => {
                let ask = self.ask_for(&[write.pending]).expect("one request was given");
                let Some(reserved) = self.fetches.pass(now.mono, keyspace, ask) else {
                    self.cache.end_write(write.token, now.mono, None);
                    self.counters.overloaded += 1;
                    self.reply(write.pending, AnswerHead::overloaded());
                    return false;
                };
                let read = Started::Read(write, reserved);
                self.submit(now, read, keyspace, Operation::Get, row, deadline);
                true
            }
        }
    }

    /// The origin has given the value that a MODIFY changes, while later writes of the key wait.
    pub(super) fn value_read(&mut self, now: Now, write: StartedWrite, outcome: Outcome) {
        let key = write.pending;
        let pending = &self.requests[key];
        let (keyspace, partition) = (pending.head.keyspace, pending.partition);
        let name = self.turn(keyspace, &pending.key);
        // Another server may have written the value since it was read.
        let is_owner = self.partitions.serving(partition) == Serving::Cached
            && self.partitions.lease_losses() == write.begun.losses
            && self.partitions.generation(keyspace, partition) == write.generation
            || mutant::is(Mutant::ModifyWithoutLease);
        let is_under_way = match outcome {
            Outcome::Value(value) if is_owner => {
                let (marks, version, ttl_ms) = (0, 0, u64::MAX);
                let found = value.map(|row| {
                    let (value, flags) = (row.bytes, row.flags);
                    Found { value, flags, marks, version, ttl_ms }
                });
                self.apply(now, write, found)
            }
            Outcome::Value(_) => {
                self.cache.end_write(write.token, now.mono, None);
                self.dispatch(now, key);
                false
            }
            Outcome::Failed(failure) => {
                self.cache.end_write(write.token, now.mono, None);
                self.reply_with(key, failure_answer(&failure, false));
                false
            }
            Outcome::Written { .. } => unreachable!("the origin must answer a fetch with a value"),
        };
        if !is_under_way {
            self.start_next_write(now, &name);
        }
    }

    /// Returns what the cache knows of the key: its value, or that there is none. Returns `None` if
    /// the cache knows nothing.
    pub(super) fn find_value(
        &mut self,
        now: Now,
        keyspace: u8,
        key: &[u8],
        partition: u32,
    ) -> Option<Option<Found>> {
        let floor = self.partitions.owned_floor(keyspace, partition);
        let now_ms = now.mono.as_millis();
        let item = self.cache.find(keyspace, key, floor, now_ms)?;
        Some((!item.negative).then(|| Found {
            value: Bytes::copy_from_slice(item.value),
            flags: item.flags,
            marks: item.marks,
            version: item.version,
            ttl_ms: ms_left(item.expires_at_ms, now_ms),
        }))
    }

    /// Applies the operation to what was found. Returns whether a call to the origin is under way.
    fn apply(&mut self, now: Now, write: StartedWrite, found: Option<Found>) -> bool {
        let pending = &self.requests[write.pending];
        let (head, deadline, row) = (pending.head, pending.deadline, pending.key.clone());
        let operand = modify::Operand { value: &pending.value, flags: head.item_flags };
        let most = self.value_bytes_max(head.keyspace, &row);
        let applied = modify::apply(pending.modify(), found.as_ref(), operand, most);
        let operation = match &applied.effect {
            _ if self.keyspaces.is_cache(head.keyspace) => None,
            Effect::Nothing | Effect::Header { .. } => None,
            Effect::Store { value, flags, .. } => {
                Some(Operation::Put { value: value.clone(), flags: *flags })
            }
            Effect::Delete => Some(Operation::Delete),
        };
        let Some(operation) = operation else {
            self.end_modify(now, write, applied, found);
            return false;
        };
        let is_delete = matches!(operation, Operation::Delete);
        if !self.has_statement(head.keyspace, is_delete) {
            self.cache.end_write(write.token, now.mono, None);
            self.reply_with(write.pending, Self::no_statement());
            return false;
        }
        let write = StartedWrite { applied: Some(Box::new(applied)), ..write };
        self.submit(now, Started::Write(write), head.keyspace, operation, row, deadline);
        true
    }

    /// Ends a MODIFY that needs no call to the origin.
    fn end_modify(
        &mut self,
        now: Now,
        write: StartedWrite,
        applied: Applied,
        found: Option<Found>,
    ) {
        if matches!(applied.effect, Effect::Store { .. } | Effect::Delete) {
            let write = StartedWrite { applied: Some(Box::new(applied)), ..write };
            let outcome = Outcome::Written { rows: 1, stored: Stored::Sent };
            return self.end_write(now, write, outcome);
        }
        let may_keep = self.cache.end_write(write.token, now.mono, None);
        let mut head = AnswerHead::status(applied.status);
        if let Some(found) = found {
            (head.version, head.ttl_ms) = (found.version, found.ttl_ms);
            if let Effect::Header { ttl, marks } = applied.effect {
                let content = Content { value: Some(&found.value), flags: found.flags, marks };
                let kept = self.change_header(now, &write, content, ttl, may_keep);
                (head.version, head.ttl_ms) = kept.unwrap_or_default();
            }
            head.flags = if head.version == 0 { 0 } else { flags::HIT | flags::CACHED };
        }
        let answer = applied.answer(head);
        self.acknowledge(now, write.pending, write.begun, answer);
    }

    /// Gives a cached value another lifetime and other marks, or caches it if it was read from the
    /// origin. Returns its version, and the time that it has left in milliseconds.
    fn change_header(
        &mut self,
        now: Now,
        write: &StartedWrite,
        content: Content<'_>,
        ttl: Ttl,
        may_keep: bool,
    ) -> Option<(u64, u64)> {
        let pending = &self.requests[write.pending];
        let (keyspace, row) = (pending.head.keyspace, pending.key.clone());
        let floor = self.partitions.owned_floor(keyspace, pending.partition);
        let now_ms = now.mono.as_millis();
        if self.cache.find(keyspace, &row, floor, now_ms).is_none() {
            let kept = self.keep_written(now, write, &row, content, ttl, may_keep)?;
            return Some((kept.version, ms_left(kept.expires_at_ms, now_ms)));
        }
        self.change_cached(now, keyspace, &row, write.partition, content.marks, ttl)
    }

    /// Gives a cached value another lifetime and other marks. Returns its version, and the time that
    /// it has left in milliseconds.
    pub(super) fn change_cached(
        &mut self,
        now: Now,
        keyspace: u8,
        key: &[u8],
        partition: u32,
        marks: u8,
        ttl: Ttl,
    ) -> Option<(u64, u64)> {
        let floor = self.partitions.owned_floor(keyspace, partition);
        let now_ms = now.mono.as_millis();
        self.cache.mark(now, keyspace, key, floor, marks);
        if ttl != Ttl::Keep {
            self.cache.touch(now, keyspace, key, floor, ttl);
        }
        let item = self.cache.find(keyspace, key, floor, now_ms)?;
        Some((item.version, ms_left(item.expires_at_ms, now_ms)))
    }
}

impl Applied {
    /// Returns the answer, to whose head the value's flags and the marks are added.
    pub(super) fn answer(self, head: AnswerHead) -> Answer {
        let Self { status, value, flags: item_flags, marks, .. } = self;
        Answer { head: AnswerHead { status, item_flags, marks, ..head }, value }
    }
}
