//! When a write that the origin has carried out may be called done.
//!
//! Only when no cache can answer with the value before it any more: at the owner by a lease;
//! at a server that is giving the partition up and has not let go yet; or after the owner
//! has dropped the key (SETTLE). Whoever can't say so in time says that the outcome is unknown.
//!
//! | at the end of the write the partition is | then |
//! |---|---|
//! | `Cached`, `Early` | done |
//! | `Waiting`, `Unowned`, begun as its owner, lease held all the time | done: the next owner waits for this server (\*) |
//! | `Waiting`, `Unowned`, mode available, with a lease or orphan | done: the key is in the log, and nobody can have the value before it but the one that is given up (\*) |
//! | `Provisional`, orphan, and the owner's port refuses connections | done: a dead owner has no cache |
//! | another's otherwise | SETTLE there, then done |
//! | otherwise | waits for a lease or a map |
//!
//! (\*) In `available`, also one that came next, for less than a lease.

use std::collections::BTreeMap;

use standin_config::Mode;
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use super::answer::{AnswerHead, Status};
use super::command::Action;
use super::handback::Told;
use super::serving::Serving;
use super::{Node, Now, PendingKey};

/// How a write began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    pub(super) as_owner: bool,
    /// [`super::lease::Held::losses`] at that time.
    pub(super) losses: u32,
}

/// A write that is carried out but may not be called done yet.
#[derive(Debug)]
pub(super) struct Unacked {
    key: PendingKey,
    begun: Begun,
    status: Status,
    until: Micros,
    /// The owner that has to be told, and the key's stamp there.
    told: Option<(u16, u64)>,
}

impl Unacked {
    pub(super) fn until(&self) -> Micros {
        self.until
    }
}

enum Right {
    Now,
    Settled(u16),
    Later,
}

impl Node {
    /// A write has been carried out: answers it as soon as that is right.
    pub(super) fn acknowledge(
        &mut self,
        now: Now,
        key: PendingKey,
        begun: Begun,
        head: AnswerHead,
    ) {
        let Some(pending) = self.pending.get(key) else { return };
        let until = (now.mono + self.config.park_max).min(pending.deadline);
        match self.right(pending.partition, begun) {
            Right::Now => self.reply(key, head),
            Right::Later => {
                let told = None;
                self.unacked.push_back(Unacked { key, begun, status: head.status, until, told });
            }
            Right::Settled(owner) => {
                self.settle_then_acknowledge(now, key, begun, head.status, until, owner);
            }
        }
    }

    fn settle_then_acknowledge(
        &mut self,
        now: Now,
        key: PendingKey,
        begun: Begun,
        status: Status,
        until: Micros,
        owner: u16,
    ) {
        let Some(pending) = self.pending.get(key) else { return };
        let name = Self::name(pending.head.keyspace, &pending.key);
        let partition = pending.partition;
        let Some(stamp) = self.unsettled.insert(owner, partition, &name, Micros(0), false) else {
            return self.leave_unknown(key);
        };
        if pending.head.action == Action::Flush {
            self.unsettled.mark_flush(owner, partition, &name);
        }
        let told = Some((owner, stamp));
        self.unacked.push_back(Unacked { key, begun, status, until, told });
        self.owe(now, owner);
        self.tell_owed(now);
    }

    fn right(&self, partition: u32, begun: Begun) -> Right {
        let serving = self.partitions[partition as usize].serving;
        let may_own = self.held.may_own();
        let is_available = self.config.mode == Mode::Available;
        match serving {
            Serving::Cached | Serving::Early => Right::Now,
            _ if mutant::is(Mutant::NoSettle) => Right::Now,
            Serving::Through => Right::Later,
            Serving::Waiting | Serving::Unowned => {
                let kept = begun.as_owner && begun.losses == self.held.losses();
                match may_own && (kept || is_available && self.is_member(partition)) {
                    true => Right::Now,
                    false => Right::Later,
                }
            }
            Serving::Relay(_) if mutant::is(Mutant::VerdictIgnored) => Right::Now,
            Serving::Provisional(owner) if self.may_go_without(owner, partition) => Right::Now,
            Serving::Forward(owner) | Serving::Relay(owner) | Serving::Provisional(owner) => {
                Right::Settled(owner)
            }
        }
    }

    /// Whether what this owner may have cached matters to nobody: it is dead, and nobody hears the
    /// master that could have found another one. An owner that is only out of reach has to be
    /// told; by a server that may die before it has done that, nothing is acknowledged.
    pub(super) fn may_go_without(&self, owner: u16, partition: u32) -> bool {
        let is_dead = self.peers[usize::from(owner)].is_dead();
        (is_dead || mutant::is(Mutant::OrphanSkipsSilent))
            && self.is_orphan()
            && self.is_member(partition)
    }

    /// An owner has dropped these keys.
    pub(super) fn acknowledge_settled(&mut self, owner: u16, keys: &[Told]) {
        if self.unacked.is_empty() {
            return;
        }
        let stamps: BTreeMap<&[u8], u64> = keys.iter().map(|k| (&*k.name, k.stamp)).collect();
        for unacked in std::mem::take(&mut self.unacked) {
            let Some(pending) = self.pending.get(unacked.key) else { continue };
            let name = Self::name(pending.head.keyspace, &pending.key);
            let is_told = unacked.told.is_some_and(|(server, stamp)| {
                server == owner && stamps.get(&*name).is_some_and(|told| *told >= stamp)
            });
            match is_told {
                true => self.reply(unacked.key, AnswerHead::status(unacked.status)),
                false => self.unacked.push_back(unacked),
            }
        }
    }

    /// A server has been told these keys for another reason: what waits for its word as the
    /// owner asks again when it is.
    pub(super) fn settle_anew(&mut self, owner: u16) {
        for unacked in &mut self.unacked {
            unacked.told = unacked.told.filter(|(server, _)| *server != owner);
        }
    }

    /// A lease or a map has come: some writes may be answered now.
    pub(super) fn acknowledge_again(&mut self, now: Now) {
        for unacked in std::mem::take(&mut self.unacked) {
            let Unacked { key, begun, status, until, told } = unacked;
            let Some(pending) = self.pending.get(key) else { continue };
            match self.right(pending.partition, begun) {
                Right::Now => self.reply(key, AnswerHead::status(status)),
                Right::Settled(owner) if told.is_none_or(|(server, _)| server != owner) => {
                    self.settle_then_acknowledge(now, key, begun, status, until, owner);
                }
                Right::Settled(_) | Right::Later => self.unacked.push_back(unacked),
            }
        }
    }

    /// The time of some may be up.
    pub(super) fn give_up_unacked(&mut self, now: Now) {
        if self.unacked.iter().all(|unacked| unacked.until > now.mono) {
            return;
        }
        for unacked in std::mem::take(&mut self.unacked) {
            match unacked.until > now.mono {
                true => self.unacked.push_back(unacked),
                false => self.leave_unknown(unacked.key),
            }
        }
    }

    fn leave_unknown(&mut self, key: PendingKey) {
        self.counters.writes_unacknowledged += 1;
        self.reply(key, AnswerHead::status(Status::OutcomeUnknown));
    }

    /// Whether this server is of the partition's group: only such servers are asked by its home
    /// for what they wrote.
    pub(super) fn is_member(&self, partition: u32) -> bool {
        self.topology.rank(partition).contains(&self.config.server)
    }

    /// Writes down a key that is written here, for those who have to drop it: its home, and the
    /// owner that can't be reached. False if there is no room for what is owed; the write must
    /// not begin then.
    pub(super) fn remember(&mut self, now: Now, key: PendingKey, open_until: Micros) -> bool {
        let Some(pending) = self.pending.get(key) else { return false };
        let (partition, is_flush) = (pending.partition, pending.head.action == Action::Flush);
        let home = self.topology.home(partition);
        let owner = self.partitions[partition as usize].serving.other();
        let away = (home != self.config.server).then_some(home);
        if away.is_none() && owner.is_none() {
            return true;
        }
        let name = Self::name(pending.head.keyspace, &pending.key);
        let mut is_remembered = true;
        for server in away.into_iter().chain(owner.filter(|owner| *owner != home)) {
            let is_owed = owner == Some(server);
            let unsettled = &mut self.unsettled;
            let stamp = unsettled.insert(server, partition, &name, open_until, !is_owed);
            if is_flush {
                unsettled.mark_flush(server, partition, &name);
            }
            self.counters.keys_logged += u64::from(stamp.is_some());
            self.counters.keys_not_logged += u64::from(stamp.is_none());
            if is_owed {
                is_remembered &= stamp.is_some();
                self.owe(now, server);
            }
        }
        is_remembered
    }
}
