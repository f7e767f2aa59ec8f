//! Writes that have to wait until it is clear who owns their partition.
//!
//! While a partition changes hands nobody may begin a write to it: one that ended after
//! the next owner has begun to cache would leave an old value there. While its owner can't
//! be reached, that one may still answer others from its cache. So writes wait for the next
//! lease, map, or the master's verdict. It takes milliseconds; what happens if none comes
//! within the bound is written in serving.rs.
//!
//! A write whose time is up is no longer there for what comes afterwards: a process that wakes
//! finds its time and the next map at once, and the time counts (scenario 14).

use std::collections::VecDeque;
use std::time::Duration;

use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use super::answer::{AnswerHead, Status};
use super::serving::Serving;
use super::state::Presence;
use super::{Node, Now, PendingKey};

/// After this a write that its owner did not accept is sent to it again: one of the two
/// servers is about to get a newer map.
const RETRY: Duration = Duration::from_millis(5);

/// A deadline has passed this much after it.
const AFTER: Duration = Duration::from_micros(1);

/// A write that waits.
#[derive(Debug, Clone, Copy)]
struct Parked {
    key: PendingKey,
    /// Then it has waited for long enough.
    until: Micros,
    retry_at: Micros,
}

/// The writes that wait, in the order in which they came.
#[derive(Debug)]
pub(super) struct Parking {
    parked: VecDeque<Parked>,
    /// None has waited for long enough before this time.
    first_ends: Micros,
}

impl Default for Parking {
    fn default() -> Self {
        Self { parked: VecDeque::new(), first_ends: Micros::NEVER }
    }
}

impl Parking {
    pub(super) fn len(&self) -> usize {
        self.parked.len()
    }

    pub(super) fn next_deadline(&self) -> Option<Micros> {
        self.parked.iter().map(|parked| parked.retry_at).min()
    }

    /// Before this none has waited for long enough.
    #[inline]
    pub(super) fn first_ends(&self) -> Micros {
        self.first_ends
    }

    pub(super) fn take_keys(&mut self) -> Vec<PendingKey> {
        self.take(|_| true).into_iter().map(|parked| parked.key).collect()
    }

    fn push(&mut self, parked: Parked) {
        self.first_ends = self.first_ends.min(parked.until);
        self.parked.push_back(parked);
    }

    /// Takes those out for which `is_it` holds.
    fn take(&mut self, is_it: impl Fn(&Parked) -> bool) -> VecDeque<Parked> {
        let (taken, waiting) = std::mem::take(&mut self.parked).into_iter().partition(is_it);
        self.parked = waiting;
        self.first_ends =
            self.parked.iter().map(|parked| parked.until).min().unwrap_or(Micros::NEVER);
        taken
    }
}

impl Node {
    /// Until when a write waits for the next lease, map or verdict.
    fn waits_until(&self, key: PendingKey) -> Micros {
        let Some(pending) = self.pending.get(key) else { return Micros(0) };
        let state = self.partitions[pending.partition as usize];
        let since = match state.serving {
            // Later writes do not wait again each time the peer was tried in vain.
            Serving::Provisional(peer) => self.peers[usize::from(peer)].failing_since(),
            _ => None,
        };
        let since = since.unwrap_or(state.since);
        // Whatever changes meanwhile.
        let waits_since = pending.waits_since.filter(|_| !mutant::is(Mutant::MapBeforeTime));
        let since = waits_since.map_or(since, |waits| waits.min(since));
        let wait_max = match pending.is_sent_on() {
            true => self.config.park_sent_on_max,
            false => self.config.park_max,
        };
        since + wait_max
    }

    /// Whether a write has waited for as long as it may.
    pub(super) fn has_waited(&self, now: Now, key: PendingKey) -> bool {
        now.mono >= self.waits_until(key)
    }

    /// Whether a write has been put off until the next lease, map or verdict. If none has come
    /// for too long, or nobody waits for it, it has not.
    pub(super) fn park(&mut self, now: Now, key: PendingKey) -> bool {
        let until = self.waits_until(key);
        if now.mono >= until || self.is_abandoned(key, Presence::Ended) {
            return false;
        }
        let Some(pending) = self.pending.get_mut(key) else { return true };
        pending.waits_since.get_or_insert(now.mono);
        let retry_at = until.min(pending.deadline + AFTER);
        self.counters.parked += 1;
        self.parked.push(Parked { key, until, retry_at });
        true
    }

    /// A write that the owner did not accept waits for the next map, or a little.
    pub(super) fn park_for_retry(&mut self, now: Now, key: PendingKey) {
        let Some(pending) = self.pending.get_mut(key) else { return };
        let until = *pending.waits_since.get_or_insert(now.mono) + self.config.park_max;
        let retry_at = (now.mono + RETRY).min(pending.deadline + AFTER);
        if now.mono >= until || self.is_abandoned(key, Presence::Ended) {
            return self.reply(key, AnswerHead::status(Status::Unavailable));
        }
        self.counters.parked += 1;
        self.parked.push(Parked { key, until, retry_at });
    }

    /// Whether a write of this value waits for the next lease, map or verdict.
    #[must_use]
    pub fn waits_for_owner(&self, value: &[u8]) -> bool {
        let is_it = |parked: &Parked| {
            self.pending.get(parked.key).is_some_and(|pending| pending.value == value)
        };
        self.parked.parked.iter().any(is_it)
    }

    /// Partitions have changed hands: every waiting write looks again.
    pub(super) fn unpark_all(&mut self, now: Now) {
        for parked in self.parked.take(|_| true) {
            self.unpark(now, parked);
        }
    }

    /// The time of some may be up.
    pub(super) fn unpark_due(&mut self, now: Now) {
        for parked in self.parked.take(|parked| parked.retry_at <= now.mono) {
            self.unpark(now, parked);
        }
    }

    /// Some have waited for long enough.
    pub(super) fn end_waiting(&mut self, now: Now) {
        if mutant::is(Mutant::MapBeforeTime) {
            return;
        }
        for parked in self.parked.take(|parked| parked.until <= now.mono) {
            self.unpark(now, parked);
        }
    }

    /// Refuses those for which nobody waits any more.
    pub(super) fn drop_abandoned(&mut self) {
        for parked in self.parked.take(|_| true) {
            match self.is_abandoned(parked.key, Presence::Ended) {
                true => {
                    self.counters.writes_dropped += 1;
                    self.reply(parked.key, AnswerHead::status(Status::Unavailable));
                }
                false => self.parked.push(parked),
            }
        }
    }

    fn unpark(&mut self, now: Now, Parked { key, until, .. }: Parked) {
        let Some(pending) = self.pending.get(key) else { return };
        if now.mono > pending.deadline {
            self.counters.deadlines_passed += 1;
            return self.reply(key, AnswerHead::status(Status::DeadlineExceeded));
        }
        let is_over = now.mono >= until && !mutant::is(Mutant::MapBeforeTime);
        // An orphan may begin it now; nobody else, whatever has become clear in this instant.
        let may_begin = match self.partitions[pending.partition as usize].serving {
            Serving::Unowned | Serving::Provisional(_) => self.is_orphan(),
            _ => false,
        };
        if is_over && !may_begin || self.is_abandoned(key, Presence::Ended) {
            return self.reply(key, AnswerHead::status(Status::Unavailable));
        }
        self.dispatch(now, key);
    }
}
