//! Scripts that test a shard's logic: they serve requests, let the origin or a peer answer, and
//! check the replies. Scenario numbers are those of docs/FAILOVER.md.

mod at_once;
mod bound;
mod configured;
mod failover;
mod flush;
mod handback;
mod held;
mod hops;
mod lease;
mod modify;
mod net;
mod reads;
mod relay;
mod retry;
mod routes;
mod settled;
mod slow;
mod stopped;
mod told;
mod transact;
mod waiting;
mod walk;
mod without_database;
mod word;
mod writes;

use std::num::NonZeroU64;

use bytes::Bytes;
use standin_config::{AfterPut, ColumnType, KeyCase, KeyspaceConfig, KeyspaceKind, Mode};
use standin_protocol::map::{MapEpoch, ServerInfo, ServerState, ServerStatus};

use std::time::Duration;

use standin_protocol::seeds::HashSeeds;

use super::modify::Modify;
use super::*;
use crate::origin::{Failure, Stored};
use crate::shard::core::backend::Backend as _;
use crate::store::StoreConfig;

const BOOT: u64 = 7;
const CONN: ConnId = ConnId { shard: 0, conn: 1 };
const TO: ReplyTo = ReplyTo { conn: CONN, tag: 5, asked: crate::node::Asked::other(Micros(0)) };
const OWN: u16 = 0;
const PEER: u16 = 1;

pub(super) fn keyspace(id: u8) -> KeyspaceConfig {
    KeyspaceConfig {
        id,
        name: format!("k{id}"),
        get: String::new(),
        put: Some(String::new()),
        delete: Some(String::new()),
        after_put: AfterPut::Keep,
        also_invalidates: Vec::new(),
        key_type: ColumnType::Text,
        key_case: KeyCase::Exact,
        value_type: ColumnType::Bytes,
        kind: KeyspaceKind::Database,
        ttl: Some(Duration::from_secs(60)),
        negative_ttl: Duration::from_secs(1),
        ttl_jitter_percent: 0,
        log_slower_than: None,
    }
}

pub(super) fn topology() -> Arc<Topology> {
    pair(1, 64)
}

/// Returns a topology of two servers of one group.
pub(in crate::node) fn pair(shards: u16, partitions: u32) -> Arc<Topology> {
    let server = |name: &str, port: u16| ServerInfo {
        name: name.to_owned(),
        group: 0,
        weight: 1,
        shards,
        address: ([127, 0, 0, 1], port).into(),
    };
    let (servers, master) = (vec![server("a1", 1), server("a2", 11)], ([127, 0, 0, 1], 9).into());
    Arc::new(Topology::new("t".to_owned(), master, servers, partitions).unwrap())
}

/// Returns the configuration of the scripts' nodes.
pub(super) fn node_config(server: u16, boot_id: u64) -> NodeConfig {
    let mut read_only = keyspace(2);
    read_only.put = None;
    read_only.delete = None;
    NodeConfig {
        server,
        shard: 0,
        boot_id,
        version_salt: u64::from(server),
        keyspaces: vec![keyspace(1), read_only],
        unreachable_hold: Duration::from_secs(2),
        mode: Mode::Available,
        brief: Duration::from_millis(1_800),
        park_max: Duration::from_secs(1),
        park_forwarded_max: Duration::from_millis(50),
        warm: Duration::from_secs(30),
        patience: Duration::from_secs(2),
        surge_reads: 100,
        reads_per_second: 0,
        log_keys_max: 100,
        log_bytes_max: 1 << 20,
        key_bytes_max: 250,
        value_bytes_max: 1 << 20,
        fetch_bytes: 1 << 30,
        fetches_always: 4,
        started: Micros(0),
        port_was_closed: Micros(0),
        ambiguity: Duration::from_secs(3),
        in_flight_max: 100,
        seed: 1,
        hash_seeds: Some([1, 2, 3, 4]),
        store: StoreConfig {
            arena_bytes: 1 << 20,
            huge_pages: false,
            item_bytes_max: 1 << 14,
            hash_seeds: None,
        },
    }
}

/// Returns a waiting request without a deadline.
pub(super) fn pending(head: CommandHead, to: ReplyTo) -> Pending {
    let command = Command::new(head, b"k", b"value");
    Pending::new(to, &command, (9, 2), Micros::NEVER)
}

/// An answer as the connection receives it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Got {
    status: Status,
    value: Vec<u8>,
    flags: u8,
    version: u64,
    ttl_s: u32,
    item_flags: u32,
    marks: u8,
}

impl Got {
    fn new(head: AnswerHead, value: &[u8]) -> Self {
        let AnswerHead {
            status, flags, retry_after_ms, version, ttl_ms, item_flags, marks, ..
        } = head;
        let ttl_s = u32::try_from(ttl_ms.div_ceil(1_000)).unwrap_or(u32::MAX);
        // A refusal for lack of room says when to try again.
        assert!(status != Status::Overloaded || retry_after_ms > 0);
        Self { status, value: value.to_vec(), flags, version, ttl_s, item_flags, marks }
    }
}

struct Script {
    node: Node,
    topology: Arc<Topology>,
    now: Now,
    counter: u32,
    outputs: VecDeque<Output>,
}

impl Script {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut NodeConfig)) -> Self {
        Self::on(&topology(), change)
    }

    fn on(topology: &Topology, change: impl FnOnce(&mut NodeConfig)) -> Self {
        let mut config = node_config(OWN, BOOT);
        change(&mut config);
        let bound_keys = config.keyspaces.iter().flat_map(|keyspace| {
            keyspace.also_invalidates.iter().map(|other| (keyspace.id, *other))
        });
        let seeds = HashSeeds::of_bonds(bound_keys);
        let topology = Arc::new(topology.clone().with_hash_seeds(seeds));
        let node = Node::new(config, Arc::clone(&topology)).unwrap();
        let now = Now { mono: Micros(1_000_000), wall_us: 1 << 50 };
        let outputs = VecDeque::new();
        let mut script = Self { node, topology, now, counter: 0, outputs };
        script.node.lease(now, Lease { until: Micros::NEVER, orphan: false });
        script.announce([ServerState::Online, ServerState::Online]);
        script
    }

    fn advance(&mut self, duration: Duration) {
        self.now.mono = self.now.mono + duration;
        self.now.wall_us += u64::try_from(duration.as_micros()).unwrap();
        self.node.tick(self.now);
    }

    fn announce(&mut self, states: [ServerState; 2]) {
        self.counter += 1;
        let epoch = MapEpoch { term: 1, counter: self.counter };
        let old = self.node.map().cloned();
        let status = |id: u16| {
            let state = states[usize::from(id)];
            let was = old.as_ref().map(|map| map.statuses()[usize::from(id)]);
            let since = was.filter(|s| s.state == state).map_or(epoch, |s| s.since);
            ServerStatus { state, since, boot_id: BOOT + u64::from(id) }
        };
        let statuses = vec![status(OWN), status(PEER)];
        let map = ClusterMap::new(Arc::clone(&self.topology), epoch, statuses);
        self.node.apply_map(self.now, Arc::new(map));
        self.collect();
    }

    /// Returns a key of this home.
    fn key_of(&self, home: u16) -> Vec<u8> {
        let keys = (0..).map(|i| format!("key{i}").into_bytes());
        keys.into_iter()
            .find(|key| self.topology.home(self.topology.partition(1, key)) == home)
            .unwrap()
    }

    fn keys_of(&self, home: u16, count: usize) -> Vec<Vec<u8>> {
        let is_its = |key: &Vec<u8>| self.topology.home(self.topology.partition(1, key)) == home;
        (0..).map(|i| format!("key{i}").into_bytes()).filter(is_its).take(count).collect()
    }

    fn collect(&mut self) {
        while let Some(output) = self.node.poll() {
            self.outputs.push_back(output);
        }
    }

    fn send(&mut self, head: CommandHead, key: &[u8], value: &[u8]) -> Option<Got> {
        self.send_with(head, key, value, None)
    }

    fn send_with(
        &mut self,
        head: CommandHead,
        key: &[u8],
        value: &[u8],
        modify: Option<&Modify>,
    ) -> Option<Got> {
        let is_peer = head.is_peer || head.hop != Hop::None;
        let command = Command { head: CommandHead { is_peer, ..head }, key, value, modify };
        let place = self.node.aim(self.node.place(head.keyspace, key));
        let mut got = None;
        self.node.begin(self.now);
        let map_tag = self.node.map_tag();
        let give = |head: AnswerHead, value: &[u8]| {
            assert_eq!(head.map_tag, map_tag, "each answer names the map");
            got = Some(Got::new(head, value));
        };
        let done = self.node.serve(self.now, TO, &command, place, true, give);
        self.collect();
        assert_eq!(done, got.is_some());
        got
    }

    fn op(&mut self, action: Action, key: &[u8], value: &[u8]) -> Option<Got> {
        self.send(CommandHead::new(action, 1), key, value)
    }

    fn get(&mut self, key: &[u8]) -> Option<Got> {
        self.op(Action::Get, key, &[])
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Option<Got> {
        self.op(Action::Put, key, value)
    }

    fn calls(&mut self) -> Vec<Call> {
        let outputs = std::mem::take(&mut self.outputs);
        let (calls, rest) = outputs.into_iter().partition(|o| matches!(o, Output::Origin(_)));
        self.outputs = rest;
        let into_call = |output| match output {
            Output::Origin(call) => call,
            _ => unreachable!(),
        };
        VecDeque::into_iter(calls).map(into_call).collect()
    }

    fn call(&mut self) -> Call {
        let mut calls = self.calls();
        assert_eq!(calls.len(), 1, "one call to the origin: {calls:?}");
        calls.remove(0)
    }

    fn replies(&mut self) -> Vec<Got> {
        let outputs = std::mem::take(&mut self.outputs);
        let (replies, rest) = outputs.into_iter().partition(|o| matches!(o, Output::Reply { .. }));
        self.outputs = rest;
        let into_got = |output| match output {
            Output::Reply { to: TO, answer } => Got::new(answer.head, &answer.value),
            other => panic!("not for this connection: {other:?}"),
        };
        VecDeque::into_iter(replies).map(into_got).collect()
    }

    fn reply(&mut self) -> Got {
        let mut replies = self.replies();
        assert_eq!(replies.len(), 1, "one reply: {replies:?}");
        replies.remove(0)
    }

    fn answer(&mut self, call: &Call, outcome: Outcome) {
        self.node.origin_done(self.now, call.token, outcome);
        self.collect();
    }

    fn found(&mut self, call: &Call, value: &[u8]) {
        assert!(matches!(call.operation, Operation::Get));
        self.answer(call, Outcome::Value(Some(Bytes::copy_from_slice(value).into())));
    }

    fn written(&mut self, call: &Call) {
        assert!(!matches!(call.operation, Operation::Get));
        self.answer(call, Outcome::Written { rows: 1, stored: Stored::Sent });
    }

    /// Puts a value into the cache by reading it.
    fn fill(&mut self, key: &[u8], value: &[u8]) {
        assert_eq!(self.get(key), None);
        let call = self.call();
        self.found(&call, value);
        assert_eq!(self.reply().value, value);
    }

    fn forward(&mut self) -> (u16, u64, CommandHead) {
        let at = self.outputs.iter().position(|o| matches!(o, Output::Forward { .. })).unwrap();
        match self.outputs.remove(at) {
            Some(Output::Forward { peer, token, command, .. }) => (peer, token, command.head),
            _ => unreachable!(),
        }
    }

    /// Returns the next forwarded command of this kind. Earlier ones are never answered.
    fn forward_of(&mut self, action: Action) -> (u16, u64, CommandHead) {
        loop {
            let forward = self.forward();
            if forward.2.action == action {
                return forward;
            }
        }
    }

    fn forward_fails(&mut self, token: u64, failure: ForwardFailure) {
        self.node.forward_done(self.now, PEER, token, Err(failure));
        self.collect();
    }

    /// Lets the peer answer a forward.
    fn forward_answered(&mut self, forward: (u16, u64, CommandHead), status: Status) {
        let (peer, token, _) = forward;
        let answer = Ok((AnswerHead::status(status), &[][..]));
        self.node.forward_done(self.now, peer, token, answer);
        self.collect();
    }

    fn lease(&mut self, until: Micros, orphan: bool) {
        self.node.lease(self.now, Lease { until, orphan });
        self.collect();
    }

    fn reports(&self) -> usize {
        self.outputs.iter().filter(|o| matches!(o, Output::Report { server: PEER })).count()
    }

    fn drained(&self) -> Vec<u32> {
        let epochs = self.outputs.iter().filter_map(|output| match output {
            Output::Drained(epoch) => Some(epoch.counter),
            _ => None,
        });
        epochs.collect()
    }
}
