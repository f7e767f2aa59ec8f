//! Writes that have to wait until it is clear who owns their partition.
//!
//! While a partition changes hands nobody may begin a write to it: one that ended after
//! the next owner has begun to cache would leave an old value there. While its owner can't
//! be reached, that one may still answer others from its cache. So writes wait for the next
//! lease, map, or the master's verdict. It takes milliseconds; what happens if none comes
//! within the bound is written in serving.rs.

use std::collections::VecDeque;
use std::time::Duration;

use standin_protocol::frame::Status;
use standin_protocol::time::Micros;

use super::reply::Reply;
use super::serving::Serving;
use super::{Node, Now, PendingKey};

/// After this a write that its owner did not accept is sent to it again: one of the two
/// servers is about to get a newer map.
const RETRY: Duration = Duration::from_millis(5);

/// A deadline has passed this much after it.
const AFTER: Duration = Duration::from_micros(1);

/// A write that waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parked {
    key: PendingKey,
    retry_at: Micros,
}

impl Parked {
    pub(super) fn retry_at(&self) -> Micros {
        self.retry_at
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
        let since = pending.refused_since.map_or(since, |refused| refused.min(since));
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
    /// for too long, it has not.
    pub(super) fn park(&mut self, now: Now, key: PendingKey) -> bool {
        let until = self.waits_until(key);
        if now.mono >= until {
            return false;
        }
        let Some(pending) = self.pending.get(key) else { return true };
        let retry_at = until.min(pending.deadline + AFTER);
        self.counters.parked += 1;
        self.parked.push_back(Parked { key, retry_at });
        true
    }

    /// A write that the owner did not accept waits for the next map, or a little.
    pub(super) fn park_for_retry(&mut self, now: Now, key: PendingKey) {
        let Some(pending) = self.pending.get_mut(key) else { return };
        let since = *pending.refused_since.get_or_insert(now.mono);
        if now.mono >= since + self.config.park_max {
            return self.reply(key, Reply::status(Status::Unavailable));
        }
        let retry_at = (now.mono + RETRY).min(pending.deadline + AFTER);
        self.counters.parked += 1;
        self.parked.push_back(Parked { key, retry_at });
    }

    /// Partitions have changed hands: every waiting write looks again.
    pub(super) fn unpark_all(&mut self, now: Now) {
        for parked in std::mem::take(&mut self.parked) {
            self.unpark(now, parked.key);
        }
    }

    /// The time of some may be up.
    pub(super) fn unpark_due(&mut self, now: Now) {
        let (due, waiting): (VecDeque<_>, VecDeque<_>) =
            self.parked.iter().partition(|parked| parked.retry_at <= now.mono);
        self.parked = waiting;
        for parked in due {
            self.unpark(now, parked.key);
        }
    }

    fn unpark(&mut self, now: Now, key: PendingKey) {
        let Some(pending) = self.pending.get(key) else { return };
        if now.mono > pending.deadline {
            self.counters.deadlines_passed += 1;
            return self.reply(key, Reply::status(Status::DeadlineExceeded));
        }
        self.dispatch(now, key);
    }
}
