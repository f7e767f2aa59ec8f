//! Writes. They go to the origin first, then to the cache. Writes of a key go one at a time, so
//! that the cache keeps what the origin holds (scenario 15).
//!
//! Until a write is done the cache answers with the previous value, because nobody has been told of
//! the new one yet. When the write is done, that value is replaced or dropped, unless the origin
//! has certainly not executed the write. The rules for acknowledging a write are in ack.rs.

use bytes::Bytes;
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use super::answer::{Answer, AnswerHead, Status, VALUE_BYTES_MAX, flags, ms_left};
use super::cache::{Content, Kept, Lifetime};
use super::calls::{Begun, Started, StartedWrite};
use super::command::Action;
use super::modify::{Applied, Effect, Ttl};
use super::partitions::serving::Serving;
use super::read::failure_answer;
use super::requests::{Known, Presence};
use super::slow::Wait;
use super::{Name, Node, Now, Pending, PendingKey};
use crate::origin::{Operation, Outcome, Stored};

/// The next step of a write.
enum Permission {
    /// Begin at the origin.
    Begin,
    /// Be routed as its partition's state says.
    Elsewhere,
    /// Be relayed to its owner through a member of the group, because it is unknown whether the
    /// owner is alive.
    Relay(u16),
    /// Wait, for as long as writes may.
    Wait,
    /// Be returned to the server that sent it here.
    Return,
}

impl Node {
    /// Handles a write that arrives: it starts, or waits for earlier writes of its key.
    pub(super) fn write(&mut self, now: Now, key: PendingKey) {
        let pending = &self.requests[key];
        let name = self.turn(pending.head.keyspace, &pending.key);
        if self.writes.wait(&name, key) {
            self.requests.waits(key).change(now.mono, Some(Wait::Turn));
        } else if self.start_write(now, key) {
            self.writes.started(name);
        }
    }

    /// Submits the write to the origin. Returns false if it ended, or was routed elsewhere, without
    /// that.
    fn start_write(&mut self, now: Now, key: PendingKey) -> bool {
        let pending = &self.requests[key];
        if now.mono > pending.deadline {
            self.counters.deadlines_passed += 1;
            self.reply(key, AnswerHead::status(Status::DeadlineExceeded));
            return false;
        }
        let (partition, action) = (pending.partition, pending.head.action);
        if self.requests.is_abandoned(key, Presence::Gone) {
            self.reply(key, AnswerHead::status(Status::Unavailable));
            return false;
        }
        self.requests.waits(key).change(now.mono, None);
        // The partition may have changed hands while the write waited for its turn.
        let serving = self.partitions.serving(partition);
        if !self.admit_write(now, key, serving) {
            return false;
        }
        let known = self.requests.turn(key);
        if self.is_answered_with_its_copy(key, known) {
            return false;
        }
        let pending = &self.requests[key];
        if pending.value.len() > self.value_bytes_max(pending.head.keyspace, &pending.key) {
            self.reply(key, AnswerHead::status(Status::TooLarge));
            return false;
        }
        let is_remembered = self.remember(now, key, Micros(0));
        if !is_remembered {
            self.reply(key, AnswerHead::status(Status::Unavailable));
            return false;
        }
        let begun =
            Begun { as_owner: serving == Serving::Cached, losses: self.partitions.lease_losses() };
        match action {
            Action::Flush | Action::Invalidate => {
                self.drop_cached(now, key);
                self.acknowledge(now, key, begun, Answer::status(Status::Ok));
                return false;
            }
            Action::Cas if !self.check_version(now, key) => return false,
            Action::Modify if !self.may_modify(now, key) => return false,
            Action::Transact => {
                self.requests.begin(key);
                let answer = self.transact(now, key);
                self.acknowledge(now, key, begun, answer);
                return false;
            }
            _ => {}
        }
        self.requests.begin(key);
        let pending = &self.requests[key];
        let Pending { head, hash, deadline, .. } = *pending;
        let token = self.cache.begin_write(hash);
        let generation = self.partitions.generation(head.keyspace, partition);
        let applied = None;
        let write = StartedWrite { pending: key, partition, token, generation, begun, applied };
        if action == Action::Modify {
            return self.modify(now, write);
        }
        if self.keyspaces.is_cache(head.keyspace) {
            let outcome = self.execute_here(now, key);
            self.end_write(now, write, outcome);
            return false;
        }
        let pending = &self.requests[key];
        let (row, value) = (pending.key.clone(), pending.value.clone());
        let operation = match action {
            Action::Delete => Operation::Delete,
            _ => Operation::Put { value, flags: pending.head.item_flags },
        };
        self.submit(now, Started::Write(write), head.keyspace, operation, row, deadline);
        true
    }

    /// The size of the largest value that can be written under this key, in bytes. A keyspace without
    /// a database must not acknowledge a value that its cache can't hold.
    pub(super) fn value_bytes_max(&self, keyspace: u8, key: &[u8]) -> usize {
        let most = self.config.value_bytes_max;
        match self.keyspaces.is_cache(keyspace) {
            true => most.min(self.cache.value_bytes_max(key)),
            false => most,
        }
    }

    /// Answers a write whose copy was executed here, or leaves it to be answered with the copy that is
    /// under way. Returns whether it is not to be executed.
    pub(super) fn is_answered_with_its_copy(&mut self, key: PendingKey, known: Known) -> bool {
        match known {
            Known::No => return false,
            Known::Joined => self.counters.retries_joined += 1,
            Known::Ended(answer) => {
                self.counters.retries_answered += 1;
                self.reply_with(key, answer);
            }
        }
        true
    }

    /// Lets a write begin here, or sends it elsewhere, makes it wait, or refuses it. Returns whether
    /// it begins.
    fn admit_write(&mut self, now: Now, key: PendingKey, serving: Serving) -> bool {
        match self.permission(now, key, serving) {
            Permission::Begin => return true,
            Permission::Elsewhere => self.dispatch(now, key),
            Permission::Relay(owner) => self.relay(now, key, owner),
            Permission::Return => self.refuse_forwarded(key),
            Permission::Wait if self.park(now, key) => {}
            Permission::Wait => self.reply(key, AnswerHead::status(Status::Unavailable)),
        }
        false
    }

    /// Executes a FLUSH or INVALIDATE.
    fn drop_cached(&mut self, now: Now, key: PendingKey) {
        let pending = &self.requests[key];
        let (head, partition, hash) = (pending.head, pending.partition, pending.hash);
        match head.action {
            Action::Flush => self.flush(now, head.keyspace, partition),
            _ => {
                let name = pending.key.clone();
                self.invalidate(head.keyspace, &name, hash);
            }
        }
    }

    /// Executes a write of a keyspace without a database. Only the owner has a value that it could
    /// delete.
    fn execute_here(&mut self, now: Now, key: PendingKey) -> Outcome {
        let pending = &self.requests[key];
        let rows = match pending.head.action {
            Action::Delete => {
                let keyspace = pending.head.keyspace;
                let floor = self.partitions.owned_floor(keyspace, pending.partition);
                let is_owner = self.partitions.serving(pending.partition) == Serving::Cached;
                let now_ms = now.mono.as_millis();
                let is_there =
                    is_owner && self.cache.find(keyspace, &pending.key, floor, now_ms).is_some();
                u64::from(is_there)
            }
            _ => 1,
        };
        Outcome::Written { rows, stored: Stored::Sent }
    }

    /// Returns what a write may do here now. This is the column *writes* of the table in
    /// serving.rs.
    fn permission(&self, now: Now, key: PendingKey, serving: Serving) -> Permission {
        let pending = &self.requests[key];
        if pending.is_forwarded() && !serving.is_own() && !matches!(serving, Serving::Forward(_)) {
            return Permission::Return;
        }
        let may_log = self.partitions.may_stand_in(pending.partition);
        // Nobody else may write between its read and its write.
        let needs_lease =
            pending.head.action.reads_what_it_writes() && !mutant::is(Mutant::ModifyWithoutLease);
        match serving {
            Serving::Early | Serving::Waiting if needs_lease => Permission::Wait,
            Serving::Unowned | Serving::Provisional(_) if needs_lease => Permission::Wait,
            Serving::Cached | Serving::Early | Serving::Waiting => Permission::Begin,
            Serving::Through => Permission::Wait,
            Serving::Unowned
                if may_log && self.partitions.is_orphan() && self.has_waited(now, key) =>
            {
                Permission::Begin
            }
            Serving::Unowned => Permission::Wait,
            Serving::Forward(_) => Permission::Elsewhere,
            Serving::Relay(_) if mutant::is(Mutant::VerdictIgnored) => Permission::Begin,
            Serving::Relay(_) => Permission::Elsewhere,
            Serving::Provisional(owner)
                if may_log && self.partitions.is_orphan() && self.has_waited(now, key) =>
            {
                match self.needs_no_settle(owner, pending.partition) {
                    true => Permission::Begin,
                    false => Permission::Relay(owner),
                }
            }
            Serving::Provisional(_) => Permission::Wait,
        }
    }

    /// Compares the version that a CAS names with the one in the cache. Returns false if the CAS
    /// may not begin: the versions differ and it has been answered, or it waits for the fetch that
    /// will give its caller the version.
    fn check_version(&mut self, now: Now, key: PendingKey) -> bool {
        let pending = &self.requests[key];
        let now_ms = now.mono.as_millis();
        let keyspace = pending.head.keyspace;
        let floor = self.partitions.owned_floor(keyspace, pending.partition);
        let wanted = pending.head.version;
        let found = match self.partitions.serving(pending.partition) {
            Serving::Cached => self.cache.find(keyspace, &pending.key, floor, now_ms),
            _ => None,
        };
        match found.map(|item| (item.version, item.negative)) {
            Some((version, _)) if version == wanted => true,
            Some((version, negative)) => {
                let status = if negative { Status::NotFound } else { Status::VersionMismatch };
                self.reply(key, AnswerHead { version, ..AnswerHead::status(status) });
                false
            }
            None => {
                self.read(now, key);
                false
            }
        }
    }

    /// The origin has answered a write. The key's next may begin.
    pub(super) fn write_done(&mut self, now: Now, write: StartedWrite, outcome: Outcome) {
        let pending = &self.requests[write.pending];
        let name = self.turn(pending.head.keyspace, &pending.key);
        if outcome.may_have_happened() {
            // Servers that were told while the write was under way have to be told again. If there
            // is no room for the key, the partition is given up in the log, or the write is not
            // acknowledged.
            let open_until = self.open_until(now, &outcome);
            self.remember(now, write.pending, open_until.unwrap_or_default());
        }
        self.end_write(now, write, outcome);
        self.start_next_write(now, &name);
    }

    /// Returns the time until which a write of unknown outcome may take effect; `None` if its
    /// outcome is known.
    fn open_until(&self, now: Now, outcome: &Outcome) -> Option<Micros> {
        outcome.is_in_doubt().then(|| now.mono + self.config.ambiguity)
    }

    /// Keeps or drops what the write leaves in the cache, and acknowledges it.
    pub(super) fn end_write(&mut self, now: Now, mut write: StartedWrite, outcome: Outcome) {
        let (key, begun) = (write.pending, write.begun);
        let closed_until = self.open_until(now, &outcome);
        let may_keep = self.cache.end_write(write.token, now.mono, closed_until);
        self.counters.outcomes_unknown += u64::from(outcome.is_in_doubt());
        let pending = &self.requests[key];
        let (head, row) = (pending.head, pending.key.clone());
        let is_executed = outcome.may_have_happened();
        let mut left = Left::of(pending, write.applied.as_deref());
        let mut is_replaced = false;
        let answer = match outcome {
            // The statement has changed no row, but the row may exist and be visible to `get`.
            // Nothing is known about it, so nothing is kept, not even its absence.
            Outcome::Written { rows: 0, .. } if !mutant::is(Mutant::AckNoRow) => {
                let status = if left.is_none() { Status::NotFound } else { Status::NotStored };
                Ok(AnswerHead::status(status).into())
            }
            Outcome::Written { stored, .. } => {
                // The value to keep is the row as the origin reports it. The value that was sent is
                // kept only if the row is the same.
                if let (Some(left), Stored::Row(Some(row))) = (&mut left, &stored)
                    && !mutant::is(Mutant::KeepSent)
                {
                    (left.value, left.flags) = (row.bytes.clone(), row.flags);
                }
                let is_known = match &stored {
                    Stored::Sent => true,
                    Stored::Row(_) if mutant::is(Mutant::KeepSent) => true,
                    Stored::Row(row) => {
                        row.as_ref().is_some_and(|row| row.bytes.len() <= VALUE_BYTES_MAX)
                    }
                    Stored::Unknown => false,
                };
                let kept = left.as_ref().filter(|_| is_known).and_then(|left| {
                    self.keep_written(now, &write, &row, left.content(), left.ttl, may_keep)
                });
                is_replaced = kept.is_some();
                let head = Self::written(now, kept);
                let is_owner = begun.losses == self.partitions.lease_losses()
                    && self.partitions.serving(write.partition) == Serving::Cached;
                match write.applied.take() {
                    // The next owner may have changed the value from before.
                    Some(_) if !is_owner && !mutant::is(Mutant::ModifyWithoutLease) => {
                        Err(AnswerHead::status(Status::OutcomeUnknown).into())
                    }
                    Some(applied) => Ok(applied.answer(head)),
                    None => Ok(head.into()),
                }
            }
            Outcome::Failed(failure) => Err(failure_answer(&failure, true)),
            Outcome::Value(_) => unreachable!("the origin must not answer a write with a value"),
        };
        match answer {
            Ok(answer) => self.acknowledge(now, key, begun, answer),
            Err(answer) => self.reply_with(key, answer),
        }
        if is_executed && !is_replaced {
            self.cache.remove(head.keyspace, &row);
        }
        if is_executed {
            self.cache.remove_bound(head.keyspace, &row);
        }
    }

    /// The head of the answer to a write that was executed, and whose value was kept like this.
    pub(super) fn written(now: Now, kept: Option<Kept>) -> AnswerHead {
        let now_ms = now.mono.as_millis();
        AnswerHead {
            flags: if kept.is_some() { flags::CACHED } else { 0 },
            version: kept.map_or(0, |kept| kept.version),
            ttl_ms: kept.map_or(0, |kept| ms_left(kept.expires_at_ms, now_ms)),
            ..AnswerHead::status(Status::Ok)
        }
    }

    /// Keeps the row that a write has left, if nothing else has changed it since the write began.
    pub(super) fn keep_written(
        &mut self,
        now: Now,
        write: &StartedWrite,
        row: &[u8],
        content: Content<'_>,
        ttl: Ttl,
        may_keep: bool,
    ) -> Option<Kept> {
        let StartedWrite { partition, generation, .. } = *write;
        let keyspace = self.requests[write.pending].head.keyspace;
        let serving = self.partitions.serving(partition);
        let may_wait = mutant::is(Mutant::CacheKeptWaiting)
            && self.keyspaces.is_cache(keyspace)
            && serving.keeps();
        if serving != Serving::Cached && !may_wait {
            return None;
        }
        let is_closed = self.handback.is_closed(partition, now.mono);
        let is_same = self.partitions.generation(keyspace, partition) == generation;
        let lifetime = Lifetime { ttl, ends: None };
        let kept = match may_keep && !is_closed && is_same {
            true => self.cache.keep(now, keyspace, row, content, lifetime),
            false => None,
        };
        self.counters.fills_refused += u64::from(kept.is_none());
        kept
    }

    /// Starts the next write of the key that really goes to the origin. The queue is removed after
    /// the last one.
    pub(super) fn start_next_write(&mut self, now: Now, name: &Name) {
        while let Some(next) = self.writes.next(name) {
            if self.start_write(now, next) {
                return;
            }
        }
    }
}

/// The value that a write leaves, if it is executed.
struct Left {
    value: Bytes,
    flags: u32,
    marks: u8,
    ttl: Ttl,
}

impl Left {
    /// Returns `None` if the write deletes the value.
    fn of(pending: &Pending, applied: Option<&Applied>) -> Option<Self> {
        let head = &pending.head;
        match applied.map(|applied| &applied.effect) {
            Some(Effect::Store { value, flags, marks, ttl }) => {
                Some(Self { value: value.clone(), flags: *flags, marks: *marks, ttl: *ttl })
            }
            Some(_) => None,
            None if head.action == Action::Delete => None,
            None => {
                let (value, flags) = (pending.value.clone(), head.item_flags);
                Some(Self { value, flags, marks: 0, ttl: head.ttl() })
            }
        }
    }

    fn content(&self) -> Content<'_> {
        Content { value: Some(&self.value), flags: self.flags, marks: self.marks }
    }
}
