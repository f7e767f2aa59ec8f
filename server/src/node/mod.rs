//! A shard's logic: what a request gets, given the map, the cache and the origin.
//!
//! Pure: no socket, thread or clock. The shell places requests ([`Node::place`]), aims
//! them ([`Node::aim`]), serves them ([`Node::serve`]), and carries out what [`Node::poll`]
//! asks for. The answer to a hit is given with its value where it lies in the cache; everything
//! else is an [`Output`]. What comes in is a [`Command`], what goes out an [`Answer`]: bytes are
//! the affair of codecs.
//!
//! ```text
//! place ─► aim ─► serve ─┬─ hit ───────────────────────► given at once
//!                        ├─ read.rs   fetch, shared by waiters ─► Output::Origin ─► origin_done ─► Output::Reply
//!                        ├─ write.rs  one at a time per key ───► Output::Origin ─► origin_done ─► Output::Reply
//!                        └─ route.rs  another server's ────────► Output::Forward ─► forward_done ─► Output::Reply
//! command.rs   what comes in                answer.rs     what goes out
//! request.rs   what is no hit             serving.rs    the table: what a partition is to this server
//! keep.rs      what is kept, how long     ownership.rs  maps, peers' reachability, draining
//! tokens.rs    what may be kept           lease.rs      whether this server may own anything
//! versions.rs  versions of values         parking.rs    writes that wait for an owner
//! ack.rs       when a write is done       relay.rs      owners that only this server can't reach
//! handback.rs  keys others have to drop   handover.rs   telling a home that returns; reconcile.rs, being told
//! probe.rs     pings for the master       owed.rs       telling an owner that is online
//! recent.rs    writes that are repeated   surge.rs      misses after a change of owner
//! measure.rs   what a shard usually fetches   stopped.rs  what goes when it was stopped
//! flush.rs     keyspaces that are dropped at once   bound.rs    keyspaces over the same rows
//! gate.rs      rows under way, in bytes   ceiling.rs   what the whole cluster may fetch; pace.rs
//! held.rs      fetches that are held back   queues.rs    how long all of it is
//! ```

mod ack;
pub mod answer;
mod bound;
mod ceiling;
pub mod command;
mod config;
pub mod counters;
mod flush;
mod gate;
mod handback;
mod handover;
mod held;
mod interface;
mod keep;
mod lease;
mod measure;
mod owed;
mod ownership;
mod pace;
mod parking;
mod probe;
mod queues;
mod read;
mod recent;
mod reconcile;
mod relay;
mod request;
mod route;
pub mod serving;
mod state;
mod stopped;
mod surge;
#[cfg(test)]
mod tests;
mod tokens;
mod versions;
mod word;
mod write;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use slotmap::{Key as _, KeyData, SlotMap};
use standin_config::KeyspaceConfig;
use standin_protocol::map::{ClusterMap, MapEpoch, Topology};
use standin_protocol::time::Micros;

use crate::origin::{Call, Operation, Outcome};
use crate::store::{Store, StoreConfig, StoreError};
pub use answer::{Answer, AnswerHead, PeerAnswer, Status};
use answer::{flags, seconds_left};
pub use command::{Action, Command, CommandHead, Hop, Identity, OwnedCommand, ReplyTo};
pub use config::NodeConfig;
use config::PENDING_BYTES;
use counters::Counters;
pub use interface::{
    Aimed, ConnId, ForwardFailure, Lease, Left, Now, Output, PeerProbe, Place, Word,
};
use route::Forwarded;
use serving::Serving;
use state::{CallKey, CallState, ForwardKey, Name, Names, PartitionState, Pending, PendingKey};
use tokens::FillTokens;
use versions::Versions;

/// One shard's logic and state.
pub struct Node {
    config: NodeConfig,
    topology: Arc<Topology>,
    map: Option<Arc<ClusterMap>>,
    map_tag: u32,
    map_bytes: Bytes,
    partitions: Vec<PartitionState>,
    store: Store,
    versions: Versions,
    keyspaces: Vec<Option<KeyspaceConfig>>,
    tokens: FillTokens,
    flushes: flush::Flushes,
    pending: SlotMap<PendingKey, Pending>,
    /// What they take in memory, about.
    pending_bytes: usize,
    calls: SlotMap<CallKey, CallState>,
    fetches: Names<read::Fetch>,
    writes: Names<VecDeque<PendingKey>>,
    parked: parking::Parking,
    unacked: VecDeque<ack::Unacked>,
    forwards: SlotMap<ForwardKey, Forwarded>,
    peers: Vec<ownership::Peer>,
    drain: ownership::Drain,
    held: lease::Held,
    given: word::Given,
    /// Ownership epoch of each partition when this server last owned it.
    owned: Vec<Option<MapEpoch>>,
    /// The first map that knows of this incarnation: what it wrote since, it remembers.
    known_since: MapEpoch,
    unsettled: handback::Unsettled,
    handovers: Vec<handover::Handover>,
    owed: Vec<owed::Owed>,
    home: reconcile::Home,
    recent: recent::Recent,
    surge: surge::Surge,
    gate: gate::Gate,
    ceiling: ceiling::Ceiling,
    probes: Vec<probe::Probe>,
    outputs: VecDeque<Output>,
    jitter: u64,
    origin_up: bool,
    control_runs: bool,
    stopping: bool,
    /// What the shard counts; the shell adds what only it knows.
    pub counters: Counters,
}

impl Node {
    /// A shard with an empty cache and no map.
    ///
    /// # Errors
    /// The arena can't be mapped, or is too small.
    pub fn new(config: NodeConfig, topology: Arc<Topology>) -> Result<Self, StoreError> {
        let mut keyspaces = vec![None; 256];
        for keyspace in &config.keyspaces {
            keyspaces[usize::from(keyspace.id)] = Some(keyspace.clone());
        }
        let store =
            Store::new(&StoreConfig { hash_seeds: config.hash_seeds, ..config.store.clone() })?;
        let hashing = match config.hash_seeds {
            Some([a, b, c, d]) => ahash::RandomState::with_seeds(a, b, c, d),
            None => ahash::RandomState::new(),
        };
        let partition = PartitionState {
            serving: Serving::Unowned,
            flags: 0,
            generation: 0,
            version_floor: 0,
            owned_floor: 0,
            is_flushed: false,
            since: config.started,
        };
        Ok(Self {
            store,
            map: None,
            map_tag: 0,
            map_bytes: Bytes::new(),
            partitions: vec![partition; topology.partitions as usize],
            versions: Versions::new(config.version_salt),
            keyspaces,
            tokens: FillTokens::default(),
            flushes: flush::Flushes::default(),
            pending: SlotMap::with_key(),
            pending_bytes: 0,
            calls: SlotMap::with_key(),
            recent: recent::Recent::new(&hashing),
            gate: gate::Gate::by(&config),
            surge: surge::Surge::new(
                topology.partitions,
                surge::Sharing {
                    whole_percent: whole_percent(&topology, config.server),
                    peers: topology.group_peers(config.server).count() as u64,
                    reserved: config.surge_reads,
                },
                config.warm,
                config.patience,
                config.started,
            ),
            ceiling: ceiling::Ceiling::by(&config, &topology),
            fetches: HashMap::with_hasher(hashing.clone()),
            unsettled: handback::Unsettled::new(
                config.log_keys_max,
                config.log_bytes_max,
                config.value_bytes_max / 2,
                hashing.clone(),
            ),
            writes: HashMap::with_hasher(hashing),
            parked: parking::Parking::default(),
            unacked: VecDeque::new(),
            forwards: SlotMap::with_key(),
            peers: vec![ownership::Peer::default(); topology.servers.len()],
            drain: ownership::Drain::default(),
            held: lease::Held::default(),
            given: word::Given::default(),
            owned: vec![None; topology.partitions as usize],
            known_since: MapEpoch::default(),
            handovers: Vec::new(),
            owed: vec![owed::Owed::default(); topology.servers.len()],
            home: reconcile::Home::default(),
            probes: Vec::new(),
            outputs: VecDeque::new(),
            jitter: config.seed | 1,
            origin_up: true,
            control_runs: true,
            stopping: false,
            counters: Counters::default(),
            topology,
            config,
        })
    }

    /// First pass over a wake-up's requests: where each belongs. Starts loading the key's
    /// part of the index.
    #[inline]
    #[must_use]
    pub fn place(&self, keyspace: u8, key: &[u8]) -> Place {
        let (hash, partition) = self.hash(keyspace, key);
        Place { hash, partition, located: self.store.locate(keyspace, key) }
    }

    /// Second pass: finds the first candidate for each, and starts loading the memory that
    /// [`Self::serve`] will read.
    #[inline]
    #[must_use]
    pub fn aim(&self, place: Place) -> Aimed {
        let Place { hash, partition, located } = place;
        Aimed { hash, partition, probe: self.store.aim(located) }
    }

    /// Third pass: answers at once through `give`, or later by [`Output::Reply`]. Says whether
    /// it answered at once. With `may_wait` false (the connection has too many requests
    /// waiting) a command that would have to wait is refused. Values
    /// are served by the lease as [`Self::begin`] last found it.
    ///
    /// The value that `give` gets lies in the cache: what it copies is the only copy.
    #[inline]
    pub fn serve(
        &mut self,
        now: Now,
        to: ReplyTo,
        command: &Command<'_>,
        place: Aimed,
        may_wait: bool,
        give: impl FnOnce(AnswerHead, &[u8]),
    ) -> bool {
        self.counters.requests += 1;
        let head = &command.head;
        self.counters.data_requests += u64::from(head.action.has_key());
        if head.action == Action::Get && !self.stopping {
            let state = &self.partitions[place.partition as usize];
            if state.serving.keeps() {
                let now_ms = now.mono.as_millis();
                let floor = self.flushes.raise(
                    state.version_floor,
                    state.is_flushed,
                    head.keyspace,
                    place.partition,
                );
                let found = self.store.get(place.probe, head.keyspace, command.key, floor, now_ms);
                if let Some(item) = found {
                    self.counters.hits += 1;
                    let status = if item.negative { Status::NotFound } else { Status::Ok };
                    let head = AnswerHead {
                        status,
                        flags: flags::HIT | flags::CACHED | state.flags,
                        retry_after_ms: 0,
                        map_tag: self.map_tag,
                        ttl_s: seconds_left(item.expires_at_ms, now_ms),
                        version: state.told_version(item.version),
                    };
                    give(head, item.value);
                    return true;
                }
            }
        }
        match self.serve_other(now, to, command, place, may_wait) {
            Some(Answer { head, value }) => {
                give(AnswerHead { map_tag: self.map_tag, ..head }, &value);
                true
            }
            None => false,
        }
    }

    /// The origin has answered (or refused) the call with this token.
    pub fn origin_done(&mut self, now: Now, token: u64, outcome: Outcome) {
        self.begin(now);
        let Some(state) = self.calls.remove(CallKey::from(KeyData::from_ffi(token))) else {
            debug_assert!(false, "each call ends once");
            return;
        };
        if matches!(outcome, Outcome::Failed(_)) {
            self.counters.origin_failures += 1;
        }
        match state {
            CallState::Fetch { name, started, reserved } => {
                self.gate.leave(reserved, &outcome);
                self.fetch_done(now, name, started, outcome);
            }
            CallState::Write { pending, token, generation, begun, outdated } => {
                self.write_done(now, pending, token, generation, begun, outcome);
                if outdated {
                    self.drain.ended();
                    self.announce_drained(now);
                }
            }
        }
    }

    /// What the shell has to do next; `None` when there is nothing more.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether [`Self::poll`] has something.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// Lets time pass: peers that could not be reached are tried again, writes that wait for
    /// an owner look again, and owners are told what they do not know yet.
    pub fn tick(&mut self, now: Now) {
        self.begin(now);
        self.expire_unreachable(now);
        self.unpark_due(now);
        self.give_up_unacked(now);
        self.release_held(now);
        self.release_gated(now);
        self.let_go(now);
        self.end_early(now);
        self.tell_owed(now);
    }

    /// When [`Self::tick`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Micros> {
        let peers = self.peers.iter().filter_map(ownership::Peer::retry_at);
        let parked = self.parked.next_deadline();
        let unacked = self.unacked.iter().map(ack::Unacked::until);
        let owed = self.owed.iter().filter_map(owed::Owed::next_deadline);
        let others = peers.chain(parked).chain(unacked).chain(owed);
        let held = self.surge.next_deadline().into_iter().chain(self.ceiling.next_deadline());
        let others = others.chain(held).chain(self.next_let_go());
        others.chain(self.gate.next_deadline()).chain(self.next_end_early()).min()
    }

    /// From now on requests are answered `SHUTTING_DOWN`; those waiting are finished.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Requests that wait for the origin or a peer.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.pending.len()
    }

    /// The map that the shard has applied.
    #[must_use]
    pub fn map(&self) -> Option<&Arc<ClusterMap>> {
        self.map.as_ref()
    }

    /// `MapEpoch::tag` of that map; 0: none.
    #[must_use]
    pub fn map_tag(&self) -> u32 {
        self.map_tag
    }

    /// What the shard treats this partition as.
    #[must_use]
    pub fn serving(&self, partition: u32) -> Serving {
        self.partitions[partition as usize].serving
    }

    /// Whether the server's control thread runs. If not, probes are told so.
    pub fn set_control_runs(&mut self, runs: bool) {
        self.control_runs = runs;
    }

    /// Whether the origin answers, as the shell has last seen; for PING.
    pub fn set_origin_up(&mut self, up: bool) {
        self.origin_up = up;
    }

    /// Copies the store's figures to [`Self::counters`].
    pub fn refresh_counters(&mut self) {
        let (items, items_bytes, evicted) = self.store.counts();
        self.counters.items = items;
        self.counters.items_bytes = items_bytes;
        self.counters.evicted = evicted;
    }

    /// Of a key in its keyspace.
    fn name(keyspace: u8, key: &[u8]) -> Name {
        let mut name = Vec::with_capacity(key.len() + 1);
        name.push(keyspace);
        name.extend_from_slice(key);
        name.into_boxed_slice()
    }

    /// Answers a waiting request and forgets it.
    fn reply(&mut self, key: PendingKey, head: AnswerHead) {
        self.reply_with(key, head.into());
    }

    /// Answers a waiting request with a value, which others may share, and forgets it.
    fn reply_with(&mut self, key: PendingKey, answer: Answer) {
        let Some(pending) = self.pending.remove(key) else { return };
        self.pending_bytes -= PENDING_BYTES + pending.key.len() + pending.value.len();
        let state = self.partitions[pending.partition as usize];
        // Processed here although it was to be sent on; meanwhile the owner may count as
        // reachable again, but it is not the owner that answers.
        let flags = match (pending.here, state.serving) {
            (true, Serving::Forward(_) | Serving::Relay(_)) => flags::STAND_IN | flags::PROVISIONAL,
            _ => state.flags,
        };
        let Answer { head, value } = answer;
        for key in self.end_of_write(key, &pending, head) {
            self.reply_with(key, Answer { head, value: value.clone() });
        }
        let head = AnswerHead { flags: head.flags | flags, map_tag: self.map_tag, ..head };
        self.outputs.push_back(Output::Reply { to: pending.to, answer: Answer { head, value } });
    }

    /// Remembers how a write has ended, if it was carried out here. Gives back its repetitions.
    fn end_of_write(
        &mut self,
        key: PendingKey,
        pending: &Pending,
        head: AnswerHead,
    ) -> Vec<PendingKey> {
        let Some(identity) = pending.head.identity.filter(|_| pending.is_write()) else {
            return Vec::new();
        };
        let is_final = matches!(
            head.status,
            Status::Ok | Status::NotFound | Status::NotStored | Status::OutcomeUnknown
        );
        self.recent.end(identity, key, (is_final && pending.is_begun).then_some(head))
    }

    fn submit(
        &mut self,
        now: Now,
        state: CallState,
        keyspace: u8,
        operation: Operation,
        key: Box<[u8]>,
        deadline: Micros,
    ) {
        match operation {
            Operation::Get => self.counters.origin_reads += 1,
            _ => self.counters.origin_writes += 1,
        }
        let token = self.calls.insert(state).data().as_ffi();
        let (shard, made) = (self.config.shard, now.mono);
        let call = Call { shard, token, keyspace, operation, key, made, deadline };
        self.outputs.push_back(Output::Origin(call));
    }
}

/// See surge.rs.
fn whole_percent(topology: &Topology, server: u16) -> u64 {
    let own = (0..topology.partitions).filter(|partition| topology.home(*partition) == server);
    u64::from(topology.partitions) * 100 / (own.count() as u64).max(1)
}
