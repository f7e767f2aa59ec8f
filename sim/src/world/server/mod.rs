//! A server's process around the shipped parts: its shards' cores, its control agent, and
//! the queues between them, without threads and sockets.
//!
//! A shard's turn is that of the shipped loops, `server/src/shard/turn.rs`.

mod shell;

use std::collections::VecDeque;
use std::sync::Arc;

use slotmap::{Key as _, KeyData};
use standin_protocol::hash::shard_of;

use standin_server::control::agent::{Agent, AgentConfig, Input};
use standin_server::node::counters::Counters;
use standin_server::node::{Identity, Node, NodeConfig, Now};
use standin_server::origin::Done;
use standin_server::origin::pause::Heartbeat;
use standin_server::shard::ShardContext;
use standin_server::shard::admission::{Admission, Places};
use standin_server::shard::challenges::Challenges;
use standin_server::shard::core::{Buffers, ConnKey, Core, Io};
use standin_server::shard::handshake::HandedOver;
use standin_server::shard::link::LinkConfig;
use standin_server::shard::listeners::Service;
use standin_server::shard::mailbox::Message;
use standin_server::shard::turn;

use self::shell::SimShell;
use super::World;
use super::cluster::{Cluster, host_at};
use super::events::{Actor, Event, Pace, Segment};
use super::net::Name;
use crate::clock::{Clock, Time};
use crate::origin::Gate;
use crate::plan::{Host, Setup};
use crate::random::mix;

/// A machine with a server on it, or without for now.
pub(crate) struct ServerHost {
    pub(crate) clock: Clock,
    pub(crate) process: Option<Box<Process>>,
    /// The number of processes so far.
    pub(crate) life: u32,
    /// The counters of earlier processes, and the highest values of their gauges.
    pub(crate) counted: [u64; Counters::FIGURES.len()],
    /// Whether it has gone on without a master.
    pub(crate) was_orphan: bool,
    /// Whether it has held a lease.
    pub(crate) was_leased: bool,
}

/// A running server.
pub(crate) struct Process {
    pub(crate) boot_id: u64,
    pub(crate) shards: Vec<Shard>,
    pub(crate) agent: Agent,
    pub(crate) control_pace: Pace,
    pub(super) control_inbox: VecDeque<Input>,
    /// The schedule of the threads that talk to the origin.
    pub(crate) driver_pace: Pace,
    pub(super) heartbeat: Heartbeat,
    /// Whether it was stopped since it last noted that it was running.
    pub(super) was_stopped: bool,
    /// The mailbox of each shard.
    pub(crate) mailboxes: Vec<VecDeque<Message>>,
    pub(crate) gate: Arc<Gate>,
    /// Whether it was asked to stop.
    pub(crate) is_leaving: bool,
    pub(super) leaves_by: Option<Time>,
    /// The time by which the shards, once told to, must end.
    pub(crate) ends_by: Option<Time>,
}

pub(crate) struct Shard {
    pub(crate) core: Core,
    pub(crate) pace: Pace,
    /// The sockets of its connections.
    sockets: slotmap::SecondaryMap<ConnKey, usize>,
    /// The connections in transit to this shard.
    adoptions: VecDeque<(HandedOver, usize)>,
    /// Whether it was stopped in the middle of a turn, after its decisions and before its actions.
    pub(super) is_inside: bool,
}

/// The event with which a shard's turn begins.
#[derive(Debug)]
pub(crate) enum TurnInput {
    Nothing,
    Accepted { socket: usize },
    Connected { key: ConnKey },
    Bytes { key: ConnKey, bytes: Vec<u8> },
    End { key: ConnKey },
    Closed { key: ConnKey },
    Refused { key: ConnKey },
    Answer(Done),
}

/// The only buffer of a turn.
struct Received(Vec<u8>);

impl Buffers for Received {
    fn bytes(&self, _buffer: u16) -> &[u8] {
        &self.0
    }
}

impl Process {
    pub(crate) fn new(
        cluster: &Cluster,
        setup: &Setup,
        server: usize,
        boot_id: u64,
        now: Now,
    ) -> Self {
        let config = &cluster.config;
        let id = u16::try_from(server).unwrap_or(0);
        let gate = Arc::new(Gate::new(setup.origin_concurrency));
        let context = ShardContext {
            shard: 0,
            shards: setup.shards,
            server: id,
            cluster: Arc::clone(config),
            topology: Arc::clone(&cluster.topology),
            challenges: Challenges::new([7; 32]),
            admission: Arc::new(Admission::new(Places::wanted(config, id))),
            tls: None,
            tls_calls: None,
            link: LinkConfig::new(config, boot_id),
            access: Arc::default(),
        };
        let shards = (0..setup.shards).map(|shard| {
            let mut node = NodeConfig::new(config, id, shard, boot_id, now.mono);
            node.hash_seeds = Some([boot_id, 1, 2, shard.into()]);
            node.log_keys_max = setup.log_keys_max;
            if setup.is_without_room {
                (node.fetch_bytes, node.fetches_always) = (0, 1);
            }
            let node = Node::new(node, Arc::clone(&cluster.topology)).expect("a small arena");
            Shard {
                core: Core::new(node, ShardContext { shard, ..context.clone() }, now.mono),
                pace: Pace::default(),
                sockets: slotmap::SecondaryMap::new(),
                adoptions: VecDeque::new(),
                is_inside: false,
            }
        });
        let agent = AgentConfig::new(config, id, boot_id, mix(boot_id, 3));
        Self {
            boot_id,
            shards: shards.collect(),
            agent: Agent::new(agent, Arc::clone(&cluster.topology), now.mono),
            control_pace: Pace::default(),
            control_inbox: VecDeque::new(),
            driver_pace: Pace::default(),
            heartbeat: Heartbeat::new(config.timings.pause_max()),
            was_stopped: false,
            mailboxes: (0..setup.shards).map(|_| VecDeque::new()).collect(),
            gate,
            is_leaving: false,
            leaves_by: None,
            ends_by: None,
        }
    }

    /// Leaves a message in each shard's mailbox.
    pub(super) fn post_to_all(&mut self, message: impl Fn() -> Message) {
        self.mailboxes.iter_mut().for_each(|mailbox| mailbox.push_back(message()));
    }

    /// Whether it has executed a write of this identity; `None` if it may have forgotten it.
    pub(crate) fn has_executed(&self, identity: Identity) -> Option<bool> {
        let shards = self.shards.iter().map(|shard| shard.core.node.has_executed(identity));
        shards.reduce(|any, one| match (any, one) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        })?
    }

    /// Whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.shards.iter().all(|shard| shard.core.node.in_flight() == 0)
    }
}

impl World {
    /// Starts a process.
    pub(crate) fn start_server(&mut self, server: usize) {
        let host = &mut self.servers[server];
        host.life += 1;
        let boot_id = mix(self.seed, (server as u64) << 32 | u64::from(host.life)) | 1;
        let now = host.clock.now(self.time);
        let process = Process::new(&self.cluster, &self.setup, server, boot_id, now);
        host.process = Some(Box::new(process));
        self.net.host_is_back(&mut self.queue, self.time, Host::Server(server));
        self.note(|| format!("server {} starts", crate::plan::letter(server)));
        self.wake_first(Actor::Control(server));
        for shard in 0..usize::from(self.setup.shards) {
            self.wake_first(Actor::Shard(server, shard));
        }
    }

    /// Ends a process at once.
    pub(crate) fn end_server(&mut self, server: usize, silent: bool) {
        let Some(process) = self.servers[server].process.take() else { return };
        self.count_server(server, &process);
        self.checker.copies.ended(|identity| process.has_executed(identity));
        self.net.host_died(&mut self.queue, self.time, Host::Server(server), silent);
        self.checker.server_ended(server);
        self.origin.server_ended(server);
    }

    /// Makes a turn of a shard's loop after an event.
    pub(crate) fn shard_turn(&mut self, server: usize, shard: usize, input: TurnInput) {
        // Maps and leases arrive as mail.
        let may_own_more = matches!(input, TurnInput::Nothing);
        let Some(mut process) = self.servers[server].process.take() else { return };
        self.turn(&mut process, server, shard, input);
        self.look_for_abandoned(server, shard, &process);
        self.after_turn(&mut process, server);
        self.check_process(&process, server);
        let deadline = process.shards[shard].core.next_deadline();
        let due = self.servers[server].clock.when(deadline);
        let is_over = self.is_over(&process);
        self.servers[server].process = Some(process);
        self.wake(Actor::Shard(server, shard), due);
        if is_over {
            self.end_server(server, false);
        }
        if may_own_more {
            self.check_owners(server);
        }
    }

    /// Checks that at most one server caches a partition under a lease. (In mode available, an
    /// orphan also caches without one, while as far as it knows no server hears the master. It may
    /// learn later than others that one does, which the bound on staleness allows for.) `server`
    /// has just received mail, without which no server comes to own more.
    fn check_owners(&mut self, server: usize) {
        let own = self.cached_by_lease(server);
        if own == 0 {
            return;
        }
        let others = (0..self.servers.len()).filter(|other| *other != server);
        let twice = others.fold(0, |all, other| all | own & self.cached_by_lease(other));
        if twice != 0 {
            let partition = twice.trailing_zeros();
            self.violation(format!("two servers cache partition {partition} at once"));
        }
    }

    /// Returns the partitions that a server caches under a lease, as bits.
    fn cached_by_lease(&self, server: usize) -> u64 {
        let host = &self.servers[server];
        let Some(process) = &host.process else { return 0 };
        let now = host.clock.local(self.time);
        let caches = |partition: &u32| {
            let shard = shard_of(*partition, self.setup.shards);
            process.shards[usize::from(shard)].core.node.caches_by_lease(now, *partition)
        };
        let partitions = 0..self.cluster.topology.partitions;
        partitions.filter(caches).fold(0, |all, partition| all | 1 << partition)
    }

    /// Whether a server that was asked to stop has done so.
    fn is_over(&self, process: &Process) -> bool {
        process.ends_by.is_some_and(|by| {
            self.time >= by || process.shards.iter().all(|shard| shard.core.is_drained())
        })
    }

    fn turn(&mut self, process: &mut Process, server: usize, index: usize, input: TurnInput) {
        let now = self.servers[server].clock.now(self.time);
        let shard = &mut process.shards[index];
        let mut received = Received(Vec::new());
        match input {
            TurnInput::Nothing => {}
            TurnInput::Accepted { socket } => match shard.core.accept(now, false, Service::Standin)
            {
                Some(key) => {
                    shard.sockets.insert(key, socket);
                    let key = key.data().as_ffi();
                    self.net.sockets[socket].ends[1].name = Name::Core { shard: index, key };
                }
                None => self.close_end(socket, 1, Segment::Reset),
            },
            TurnInput::Connected { key } => {
                shard.core.connected(now, key);
                // A flush that was requested during the connection attempt could not be done then.
                self.flush(shard, server, now, key);
            }
            TurnInput::Bytes { key, bytes } => {
                received.0 = bytes;
                shard.core.received(now, key, 0, &received.0);
            }
            TurnInput::End { key } => shard.core.end_of_input(now, key),
            TurnInput::Closed { key } => {
                shard.sockets.remove(key);
                shard.core.closed(now, key);
            }
            TurnInput::Refused { key } => {
                shard.sockets.remove(key);
                shard.core.refused(now, key);
            }
            TurnInput::Answer(done) => shard.core.mail(now, Message::Origin(done)),
        }
        loop {
            let mut mail = process.mailboxes[index].drain(..).collect();
            let mut shell = SimShell { world: self, process, server, index, received };
            turn::decide(&mut shell, now, &mut mail);
            received = shell.received;
            if process.shards[index].pace.paused_until > self.time {
                process.shards[index].is_inside = true;
                return;
            }
            self.act_on(process, server, index, now);
            let has_work = process.shards[index].core.has_work();
            if !has_work && process.mailboxes[index].is_empty() {
                return;
            }
        }
    }

    /// The second part of a shard's turn.
    pub(super) fn act_on(&mut self, process: &mut Process, server: usize, index: usize, now: Now) {
        let received = Received(Vec::new());
        turn::act(&mut SimShell { world: self, process, server, index, received }, now);
        process.shards[index].core.turn_ended(now.mono, now.mono);
    }

    fn adopt(&mut self, shard: &mut Shard, now: Now, index: usize) {
        while let Some((connection, socket)) = shard.adoptions.pop_front() {
            let key = shard.core.adopt(now, connection);
            shard.sockets.insert(key, socket);
            let end = &mut self.net.sockets[socket].ends[1];
            end.name = Name::Core { shard: index, key: key.data().as_ffi() };
            for segment in std::mem::take(&mut end.early) {
                self.queue.push(self.time, Event::Arrived { socket, end: 1, segment });
            }
        }
    }

    fn perform(&mut self, process: &mut Process, server: usize, index: usize, now: Now, io: Io) {
        let shard = &mut process.shards[index];
        match io {
            Io::Flush(key) => self.flush(shard, server, now, key),
            Io::Close(key) => {
                self.flush(shard, server, now, key);
                if let Some(socket) = shard.sockets.remove(key) {
                    let end = self.end_of(socket, Host::Server(server), key);
                    self.close_end(socket, end, Segment::End);
                }
                shard.core.closed(now, key);
            }
            Io::Abort(key) => {
                if let Some(socket) = shard.sockets.remove(key) {
                    let end = self.end_of(socket, Host::Server(server), key);
                    self.close_end(socket, end, Segment::Reset);
                }
                shard.core.closed(now, key);
            }
            Io::Connect(key, address) => {
                let name = Name::Core { shard: index, key: key.data().as_ffi() };
                let from = (Host::Server(server), self.servers[server].life, name);
                let Some(to) = host_at(address) else { return };
                let socket = self.net.open(&mut self.queue, self.time, from, to);
                shard.sockets.insert(key, socket);
            }
            // Outputs are small here, so none is ever full.
            Io::Pause(_) | Io::Resume(_) => {}
            Io::GiveToKernel(_) => unreachable!("no simulated connection has TLS"),
            Io::FindCaller(_, mishap) => shard.core.called_from(mishap, None),
            Io::HandOver(key, to) => {
                let Some(connection) = shard.core.hand_over(now, key) else { return };
                let Some(socket) = shard.sockets.remove(key) else { return };
                self.net.sockets[socket].ends[1].name = Name::Handed;
                let to = usize::from(to);
                process.shards[to].adoptions.push_back((connection, socket));
                self.mail(&mut process.shards[to].pace, Actor::Shard(server, to));
            }
        }
    }

    /// Returns the end of the socket that a shard has under this key, because a server may call
    /// itself.
    fn end_of(&self, socket: usize, host: Host, key: ConnKey) -> usize {
        let is_it = |end: &super::net::End| {
            end.host == host
                && matches!(end.name, Name::Core { key: k, .. } if k == key.data().as_ffi())
        };
        usize::from(!is_it(&self.net.sockets[socket].ends[0]))
    }

    fn flush(&mut self, shard: &mut Shard, server: usize, now: Now, key: ConnKey) {
        let Some(&socket) = shard.sockets.get(key) else { return };
        let end = self.end_of(socket, Host::Server(server), key);
        // The output of a connection that is being opened has to wait.
        if end == 0 && !self.net.sockets[socket].is_made {
            return;
        }
        let mut bytes = Vec::new();
        shard.core.take_output(now, key, &mut bytes);
        if !bytes.is_empty() {
            let (hops, pauses) = (&mut self.checker.hops, &self.checker.pauses);
            let sent = match end {
                0 => {
                    hops.sent(server, &bytes).and_then(|()| pauses.sent(self.time, server, &bytes))
                }
                _ => {
                    hops.answered(socket, &bytes);
                    Ok(())
                }
            };
            if let Err(wrong) = sent {
                self.violation(wrong);
            }
            self.net.send(&mut self.queue, self.time, socket, end, Segment::Data(bytes));
            shard.core.sent(now, key);
        }
    }

    /// Delivers what a turn has left for others: calls to the origin, mail, messages to the agent.
    pub(super) fn after_turn(&mut self, process: &mut Process, server: usize) {
        if !process.shards.iter().any(|shard| shard.is_inside) {
            for call in process.gate.take() {
                self.call_origin(server, call);
            }
        }
        for index in 0..process.shards.len() {
            if !process.mailboxes[index].is_empty() {
                self.mail(&mut process.shards[index].pace, Actor::Shard(server, index));
            }
        }
        if !process.control_inbox.is_empty() {
            self.mail(&mut process.control_pace, Actor::Control(server));
        }
    }

    /// Makes an actor read its mail soon.
    fn mail(&mut self, pace: &mut Pace, actor: Actor) {
        if !pace.has_mail {
            pace.has_mail = true;
            let soon = 2 + mix(self.seed ^ self.time, actor.index()) % 30;
            self.queue.push(self.time + soon, Event::Mail(actor));
        }
    }

    /// Lets the shard that has the connection read a segment.
    pub(crate) fn server_read(
        &mut self,
        server: usize,
        socket: usize,
        end: usize,
        segment: Segment,
    ) {
        let it = &mut self.net.sockets[socket].ends[end];
        let (shard, key) = match it.name {
            Name::Core { shard, key } => (shard, ConnKey::from(KeyData::from_ffi(key))),
            Name::Handed => {
                it.early.push(segment);
                return;
            }
            _ if segment == Segment::Open => {
                return self.shard_turn(server, 0, TurnInput::Accepted { socket });
            }
            _ => return,
        };
        let input = match segment {
            Segment::Opened => {
                self.net.sockets[socket].is_made = true;
                TurnInput::Connected { key }
            }
            Segment::Data(bytes) => {
                if end == 1 {
                    self.checker.hops.received(server, socket, &bytes);
                    self.checker.copies.received(socket, &bytes);
                }
                TurnInput::Bytes { key, bytes }
            }
            Segment::End => TurnInput::End { key },
            Segment::Reset => {
                it.is_open = false;
                TurnInput::Closed { key }
            }
            Segment::Refused => {
                it.is_open = false;
                TurnInput::Refused { key }
            }
            Segment::Open => return,
        };
        let has_ended = matches!(input, TurnInput::End { .. });
        self.shard_turn(server, shard, input);
        if has_ended {
            self.raw_is_known_to_have_left(server, shard, socket);
        }
    }
}
