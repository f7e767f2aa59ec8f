//! What a finished fetch or write leaves in the cache, and for how long.

use std::time::Duration;

use standin_protocol::time::Micros;

use super::command::CommandHead;
use super::{Node, Now};
use crate::store::NewItem;

/// What a finished fetch or write left in the cache.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    pub(super) version: u64,
    pub(super) expires_at_ms: u64,
}

impl Node {
    /// Puts a value (or its absence) in the cache, under a new version; not beyond `ends`.
    pub(super) fn keep(
        &mut self,
        now: Now,
        head: &CommandHead,
        key: &[u8],
        value: Option<&[u8]>,
        ends: Option<Micros>,
    ) -> Option<Kept> {
        let negative = value.is_none();
        let expires_at_ms = self.expires_at_ms(head, negative, now);
        let expires_at_ms = ends.map_or(expires_at_ms, |ends| expires_at_ms.min(ends.as_millis()));
        let now_ms = now.mono.as_millis();
        if expires_at_ms <= now_ms {
            return None;
        }
        let version = self.versions.next(now.wall_us);
        let item = NewItem { value: value.unwrap_or_default(), version, expires_at_ms, negative };
        // A value too large for the arena is served, not kept.
        self.store.insert(head.keyspace, key, item, now_ms).ok()?;
        Some(Kept { version, expires_at_ms })
    }

    /// When a value that is cached now has to go, by the request's or the keyspace's
    /// lifetime; lifetimes are shortened at random so that they don't end together.
    pub(super) fn expires_at_ms(&mut self, head: &CommandHead, negative: bool, now: Now) -> u64 {
        let Some(keyspace) = &self.keyspaces[usize::from(head.keyspace)] else { return 0 };
        let asked = head.ttl_s;
        let ttl = match (negative, asked) {
            (true, _) => keyspace.negative_ttl,
            (false, 0) => keyspace.ttl,
            (false, seconds) => Duration::from_secs(u64::from(seconds)),
        };
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        // Xorshift: jitter needs no better randomness.
        self.jitter ^= self.jitter << 13;
        self.jitter ^= self.jitter >> 7;
        self.jitter ^= self.jitter << 17;
        let jitter_max_ms = (ttl_ms / 100).saturating_mul(u64::from(keyspace.ttl_jitter_percent));
        let ttl_ms = ttl_ms - self.jitter % (jitter_max_ms + 1);
        now.mono.as_millis().saturating_add(ttl_ms)
    }
}
