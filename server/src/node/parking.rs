//! Writes that wait for an owner. They are routed again when a lease, map or verdict arrives, when
//! the owner may have a newer map, and when they have waited for as long as they may.
//!
//! A write whose time is up is refused before anything else is applied. A process that resumes may
//! find both the end of that time and the next map at once, and the end of the time comes first
//! (scenario 14).

use std::time::Duration;

use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use super::answer::{AnswerHead, Status};
use super::partitions::serving::Serving;
use super::requests::Presence;
use super::slow::Wait;
use super::writes::{AFTER, Parked};
use super::{Node, Now, PendingKey};

/// The pause after which a write that its owner did not accept is sent to it again. One of the two
/// servers is about to get a newer map.
const RETRY: Duration = Duration::from_millis(5);
/// The number of times that this pause doubles while the owner goes on not accepting the write.
const RETRY_DOUBLINGS: u32 = 3;

impl Node {
    /// Returns the time until which a write waits for the next lease, map or verdict.
    fn waits_until(&self, key: PendingKey) -> Micros {
        let pending = &self.requests[key];
        let state = self.partitions.state(pending.partition);
        let since = match state.serving() {
            // Later writes do not wait again after each failed attempt to reach the peer.
            Serving::Provisional(peer) => self.peers.failing_since(peer),
            _ => None,
        };
        let since = since.unwrap_or(state.since());
        // The time does not start again when the partition is served differently.
        let waits_since = pending.waits_since().filter(|_| !mutant::is(Mutant::MapBeforeTime));
        let since = waits_since.map_or(since, |waits| waits.min(since));
        let wait_max = match pending.is_forwarded() {
            true => self.config.park_forwarded_max,
            false => self.config.park_max,
        };
        since + wait_max
    }

    /// Whether a write has waited for as long as it may.
    pub(super) fn has_waited(&self, now: Now, key: PendingKey) -> bool {
        now.mono >= self.waits_until(key)
    }

    /// Makes a write wait for the next lease, map or verdict. Returns false if it does not wait,
    /// because it has waited for too long or its client has left.
    pub(super) fn park(&mut self, now: Now, key: PendingKey) -> bool {
        let until = self.waits_until(key);
        if now.mono >= until || self.requests.is_abandoned(key, Presence::Ended) {
            return false;
        }
        self.requests.wait(now.mono, key);
        self.requests.waits(key).change(now.mono, Some(Wait::Owner));
        let retry_at = until.min(self.requests[key].deadline + AFTER);
        self.counters.parked += 1;
        self.writes.park(Parked { key, until, retry_at });
        true
    }

    /// Makes a write that the owner did not accept wait for the next map, or for a short time.
    pub(super) fn park_for_retry(&mut self, now: Now, key: PendingKey) {
        let until = self.requests.wait(now.mono, key) + self.config.park_max;
        let doublings = self.requests.refused(key).min(RETRY_DOUBLINGS);
        let pause = RETRY * (1 << doublings);
        let retry_at = (now.mono + pause).min(self.requests[key].deadline + AFTER);
        if now.mono >= until || self.requests.is_abandoned(key, Presence::Ended) {
            return self.reply(key, AnswerHead::status(Status::Unavailable));
        }
        self.counters.parked += 1;
        self.requests.waits(key).change(now.mono, Some(Wait::Owner));
        self.writes.park(Parked { key, until, retry_at });
    }

    /// Whether a write of this value waits for the next lease, map or verdict.
    #[must_use]
    pub fn waits_for_owner(&self, value: &[u8]) -> bool {
        self.writes.parked().any(|key| self.requests[key].value == value)
    }

    /// Routes every waiting write again, because partitions have changed hands.
    pub(super) fn unpark_all(&mut self, now: Now) {
        for parked in self.writes.take_parked() {
            self.unpark(now, parked);
        }
    }

    /// Routes the waiting writes again that are due.
    pub(super) fn unpark_due(&mut self, now: Now) {
        for parked in self.writes.take_due(now.mono) {
            self.unpark(now, parked);
        }
    }

    /// Ends the wait of the writes that have waited for as long as they may.
    pub(super) fn end_waiting(&mut self, now: Now) {
        if mutant::is(Mutant::MapBeforeTime) {
            return;
        }
        for parked in self.writes.take_overdue(now.mono) {
            self.unpark(now, parked);
        }
    }

    /// Refuses the waiting writes whose clients have left.
    pub(super) fn drop_abandoned(&mut self) {
        for parked in self.writes.take_parked() {
            match self.requests.is_abandoned(parked.key, Presence::Ended) {
                true => {
                    self.counters.writes_dropped += 1;
                    self.reply(parked.key, AnswerHead::status(Status::Unavailable));
                }
                false => self.writes.park(parked),
            }
        }
    }

    fn unpark(&mut self, now: Now, Parked { key, until, .. }: Parked) {
        let pending = &self.requests[key];
        if now.mono > pending.deadline {
            self.counters.deadlines_passed += 1;
            return self.reply(key, AnswerHead::status(Status::DeadlineExceeded));
        }
        let is_over = now.mono >= until && !mutant::is(Mutant::MapBeforeTime);
        // An orphan may begin the write now. Other servers may not, even if the owner has just
        // become known.
        let may_begin = match self.partitions.serving(pending.partition) {
            Serving::Unowned | Serving::Provisional(_) => self.partitions.is_orphan(),
            _ => false,
        };
        if is_over && !may_begin || self.requests.is_abandoned(key, Presence::Ended) {
            return self.reply(key, AnswerHead::status(Status::Unavailable));
        }
        self.dispatch(now, key);
    }
}
