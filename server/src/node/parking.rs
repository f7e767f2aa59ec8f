//! Writes that have to wait until it is clear who owns their partition.
//!
//! While a partition changes hands nobody may begin a write to it: one that ended after
//! the next owner has begun to cache would leave an old value there. While its owner can't
//! be reached, that one may still answer others from its cache. So writes wait for the next
//! map, or the master's verdict. It takes milliseconds; if none comes within the bound the
//! master is away, and writes go through to the origin all the same (lifetimes bound what
//! that costs).

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
    /// Whether a write has been put off until the next map or verdict. If none has come for
    /// too long, it has not, and goes through.
    pub(super) fn park(&mut self, now: Now, key: PendingKey) -> bool {
        let Some(pending) = self.pending.get_mut(key) else { return true };
        let state = self.partitions[pending.partition as usize];
        let since = match state.serving {
            // Later writes do not wait again each time the peer was tried in vain.
            Serving::Provisional(peer) => self.peers[usize::from(peer)].failing_since(),
            _ => None,
        };
        let since = since.unwrap_or(state.since);
        let since = pending.refused_since.map_or(since, |refused| refused.min(since));
        let retry_at = since + self.config.park_max;
        if now.mono >= retry_at {
            pending.here = true;
            return false;
        }
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
        self.counters.parked += 1;
        self.parked.push_back(Parked { key, retry_at: now.mono + RETRY });
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
        match self.partitions[pending.partition as usize].serving {
            Serving::Forward(peer) => self.forward(now, key, peer),
            _ => self.process(now, key),
        }
    }
}
