//! The cached values of a shard. This is the store, the versions and lifetimes of values, and the
//! check whether the result of a fetch or a write may be cached (fill tokens).
//!
//! It is told which fetches and writes begin and end, and which keys are dropped. It returns
//! values, and says which results it kept. The partitions decide which versions count, so callers
//! pass the floors as arguments.

mod tokens;
mod versions;

use std::sync::Arc;
use std::time::Duration;

use standin_protocol::time::Micros;

pub(super) use tokens::FillToken;
use tokens::FillTokens;
use versions::Versions;

use super::answer::ms_left;
use super::keyspaces::Keyspaces;
use super::modify::Ttl;
use super::{NodeConfig, Now};
use crate::store::{
    IndexHint, Item, Located, NEVER_MS, NewItem, Store, StoreConfig, StoreError, StoreStats, Walked,
};

/// One shard's cache.
pub(super) struct Cache {
    store: Store,
    versions: Versions,
    tokens: FillTokens,
    keyspaces: Arc<Keyspaces>,
    jitter: Jitter,
}

/// The state of the generator that shortens lifetimes, not 0.
struct Jitter(u64);

impl Jitter {
    /// Returns a lifetime in milliseconds that is shorter by up to this many percent.
    fn shorten(&mut self, ttl: Duration, percent_max: u8) -> u64 {
        // Xorshift: jitter needs no better randomness.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let less_max_ms = (ttl_ms / 100).saturating_mul(u64::from(percent_max));
        ttl_ms - self.0 % (less_max_ms + 1)
    }
}

/// A value that was cached by a fetch, a write or a TOUCH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) version: u64,
    pub(super) expires_at_ms: u64,
}

/// The result of a TOUCH.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Touched {
    /// The key is not cached.
    Missed,
    /// The cache knows that the row does not exist.
    Absent,
    /// The value has a new lifetime.
    Kept(Kept),
}

/// The time for which a value may be cached.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lifetime {
    /// The lifetime that the request asks for.
    pub(super) ttl: Ttl,
    /// The time after which the value may not be kept.
    pub(super) ends: Option<Micros>,
}

/// What is cached for a key.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Content<'a> {
    /// The value; `None`: there is none.
    pub(super) value: Option<&'a [u8]>,
    /// The client's flags.
    pub(super) flags: u32,
    /// Bits of [`super::answer::marks`].
    pub(super) marks: u8,
}

impl Cache {
    /// Creates an empty cache.
    ///
    /// # Errors
    /// The arena can't be mapped, or is too small.
    pub(super) fn new(config: &NodeConfig, keyspaces: Arc<Keyspaces>) -> Result<Self, StoreError> {
        let store = StoreConfig { hash_seeds: config.hash_seeds, ..config.store.clone() };
        Ok(Self {
            store: Store::new(&store)?,
            versions: Versions::new(config.version_salt),
            tokens: FillTokens::default(),
            keyspaces,
            jitter: Jitter(config.seed | 1),
        })
    }

    /// Starts loading the key's part of the index. This is the first pass of a lookup.
    #[inline]
    pub(super) fn locate(&self, keyspace: u8, key: &[u8]) -> Located {
        self.store.locate(keyspace, key)
    }

    /// The size of the largest value that can be cached under this key, in bytes.
    pub(super) fn value_bytes_max(&self, key: &[u8]) -> usize {
        self.store.value_bytes_max(key)
    }

    /// Finds the first candidate and starts loading its memory. This is the second pass.
    #[inline]
    pub(super) fn aim(&self, located: Located) -> IndexHint {
        self.store.aim(located)
    }

    /// Returns the value, or its absence, if its version is not below the floor. This is the third
    /// pass.
    #[inline(always)]
    pub(super) fn get(
        &mut self,
        hint: IndexHint,
        keyspace: u8,
        key: &[u8],
        floor: u64,
        now_ms: u64,
    ) -> Option<Item<'_>> {
        self.store.get(hint, keyspace, key, floor, now_ms)
    }

    /// Looks up a key in all three passes at once.
    pub(super) fn find(
        &mut self,
        keyspace: u8,
        key: &[u8],
        floor: u64,
        now_ms: u64,
    ) -> Option<Item<'_>> {
        let hint = self.store.hint(keyspace, key);
        self.store.get(hint, keyspace, key, floor, now_ms)
    }

    /// Gives a cached value a new lifetime.
    pub(super) fn touch(
        &mut self,
        now: Now,
        keyspace: u8,
        key: &[u8],
        floor: u64,
        ttl: Ttl,
    ) -> Touched {
        let now_ms = now.mono.as_millis();
        match self.find(keyspace, key, floor, now_ms) {
            None => return Touched::Missed,
            Some(item) if item.negative => return Touched::Absent,
            Some(_) => {}
        }
        let expires_at_ms = self.expires_at_ms(keyspace, ttl, false, now);
        let version = self.store.touch(keyspace, key, floor, expires_at_ms, now_ms);
        // The value may have been evicted to make room for its own copy.
        version.map_or(Touched::Missed, |version| Touched::Kept(Kept { version, expires_at_ms }))
    }

    /// Gives a cached value other marks.
    pub(super) fn mark(&mut self, now: Now, keyspace: u8, key: &[u8], floor: u64, marks: u8) {
        self.store.mark(keyspace, key, floor, marks, now.mono.as_millis());
    }

    /// Caches a value (or its absence) under a new version. Returns `None` if it was not kept.
    pub(super) fn keep(
        &mut self,
        now: Now,
        keyspace: u8,
        key: &[u8],
        content: Content<'_>,
        lifetime: Lifetime,
    ) -> Option<Kept> {
        let Content { value, flags, marks } = content;
        let negative = value.is_none();
        let expires_at_ms = self.expires_at_ms(keyspace, lifetime.ttl, negative, now);
        let ends_ms = lifetime.ends.map_or(u64::MAX, Micros::as_millis);
        let expires_at_ms = expires_at_ms.min(ends_ms);
        let now_ms = now.mono.as_millis();
        if expires_at_ms <= now_ms {
            return None;
        }
        let version = self.versions.next(now.wall_us);
        let value = value.unwrap_or_default();
        let item = NewItem { value, version, expires_at_ms, negative, flags, marks };
        // A value that is too large for the arena is served but not kept.
        self.store.insert(keyspace, key, item, now_ms).ok()?;
        Some(Kept { version, expires_at_ms })
    }

    /// Takes over keyspaces that differ in their lifetimes.
    pub(super) fn set_keyspaces(&mut self, keyspaces: Arc<Keyspaces>) {
        self.keyspaces = keyspaces;
    }

    /// Returns the time at which a value that is cached now expires, from the lifetime that the
    /// request or the keyspace gives. Those of the keyspace are shortened at random so that they do
    /// not all end together. One that a request asks for is exact: it may be that of a lock.
    fn expires_at_ms(&mut self, keyspace: u8, ttl: Ttl, negative: bool, now: Now) -> u64 {
        // Requests for unknown keyspaces have already been refused.
        let Some(keyspace) = self.keyspaces.get(keyspace) else { return 0 };
        let ttl_ms = match (negative, ttl) {
            (true, _) => self.jitter.shorten(keyspace.negative_ttl, keyspace.ttl_jitter_percent),
            (false, Ttl::For(ms) | Ttl::Longer(ms)) => ms,
            // What lies in a database is not cached for ever because a request says so.
            (false, Ttl::Never) if keyspace.is_cache() => return NEVER_MS,
            (false, Ttl::Keyspace | Ttl::Keep | Ttl::Never) => match keyspace.ttl {
                Some(ttl) => self.jitter.shorten(ttl, keyspace.ttl_jitter_percent),
                None => return NEVER_MS,
            },
        };
        // The last instant means never.
        now.mono.as_millis().saturating_add(ttl_ms).min(NEVER_MS - 1)
    }

    /// Returns for how many milliseconds a value lives that is cached now; `u64::MAX`: it has no end.
    pub(super) fn lives_ms(&mut self, keyspace: u8, ttl: Ttl, now: Now) -> u64 {
        ms_left(self.expires_at_ms(keyspace, ttl, false, now), now.mono.as_millis())
    }

    /// Returns a version above those of all cached values.
    pub(super) fn next_version(&mut self, now: Now) -> u64 {
        self.versions.next(now.wall_us)
    }

    /// Drops the key in this keyspace only.
    pub(super) fn remove(&mut self, keyspace: u8, key: &[u8]) {
        self.store.remove(keyspace, key);
    }

    /// Drops the key in the keyspaces that this one names.
    pub(super) fn remove_bound(&mut self, keyspace: u8, key: &[u8]) {
        for keyspace in self.keyspaces.bound(keyspace) {
            self.store.remove(*keyspace, key);
        }
    }

    /// Drops the key in this keyspace and in those that it names.
    pub(super) fn forget(&mut self, keyspace: u8, key: &[u8]) {
        self.remove(keyspace, key);
        self.remove_bound(keyspace, key);
    }

    /// Notes that a fetch of the key with this hash begins.
    pub(super) fn begin_fetch(&self, hash: u64) -> FillToken {
        self.tokens.fetch(hash)
    }

    /// Whether the result of a fetch may be kept, because nothing has changed the key since the
    /// fetch began.
    pub(super) fn may_fill(&self, token: FillToken, now: Micros) -> bool {
        self.tokens.may_keep(token, now)
    }

    /// Notes that a write of the key with this hash begins. Each write must end with
    /// [`Self::end_write`].
    pub(super) fn begin_write(&mut self, hash: u64) -> FillToken {
        self.tokens.begin_write(hash)
    }

    /// Notes that a write ends. Returns whether its value may be kept, because nothing else has
    /// changed the key since the write began. If `closed_until` is given, the outcome of the write
    /// is unknown, and no value of the key may be kept before that time.
    pub(super) fn end_write(
        &mut self,
        token: FillToken,
        now: Micros,
        closed_until: Option<Micros>,
    ) -> bool {
        self.tokens.end_write(token, now, closed_until)
    }

    /// Notes that the key with this hash has changed. The results of fetches and writes that are
    /// under way are not kept.
    pub(super) fn disturb(&mut self, hash: u64) {
        self.tokens.disturb(hash);
    }

    /// Notes that the key with this hash may still change until the given time.
    pub(super) fn close(&mut self, hash: u64, until: Micros) {
        self.tokens.close(hash, until);
    }

    /// Returns the number of parts in which [`Self::visit`] gives all items.
    pub(super) fn parts(&self) -> u32 {
        self.store.parts()
    }

    /// Gives the items of a part, also expired ones and absences.
    pub(super) fn visit(&self, part: u32, visit: impl FnMut(Walked<'_>)) {
        self.store.visit(part, visit);
    }

    /// Removes the values of a part that have expired or that `is_dropped` names. Returns the number
    /// of values that were looked at.
    pub(super) fn sweep(
        &mut self,
        part: u32,
        now: Now,
        is_dropped: impl FnMut(Walked<'_>) -> bool,
    ) -> usize {
        self.store.sweep(part, now.mono.as_millis(), is_dropped)
    }

    /// Returns the counters and sizes of the store that cost nothing.
    pub(super) fn counts(&self) -> StoreStats {
        self.store.counts()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use standin_config::Lifetimes;

    use super::*;
    use crate::node::tests::{keyspace, node_config};

    const KEY: &[u8] = b"k";
    const VALUE: Content<'static> = Content { value: Some(b"v"), flags: 0, marks: 0 };
    const ABSENT: Content<'static> = Content { value: None, flags: 0, marks: 0 };

    fn at(ms: u64) -> Now {
        Now { mono: Micros(ms * 1_000), wall_us: ms * 1_000 }
    }

    fn cache() -> Cache {
        let mut configs = [keyspace(1), keyspace(2)];
        configs[0].also_invalidates = vec![2];
        let keyspaces = Arc::new(Keyspaces::new(&configs));
        Cache::new(&node_config(0, 7), keyspaces).unwrap()
    }

    fn keep(cache: &mut Cache, keyspace: u8, ttl_s: u32, ends: Option<Micros>) -> Option<Kept> {
        let ttl = if ttl_s == 0 { Ttl::Keyspace } else { Ttl::For(u64::from(ttl_s) * 1_000) };
        cache.keep(at(1_000), keyspace, KEY, VALUE, Lifetime { ttl, ends })
    }

    #[test]
    fn a_value_has_the_lifetime_of_its_request_or_of_its_keyspace_and_never_outlives_its_end() {
        let mut cache = cache();
        let ends = |kept: Option<Kept>| kept.unwrap().expires_at_ms;
        assert_eq!(ends(keep(&mut cache, 1, 0, None)), 61_000);
        assert_eq!(ends(keep(&mut cache, 1, 5, None)), 6_000);
        assert_eq!(ends(keep(&mut cache, 1, 5, Some(Micros(2_000_000)))), 2_000);
        assert_eq!(keep(&mut cache, 1, 5, Some(Micros(1_000_000))), None, "it has ended");
        let absent =
            cache.keep(at(1_000), 1, KEY, ABSENT, Lifetime { ttl: Ttl::For(5_000), ends: None });
        assert_eq!(ends(absent), 2_000, "absence has a lifetime of its own");
        assert_eq!(keep(&mut cache, 9, 5, None), None, "no such keyspace");
    }

    #[test]
    fn a_value_below_the_floor_is_missed() {
        let mut cache = cache();
        let version = keep(&mut cache, 1, 0, None).unwrap().version;
        assert_eq!(cache.find(1, KEY, version, 1_001).unwrap().value, b"v");
        let floor = cache.next_version(at(1_001));
        assert!(floor > version && cache.find(1, KEY, floor, 1_001).is_none());
    }

    #[test]
    fn a_touch_gives_a_new_lifetime_to_a_value_only() {
        let mut cache = cache();
        let touch = |cache: &mut Cache| cache.touch(at(1_001), 1, KEY, 0, Ttl::For(9_000));
        assert_eq!(touch(&mut cache), Touched::Missed);
        let version = keep(&mut cache, 1, 0, None).unwrap().version;
        let kept = Kept { version, expires_at_ms: 10_001 };
        assert_eq!(touch(&mut cache), Touched::Kept(kept));
        cache.keep(at(1_000), 1, KEY, ABSENT, Lifetime { ttl: Ttl::Keyspace, ends: None });
        assert_eq!(touch(&mut cache), Touched::Absent);
    }

    #[test]
    fn other_lifetimes_are_those_of_what_is_cached_from_then_on() {
        let mut cache = cache();
        let ends = |kept: Option<Kept>| kept.unwrap().expires_at_ms;
        assert_eq!(ends(keep(&mut cache, 1, 0, None)), 61_000);
        let lifetimes = Lifetimes {
            ttl: Some(Duration::from_secs(7)),
            ..Lifetimes::of(cache.keyspaces.get(1).unwrap())
        };
        cache.set_keyspaces(Arc::new(cache.keyspaces.with_lifetimes(&[lifetimes])));
        assert!(cache.find(1, KEY, 0, 60_999).is_some(), "what is cached stays as it is");
        assert_eq!(ends(keep(&mut cache, 1, 0, None)), 8_000);
        assert_eq!(ends(keep(&mut cache, 1, 5, None)), 6_000, "what a request asks for is its own");
        assert_eq!(ends(keep(&mut cache, 2, 0, None)), 61_000);
        let bound = cache.keyspaces.bound(1);
        assert_eq!(bound, [2], "all else is as before");
    }

    #[test]
    fn forgetting_a_key_drops_it_in_the_keyspaces_that_its_keyspace_names() {
        let mut cache = cache();
        let is_cached = |cache: &mut Cache| [1, 2].map(|k| cache.find(k, KEY, 0, 1_001).is_some());
        keep(&mut cache, 1, 0, None);
        keep(&mut cache, 2, 0, None);
        cache.remove_bound(1, KEY);
        assert_eq!(is_cached(&mut cache), [true, false]);
        keep(&mut cache, 2, 0, None);
        cache.forget(2, KEY);
        assert_eq!(is_cached(&mut cache), [true, false], "not the other way round");
        cache.forget(1, KEY);
        assert_eq!(is_cached(&mut cache), [false, false]);
    }
}
