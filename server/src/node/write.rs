//! Writes: through to the origin first, then the cache; one at a time per key, so that
//! what the cache keeps is what the origin holds (scenario 15).
//!
//! Until a write is done the cache answers with the value before it: nobody has been told of
//! the new one yet. When it is done, that value is replaced or goes, unless the origin has
//! certainly not executed the write. When it may be called done: ack.rs.

use standin_config::Mode;
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use super::ack::Begun;
use super::answer::{AnswerHead, Status, VALUE_BYTES_MAX, flags, seconds_left};
use super::command::Action;
use super::flush::Generation;
use super::read::failure_answer;
use super::serving::Serving;
use super::state::Presence;
use super::tokens::FillToken;
use super::{CallState, Node, Now, Pending, PendingKey};
use crate::origin::{Operation, Outcome, Stored};

/// What a write may do.
enum Permission {
    /// Go to the origin.
    Begin,
    /// Go where its partition's state says.
    Elsewhere,
    /// To its owner through a member of the group: nobody says whether that one lives.
    Relay(u16),
    /// Wait, for as long as writes may.
    Wait,
    /// Back to the server that sent it here.
    Return,
}

impl Node {
    /// A write arrives: it starts, or waits for the key's earlier ones.
    pub(super) fn write(&mut self, now: Now, key: PendingKey) {
        let Some(pending) = self.pending.get(key) else { return };
        let name = self.turn(pending.head.keyspace, &pending.key);
        if let Some(queue) = self.writes.get_mut(&name)
            && !mutant::is(Mutant::WritesRace)
        {
            queue.push_back(key);
            return;
        }
        if self.start_write(now, key) {
            self.writes.insert(name, std::collections::VecDeque::new());
        }
    }

    /// Sends the write to the origin. False if it ended (or went elsewhere) without that.
    fn start_write(&mut self, now: Now, key: PendingKey) -> bool {
        let Some(pending) = self.pending.get(key) else { return false };
        if now.mono > pending.deadline {
            self.counters.deadlines_passed += 1;
            self.reply(key, AnswerHead::status(Status::DeadlineExceeded));
            return false;
        }
        let (partition, action) = (pending.partition as usize, pending.head.action);
        if self.is_abandoned(key, Presence::Gone) {
            self.reply(key, AnswerHead::status(Status::Unavailable));
            return false;
        }
        // The partition may have changed hands while the write waited for its turn.
        let serving = self.partitions[partition].serving;
        match self.permission(now, key, serving) {
            Permission::Begin => {}
            Permission::Elsewhere => {
                self.dispatch(now, key);
                return false;
            }
            Permission::Relay(owner) => {
                self.relay(now, key, owner);
                return false;
            }
            Permission::Return => {
                self.refuse_sent_on(key);
                return false;
            }
            Permission::Wait if self.park(now, key) => return false,
            Permission::Wait => {
                self.reply(key, AnswerHead::status(Status::Unavailable));
                return false;
            }
        }
        let is_remembered = self.remember(now, key, Micros(0));
        if !is_remembered {
            self.reply(key, AnswerHead::status(Status::Unavailable));
            return false;
        }
        let begun = Begun { as_owner: serving == Serving::Cached, losses: self.held.losses() };
        if action == Action::Flush {
            let Some(pending) = self.pending.get(key) else { return false };
            self.flush(now, pending.head.keyspace, pending.partition);
            self.acknowledge(now, key, begun, AnswerHead::status(Status::Ok));
            return false;
        }
        if action == Action::Invalidate {
            let Some(pending) = self.pending.get(key) else { return false };
            let (keyspace, name, hash) = (pending.head.keyspace, pending.key.clone(), pending.hash);
            self.invalidate(keyspace, &name, hash);
            self.acknowledge(now, key, begun, AnswerHead::status(Status::Ok));
            return false;
        }
        if action == Action::Cas && !self.cas_is_current(now, key) {
            return false;
        }
        let Some(pending) = self.pending.get_mut(key) else { return false };
        pending.is_begun = true;
        let Pending { head, hash, deadline, partition: pending_partition, .. } = *pending;
        let (row, value) = (pending.key.clone(), pending.value.clone());
        let operation = match pending.head.action {
            Action::Delete => Operation::Delete,
            _ => Operation::Put { value },
        };
        let token = self.tokens.begin_write(hash);
        let generation = self.generation(head.keyspace, pending_partition);
        let state = CallState::Write { pending: key, token, generation, begun, outdated: false };
        self.submit(now, state, head.keyspace, operation, row, deadline);
        true
    }

    /// Whether a write may begin here now: the column *writes* of the table in serving.rs.
    fn permission(&self, now: Now, key: PendingKey, serving: Serving) -> Permission {
        let Some(pending) = self.pending.get(key) else { return Permission::Return };
        if pending.is_sent_on() && !serving.is_own() && !matches!(serving, Serving::Forward(_)) {
            return Permission::Return;
        }
        let may_log = self.config.mode == Mode::Available
            && self.held.may_own()
            && self.is_member(pending.partition);
        match serving {
            Serving::Cached | Serving::Early | Serving::Waiting => Permission::Begin,
            Serving::Through => Permission::Wait,
            Serving::Unowned if may_log && self.is_orphan() && self.has_waited(now, key) => {
                Permission::Begin
            }
            Serving::Unowned => Permission::Wait,
            Serving::Forward(_) => Permission::Elsewhere,
            Serving::Relay(_) if mutant::is(Mutant::VerdictIgnored) => Permission::Begin,
            Serving::Relay(_) => Permission::Elsewhere,
            Serving::Provisional(owner)
                if may_log && self.is_orphan() && self.has_waited(now, key) =>
            {
                match self.may_go_without(owner, pending.partition) {
                    true => Permission::Begin,
                    false => Permission::Relay(owner),
                }
            }
            Serving::Provisional(_) => Permission::Wait,
        }
    }

    /// Whether a CAS names the version in the cache. If not, it has been answered, or waits
    /// for the fetch that will tell its caller the version.
    fn cas_is_current(&mut self, now: Now, key: PendingKey) -> bool {
        let Some(pending) = self.pending.get(key) else { return false };
        let state = self.partitions[pending.partition as usize];
        let probe = self.store.probe(pending.head.keyspace, &pending.key);
        let now_ms = now.mono.as_millis();
        let keyspace = pending.head.keyspace;
        let (floor, is_flushed) = (state.owned_floor, state.is_flushed);
        let floor = self.flushes.raise(floor, is_flushed, keyspace, pending.partition);
        let wanted = pending.head.version;
        let found = match state.serving {
            Serving::Cached => self.store.get(probe, keyspace, &pending.key, floor, now_ms),
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

    pub(super) fn write_done(
        &mut self,
        now: Now,
        key: PendingKey,
        token: FillToken,
        generation: Generation,
        begun: Begun,
        outcome: Outcome,
    ) {
        let unknown = matches!(&outcome, Outcome::Failed(failure) if failure.is_in_doubt());
        let closed_until = unknown.then(|| now.mono + self.config.ambiguity);
        let may_keep = self.tokens.end_write(token, now.mono, closed_until);
        self.counters.outcomes_unknown += u64::from(unknown);
        let Some(pending) = self.pending.get(key) else { return };
        let (head, row) = (pending.head, pending.key.clone());
        let pending_partition = pending.partition;
        let (partition, value) = (pending.partition as usize, pending.value.clone());
        let name = self.turn(head.keyspace, &row);
        let mut is_replaced = false;
        let is_executed = match &outcome {
            Outcome::Failed(failure) => failure.is_in_doubt(),
            _ => true,
        };
        if is_executed {
            // Those who had been told while it was under way have to be told again. What does
            // not fit was counted, and is given up or not acknowledged.
            self.remember(now, key, closed_until.unwrap_or_default());
        }
        match outcome {
            // The statement said so, but the row may be there and visible to `get`: nothing is
            // known of it, and nothing is kept, not even its absence.
            Outcome::Written { rows: 0, .. } if !mutant::is(Mutant::AckNoRow) => {
                let is_delete = head.action == Action::Delete;
                let status = if is_delete { Status::NotFound } else { Status::NotStored };
                self.acknowledge(now, key, begun, AnswerHead::status(status));
            }
            Outcome::Written { .. } if head.action == Action::Delete => {
                self.acknowledge(now, key, begun, AnswerHead::status(Status::Ok));
            }
            Outcome::Written { stored, .. } => {
                let state = self.partitions[partition];
                let cacheable = state.serving == Serving::Cached;
                let is_closed =
                    self.home.is_closed(u32::try_from(partition).unwrap_or(0), now.mono);
                let may_keep = may_keep && !is_closed;
                // The row as the origin says that it is, never what was sent on the mere
                // supposition that this is what it holds.
                let value = match stored {
                    Stored::Sent => Some(value),
                    Stored::Row(_) if mutant::is(Mutant::KeepSent) => Some(value),
                    Stored::Row(row) => row.filter(|row| row.len() <= VALUE_BYTES_MAX),
                    Stored::Unknown => None,
                };
                let is_same = self.generation(head.keyspace, pending_partition) == generation;
                let kept = match (&value, cacheable && may_keep && is_same) {
                    (Some(value), true) => self.keep(now, &head, &row, Some(value), None),
                    _ => None,
                };
                is_replaced = kept.is_some();
                let is_refused = value.is_some() && cacheable && kept.is_none();
                self.counters.fills_refused += u64::from(is_refused);
                let now_ms = now.mono.as_millis();
                let head = AnswerHead {
                    flags: if kept.is_some() { flags::CACHED } else { 0 },
                    version: kept.map_or(0, |kept| kept.version),
                    ttl_s: kept.map_or(0, |kept| seconds_left(kept.expires_at_ms, now_ms)),
                    ..AnswerHead::status(Status::Ok)
                };
                self.acknowledge(now, key, begun, head);
            }
            Outcome::Failed(failure) => self.reply_with(key, failure_answer(&failure, true)),
            Outcome::Value(_) => debug_assert!(false, "a write is not answered by a value"),
        }
        if is_executed && !is_replaced {
            self.store.remove(head.keyspace, &row);
        }
        if is_executed {
            self.forget_bound(head.keyspace, &row);
        }
        self.start_next_write(now, &name);
    }

    /// The key's next write that really goes to the origin; the queue goes with the last.
    fn start_next_write(&mut self, now: Now, name: &[u8]) {
        loop {
            let Some(queue) = self.writes.get_mut(name) else { return };
            let Some(next) = queue.pop_front() else {
                self.writes.remove(name);
                return;
            };
            if self.start_write(now, next) {
                return;
            }
        }
    }
}
