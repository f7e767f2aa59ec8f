//! Agents of one group, a master that grants and announces, and a network with cuts.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::node::{Lease, PeerProbe};

/// Every datagram takes this long.
const LATENCY: Duration = Duration::from_millis(1);
/// A probe that is not answered ends after this.
const PROBE: Duration = Duration::from_millis(200);

pub(super) struct Node {
    pub(super) agent: Agent,
    /// The lease that its shards were given.
    pub(super) lease: Lease,
    pub(super) epoch: MapEpoch,
    boot_id: u64,
}

pub(super) struct World {
    pub(super) now: Micros,
    pub(super) nodes: Vec<Option<Node>>,
    pub(super) statuses: Vec<ServerStatus>,
    pub(super) epoch: MapEpoch,
    pub(super) is_master_up: bool,
    /// Whether it has just started: it answers, but knows nothing yet.
    pub(super) is_learning: bool,
    /// The datagrams that the master has heard since the test last took them.
    pub(super) heard: Vec<Datagram>,
    /// The pairs of sender and receiver between which everything is lost.
    pub(super) cuts: BTreeSet<(u16, u16)>,
    /// One of this many datagrams is lost; 0: none.
    pub(super) loss: u64,
    mode: Mode,
    topology: Arc<Topology>,
    sequence: u64,
    number: u64,
    queue: BTreeMap<(Micros, u64), Event>,
}

enum Event {
    /// A datagram from one address to another.
    Datagram(u16, u16, Datagram),
    Input(u16, u64, Input),
}

impl World {
    /// Creates a group whose members are all online, and have leases after a moment.
    pub(super) fn new(members: u16, mode: Mode) -> Self {
        let topology = topology(members);
        let since = MapEpoch { term: 1, counter: 1 };
        let status = |id: u16| ServerStatus {
            state: ServerState::Online,
            since,
            boot_id: if id < members { config(id, mode).boot_id } else { 0 },
        };
        let mut world = Self {
            now: at(10_000),
            nodes: Vec::new(),
            statuses: (0..=members).map(status).collect(),
            epoch: since,
            is_master_up: true,
            is_learning: false,
            heard: Vec::new(),
            cuts: BTreeSet::new(),
            loss: 0,
            mode,
            topology,
            sequence: 0,
            number: 0,
            queue: BTreeMap::new(),
        };
        for id in 0..members {
            let node = world.start(config(id, mode));
            world.nodes.push(Some(node));
        }
        world.run(Duration::from_millis(900));
        world
    }

    fn start(&self, config: AgentConfig) -> Node {
        let boot_id = config.boot_id;
        let agent = Agent::new(config, Arc::clone(&self.topology), self.now);
        Node { agent, lease: super::super::NO_LEASE, epoch: MapEpoch::default(), boot_id }
    }

    /// Starts another incarnation, of which the master knows nothing.
    pub(super) fn restart(&mut self, id: u16) {
        let config = AgentConfig { boot_id: 900 + u64::from(id), ..config(id, self.mode) };
        self.nodes[usize::from(id)] = Some(self.start(config));
    }

    pub(super) fn cut(&mut self, a: u16, b: u16) {
        self.cuts.extend([(a, b), (b, a)]);
    }

    pub(super) fn node(&self, id: u16) -> &Node {
        self.nodes[usize::from(id)].as_ref().unwrap()
    }

    /// Whether its shards may act as owners, and as orphans.
    pub(super) fn acts(&self, id: u16) -> (bool, bool) {
        let lease = self.node(id).lease;
        (self.now < lease.until, self.now < lease.until && lease.orphan)
    }

    pub(super) fn change(&mut self, id: u16, state: ServerState) {
        self.epoch = self.epoch.next();
        let status = &mut self.statuses[usize::from(id)];
        (status.state, status.since) = (state, self.epoch);
        for to in 0..self.nodes.len() {
            self.say(DatagramKind::Announce, u16::try_from(to).unwrap(), None);
        }
    }

    /// Sends a datagram from the master, by the path on which the request came.
    fn say(&mut self, kind: DatagramKind, recipient: u16, question: Option<(u16, &Datagram)>) {
        self.sequence += 1;
        let master = Datagram::new(kind, SENDER_MASTER, self.topology.id, 1);
        let mut datagram =
            Datagram { recipient, epoch: self.epoch, sequence: self.sequence, ..master };
        if kind == DatagramKind::Announce {
            datagram.statuses = self.statuses.clone();
        }
        let mut to = recipient;
        if let Some((by, question)) = question {
            (to, datagram.nonce) = (by, question.nonce);
            datagram.arg = u32::try_from(LEASE.as_millis()).unwrap();
        }
        if self.is_learning {
            (datagram.epoch, datagram.arg) = (MapEpoch::default(), 0);
        }
        self.send(SENDER_MASTER, to, datagram);
    }

    pub(super) fn send(&mut self, from: u16, to: u16, datagram: Datagram) {
        self.number += 1;
        let is_lost = self.loss > 0 && (self.number * 7_919).is_multiple_of(self.loss);
        if !is_lost && !self.cuts.contains(&(from, to)) {
            self.at(LATENCY, Event::Datagram(from, to, datagram));
        }
    }

    fn at(&mut self, wait: Duration, event: Event) {
        self.number += 1;
        self.queue.insert((self.now + wait, self.number), event);
    }

    pub(super) fn run(&mut self, time: Duration) {
        self.run_and(time, |_| {});
    }

    /// Lets time pass. `look` is called after each event.
    pub(super) fn run_and(&mut self, time: Duration, mut look: impl FnMut(&Self)) {
        let end = self.now + time;
        loop {
            let agents = self.nodes.iter().flatten().map(|node| node.agent.next_deadline());
            let event = self.queue.keys().next().map_or(Micros::NEVER, |(at, _)| *at);
            let next = agents.fold(event, Micros::min);
            if next > end {
                self.now = end;
                return;
            }
            self.now = next.max(self.now);
            while self.queue.keys().next().is_some_and(|(at, _)| *at <= self.now) {
                if let Some((_, event)) = self.queue.pop_first() {
                    self.happen(event);
                }
            }
            for id in 0..self.nodes.len() {
                self.tell(u16::try_from(id).unwrap(), Input::Tick);
            }
            look(self);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Input(to, boot_id, input) => {
                if self.nodes[usize::from(to)].as_ref().is_some_and(|n| n.boot_id == boot_id) {
                    self.tell(to, input);
                }
            }
            Event::Datagram(from, SENDER_MASTER, datagram) => self.master_hears(from, datagram),
            Event::Datagram(from, to, datagram) => {
                let from = super::address(&self.topology, from);
                self.tell(to, Input::Datagram { from, datagram });
            }
        }
    }

    fn master_hears(&mut self, by: u16, datagram: Datagram) {
        if !self.is_master_up {
            return;
        }
        let sender = datagram.sender;
        let is_known = self.statuses[usize::from(sender)].boot_id == datagram.boot_id;
        if datagram.kind == DatagramKind::Renew && is_known {
            if datagram.epoch < self.epoch && !self.is_learning {
                self.say(DatagramKind::Announce, sender, Some((by, &datagram)));
            }
            self.say(DatagramKind::Grant, sender, Some((by, &datagram)));
        }
        self.heard.push(datagram);
    }

    fn tell(&mut self, id: u16, input: Input) {
        let now = self.now;
        let Some(node) = self.nodes[usize::from(id)].as_mut() else { return };
        node.agent.handle(now, input);
        let boot_id = node.boot_id;
        while let Some(output) = self.nodes[usize::from(id)].as_mut().and_then(|n| n.agent.poll()) {
            self.carry_out(id, boot_id, output);
        }
    }

    fn carry_out(&mut self, id: u16, boot_id: u64, output: Output) {
        let Some(node) = self.nodes[usize::from(id)].as_mut() else { return };
        match output {
            Output::Send { to, datagram } => self.send(id, to, datagram),
            Output::Map(map) => {
                assert!(node.epoch < map.epoch, "epochs never go back");
                node.epoch = map.epoch;
                for shard in 0..2 {
                    let input = Input::Drained { shard, epoch: map.epoch };
                    self.at(Duration::ZERO, Event::Input(id, boot_id, input));
                }
            }
            Output::Word(_) => {}
            Output::Lease(lease) => node.lease = lease,
            Output::AskProbe { nonce, server } => {
                let is_cut = self.cuts.contains(&(id, server));
                let (wait, outcome) = match &self.nodes[usize::from(server)] {
                    _ if is_cut => (PROBE, PeerProbe::Silent),
                    None => (LATENCY, PeerProbe::Refused),
                    Some(peer) => {
                        let (boot_id, map_epoch) = (peer.boot_id, peer.epoch);
                        (LATENCY, PeerProbe::Answered { boot_id, map_epoch })
                    }
                };
                let input = Input::Probed { nonce, server, outcome };
                self.at(wait, Event::Input(id, boot_id, input));
            }
            Output::Verdict { .. } | Output::Distrust { .. } | Output::Left => {}
        }
    }
}
