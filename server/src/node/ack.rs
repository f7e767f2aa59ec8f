//! The acknowledgement of writes that the origin has executed.
//!
//! A write may be acknowledged only when no cache can return the previous value: at the owner under
//! a lease; at a server that is giving the partition up and has not released it yet; or after the
//! owner has dropped the key (SETTLE). A server that can't be sure of this in time answers
//! OUTCOME_UNKNOWN.
//!
//! | at the end of the write the partition is | then |
//! |---|---|
//! | `Cached`, `Early` | acknowledged |
//! | `Waiting`, `Unowned`, begun as its owner, lease held all the time | acknowledged: the next owner waits for this server (\*) |
//! | `Waiting`, `Unowned`, mode available, with a lease or orphan | acknowledged: the key is in the log, and only the server that is being replaced can have the previous value (\*) |
//! | `Provisional`, orphan, and the owner's port refuses connections | acknowledged: a dead owner has no cache |
//! | another server's otherwise | SETTLE there, then acknowledged |
//! | otherwise | waits for a lease or a map |
//!
//! (\*) In `available`, the next owner can have the previous value too, for less than a lease.

use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use super::answer::{Answer, AnswerHead, Status};
use super::calls::Begun;
use super::command::Action;
use super::handback::{ToldKey, Written};
use super::partitions::serving::Serving;
use super::slow::Wait;
use super::writes::{ToldTo, Unacknowledged};
use super::{Node, Now, PendingKey};

/// The condition under which a write may be acknowledged.
enum Due {
    Now,
    /// After this owner has dropped the key.
    Settled(u16),
    Later,
}

impl Node {
    /// Answers an executed write as soon as that is allowed.
    pub(super) fn acknowledge(&mut self, now: Now, key: PendingKey, begun: Begun, answer: Answer) {
        let pending = &self.requests[key];
        let until = (now.mono + self.config.park_max).min(pending.deadline);
        match self.may_acknowledge(pending.partition, begun) {
            Due::Now => self.reply_with(key, answer),
            Due::Later => {
                let (answer, told) = (answer.without_cache(), None);
                self.requests.waits(key).change(now.mono, Some(Wait::Settle));
                self.writes.wait_for_ack(Unacknowledged { key, begun, answer, until, told });
            }
            Due::Settled(owner) => {
                let answer = answer.without_cache();
                self.settle_then_acknowledge(now, key, begun, answer, until, owner);
            }
        }
    }

    fn settle_then_acknowledge(
        &mut self,
        now: Now,
        key: PendingKey,
        begun: Begun,
        answer: Answer,
        until: Micros,
        owner: u16,
    ) {
        let pending = &self.requests[key];
        let name = Self::name(pending.head.keyspace, &pending.key);
        let partition = pending.partition;
        let is_flush = pending.head.action == Action::Flush;
        let written = Written { partition, name: &name, is_flush, open_until: Micros(0) };
        let Some(stamp) = self.handback.log(owner, written, false) else {
            return self.leave_unknown(key);
        };
        let told = Some(ToldTo { owner, name, stamp });
        self.requests.waits(key).change(now.mono, Some(Wait::Settle));
        self.writes.wait_for_ack(Unacknowledged { key, begun, answer, until, told });
        self.owe(now, owner);
        self.tell_owed(now);
    }

    fn may_acknowledge(&self, partition: u32, begun: Begun) -> Due {
        let serving = self.partitions.serving(partition);
        match serving {
            Serving::Cached | Serving::Early => Due::Now,
            _ if mutant::is(Mutant::NoSettle) => Due::Now,
            Serving::Through => Due::Later,
            Serving::Waiting | Serving::Unowned => {
                let kept = begun.as_owner && begun.losses == self.partitions.lease_losses();
                let may_stand_in = self.partitions.may_stand_in(partition);
                match self.partitions.may_own() && kept || may_stand_in {
                    true => Due::Now,
                    false => Due::Later,
                }
            }
            Serving::Relay(_) if mutant::is(Mutant::VerdictIgnored) => Due::Now,
            Serving::Provisional(owner) if self.needs_no_settle(owner, partition) => Due::Now,
            Serving::Forward(owner) | Serving::Relay(owner) | Serving::Provisional(owner) => {
                Due::Settled(owner)
            }
        }
    }

    /// Whether the values that this owner may have cached no longer matter. That is so if the owner
    /// is dead and nobody hears the master, which could have found another owner. An owner that is
    /// merely unreachable has to be told. This server may die before it has done that, so it does
    /// not acknowledge the write until then.
    pub(super) fn needs_no_settle(&self, owner: u16, partition: u32) -> bool {
        let is_dead = self.peers.is_dead(owner);
        (is_dead || mutant::is(Mutant::OrphanSkipsSilent))
            && self.partitions.is_orphan()
            && self.partitions.is_member(partition)
    }

    /// Acknowledges the writes that waited for this owner to drop these keys.
    pub(super) fn acknowledge_settled(&mut self, owner: u16, keys: &[ToldKey]) {
        for Unacknowledged { key, answer, .. } in self.writes.take_settled(owner, keys) {
            self.reply_with(key, answer);
        }
    }

    /// Acknowledges the writes that a new lease or a new map allows.
    pub(super) fn acknowledge_again(&mut self, now: Now) {
        for waiting in self.writes.take_unacknowledged() {
            let Unacknowledged { key, begun, until, .. } = waiting;
            match self.may_acknowledge(self.requests[key].partition, begun) {
                Due::Now => self.reply_with(key, waiting.answer),
                Due::Settled(owner) if waiting.told.as_ref().is_none_or(|t| t.owner != owner) => {
                    self.settle_then_acknowledge(now, key, begun, waiting.answer, until, owner);
                }
                Due::Settled(_) | Due::Later => self.writes.wait_for_ack(waiting),
            }
        }
    }

    /// Answers writes that have waited for too long with `OUTCOME_UNKNOWN`.
    pub(super) fn give_up_unacknowledged(&mut self, now: Now) {
        for Unacknowledged { key, .. } in self.writes.take_late(now.mono) {
            self.leave_unknown(key);
        }
    }

    fn leave_unknown(&mut self, key: PendingKey) {
        self.counters.writes_unacknowledged += 1;
        self.reply(key, AnswerHead::status(Status::OutcomeUnknown));
    }

    /// Logs the keys that are written here, for the servers that have to drop them: their home, and an
    /// unreachable owner. Returns false if there is no room for owed keys. The write must not begin
    /// then.
    pub(super) fn remember(&mut self, now: Now, key: PendingKey, open_until: Micros) -> bool {
        let pending = &self.requests[key];
        if mutant::is(Mutant::CacheUnlogged) && self.keyspaces.is_cache(pending.head.keyspace) {
            return true;
        }
        let (partition, is_flush) = (pending.partition, pending.head.action == Action::Flush);
        let home = self.topology.home(partition);
        let owner = self.partitions.serving(partition).other();
        let away = (home != self.config.server).then_some(home);
        if away.is_none() && owner.is_none() {
            return true;
        }
        let names = match pending.head.action {
            Action::Transact => self.names_written(key),
            _ => vec![Self::name(pending.head.keyspace, &pending.key)],
        };
        let mut is_remembered = true;
        for server in away.into_iter().chain(owner.filter(|owner| *owner != home)) {
            let is_owed = owner == Some(server);
            for name in &names {
                let written = Written { partition, name, is_flush, open_until };
                let stamp = self.handback.log(server, written, !is_owed);
                self.counters.keys_logged += u64::from(stamp.is_some());
                self.counters.keys_not_logged += u64::from(stamp.is_none());
                is_remembered &= stamp.is_some() || !is_owed;
            }
            if is_owed {
                self.owe(now, server);
            }
        }
        is_remembered
    }
}
