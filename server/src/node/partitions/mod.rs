//! The partitions as this server sees them: the map, the lease, the words that it has given, and
//! how each partition is served as a result.
//!
//! This part is told of maps, leases, words, flushes, and the reachability of peers
//! ([`Partitions::refresh`]). It returns which partitions this server has taken over or dropped
//! ([`Refreshed`]). For a request, it returns how the partition is served and which cached versions
//! count.
//!
//! ```text
//! serving.rs  the table: map, lease and reachability ─► how requests of a partition are served
//! lease.rs    whether this server may act as an owner
//! words.rs    the words that this server has given its group
//! floors.rs   the versions below which cached values do not count
//! ```

mod floors;
mod lease;
pub mod serving;
mod words;

use std::sync::Arc;

use bytes::Bytes;
use standin_config::Mode;
use standin_protocol::map::{ClusterMap, MapEpoch, ServerState, ServerStatus, Topology};
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

pub(super) use floors::Generation;
use floors::KeyspaceFloors;
pub(super) use lease::LeaseChange;
use lease::LeaseState;
use serving::{Reach, Serving, View, decide};
use words::Words;

use super::{Lease, NodeConfig, Word, answer};

/// The state of all partitions.
#[derive(Debug)]
pub(super) struct Partitions {
    server: u16,
    shard: u16,
    boot_id: u64,
    is_available: bool,
    topology: Arc<Topology>,
    map: Option<Arc<ClusterMap>>,
    map_tag: u32,
    map_bytes: Bytes,
    /// The states, by partition.
    states: Vec<State>,
    /// The ownership epoch of each partition when this server last owned it.
    owned: Vec<Option<MapEpoch>>,
    flushed: KeyspaceFloors,
    lease: LeaseState,
    words: Words,
    /// The epoch of the newest map up to which this server has reported that it has drained.
    drained: MapEpoch,
}

/// The state of one partition; a request reads one of these.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    serving: Serving,
    /// The flags `STAND_IN` and `PROVISIONAL` of replies.
    flags: u8,
    /// A number that rises when cached values of the partition are dropped.
    generation: u32,
    /// The version below which values do not count as cached.
    version_floor: u64,
    /// The version below which values were kept before this server owned the partition. They serve
    /// reads until they expire, but not CAS or TOUCH.
    owned_floor: u64,
    /// Whether some keyspace was flushed here and has a floor of its own (floors.rs).
    is_flushed: bool,
    /// The time since which the partition has been served in this way.
    since: Micros,
}

impl State {
    /// Returns how requests of the partition are served.
    #[inline]
    pub(super) fn serving(&self) -> Serving {
        self.serving
    }

    /// Returns the flags of replies to requests of the partition.
    #[inline]
    pub(super) fn flags(&self) -> u8 {
        self.flags
    }

    /// Returns the time since which the partition has been served in this way.
    pub(super) fn since(&self) -> Micros {
        self.since
    }

    /// Returns the version that a caller may name in a CAS; 0 if there is none.
    #[inline]
    pub(super) fn told_version(&self, version: u64) -> u64 {
        if version < self.owned_floor { 0 } else { version }
    }
}

/// The inputs of [`Partitions::refresh`], in addition to map, lease and words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances<'a> {
    pub(super) now: Micros,
    /// The previous map if the map has changed; otherwise the current map.
    pub(super) before: Option<&'a ClusterMap>,
    /// The reachability of peers, by server id.
    pub(super) reach: &'a [Reach],
    /// A version above those of all cached values.
    pub(super) floor: u64,
}

/// The changes made by [`Partitions::refresh`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Refreshed {
    /// Partitions that this server has taken over with hardly anything cached.
    pub(super) taken: Vec<Taken>,
    /// The number of partitions that came back to this server and kept their values.
    pub(super) kept: u64,
    /// The number of partitions that this server had owned and dropped.
    pub(super) dropped: u64,
    /// Whether values of some partition do not count any more.
    pub(super) has_raised_floors: bool,
    /// Whether this server owns partitions whose home it is.
    pub(super) owns_home: bool,
    /// Whether it has just begun to own one of these.
    pub(super) has_begun_to_own_home: bool,
}

/// A partition that this server has taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) partition: u32,
    /// Whether this server is its home.
    pub(super) is_home: bool,
    /// The number of servers that are away at the same time.
    pub(super) changed: u64,
}

impl Partitions {
    /// Creates the state of all partitions of the topology, before the first map.
    pub(super) fn new(config: &NodeConfig, topology: Arc<Topology>) -> Self {
        let state = State {
            serving: Serving::Unowned,
            flags: 0,
            generation: 0,
            version_floor: 0,
            owned_floor: 0,
            is_flushed: false,
            since: config.started,
        };
        let is_available = config.mode == Mode::Available;
        Self {
            server: config.server,
            shard: config.shard,
            boot_id: config.boot_id,
            is_available,
            map: None,
            map_tag: 0,
            map_bytes: Bytes::new(),
            states: vec![state; topology.partitions as usize],
            owned: vec![None; topology.partitions as usize],
            flushed: KeyspaceFloors::new(topology.partitions),
            lease: LeaseState::new(is_available),
            words: Words::new(config.port_was_closed),
            drained: MapEpoch::default(),
            topology,
        }
    }

    /// Returns the state of a partition.
    #[inline]
    pub(super) fn state(&self, partition: u32) -> &State {
        &self.states[partition as usize]
    }

    /// Returns how requests of a partition are served.
    #[inline]
    pub(super) fn serving(&self, partition: u32) -> Serving {
        self.states[partition as usize].serving
    }

    /// Returns the version below which a cached value does not answer reads.
    #[inline]
    pub(super) fn read_floor(&self, keyspace: u8, partition: u32) -> u64 {
        self.floor(|state| state.version_floor, keyspace, partition)
    }

    /// Returns the version below which a cached value does not serve CAS and TOUCH.
    pub(super) fn owned_floor(&self, keyspace: u8, partition: u32) -> u64 {
        self.floor(|state| state.owned_floor, keyspace, partition)
    }

    #[inline]
    fn floor(&self, of: impl Fn(&State) -> u64, keyspace: u8, partition: u32) -> u64 {
        let state = &self.states[partition as usize];
        match state.is_flushed {
            true => of(state).max(self.flushed.floor(keyspace, partition)),
            false => of(state),
        }
    }

    /// Returns the generation that a fetch or a write notes when it begins.
    pub(super) fn generation(&self, keyspace: u8, partition: u32) -> Generation {
        let of_partition = self.states[partition as usize].generation;
        Generation::new(of_partition, self.flushed.floor(keyspace, partition))
    }

    /// Whether the partition's values have not been dropped since this generation.
    pub(super) fn is_of(&self, generation: Generation, partition: u32) -> bool {
        generation.is_of_partition(self.states[partition as usize].generation)
    }

    /// Flushes these keyspaces in the partition: values below the floor do not count any more.
    pub(super) fn flush(
        &mut self,
        keyspaces: impl Iterator<Item = u8>,
        partition: u32,
        floor: u64,
    ) {
        for keyspace in keyspaces {
            self.flushed.set(keyspace, partition, floor);
        }
        self.states[partition as usize].is_flushed = true;
    }

    /// Returns the map that the shard has applied.
    pub(super) fn map(&self) -> Option<&Arc<ClusterMap>> {
        self.map.as_ref()
    }

    /// Returns the `MapEpoch::tag` of that map; 0 if there is none.
    #[inline]
    pub(super) fn map_tag(&self) -> u32 {
        self.map_tag
    }

    /// Returns the encoded map, as it is sent.
    pub(super) fn map_bytes(&self) -> Option<Bytes> {
        self.map.as_ref().map(|_| self.map_bytes.clone())
    }

    /// Whether that server is online according to the map.
    pub(super) fn is_online(&self, server: u16) -> bool {
        self.map.as_ref().is_some_and(|map| map.state(server) == ServerState::Online)
    }

    /// Whether the map is newer than the current one, and of this cluster.
    pub(super) fn is_newer(&self, map: &ClusterMap) -> bool {
        let is_newer = self.map.as_ref().is_none_or(|held| held.epoch < map.epoch);
        (is_newer || mutant::is(Mutant::NoEpochCheck)) && map.topology.id == self.topology.id
    }

    /// Replaces the map, and returns the previous one. The states of partitions change with the
    /// next [`Self::refresh`].
    pub(super) fn replace_map(
        &mut self,
        now: Micros,
        map: Arc<ClusterMap>,
    ) -> Option<Arc<ClusterMap>> {
        let is_away = |member| map.state(member) != ServerState::Online;
        let is_missed = self.topology.group_peers(self.server).any(is_away);
        self.words.map_applied(now, map.epoch, is_missed && self.is_available);
        self.map_tag = map.epoch.tag();
        self.map_bytes = map.to_bytes().into();
        self.map.replace(map)
    }

    /// Sets the lease that the shard holds from now on.
    pub(super) fn renew_lease(&mut self, now: Micros, lease: Lease) -> Option<LeaseChange> {
        self.lease.renew(now, lease)
    }

    /// Ends a lease whose time is up.
    pub(super) fn check_lease(&mut self, now: Micros) -> Option<LeaseChange> {
        self.lease.check(now)
    }

    /// Returns the time at which the right to act as an owner ends unless it is renewed before.
    #[inline]
    pub(super) fn lease_ends(&self) -> Micros {
        self.lease.ends()
    }

    /// Whether this server may act as an owner.
    pub(super) fn may_own(&self) -> bool {
        self.lease.may_own()
    }

    /// Returns how often the right to act as an owner has ended. As long as this number is the
    /// same, no other server has become the owner of this server's partitions.
    pub(super) fn lease_losses(&self) -> u32 {
        self.lease.losses()
    }

    /// Whether this server goes on without a master that nobody in its group hears.
    pub(super) fn is_orphan(&self) -> bool {
        self.lease.is_orphan()
    }

    /// Whether this server is a member of the partition's group. A returning home is told of
    /// written keys only by the members of its group.
    pub(super) fn is_member(&self, partition: u32) -> bool {
        self.topology.rank(partition).contains(&self.server)
    }

    /// Whether this server, as a member of the partition's group, may write in a partition that
    /// nobody owns. It may in mode `available`, with a lease or as an orphan.
    pub(super) fn may_stand_in(&self, partition: u32) -> bool {
        self.is_available && self.may_own() && self.is_member(partition)
    }

    /// Whether this server is the partition's home.
    pub(super) fn is_home(&self, partition: u32) -> bool {
        self.topology.home(partition) == self.server
    }

    /// Whether the owner may serve values of the partition from the cache at this time. Values that
    /// the next owner keeps briefly do not count.
    pub(super) fn caches(&self, now: Micros, partition: u32) -> bool {
        self.serving(partition) == Serving::Cached && now < self.lease.ends()
    }

    /// Whether the right to act as an owner comes from the group's word, and not from a lease.
    /// Other servers may have that right too.
    pub(super) fn is_by_word(&self) -> bool {
        self.lease.is_by_word()
    }

    /// Notes that this server is about to tell a member of the group that it has lost the master.
    pub(super) fn give_word(&mut self, word: Word) {
        self.words.give(word);
    }

    /// Whether this server has given its word under the map of this epoch, or a later one.
    pub(super) fn has_given_word_since(&self, epoch: MapEpoch) -> bool {
        self.words.is_since(epoch)
    }

    /// Ends the words whose time is up. Returns whether a partition is served differently without
    /// them. In that case [`Self::refresh`] is due.
    pub(super) fn end_words(&mut self, now: Micros) -> bool {
        let is_early = |state: &State| state.serving == Serving::Early;
        self.words.end(now) && self.states.iter().any(is_early)
    }

    /// Returns the time at which [`Self::end_words`] has something to do.
    pub(super) fn words_end(&self) -> Option<Micros> {
        self.words.ends()
    }

    /// Notes that everything that began under older maps has ended. Returns the epoch of the
    /// current map if this was not known before.
    pub(super) fn drained(&mut self) -> Option<MapEpoch> {
        let epoch = self.map.as_ref()?.epoch;
        let is_news = self.drained < epoch;
        self.drained = self.drained.max(epoch);
        is_news.then_some(epoch)
    }

    /// Returns the epoch of the newest map of which [`Self::drained`] was told.
    pub(super) fn drained_epoch(&self) -> MapEpoch {
        self.drained
    }

    /// Returns the number of partitions of this shard that it owns under a lease.
    pub(super) fn owned(&self) -> u64 {
        let shards = usize::from(self.topology.servers[usize::from(self.server)].shards);
        let own = self.states.iter().skip(usize::from(self.shard)).step_by(shards);
        own.filter(|state| state.serving == Serving::Cached).count() as u64
    }

    /// Whether this server has to assume that another server may still write in a partition that
    /// the map of this ownership epoch gives to this server.
    fn is_early(&self, now: Micros, at: usize, epoch: Option<MapEpoch>) -> bool {
        let is_same = self.owned[at].is_some() && self.owned[at] == epoch;
        !is_same && self.words.is_open(now) && !mutant::is(Mutant::WordForgotten)
    }

    /// Evaluates the table for every partition.
    ///
    /// The values of a partition that this server begins to own are dropped in one step, because
    /// its floor rises. They are kept if nobody else can have changed them meanwhile. That is so if
    /// the ownership is the same as before, or if this server is the home and knows all keys that
    /// others wrote (`may_keep`). The values of a stand-in are dropped when the partition becomes
    /// another server's. Values that a server kept before it was the owner expire by themselves.
    pub(super) fn refresh(
        &mut self,
        circumstances: Circumstances<'_>,
        may_keep: impl Fn(u32) -> bool,
    ) -> Refreshed {
        let Circumstances { now, before, reach, floor } = circumstances;
        let map = self.map.clone();
        let (server, boot_id, is_available) = (self.server, self.boot_id, self.is_available);
        let view = View { server, boot_id, is_available, may_own: self.may_own(), reach };
        let mut refreshed = Refreshed::default();
        let (changed_home, changed_away) = (not_online(before), not_online(map.as_deref()));
        for partition in 0..self.topology.partitions {
            let is_home = self.is_home(partition);
            let epoch_by = |map: &ClusterMap| map.ownership(partition).epoch;
            let epoch = map.as_deref().map(epoch_by);
            let at = partition as usize;
            let may_keep = is_home && may_keep(partition);
            let serving = match decide(map.as_deref(), partition, view) {
                Serving::Cached if !may_keep && self.is_early(now, at, epoch) => Serving::Early,
                serving => serving,
            };
            refreshed.owns_home |= is_home && serving == Serving::Cached;
            let was = self.states[at].serving;
            if was == serving && before.map(epoch_by) == epoch {
                continue;
            }
            refreshed.has_begun_to_own_home |= is_home && serving == Serving::Cached;
            let was_owned = self.owned[at].is_some();
            let is_next = was.is_brief() && serving == Serving::Cached;
            let is_dropped = if serving == Serving::Cached {
                let is_same = was_owned && self.owned[at] == epoch;
                self.owned[at] = epoch;
                refreshed.kept += u64::from((is_next || may_keep) && was_owned && !is_same);
                !(is_same || is_next || may_keep)
                    && (is_home || !mutant::is(Mutant::KeepStandInEntries))
            } else {
                self.disown(at, is_home, serving, was)
            };
            if serving.keeps() && (is_dropped || is_next) {
                let changed = if is_home { changed_home } else { changed_away };
                refreshed.taken.push(Taken { partition, is_home, changed });
            }
            refreshed.dropped += u64::from(is_dropped && was_owned);
            let state = &mut self.states[at];
            state.serving = serving;
            state.since = now;
            state.generation = state.generation.wrapping_add(1);
            state.owned_floor = match serving {
                Serving::Waiting | Serving::Early => u64::MAX,
                _ if is_dropped || is_next => floor,
                _ => state.owned_floor,
            };
            if is_dropped {
                state.version_floor = floor;
                refreshed.has_raised_floors = true;
            }
            state.flags = flags(serving, is_home);
        }
        refreshed
    }

    /// Notes that a partition is not served as this server's own. Returns whether its values have
    /// to be dropped.
    fn disown(&mut self, at: usize, is_home: bool, serving: Serving, was: Serving) -> bool {
        if serving.is_brief() {
            self.owned[at] = None;
            return !(was == Serving::Waiting && serving == Serving::Early);
        }
        if is_home || serving == Serving::Through || mutant::is(Mutant::KeepStandInEntries) {
            return false;
        }
        self.owned[at].take().is_some()
    }
}

/// Returns the flags of replies to requests of a partition.
fn flags(serving: Serving, is_home: bool) -> u8 {
    let stand_in = if is_home { 0 } else { answer::flags::STAND_IN };
    match serving {
        Serving::Forward(_) | Serving::Relay(_) => 0,
        Serving::Provisional(_) => stand_in | answer::flags::PROVISIONAL,
        _ => stand_in,
    }
}

/// Returns the number of servers that are not online under this map.
fn not_online(map: Option<&ClusterMap>) -> u64 {
    let is_away = |status: &&ServerStatus| status.state != ServerState::Online;
    map.map_or(1, |map| map.statuses().iter().filter(is_away).count() as u64)
}

#[cfg(test)]
mod tests;
