//! Properties under any schedule: each operation ends once and in time, and nothing grows without
//! bound.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use standin_protocol::body::PingReply;
use standin_protocol::frame::{FrameLimits, Opcode, Request, Response, ResponseHeader, Status};
use standin_protocol::hello::{HelloReply, cluster_id};
use standin_protocol::map::ClusterMap;
use standin_protocol::time::Micros;

use crate::engine::{ConnId, Engine, Input, Output};
use crate::operation::{Action, Operation, Question, Target};
use crate::testing::topology;
use crate::{Bootstrap, ClientConfig};

#[derive(Debug, Clone)]
enum Step {
    Submit {
        key: u8,
        action: u8,
    },
    Ask {
        target: u8,
    },
    /// An event on the `pick`-th connection.
    Connect {
        pick: usize,
        succeeds: bool,
    },
    Reply {
        pick: usize,
        request: usize,
        status: u8,
    },
    Garbage {
        pick: usize,
        bytes: Vec<u8>,
    },
    Close {
        pick: usize,
    },
    Datagram {
        bytes: Vec<u8>,
    },
    /// Time passes until the engine's next deadline, or a little less.
    Pass {
        us: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let garbage = || prop::collection::vec(any::<u8>(), 0..64);
    prop_oneof![
        6 => (any::<u8>(), any::<u8>()).prop_map(|(key, action)| Step::Submit { key, action }),
        1 => any::<u8>().prop_map(|target| Step::Ask { target }),
        6 => (any::<usize>(), prop::bool::weighted(0.8))
            .prop_map(|(pick, succeeds)| Step::Connect { pick, succeeds }),
        16 => (any::<usize>(), any::<usize>(), prop_oneof![4 => Just(0u8), 1 => 0u8..20])
            .prop_map(|(pick, request, status)| Step::Reply { pick, request, status }),
        1 => (any::<usize>(), garbage()).prop_map(|(pick, bytes)| Step::Garbage { pick, bytes }),
        2 => any::<usize>().prop_map(|pick| Step::Close { pick }),
        1 => garbage().prop_map(|bytes| Step::Datagram { bytes }),
        6 => (0u64..60_000).prop_map(|us| Step::Pass { us }),
    ]
}

#[derive(Default)]
struct Peer {
    port: u16,
    is_connected: bool,
    inbound: Vec<u8>,
    requests: Vec<standin_protocol::frame::RequestHeader>,
}

struct Run {
    engine: Engine,
    config: ClientConfig,
    now: Micros,
    peers: BTreeMap<ConnId, Peer>,
    open: BTreeMap<u64, Micros>,
    map: ClusterMap,
    last_op: u64,
}

impl Run {
    fn handle(&mut self, input: Input<'_>) {
        self.engine.handle(self.now, input);
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Connect { conn, addr, .. } => {
                    let peer = Peer { port: addr.port(), ..Peer::default() };
                    assert!(self.peers.insert(conn, peer).is_none(), "a name used twice");
                }
                Output::Send { conn, bytes } => {
                    let peer = self.peers.get_mut(&conn).expect("sent on a closed connection");
                    assert!(peer.is_connected);
                    peer.inbound.extend(bytes);
                    let limits = FrameLimits::default();
                    while let Some(request) = Request::parse(&peer.inbound, limits).unwrap() {
                        let header = request.header;
                        peer.inbound.drain(..header.frame_bytes());
                        peer.requests.push(header);
                    }
                }
                Output::Close { conn } => assert!(self.peers.remove(&conn).is_some()),
                Output::Completed { op_id, .. } => {
                    let deadline = self.open.remove(&op_id).expect("completed twice");
                    assert!(self.now <= deadline, "{op_id} is late");
                }
                Output::Datagram { .. } | Output::Event(_) => {}
            }
        }
        self.check();
    }

    fn check(&self) {
        let engine = &self.engine;
        assert_eq!(engine.open_operations(), self.open.len());
        assert!(self.open.len() <= self.config.operations_max);
        let internal = engine.open.len() - self.open.len();
        assert!(
            internal <= 1 + 64 * engine.connections.len().max(1),
            "{internal} internal requests"
        );
        // There may be a connection to each shard, to the master, and to each address that may give
        // the map.
        assert!(
            engine.connections.len() <= 4 * 2 + 1 + 5,
            "{} connections",
            engine.connections.len()
        );
        assert_eq!(engine.connections.len(), self.peers.len());
        assert!(engine.deadlines.len() <= 2 * engine.open.len() + 1_024);
        assert!(engine.patience.len() <= 2 * engine.open.len() + 1_024);
        assert!(engine.timers.len() <= engine.open.len() + 64);
        for connection in engine.connections.values() {
            assert!(connection.waiting.len() <= 256);
        }
    }

    fn pick(&self, pick: usize) -> Option<ConnId> {
        (!self.peers.is_empty())
            .then(|| *self.peers.keys().nth(pick % self.peers.len()).expect("in range"))
    }

    fn pass(&mut self, us: u64) {
        let end = self.now + Duration::from_micros(us);
        while let Some(due) = self.engine.next_deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.handle(Input::Tick);
        }
        self.now = end;
    }

    fn reply(&mut self, conn: ConnId, at: usize, status: u8) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        if peer.requests.is_empty() {
            return;
        }
        let request = peer.requests.remove(at % peer.requests.len());
        let opcode = Opcode::from_wire(request.opcode).unwrap();
        let value = match opcode {
            Opcode::Hello => HelloReply {
                cluster_id: cluster_id("test"),
                server: match peer.port {
                    7_000 => 0xFFFF,
                    port => port - 7_001,
                },
                ..HelloReply::default()
            }
            .to_bytes()
            .to_vec(),
            Opcode::Map => self.map.to_bytes(),
            Opcode::Ping => PingReply::default().to_bytes(),
            _ => b"some value".to_vec(),
        };
        let status = Status::from_wire(status).unwrap();
        let mut header = ResponseHeader::reply_to(&request, status);
        header.map_epoch = u32::from(status as u8);
        header.retry_after_ms = 5;
        let mut bytes = Vec::new();
        Response::write(header, &value, &mut bytes);
        self.handle(Input::Received(conn, &bytes));
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Submit { key, action } => {
                self.last_op += 1;
                let value = vec![key; usize::from(key)];
                let action = match action % 5 {
                    0 | 1 => Action::Get,
                    2 => Action::Put { value, ttl_s: 9 },
                    3 => Action::Cas { version: 3, value, ttl_s: 0 },
                    _ => Action::Delete,
                };
                self.open.insert(self.last_op, self.now + self.config.operation_timeout);
                let operation = Operation { keyspace: 1, key: vec![key], action };
                // One more operation may be refused, because `check` counts those that are open.
                self.handle(Input::Submit { op_id: self.last_op, operation });
            }
            Step::Ask { target } => {
                self.last_op += 1;
                let target = match target % 6 {
                    4 => Target::Master,
                    5 => Target::Any,
                    server => Target::Server(server.into()),
                };
                self.open.insert(self.last_op, self.now + self.config.operation_timeout);
                self.handle(Input::Ask { op_id: self.last_op, target, question: Question::Map });
            }
            Step::Connect { pick, succeeds } => {
                let Some(conn) = self.pick(pick) else { return };
                let peer = self.peers.get_mut(&conn).unwrap();
                if peer.is_connected {
                    return;
                }
                peer.is_connected = succeeds;
                if succeeds {
                    self.handle(Input::Connected(conn));
                } else {
                    self.peers.remove(&conn);
                    self.handle(Input::ConnectFailed(conn));
                }
            }
            Step::Reply { pick, request, status } => {
                let Some(conn) = self.pick(pick) else { return };
                self.reply(conn, request, status);
            }
            Step::Garbage { pick, bytes } => {
                let Some(conn) = self.pick(pick) else { return };
                if self.peers[&conn].is_connected {
                    self.handle(Input::Received(conn, &bytes));
                }
            }
            Step::Close { pick } => {
                let Some(conn) = self.pick(pick) else { return };
                if self.peers.remove(&conn).is_some_and(|peer| peer.is_connected) {
                    self.handle(Input::Closed(conn));
                } else {
                    self.handle(Input::ConnectFailed(conn));
                }
            }
            Step::Datagram { bytes } => self.handle(Input::Datagram(&bytes)),
            Step::Pass { us } => self.pass(us),
        }
    }
}

fn run(bootstrap: Bootstrap, steps: Vec<Step>) {
    let config = ClientConfig {
        operations_max: 40,
        in_flight_per_connection: 4,
        operation_timeout: Duration::from_millis(500),
        ..ClientConfig::default()
    };
    let map = ClusterMap::new(topology(&[0, 0, 1, 1]), Default::default(), Vec::new());
    let mut run = Run {
        engine: Engine::new(config.clone(), bootstrap, 1, 2),
        config,
        now: Micros(1_000_000),
        peers: BTreeMap::new(),
        open: BTreeMap::new(),
        map,
        last_op: 0,
    };
    for step in steps {
        run.take(step);
    }
    run.pass(500_000);
    assert!(run.open.is_empty(), "not completed: {:?}", run.open);
    run.pass(60_000_000);
    assert_eq!(run.engine.next_deadline(), None, "an idle client has no deadline");
    assert_eq!((run.engine.open.len(), run.engine.open_bytes), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_operation_ends_once_and_in_time(steps in prop::collection::vec(step(), 0..250)) {
        run(Bootstrap::Config(topology(&[0, 0, 1, 1])), steps);
    }

    #[test]
    fn every_operation_ends_once_and_in_time_while_the_map_is_unknown(steps in prop::collection::vec(step(), 0..250)) {
        let servers = &topology(&[0, 0, 1, 1]).servers;
        run(Bootstrap::Seeds(vec![servers[0].address, servers[1].address]), steps);
    }
}

#[test]
fn ids_in_use_are_skipped_when_the_numbers_wrap() {
    let bootstrap = Bootstrap::Config(topology(&[0, 0]));
    let mut engine = Engine::new(ClientConfig::default(), bootstrap, 1, 2);
    let submit = |engine: &mut Engine, op_id| {
        let operation = Operation { keyspace: 1, key: vec![1], action: Action::Get };
        engine.handle(Micros(1), Input::Submit { op_id, operation });
    };
    engine.last_id = u32::MAX - 1;
    for op_id in 1..=3 {
        submit(&mut engine, op_id);
    }
    engine.last_id = u32::MAX - 1;
    submit(&mut engine, 4);
    let ids: BTreeSet<u32> = engine.open.keys().copied().collect();
    assert_eq!(ids, BTreeSet::from([1, 2, 3, u32::MAX]));
}
