//! The execution of TRANSACT: conditions on several keys and read-modify-writes of several keys, in one step of
//! the owner under a lease. All keys are of one keyspace without a database and of one partition, so that
//! everything is in this shard and nothing has to be waited for.
//!
//! ```text
//! start_write ─► all conditions hold? ─ no ─────────────────────────────► VERSION_MISMATCH
//!                └─ yes ─► the steps, on copies (transact.rs) ─ too much ─► TOO_LARGE
//!                                                    └─► each value is kept or dropped ─► the results
//! ```

use bytes::Bytes;
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::transact::{Condition, RESULT_HEAD_BYTES, STEPS_MAX, Transaction};

use super::answer::{Answer, AnswerHead, Status, VALUE_BYTES_MAX};
use super::cache::{Content, Lifetime};
use super::command::Command;
use super::modify::{Found, Ttl};
use super::transact::{Bounds, Change, Executed, Staged, Values, execute};
use super::{Aimed, Name, Node, Now, PendingKey};

/// A partition of a keyspace, at its owner.
struct Here<'a> {
    node: &'a mut Node,
    now: Now,
    keyspace: u8,
    partition: u32,
}

impl Node {
    /// Why a TRANSACT can't be carried out by any server; `None` if it can.
    pub(super) fn refuse_transaction(&self, command: &Command<'_>, place: Aimed) -> Option<Answer> {
        let keyspace = command.head.keyspace;
        let Some(transaction) = Transaction::read(command.value) else {
            return Some(Answer::text(Status::Malformed, "not the value of a TRANSACT"));
        };
        if !self.keyspaces.is_lone_cache(keyspace) {
            let text = "only in a keyspace without a database that is bound to no other";
            return Some(Answer::text(Status::NotSupported, text));
        }
        if transaction.keys().any(|key| key.len() > self.config.key_bytes_max) {
            let text = "a key has more bytes than `limits.key_bytes` allows";
            return Some(Answer::text(Status::TooLarge, text));
        }
        let is_in_form = |key: &[u8]| *self.topology.key_forms.hashed(keyspace, key) == *key;
        if !transaction.keys().all(is_in_form) {
            return Some(Answer::text(Status::NotSupported, "a key is not in its form"));
        }
        let is_here = |key: &[u8]| self.hash(keyspace, key).1 == place.partition;
        if !transaction.keys().all(is_here) {
            return Some(Answer::text(Status::NotSupported, "the keys are in several partitions"));
        }
        None
    }

    /// The names of the keys that a TRANSACT may write.
    pub(super) fn names_written(&self, key: PendingKey) -> Vec<Name> {
        let pending = &self.requests[key];
        let transaction = Transaction::read(&pending.value).expect("it was read when it arrived");
        let mut keys: Vec<&[u8]> = transaction.steps.iter().map(|step| step.key).collect();
        keys.sort_unstable();
        keys.dedup();
        if mutant::is(Mutant::TransactLogsFirst) {
            keys.truncate(1);
        }
        keys.into_iter().map(|key| Self::name(pending.head.keyspace, key)).collect()
    }

    /// Executes a TRANSACT, as the owner under a lease.
    pub(super) fn transact(&mut self, now: Now, key: PendingKey) -> Answer {
        let pending = &self.requests[key];
        let (keyspace, partition) = (pending.head.keyspace, pending.partition);
        let value = pending.value.clone();
        let transaction = Transaction::read(&value).expect("it was read when it arrived");
        let most = self.config.value_bytes_max;
        let results = (most + STEPS_MAX * RESULT_HEAD_BYTES).min(VALUE_BYTES_MAX);
        let mut here = Here { node: self, now, keyspace, partition };
        let compared = match mutant::is(Mutant::TransactComparesFirst) {
            true => transaction.conditions.get(..1).unwrap_or_default(),
            false => &transaction.conditions,
        };
        let is_met = compared.iter().all(|condition| here.holds(condition));
        if !is_met && !mutant::is(Mutant::TransactWritesRefused) {
            return Answer::status(Status::VersionMismatch);
        }
        let bounds = Bounds { values: most, results };
        let Some(Executed { values, results }) = execute(&transaction.steps, bounds, &mut here)
        else {
            return Answer::text(Status::TooLarge, "what it reads, leaves or answers is too large");
        };
        let left = if mutant::is(Mutant::TransactKeepsFirst) { 1 } else { values.len() };
        for (key, staged) in values.into_iter().take(left) {
            here.leave(key, &staged);
        }
        if !is_met {
            return Answer::status(Status::VersionMismatch);
        }
        Answer { head: AnswerHead::status(Status::Ok), value: results }
    }
}

impl Here<'_> {
    fn holds(&mut self, condition: &Condition<'_>) -> bool {
        let Self { node, now, keyspace, partition } = self;
        let floor = node.partitions.owned_floor(*keyspace, *partition);
        let item = node.cache.find(*keyspace, condition.key, floor, now.mono.as_millis());
        item.filter(|item| !item.negative).map(|item| item.version) == condition.version
    }

    /// Keeps or drops a value as the steps have left it. If it can't be kept, the key has none any more.
    fn leave(&mut self, key: &[u8], staged: &Staged) {
        let Self { node, now, keyspace, partition } = self;
        let (now, keyspace, partition) = (*now, *keyspace, *partition);
        if staged.change == Change::Nothing {
            return;
        }
        let (hash, _) = node.hash(keyspace, key);
        let token = node.cache.begin_write(hash);
        let may_keep = node.cache.end_write(token, now.mono, None)
            && !node.handback.is_closed(partition, now.mono);
        let Some(found) = &staged.found else { return node.cache.remove(keyspace, key) };
        let ttl = match found.ttl_ms {
            u64::MAX => Ttl::Never,
            ms => Ttl::For(ms),
        };
        if staged.change == Change::Header {
            node.change_cached(now, keyspace, key, partition, found.marks, ttl);
            return;
        }
        let Found { value, flags, marks, .. } = found;
        let content = Content { value: Some(value), flags: *flags, marks: *marks };
        let lifetime = Lifetime { ttl, ends: None };
        let is_kept = may_keep && node.cache.keep(now, keyspace, key, content, lifetime).is_some();
        if !is_kept {
            node.counters.fills_refused += 1;
            node.cache.remove(keyspace, key);
        }
    }
}

impl Values for Here<'_> {
    fn find(&mut self, key: &[u8], wants_bytes: bool) -> Option<Found> {
        let Self { node, now, keyspace, partition } = self;
        if wants_bytes {
            return node.find_value(*now, *keyspace, key, *partition).flatten();
        }
        let floor = node.partitions.owned_floor(*keyspace, *partition);
        let now_ms = now.mono.as_millis();
        let item = node.cache.find(*keyspace, key, floor, now_ms).filter(|item| !item.negative)?;
        Some(Found {
            value: Bytes::new(),
            flags: item.flags,
            marks: item.marks,
            version: item.version,
            ttl_ms: super::answer::ms_left(item.expires_at_ms, now_ms),
        })
    }

    fn lives_ms(&mut self, ttl: Ttl) -> u64 {
        self.node.cache.lives_ms(self.keyspace, ttl, self.now)
    }

    fn value_bytes_max(&self, key: &[u8]) -> usize {
        self.node.value_bytes_max(self.keyspace, key)
    }
}
