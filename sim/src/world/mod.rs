//! The world: all parties, the network, the origin and the clock, in one queue of events.
//!
//! ```text
//! plan ─► faults.rs ─┐                          ┌─ client.rs   the shipped engine
//!                    ├─► events.rs ─► dispatch ─┼─ server.rs   shipped cores and agent
//! net.rs, origin.rs ─┘        ▲                 └─ master.rs   the shipped machine
//!                             └── what they want done ──┘
//! ```
//! Nothing here reads a clock or uses other randomness, and nothing runs in parallel.

mod calls;
mod client;
pub(crate) mod cluster;
mod control;
mod events;
mod faults;
mod forge;
mod master;
mod net;
mod pause;
mod quiet;
mod raw;
mod server;
mod sum;
mod transactions;

use standin_client::engine::Input as ClientInput;
use standin_master::Input as MasterInput;
use standin_protocol::control::Datagram;
use standin_protocol::mutant::Mutant;

use self::client::ClientHost;
use self::cluster::Cluster;
use self::events::{Actor, Event, Pace, Queue, Segment};
use self::master::MasterHost;
use self::net::Net;
use self::quiet::Phase;
use self::server::{Process, ServerHost, TurnInput};
use crate::check::{Checker, queues};
use crate::clock::{Clock, NEVER, Time};
use crate::counted::Counted;
use crate::origin::Origin;
use crate::plan::words::Seconds;
use crate::plan::{Host, MASTERS_MAX, Plan, Rule, Setup, What};
use crate::random::mix;

/// The number of events beyond which something must be looping: no correct run has this many.
const EVENTS_MAX: u64 = 3_000_000;

/// See the file's head.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) setup: Setup,
    pub(crate) cluster: Cluster,
    plan: Vec<crate::plan::Entry>,
    pub(crate) time: Time,
    pub(crate) queue: Queue,
    pub(crate) net: Net,
    pub(crate) origin: Origin,
    pub(crate) servers: Vec<ServerHost>,
    pub(crate) clients: Vec<ClientHost>,
    pub(crate) masters: Vec<MasterHost>,
    pub(crate) checker: Checker,
    phase: Phase,
    /// Whether the master's state file was lost, or there was a second master.
    has_forgotten: bool,
    /// Whether a datagram was forged.
    has_forged: bool,
    /// The servers whose machine has no power.
    dark: Vec<bool>,
    /// For each host, the number of faults in force that make it use the second master.
    other_master: [u8; crate::plan::HOSTS],
    /// The next operation that is not in the plan.
    next_id: u32,
    pub(crate) counted: Counted,
    hash: u64,
    /// Whether the run is told in lines of text.
    pub(crate) is_told: bool,
    lines: Vec<String>,
    answers: Vec<Answered>,
    fetches: Vec<Time>,
    raws: Vec<raw::Raw>,
    /// The number of writes that waited for the origin in a server that was stopped, and did not
    /// begin.
    refused_calls: u64,
    violation: Option<String>,
}

/// The outcome of a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    pub(crate) violation: Option<String>,
    /// The hash of everything that happened, in order.
    pub(crate) hash: u64,
    pub(crate) time: Time,
    pub(crate) events: u64,
    pub(crate) counted: Counted,
    pub(crate) lines: Vec<String>,
    /// If the run is told: the results of operations, in order.
    pub(crate) answers: Vec<Answered>,
    /// If the run is told: the times at which reads were handed to the origin.
    pub(crate) fetches: Vec<Time>,
}

/// The result of an operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered {
    pub(crate) key: usize,
    pub(crate) asked: Time,
    pub(crate) ended: Time,
    /// The server that answered; `None`: it failed.
    pub(crate) by: Option<usize>,
}

/// Switches off this rule, and no other, on this thread until the next call.
#[cfg(feature = "mutants")]
fn leave_out(missing: Option<Mutant>) {
    standin_protocol::mutant::set(missing);
}

#[cfg(not(feature = "mutants"))]
fn leave_out(missing: Option<Mutant>) {
    assert_eq!(missing, None, "this build has all rules: build with the feature `mutants`");
}

/// Executes a plan. With `is_told` the outcome has a line of text for each notable event.
pub(crate) fn run(plan: &Plan, is_told: bool) -> Outcome {
    let missing = match plan.setup.missing {
        Some(Rule::Code(mutant)) => Some(mutant),
        _ => None,
    };
    // This applies to this thread, until its next run.
    leave_out(missing);
    let mut world = World::new(plan, is_told);
    world.begin();
    while world.violation.is_none() && world.phase != Phase::Over {
        let Some((at, event)) = world.queue.pop() else {
            world.violation("nothing is going to happen any more".to_owned());
            break;
        };
        world.time = at;
        world.dispatch(event);
        if world.queue.count() > EVENTS_MAX {
            world.violation("somebody spins: far too many events".to_owned());
        }
    }
    world.finish()
}

impl World {
    fn new(plan: &Plan, is_told: bool) -> Self {
        let (seed, setup) = (plan.seed, plan.setup.clone());
        let cluster = Cluster::new(&setup);
        let clock = |host: Host| {
            let zero_us = 1_000_000_000 + mix(seed, 0xC10C + host.index() as u64) % 1_000_000_000;
            Clock::new(zero_us, 1_000_000)
        };
        let servers = (0..setup.servers()).map(|id| ServerHost {
            clock: clock(Host::Server(id)),
            process: None,
            life: 0,
            counted: [0; standin_server::node::counters::Counters::FIGURES.len()],
            was_orphan: false,
            was_leased: false,
        });
        let clients = (0..setup.clients)
            .map(|id| ClientHost::new(&cluster, seed, id, clock(Host::Client(id))))
            .collect();
        let masters = (0..MASTERS_MAX).map(|id| MasterHost {
            clock: clock(Host::Master(id)),
            process: None,
            life: 0,
            disk: None,
            disk_full: 0,
        });
        let records = plan.entries.iter().any(|e| matches!(e.what, What::Replay { .. }));
        Self {
            seed,
            servers: servers.collect(),
            clients,
            masters: masters.collect(),
            plan: plan.entries.clone(),
            time: 0,
            queue: Queue::of_plan(plan.entries.iter().map(|entry| entry.at)),
            net: Net::new(seed, records),
            origin: Origin::new(seed, &setup),
            checker: Checker::new(&setup, cluster.pause_max()),
            phase: Phase::Disturbed,
            has_forgotten: false,
            has_forged: false,
            dark: vec![false; setup.servers()],
            other_master: [0; crate::plan::HOSTS],
            next_id: u32::try_from(plan.entries.len()).unwrap_or(0) + 1,
            counted: Counted::default(),
            hash: seed,
            is_told,
            lines: Vec::new(),
            answers: Vec::new(),
            fetches: Vec::new(),
            raws: Vec::new(),
            refused_calls: 0,
            violation: None,
            cluster,
            setup,
        }
    }

    fn begin(&mut self) {
        self.queue.push(self.setup.quiet_at, Event::Quiet);
        self.start_master(0);
        for server in 0..self.servers.len() {
            self.start_server(server);
        }
    }

    fn dispatch(&mut self, event: Event) {
        self.fold(&event);
        let Some(actor) = self.reader_of(&event) else { return self.happen(event) };
        let time = self.time;
        let Some(pace) = self.pace(actor) else { return };
        match &event {
            Event::Wake(_) if pace.wake_at <= time => pace.wake_at = NEVER,
            // It has since woken for an earlier deadline, and waits for a later one.
            Event::Wake(_) => return,
            Event::Mail(_) => pace.has_mail = false,
            _ => {}
        }
        if pace.paused_until > time {
            let begins_one = std::mem::take(&mut pace.begins_one_until) >= time;
            if begins_one && !matches!(event, Event::Wake(_)) {
                return self.happen(event);
            }
            if !matches!(event, Event::Wake(_)) {
                pace.inbox.push_back(event);
            }
            return;
        }
        self.happen(event);
    }

    /// Returns the actor that reads it, if one does. A paused one reads it later.
    fn reader_of(&self, event: &Event) -> Option<Actor> {
        match event {
            Event::Wake(actor) | Event::Mail(actor) => Some(*actor),
            Event::Datagram { to, .. } => Some(match *to {
                Host::Server(server) => Actor::Control(server),
                Host::Client(client) => Actor::Client(client),
                Host::Master(master) => Actor::Master(master),
            }),
            Event::Arrived { socket, end, .. } => {
                let end = &self.net.sockets[*socket].ends[*end];
                Some(match (end.host, end.name) {
                    (Host::Server(server), net::Name::Core { shard, .. }) => {
                        Actor::Shard(server, shard)
                    }
                    (Host::Server(server), _) => Actor::Shard(server, 0),
                    (Host::Client(client), _) => Actor::Client(client),
                    (Host::Master(master), _) => Actor::Master(master),
                })
            }
            Event::Answer { server, shard, .. } => Some(Actor::Shard(*server, (*shard).into())),
            Event::Handed { server, .. } => Some(Actor::Driver(*server)),
            Event::RawLeaves(raw) => Some(Actor::Client(self.raws[*raw].client())),
            Event::Saved { master, .. } => Some(Actor::Master(*master)),
            Event::Begin(_)
            | Event::End(_)
            | Event::Resume(_)
            | Event::Segment { .. }
            | Event::Call(_)
            | Event::Quiet => None,
        }
    }

    /// Returns an actor's schedule; `None` if there is no such process now.
    fn pace(&mut self, actor: Actor) -> Option<&mut Pace> {
        match actor {
            Actor::Shard(server, shard) => {
                let process = self.servers[server].process.as_mut()?;
                Some(&mut process.shards[shard].pace)
            }
            Actor::Control(server) => {
                Some(&mut self.servers[server].process.as_mut()?.control_pace)
            }
            Actor::Driver(server) => Some(&mut self.servers[server].process.as_mut()?.driver_pace),
            Actor::Client(client) => Some(&mut self.clients[client].pace),
            Actor::Master(master) => Some(&mut self.masters[master].process.as_mut()?.pace),
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Begin(index) => self.begin_entry(index),
            Event::End(index) => self.end_entry(index),
            Event::Resume(actor) => self.resume(actor),
            Event::Wake(actor) | Event::Mail(actor) => match actor {
                Actor::Shard(server, shard) => self.shard_turn(server, shard, TurnInput::Nothing),
                Actor::Control(server) => self.control_turn(server, None),
                // It processes calls as they come, and has no deadline of its own.
                Actor::Driver(_) => {}
                Actor::Client(client) => self.client_turn(client, ClientInput::Tick),
                Actor::Master(master) => self.master_turn(master, MasterInput::Tick),
            },
            Event::Datagram { to, from, bytes } => self.heard(to, from, &bytes),
            Event::Segment { socket, end, segment } => self.arrives(socket, end, segment),
            Event::Arrived { socket, end, segment } => self.read(socket, end, segment),
            Event::Handed { server, life, slot } => self.call_is_handed(server, life, slot),
            Event::Call(call) => self.call_runs(call),
            Event::RawLeaves(raw) => self.raw_leaves(raw),
            Event::Answer { server, life, shard, done } => {
                if self.servers[server].life == life {
                    if let Some(process) = self.servers[server].process.as_ref() {
                        process.gate.answered();
                    }
                    self.shard_turn(server, shard.into(), TurnInput::Answer(done));
                }
            }
            Event::Saved { master, life, state } => self.saved(master, life, *state),
            Event::Quiet => self.quiet(),
        }
    }

    fn heard(&mut self, to: Host, from: std::net::SocketAddr, bytes: &[u8]) {
        match to {
            Host::Master(master) => self.master_heard(master, from, bytes),
            Host::Client(client) => self.client_turn(client, ClientInput::Datagram(bytes)),
            Host::Server(server) => {
                let topology_id = self.cluster.topology.id;
                match Datagram::parse(bytes, None, Some(topology_id)) {
                    Ok(datagram) => self.control_turn(server, Some((from, datagram))),
                    Err(error) => self.violation(format!("a server got a bad datagram: {error}")),
                }
            }
        }
    }

    /// Delivers a segment to a host. Its kernel handles it, whatever the process does.
    fn arrives(&mut self, socket: usize, end: usize, segment: Segment) {
        let Some(segment) = self.net.arrive(socket, end, segment) else { return };
        let host = self.net.sockets[socket].ends[end].host;
        let life = match host {
            Host::Server(server) => {
                self.servers[server].process.as_ref().map(|_| self.servers[server].life)
            }
            Host::Master(master) => {
                self.masters[master].process.as_ref().map(|_| self.masters[master].life)
            }
            Host::Client(_) => Some(0),
        };
        if let (Host::Server(server), 1, Segment::Data(bytes)) = (host, end, &segment) {
            self.checker.pauses.arrived(self.time, server, bytes);
        }
        let is_dark = self.is_dark(host);
        let it = &mut self.net.sockets[socket].ends[end];
        if segment == Segment::Open {
            let answer = match life {
                Some(life) => {
                    (it.is_open, it.life) = (true, life);
                    Segment::Opened
                }
                None if is_dark => return,
                None => Segment::Refused,
            };
            self.net.send(&mut self.queue, self.time, socket, end, answer.clone());
            if answer == Segment::Refused {
                return;
            }
        } else if !it.is_open || life != Some(it.life) {
            let answers = matches!(segment, Segment::Data(_)) && !is_dark;
            if answers && !it.is_ghost {
                self.net.send(&mut self.queue, self.time, socket, end, Segment::Reset);
            }
            return;
        }
        self.dispatch(Event::Arrived { socket, end, segment });
    }

    fn read(&mut self, socket: usize, end: usize, segment: Segment) {
        match self.net.sockets[socket].ends[end].host {
            Host::Server(server) => self.server_read(server, socket, end, segment),
            Host::Client(client) => self.client_read(client, socket, segment),
            Host::Master(master) => self.master_read(master, socket, segment),
        }
    }

    /// Closes a process's end of a connection.
    fn close_end(&mut self, socket: usize, end: usize, last: Segment) {
        let it = &mut self.net.sockets[socket].ends[end];
        if std::mem::replace(&mut it.is_open, false) {
            it.name = net::Name::None;
            self.net.send(&mut self.queue, self.time, socket, end, last);
        }
    }

    /// Makes an actor wake up, unless it does so earlier anyway.
    fn wake(&mut self, actor: Actor, due: Time) {
        let time = self.time;
        let Some(pace) = self.pace(actor) else { return };
        let due = due.max(time + 1);
        if due < pace.wake_at {
            pace.wake_at = due;
            self.queue.push(due, Event::Wake(actor));
        }
    }

    /// Makes an actor that has just started wake up.
    fn wake_first(&mut self, actor: Actor) {
        let time = self.time;
        if let Some(pace) = self.pace(actor) {
            pace.wake_at = time;
            self.queue.push(time, Event::Wake(actor));
        }
    }

    /// Adds an event to the run's hash.
    fn fold(&mut self, event: &Event) {
        let (tag, a) = match event {
            Event::Begin(index) => (1, *index as u64),
            Event::End(index) => (2, *index as u64),
            Event::Wake(actor) => (3, actor.index()),
            Event::Resume(actor) => (4, actor.index()),
            Event::Mail(actor) => (5, actor.index()),
            Event::Datagram { to, bytes, .. } => {
                (6, to.index() as u64 ^ standin_protocol::hash::key_hash(0, bytes))
            }
            Event::Segment { socket, end, segment } | Event::Arrived { socket, end, segment } => {
                let bytes = match segment {
                    Segment::Data(bytes) => standin_protocol::hash::key_hash(0, bytes),
                    _ => 0,
                };
                (7, (socket * 2 + end) as u64 ^ bytes)
            }
            Event::Call(call) => (8, *call as u64),
            Event::Answer { done, .. } => (9, done.token),
            Event::Saved { state, .. } => (10, state.epoch.to_u64()),
            Event::Quiet => (11, 0),
            Event::Handed { slot, .. } => (12, *slot as u64),
            Event::RawLeaves(raw) => (13, *raw as u64),
        };
        self.hash = mix(self.hash ^ tag << 56, self.time.wrapping_mul(31) ^ a);
    }

    /// Adds a line of text, if the run is told.
    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        if self.is_told {
            self.lines.push(format!("t={}: {}", Seconds(self.time), text()));
        }
    }

    /// Notes a violation. Only the first counts.
    pub(crate) fn violation(&mut self, text: String) {
        if self.violation.is_none() {
            self.note(|| format!("violation: {text}"));
            self.violation = Some(text);
        }
    }

    fn check_process(&mut self, process: &Process, server: usize) {
        if queues::is_looked_at(self.queue.count()) {
            self.look_at_gauges(server, process);
        }
        for (index, shard) in process.shards.iter().enumerate() {
            let epoch = shard.core.node.map().map(|map| map.epoch);
            let mut result = self.checker.shard_map(server, index, epoch);
            if result.is_ok() && queues::is_looked_at(self.queue.count()) {
                result = queues::bounded(shard.core.queues());
                result = result.map_err(|text| format!("{}: {text}", Host::Server(server)));
            }
            if let Err(wrong) = result {
                self.violation(wrong);
            }
        }
    }
}
