//! A shard's logic: the answers to requests, given the map, the cache and the origin.
//!
//! Pure: no socket, thread or clock. The shell places requests ([`Node::place`]), aims them
//! ([`Node::aim`]), serves them ([`Node::hit`], [`Node::serve_missed`]), and carries out the outputs
//! that it takes with [`Node::poll`]. A hit is answered at once, with a reference to its value in the
//! cache; nearly everything else is an [`Output`].
//!
//! The node takes a [`Command`] and gives an [`Answer`]; codecs handle the bytes.
//!
//! ```text
//! place ─► aim ─► hit ────┬─ in the cache ──────────────► given at once
//!                        ├─ at_once.rs  no database ───► given at once
//!                        ├─ read.rs   fetch, shared by waiters ─► Output::Origin ─► origin_done ─► Output::Reply
//!                        ├─ write.rs  one at a time per key ───► Output::Origin ─► origin_done ─► Output::Reply
//!                        └─ route.rs  another server's ────────► Output::Forward ─► forward_done ─► Output::Reply
//! the parts: each has fields of its own, is told what happened and returns what follows
//! partitions/   map, lease and words, and how each partition is served
//! cache/        values, their versions and lifetimes, and whether a result may be kept
//! requests/     the waiting requests, and repeated writes
//! fetches/      running and waiting fetches, and the limits that hold them back
//! writes/       queues by key, writes that wait for an owner or for their acknowledgement
//! calls.rs      calls to the origin, and which of their writes are outdated
//! peers/        the servers that can be reached, and probes of them
//! forwards.rs   what was sent to them
//! handback/     keys that others have to drop, and what others have told this server
//!
//! the wiring, by what happens:
//! command.rs    what comes in                  answer.rs     what goes out
//! request.rs    a command that is no hit       fetch.rs      fetches begin and wait
//! ownership.rs  map, lease, reachability; draining
//! parking.rs    writes that wait for an owner  ack.rs        acknowledgement of writes
//! relay.rs      owners that only others reach   pings.rs      pings, probes, measures
//! telling.rs    sends keys to others           hearing.rs    receives them
//! flush.rs      places of keys; flushes        stopped.rs    after a process was stopped
//! modify.rs     read-modify-writes, pure       modifying.rs  their execution
//! transact.rs   several values at once, pure   transacting.rs  their execution
//! routes.rs     what clients that route by themselves are told
//! keyspaces.rs  keyspaces over the same rows   queues.rs     sizes of everything that grows
//! walk.rs       the keys that are cached, here and at others
//! slow.rs       requests that took long, and what they waited for
//! sweep.rs      frees the room of values that were dropped all at once
//! ```

mod ack;
pub mod answer;
mod at_once;
mod cache;
mod calls;
pub mod command;
mod config;
pub mod counters;
mod fetch;
mod fetches;
mod flush;
mod forwards;
mod handback;
mod hearing;
mod interface;
mod keyspaces;
pub mod modify;
mod modifying;
mod ownership;
mod parking;
mod partitions;
mod peers;
mod pings;
pub(crate) mod queues;
mod read;
mod relay;
mod request;
mod requests;
mod route;
pub mod routes;
pub mod slow;
mod state;
mod stopped;
mod sweep;
mod telling;
#[cfg(test)]
mod tests;
mod transact;
mod transacting;
mod walk;
mod write;
mod writes;

use std::collections::VecDeque;
use std::sync::Arc;

use standin_config::Lifetimes;
use standin_protocol::map::{ClusterMap, Topology};
use standin_protocol::time::Micros;

use crate::histogram::Histogram;
use crate::origin::{Call, Failure, Operation, Outcome};
use crate::store::StoreError;
pub use answer::{Answer, AnswerHead, ForwardFailure, PeerAnswer, Status};
use answer::{flags, ms_left};
use cache::Cache;
use calls::{Calls, Started};
pub use command::{
    Action, Asked, Command, CommandHead, ConnId, Hop, Identity, OwnedCommand, ReplyTo,
};
pub use config::NodeConfig;
use counters::Counters;
use fetches::Fetches;
use forwards::{Forwarded, Forwards};
use handback::Handback;
pub use interface::{Aimed, Lease, Left, Now, Output, PeerProbe, Place, Walked, Word};
use keyspaces::Keyspaces;
use partitions::Partitions;
pub use partitions::serving;
use peers::Peers;
use requests::{Pending, Requests};
use routes::RoutesAsked;
use serving::Serving;
use slow::{Thresholds, Wait};
use state::{Name, PendingKey};
use sweep::Sweep;
use walk::WalksAsked;
use writes::Writes;

/// One shard's logic and state.
pub struct Node {
    config: NodeConfig,
    topology: Arc<Topology>,
    partitions: Partitions,
    keyspaces: Arc<Keyspaces>,
    cache: Cache,
    requests: Requests,
    calls: Calls,
    fetches: Fetches,
    writes: Writes,
    forwards: Forwards,
    peers: Peers,
    handback: Handback,
    routes_asked: RoutesAsked,
    walks_asked: WalksAsked,
    sweep: Sweep,
    health: Health,
    slow: Thresholds,
    /// The time of the event that is being handled.
    time: Micros,
    outputs: VecDeque<Output>,
    /// The shard's counters. The shell adds those that only it knows.
    pub counters: Counters,
    /// How long calls to the origin took, reads and writes.
    pub origin_times: [Histogram; 2],
}

/// The state of the server, as the shell has reported it.
#[derive(Debug)]
struct Health {
    origin_up: bool,
    control_runs: bool,
    stopping: bool,
}

impl Node {
    /// Creates a shard with an empty cache and no map.
    ///
    /// # Errors
    /// The arena can't be mapped, or is too small.
    pub fn new(config: NodeConfig, topology: Arc<Topology>) -> Result<Self, StoreError> {
        let keyspaces = Arc::new(Keyspaces::new(&config.keyspaces));
        let hashing = match config.hash_seeds {
            Some([a, b, c, d]) => ahash::RandomState::with_seeds(a, b, c, d),
            None => ahash::RandomState::new(),
        };
        Ok(Self {
            cache: Cache::new(&config, Arc::clone(&keyspaces))?,
            partitions: Partitions::new(&config, Arc::clone(&topology)),
            slow: Thresholds::new(&keyspaces),
            time: config.started,
            keyspaces,
            requests: Requests::new(&config, &hashing),
            calls: Calls::default(),
            fetches: Fetches::new(&config, &topology, hashing.clone()),
            handback: Handback::new(&config, Arc::clone(&topology), hashing.clone()),
            writes: Writes::new(hashing),
            forwards: Forwards::default(),
            routes_asked: RoutesAsked::new(topology.servers.len()),
            walks_asked: WalksAsked::default(),
            sweep: Sweep::default(),
            peers: Peers::new(topology.servers.len(), config.unreachable_hold),
            health: Health { origin_up: true, control_runs: true, stopping: false },
            outputs: VecDeque::new(),
            counters: Counters::default(),
            origin_times: Default::default(),
            topology,
            config,
        })
    }

    /// Takes over other lifetimes of keyspaces, for what is cached from now on, and other thresholds of slow
    /// requests, for those that arrive from now on.
    pub fn set_lifetimes(&mut self, lifetimes: &[Lifetimes]) {
        self.keyspaces = Arc::new(self.keyspaces.with_lifetimes(lifetimes));
        self.cache.set_keyspaces(Arc::clone(&self.keyspaces));
        self.slow = Thresholds::new(&self.keyspaces);
    }

    /// Finds the place of a request, and starts loading the key's part of the index. This is the
    /// first pass over the requests of a wake-up.
    #[inline]
    #[must_use]
    pub fn place(&self, keyspace: u8, key: &[u8]) -> Place {
        let (hash, partition) = self.hash(keyspace, key);
        Place { hash, partition, located: self.cache.locate(keyspace, key) }
    }

    /// Finds the first candidate for a request, and starts loading the memory that [`Self::hit`]
    /// will read. This is the second pass.
    #[inline]
    #[must_use]
    pub fn aim(&self, place: Place) -> Aimed {
        let Place { hash, partition, located } = place;
        Aimed { hash, partition, hint: self.cache.aim(located) }
    }

    /// Answers a read through `give` if the cache has the value, and returns whether it has. This is
    /// the third pass. If it has not, [`Self::serve_missed`] goes on. The lease is the one that
    /// [`Self::begin`] last found.
    ///
    /// The value that `give` receives is in the cache, and `give` makes the only copy.
    #[inline(always)]
    pub fn hit(
        &mut self,
        now: Now,
        keyspace: u8,
        key: &[u8],
        place: Aimed,
        give: impl FnOnce(AnswerHead, &[u8]),
    ) -> bool {
        let state = self.partitions.state(place.partition);
        if !state.serving().keeps() || self.health.stopping {
            return false;
        }
        let now_ms = now.mono.as_millis();
        let floor = self.partitions.read_floor(keyspace, place.partition);
        let found = self.cache.get(place.hint, keyspace, key, floor, now_ms);
        let Some(item) = found else { return false };
        self.counters.requests += 1;
        self.counters.data_requests += 1;
        self.counters.hits += 1;
        let head = AnswerHead {
            status: if item.negative { Status::NotFound } else { Status::Ok },
            flags: flags::HIT | flags::CACHED | state.flags(),
            retry_after_ms: 0,
            map_tag: self.partitions.map_tag(),
            ttl_ms: ms_left(item.expires_at_ms, now_ms),
            version: state.told_version(item.version),
            item_flags: item.flags,
            marks: item.marks,
        };
        give(head, item.value);
        true
    }

    /// Answers a command that is no read, or for which [`Self::hit`] has found nothing: at once through
    /// `give`, or later by [`Output::Reply`]. Returns whether it answered at once. If `may_wait` is
    /// false because too many requests of the connection wait, a command that would have to wait is
    /// refused.
    pub fn serve_missed(
        &mut self,
        now: Now,
        to: ReplyTo,
        command: &Command<'_>,
        place: Aimed,
        may_wait: bool,
        give: impl FnOnce(AnswerHead, &[u8]),
    ) -> bool {
        self.counters.requests += 1;
        self.counters.data_requests += u64::from(command.head.action.has_key());
        match self.serve_other(now, to, command, place, may_wait) {
            Some(Answer { head, value }) => {
                give(AnswerHead { map_tag: self.partitions.map_tag(), ..head }, &value);
                true
            }
            None => false,
        }
    }

    /// Notes when the statement of the call with this token was sent to the database. The answer is next.
    pub fn origin_sent(&mut self, token: u64, sent: Micros) {
        self.calls.sent(token, sent);
    }

    /// Takes the origin's answer to the call with this token, or its refusal.
    pub fn origin_done(&mut self, now: Now, token: u64, outcome: Outcome) {
        self.begin(now);
        let ended = self.calls.end(token);
        let is_write = matches!(ended.call, Started::Write(_));
        self.origin_times[usize::from(is_write)].add(now.mono.since(ended.at), 1);
        for request in Self::callers(&self.fetches, &ended.call) {
            self.requests.waits(*request).called(now.mono, ended.sent);
        }
        self.counters.origin_failures += u64::from(matches!(outcome, Outcome::Failed(_)));
        let is_shed = matches!(outcome, Outcome::Failed(Failure::Overloaded));
        self.counters.origin_shed += u64::from(is_shed);
        match ended.call {
            Started::Fetch { name, started, reserved } => {
                self.fetches.answered(reserved, &outcome);
                self.fetch_done(now, name, started, outcome);
            }
            Started::Read(write, reserved) => {
                self.fetches.answered(reserved, &outcome);
                self.value_read(now, write, outcome);
                self.release_delayed(now);
            }
            Started::Write(write) => {
                self.write_done(now, write, outcome);
                if ended.was_outdated {
                    self.announce_drained(now);
                }
            }
        }
    }

    /// Returns what the shell has to do next; `None` if there is nothing more.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether [`Self::poll`] has an output.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// Does whatever is due at this time: tries unreachable peers again, lets waiting writes check
    /// for an owner again, tells owners of owed keys, and frees the room of values that were dropped.
    pub fn tick(&mut self, now: Now) {
        self.begin(now);
        self.expire_unreachable(now);
        self.unpark_due(now);
        self.give_up_unacknowledged(now);
        self.release_held(now);
        self.release_delayed(now);
        self.expire_given_up(now);
        self.end_words(now);
        self.tell_owed(now);
        self.give_routes(now);
        self.give_up_walks(now);
        self.sweep_dropped(now);
    }

    /// Returns the time at which [`Self::tick`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Micros> {
        let deadlines = [
            self.peers.next_deadline(),
            self.writes.next_deadline(),
            self.handback.next_deadline(),
            self.fetches.next_deadline(),
            self.partitions.words_end(),
            self.routes_asked.next_deadline(),
            self.walks_asked.next_deadline(),
            self.sweep.next_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Makes the shard answer requests with `SHUTTING_DOWN` from now on. Waiting requests are
    /// finished.
    pub fn stop(&mut self) {
        self.health.stopping = true;
    }

    /// Returns the number of requests that wait for the origin or a peer.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.requests.len()
    }

    /// Whether the shard has executed a write of this identity; `None` if it may have forgotten it.
    #[must_use]
    pub fn has_executed(&self, identity: Identity) -> Option<bool> {
        self.requests.has_executed(identity)
    }

    /// Returns the map that the shard has applied.
    #[must_use]
    pub fn map(&self) -> Option<&Arc<ClusterMap>> {
        self.partitions.map()
    }

    /// Returns the cluster.
    #[must_use]
    pub fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    /// Returns the `MapEpoch::tag` of that map; 0 if there is none.
    #[must_use]
    pub fn map_tag(&self) -> u32 {
        self.partitions.map_tag()
    }

    /// Returns how the shard serves this partition.
    #[must_use]
    pub fn serving(&self, partition: u32) -> Serving {
        self.partitions.serving(partition)
    }

    /// Sets whether the server's control thread is running. If it is not, the answers to probes say
    /// so.
    pub fn set_control_runs(&mut self, runs: bool) {
        self.health.control_runs = runs;
    }

    /// Sets whether the last call to the origin was answered. PING reports it.
    pub fn set_origin_up(&mut self, up: bool) {
        self.health.origin_up = up;
    }

    /// Returns the name of a request's key.
    fn name_of(&self, key: PendingKey) -> Name {
        let pending = &self.requests[key];
        Self::name(pending.head.keyspace, &pending.key)
    }

    /// Returns the name of a key in its keyspace.
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

    /// Answers a waiting request with a value, which other requests may share, and forgets it.
    fn reply_with(&mut self, key: PendingKey, answer: Answer) {
        let requests::Ended { mut request, joined } = self.requests.end(key, &answer);
        let took = self.time.since(request.to.asked.at);
        if self.slow.are_exceeded(request.head.keyspace, took) {
            self.counters.slow_requests += 1;
            let slow = request.slow(self.time, took, answer.head.status);
            self.outputs.push_back(Output::Slow(Box::new(slow)));
        }
        let state = self.partitions.state(request.partition);
        // A request is processed here if forwarding it has failed. The owner may be reachable again
        // by now, but the answer does not come from the owner.
        let flags = match (request.is_here(), state.serving()) {
            (true, Serving::Forward(_) | Serving::Relay(_)) => flags::STAND_IN | flags::PROVISIONAL,
            _ => state.flags(),
        };
        let Answer { head, value } = answer;
        for key in joined {
            self.reply_with(key, Answer { head, value: value.clone() });
        }
        let map_tag = self.partitions.map_tag();
        let head = AnswerHead { flags: head.flags | flags, map_tag, ..head };
        self.outputs.push_back(Output::Reply { to: request.to, answer: Answer { head, value } });
    }

    /// Returns the requests that wait for a call.
    fn callers<'a>(fetches: &'a Fetches, call: &'a Started) -> &'a [PendingKey] {
        match call {
            Started::Fetch { name, .. } => fetches.running(name),
            Started::Write(write) | Started::Read(write, _) => std::slice::from_ref(&write.pending),
        }
    }

    fn submit(
        &mut self,
        now: Now,
        call: Started,
        keyspace: u8,
        operation: Operation,
        key: Box<[u8]>,
        deadline: Micros,
    ) {
        match operation {
            Operation::Get => self.counters.origin_reads += 1,
            _ => self.counters.origin_writes += 1,
        }
        for request in Self::callers(&self.fetches, &call) {
            self.requests.waits(*request).change(now.mono, Some(Wait::Connection));
        }
        let token = self.calls.begin(now.mono, call);
        let (shard, made) = (self.config.shard, now.mono);
        let call = Call { shard, token, keyspace, operation, key, made, deadline };
        self.outputs.push_back(Output::Origin(call));
    }
}
