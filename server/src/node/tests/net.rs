//! A few nodes, an origin, and the network between them, driven by hand. The test decides what the
//! master says, which links are cut, and which origin calls are held.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

use super::*;

/// The number of a request, by which its answer is found.
pub(super) type Tag = u32;

/// The servers, the database, and the network.
pub(super) struct Net {
    pub(super) topology: Arc<Topology>,
    pub(super) nodes: Vec<Node>,
    pub(super) origin: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The paths that lose everything, as sender and receiver.
    pub(super) cut: BTreeSet<(u16, u16)>,
    /// The servers whose ports refuse connections.
    pub(super) dead: BTreeSet<u16>,
    /// The servers whose calls to the origin are held.
    pub(super) held: BTreeSet<u16>,
    calls: VecDeque<(u16, Call)>,
    /// The server that waits for each forwarded request and its token, by the connection of the
    /// request.
    relayed: BTreeMap<u64, (u16, u16, u64)>,
    pub(super) answers: BTreeMap<Tag, Got>,
    pub(super) drained: Vec<(u16, u32)>,
    pub(super) reported: Vec<(u16, u16)>,
    pub(super) probed: Vec<PeerProbe>,
    statuses: Vec<ServerStatus>,
    epoch: MapEpoch,
    pub(super) now: Now,
    tag: Tag,
    next_conn: u64,
}

pub(super) fn boot(server: u16) -> u64 {
    BOOT + u64::from(server)
}

impl Net {
    /// Creates servers that are all online, with endless leases.
    pub(super) fn new(servers: u16, change: impl Fn(&mut NodeConfig)) -> Self {
        let info = |id: u16| ServerInfo {
            name: format!("a{id}"),
            group: 0,
            weight: 1,
            shards: 1,
            address: ([127, 0, 0, 1], id + 1).into(),
        };
        let infos = (0..servers).map(info).collect();
        let topology =
            Arc::new(Topology::new("t".into(), ([127, 0, 0, 1], 99).into(), infos, 64).unwrap());
        let now = Now { mono: Micros(1_000_000), wall_us: 1 << 50 };
        let node = |id| {
            let mut config = node_config(id, boot(id));
            change(&mut config);
            let mut node = Node::new(config, Arc::clone(&topology)).unwrap();
            node.lease(now, Lease { until: Micros::NEVER, orphan: false });
            node
        };
        let status = |id| ServerStatus { boot_id: boot(id), ..ServerStatus::default() };
        let mut net = Self {
            nodes: (0..servers).map(node).collect(),
            topology,
            origin: BTreeMap::new(),
            cut: BTreeSet::new(),
            dead: BTreeSet::new(),
            held: BTreeSet::new(),
            calls: VecDeque::new(),
            relayed: BTreeMap::new(),
            answers: BTreeMap::new(),
            drained: Vec::new(),
            reported: Vec::new(),
            probed: Vec::new(),
            statuses: (0..servers).map(status).collect(),
            epoch: MapEpoch { term: 1, counter: 0 },
            now,
            tag: 0,
            next_conn: 1 << 32,
        };
        net.say(0, ServerState::Online, &[]);
        net
    }

    /// Makes the master announce a state to all servers except the deaf ones.
    pub(super) fn say(&mut self, server: u16, state: ServerState, deaf: &[u16]) {
        self.epoch = self.epoch.next();
        let status = &mut self.statuses[usize::from(server)];
        if status.state != state {
            (status.state, status.since) = (state, self.epoch);
        }
        for id in (0u16..).take(self.nodes.len()).filter(|id| !deaf.contains(id)) {
            self.tell(id);
        }
        self.run();
    }

    /// Gives a server the newest map.
    pub(super) fn tell(&mut self, server: u16) {
        let map = ClusterMap::new(Arc::clone(&self.topology), self.epoch, self.statuses.clone());
        self.nodes[usize::from(server)].apply_map(self.now, Arc::new(map));
        self.run();
    }

    /// Restarts a server as another incarnation with an empty cache.
    pub(super) fn restart(&mut self, server: u16, boot_id: u64) {
        let config = node_config(server, boot_id);
        let mut node = Node::new(config, Arc::clone(&self.topology)).unwrap();
        node.lease(self.now, Lease { until: Micros::NEVER, orphan: false });
        self.nodes[usize::from(server)] = node;
        self.statuses[usize::from(server)].boot_id = boot_id;
    }

    /// Sets the server's incarnation in the master's next map; zero if the master knows none.
    pub(super) fn name(&mut self, server: u16, boot_id: u64) {
        self.statuses[usize::from(server)].boot_id = boot_id;
    }

    pub(super) fn lease(&mut self, server: u16, until: Micros, orphan: bool) {
        self.nodes[usize::from(server)].lease(self.now, Lease { until, orphan });
        self.run();
    }

    pub(super) fn cut(&mut self, a: u16, b: u16) {
        self.cut.extend([(a, b), (b, a)]);
    }

    pub(super) fn advance(&mut self, duration: Duration) {
        self.now.mono = self.now.mono + duration;
        self.now.wall_us += u64::try_from(duration.as_micros()).unwrap();
        for node in &mut self.nodes {
            node.tick(self.now);
        }
        self.run();
    }

    /// Returns the `nth` key whose home is this server.
    pub(super) fn key(&self, home: u16, nth: usize) -> Vec<u8> {
        let keys = (0..).map(|i| format!("key{i}").into_bytes());
        keys.into_iter()
            .filter(|key| self.topology.home(self.topology.partition(1, key)) == home)
            .nth(nth)
            .unwrap()
    }

    /// Returns the first stand-in for this key.
    pub(super) fn stand_in(&self, key: &[u8]) -> u16 {
        self.topology.rank(self.topology.partition(1, key))[1]
    }

    pub(super) fn ask(&mut self, server: u16, head: CommandHead, key: &[u8], value: &[u8]) -> Tag {
        self.tag += 1;
        let tag = self.tag;
        let conn = ConnId { shard: 0, conn: u64::from(tag) };
        let usual = Identity { client_id: NonZeroU64::new(77).unwrap(), request_id: 5 };
        let head = CommandHead { identity: head.identity.or(Some(usual)), ..head };
        self.serve(server, conn, Command::new(head, key, value));
        self.run();
        tag
    }

    fn serve(&mut self, server: u16, conn: ConnId, command: Command<'_>) {
        let node = &mut self.nodes[usize::from(server)];
        let place = node.aim(node.place(command.head.keyspace, command.key));
        let to = ReplyTo { conn, tag: 5, asked: crate::node::Asked::other(Micros(0)) };
        let mut answer = None;
        node.begin(self.now);
        node.serve(self.now, to, &command, place, true, |head, value| {
            answer = Some(Answer { head, value: Bytes::copy_from_slice(value) });
        });
        if let Some(answer) = answer {
            self.deliver(to, &answer);
        }
    }

    fn deliver(&mut self, to: ReplyTo, answer: &Answer) {
        assert_eq!(to.tag, 5, "the tag is returned unchanged");
        let Some((from, server, token)) = self.relayed.remove(&to.conn.conn) else {
            let tag = u32::try_from(to.conn.conn).unwrap();
            let got = Got::new(answer.head, &answer.value);
            assert!(self.answers.insert(tag, got).is_none(), "answered twice");
            return;
        };
        let node = &mut self.nodes[usize::from(from)];
        match self.cut.contains(&(server, from)) {
            true => node.forward_done(self.now, server, token, Err(ForwardFailure::TimedOut)),
            false => {
                node.peer_answered(self.now, server);
                node.forward_done(self.now, server, token, Ok((answer.head, &answer.value)));
            }
        }
    }

    /// Delivers all messages that are under way.
    pub(super) fn run(&mut self) {
        let mut is_busy = true;
        while is_busy {
            is_busy = false;
            for server in (0u16..).take(self.nodes.len()) {
                while let Some(output) = self.nodes[usize::from(server)].poll() {
                    is_busy = true;
                    self.carry_out(server, output);
                }
            }
            if let Some(at) = self.calls.iter().position(|(of, _)| !self.held.contains(of)) {
                is_busy = true;
                let (server, call) = self.calls.remove(at).unwrap();
                self.execute(server, &call);
            }
        }
    }

    fn carry_out(&mut self, server: u16, output: Output) {
        match output {
            Output::Reply { to, answer } => self.deliver(to, &answer),
            Output::Origin(call) => self.calls.push_back((server, call)),
            Output::Forward { peer, token, mut command, .. } => {
                let is_dead = self.dead.contains(&peer);
                if is_dead || self.cut.contains(&(server, peer)) {
                    let silence = ForwardFailure::Unreachable;
                    let failure = Err(if is_dead { ForwardFailure::Refused } else { silence });
                    let node = &mut self.nodes[usize::from(server)];
                    return node.forward_done(self.now, peer, token, failure);
                }
                self.next_conn += 1;
                self.relayed.insert(self.next_conn, (server, peer, token));
                let conn = ConnId { shard: 0, conn: self.next_conn };
                command.head.is_peer = true;
                self.serve(peer, conn, command.as_command());
            }
            Output::Report { server: subject } => self.reported.push((server, subject)),
            Output::Drained(epoch) => self.drained.push((server, epoch.counter)),
            Output::Probed { outcome, .. } => self.probed.push(outcome),
            Output::Walked { .. } => panic!("no test of the node walks"),
            Output::Slow(slow) => panic!("no keyspace has a limit: {slow:?}"),
        }
    }

    fn execute(&mut self, server: u16, call: &Call) {
        let outcome = match &call.operation {
            Operation::Get => {
                let value = self.origin.get(&*call.key);
                Outcome::Value(value.map(|value| Bytes::copy_from_slice(value).into()))
            }
            Operation::Put { value, .. } => {
                self.origin.insert(call.key.to_vec(), value.to_vec());
                Outcome::Written { rows: 1, stored: Stored::Sent }
            }
            Operation::Delete => {
                Outcome::changed(u64::from(self.origin.remove(&*call.key).is_some()))
            }
        };
        self.nodes[usize::from(server)].origin_done(self.now, call.token, outcome);
    }

    /// Ends one held write of a server with this outcome, whether or not it was executed.
    pub(super) fn end_held_write(&mut self, server: u16, outcome: Option<Failure>) {
        let is_write =
            |(of, call): &(u16, Call)| *of == server && !matches!(call.operation, Operation::Get);
        let at = self.calls.iter().position(is_write).expect("a held write");
        let (_, call) = self.calls.remove(at).unwrap();
        match outcome {
            None => self.execute(server, &call),
            Some(failure) => {
                let outcome = Outcome::Failed(failure);
                self.nodes[usize::from(server)].origin_done(self.now, call.token, outcome);
            }
        }
        self.run();
    }

    pub(super) fn put(&mut self, server: u16, key: &[u8], value: &[u8]) -> Tag {
        self.ask(server, CommandHead::new(Action::Put, 1), key, value)
    }

    pub(super) fn get(&mut self, server: u16, key: &[u8]) -> Got {
        let tag = self.ask(server, CommandHead::new(Action::Get, 1), key, &[]);
        self.answers.remove(&tag).expect("a read is answered")
    }

    pub(super) fn status(&self, tag: Tag) -> Option<Status> {
        self.answers.get(&tag).map(|got| got.status)
    }

    /// Whether the server answers from its cache.
    pub(super) fn hits(&mut self, server: u16, key: &[u8]) -> bool {
        self.get(server, key).flags & flags::HIT != 0
    }

    pub(super) fn counters(&self, server: u16) -> &Counters {
        &self.nodes[usize::from(server)].counters
    }
}
