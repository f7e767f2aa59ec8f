//! The master's process: the shipped machine, its disk, and the connections on which it probes
//! servers or fetches their map.

use standin_master::{Input, Machine, MasterEvent, Output, ProbeFailure, ProbeOrder, Rules, State};
use standin_protocol::body::PingReply;
use standin_protocol::control::Datagram;
use standin_protocol::frame::{Opcode, Request, RequestHeader, Response, Status};
use standin_protocol::handshake::{Caller, Next};
use standin_protocol::hello::{ANY_SHARD, HelloBody, Role, cluster_id};
use standin_protocol::map::ClusterMap;
use standin_protocol::time::Micros;

use super::World;
use super::cluster::{address, host_at};
use super::events::{Actor, Event, Pace, Segment};
use super::net::Name;
use crate::check::queues;
use crate::clock::{Clock, MS};
use crate::plan::Host;
use crate::random::mix;

/// A machine with a master on it, or without for now.
pub(crate) struct MasterHost {
    pub(crate) clock: Clock,
    pub(crate) process: Option<Box<MasterProcess>>,
    pub(crate) life: u32,
    /// The state file.
    pub(crate) disk: Option<State>,
    pub(crate) disk_full: u8,
}

pub(crate) struct MasterProcess {
    pub(crate) machine: Machine,
    pub(crate) pace: Pace,
    tasks: Vec<Task>,
    last_task: u64,
    /// The states that are being written to the disk.
    saving: Vec<State>,
}

/// A probe, or the fetch of a map.
struct Task {
    id: u64,
    what: Asks,
    server: u16,
    deadline: Micros,
    legs: Vec<Leg>,
}

enum Asks {
    Ping { probe_id: u64 },
    Map,
}

/// One connection of a task.
struct Leg {
    socket: usize,
    /// From its HELLO on.
    handshake: Option<Caller>,
    input: Vec<u8>,
    result: Option<Result<Vec<u8>, ProbeFailure>>,
}

impl World {
    /// Starts a master with the state file that is on its disk.
    pub(crate) fn start_master(&mut self, master: usize) {
        let host = &mut self.masters[master];
        host.life += 1;
        let now = host.clock.local(self.time);
        let rules = Rules::of(&self.cluster.config);
        let topology = self.cluster.topology.clone();
        let mut machine = Machine::new(now, rules, topology, host.disk.as_ref());
        // As the shell does: a master without a term of its own does not start.
        let mut later = Vec::new();
        while let Some(output) = machine.poll() {
            let Output::Persist(state) = output else {
                later.push(output);
                continue;
            };
            let epoch = state.epoch;
            host.disk = Some(state);
            machine.handle(now, Input::Persisted { epoch, ok: true });
            break;
        }
        machine.put_back(later);
        let process = MasterProcess {
            machine,
            pace: Pace::default(),
            tasks: Vec::new(),
            last_task: 0,
            saving: Vec::new(),
        };
        host.process = Some(Box::new(process));
        self.checker.master_started(master);
        self.note(|| format!("{} starts", Host::Master(master)));
        self.wake_first(Actor::Master(master));
    }

    /// Ends a master at once.
    pub(crate) fn end_master(&mut self, master: usize) {
        let Some(mut process) = self.masters[master].process.take() else { return };
        // A state that was being written may have reached the disk.
        if let Some(state) = process.saving.pop()
            && mix(self.seed ^ self.time, 5).is_multiple_of(2)
        {
            self.masters[master].disk = Some(state);
        }
        self.count_master(&process);
        self.net.host_died(&mut self.queue, self.time, Host::Master(master), false);
    }

    pub(crate) fn count_master(&mut self, process: &MasterProcess) {
        for counter in process.machine.counters().list() {
            self.counted.add("", counter.name, counter.value);
        }
    }

    pub(crate) fn master_turn(&mut self, master: usize, input: Input) {
        let Some(mut process) = self.masters[master].process.take() else { return };
        let now = self.masters[master].clock.local(self.time);
        process.machine.handle(now, input);
        self.carry_out(&mut process, master, now);
        self.expire_tasks(&mut process, master, now);
        if queues::is_looked_at(self.queue.count())
            && let Err(text) = queues::bounded(process.machine.queues())
        {
            self.violation(format!("{}: {text}", Host::Master(master)));
        }
        let tasks = process.tasks.iter().map(|task| task.deadline);
        let deadline = tasks.fold(process.machine.next_deadline(), Micros::min);
        let due = self.masters[master].clock.when(deadline);
        let published = process.machine.registry().published_epoch();
        self.masters[master].process = Some(process);
        self.wake(Actor::Master(master), due);
        if let Err(wrong) = self.checker.master_map(master, published) {
            self.violation(wrong);
        }
    }

    fn carry_out(&mut self, process: &mut MasterProcess, master: usize, now: Micros) {
        while let Some(output) = process.machine.poll() {
            match output {
                Output::Send { to, datagram } => {
                    let Some(to) = host_at(to) else { continue };
                    let from = (Host::Master(master), address(Host::Master(0)));
                    let bytes = datagram.to_bytes(None);
                    self.net.datagram(&mut self.queue, self.time, from, to, bytes);
                }
                Output::Probe(ProbeOrder { server, probe_id, shards, timeout, .. }) => {
                    let what = Asks::Ping { probe_id };
                    self.begin_task(process, master, what, server, shards, now + timeout);
                }
                Output::FetchMap { server, .. } => {
                    let deadline = now + self.cluster.config.timings.lease;
                    self.begin_task(process, master, Asks::Map, server, 1, deadline);
                }
                Output::Persist(state) => {
                    process.saving.push(state.clone());
                    let takes = 300 + mix(self.seed ^ self.time, 6) % (4 * MS);
                    let life = self.masters[master].life;
                    let event = Event::Saved { master, life, state: Box::new(state) };
                    self.queue.push(self.time + takes, event);
                }
                Output::Event(event) => self.master_event(master, event),
            }
        }
    }

    fn master_event(&mut self, master: usize, event: MasterEvent) {
        if !event.is_routine() {
            let topology = self.cluster.topology.clone();
            self.note(|| format!("{}: {}", Host::Master(master), event.describe(&topology)));
        }
        self.counted.add("event_", event.kind(), 1);
    }

    /// Notes that the state file has been written, or not.
    pub(crate) fn saved(&mut self, master: usize, life: u32, state: State) {
        let host = &mut self.masters[master];
        if host.life != life {
            return;
        }
        let Some(process) = host.process.as_mut() else { return };
        process.saving.retain(|saving| saving.epoch != state.epoch);
        let (epoch, ok) = (state.epoch, host.disk_full == 0);
        if ok {
            host.disk = Some(state);
        }
        self.master_turn(master, Input::Persisted { epoch, ok });
        self.checker.faults(self.time, &self.master_lost());
    }

    pub(crate) fn master_heard(&mut self, master: usize, from: std::net::SocketAddr, bytes: &[u8]) {
        let topology_id = self.cluster.topology.id;
        match Datagram::parse(bytes, None, Some(topology_id)) {
            Ok(datagram) => self.master_turn(master, Input::Datagram { from, datagram }),
            // A client with an outdated file does not know this yet.
            Err(_) if Datagram::parse(bytes, None, Some(self.cluster.outdated.id)).is_ok() => {}
            Err(error) => self.violation(format!("the master got a bad datagram: {error}")),
        }
    }

    fn begin_task(
        &mut self,
        process: &mut MasterProcess,
        master: usize,
        what: Asks,
        server: u16,
        legs: u16,
        deadline: Micros,
    ) {
        process.last_task += 1;
        let id = process.last_task;
        let to = Host::Server(server.into());
        let life = self.masters[master].life;
        let open = |leg| {
            let name = Name::Probe { task: id, leg };
            let from = (Host::Master(master), life, name);
            let socket = self.net.open(&mut self.queue, self.time, from, to);
            Leg { socket, handshake: None, input: Vec::new(), result: None }
        };
        let legs = (0..usize::from(legs)).map(open).collect();
        process.tasks.push(Task { id, what, server, deadline, legs });
    }

    /// Ends the tasks that have not been answered in time, which is a result too.
    fn expire_tasks(&mut self, process: &mut MasterProcess, master: usize, now: Micros) {
        let late = |task: &Task| task.deadline <= now;
        while let Some(at) = process.tasks.iter().position(late) {
            for leg in &mut process.tasks[at].legs {
                leg.result.get_or_insert(Err(ProbeFailure::Timeout));
            }
            self.end_task(process, master, at, now);
        }
    }

    fn end_task(&mut self, process: &mut MasterProcess, master: usize, at: usize, now: Micros) {
        let task = process.tasks.remove(at);
        let mut results = Vec::new();
        for leg in task.legs {
            self.close_end(leg.socket, 0, Segment::End);
            results.push(leg.result.unwrap_or(Err(ProbeFailure::Timeout)));
        }
        let server = task.server;
        let input = match task.what {
            Asks::Ping { probe_id } => {
                let reply = |result: Result<Vec<u8>, _>| {
                    PingReply::from_bytes(&result?).map_err(|_| ProbeFailure::Nonsense)
                };
                let shards = results.into_iter().map(reply).collect();
                Input::Probed { server, probe_id, shards }
            }
            Asks::Map => {
                let bytes = results.pop().and_then(Result::ok);
                let map = bytes.and_then(|bytes| ClusterMap::from_bytes(&bytes).ok());
                Input::Fetched { server, map: map.map(Box::new) }
            }
        };
        process.machine.handle(now, input);
        self.carry_out(process, master, now);
    }

    /// Lets the master read a segment, which is a step of a probe.
    pub(crate) fn master_read(&mut self, master: usize, socket: usize, segment: Segment) {
        let Name::Probe { task, leg } = self.net.sockets[socket].ends[0].name else { return };
        let Some(mut process) = self.masters[master].process.take() else { return };
        let now = self.masters[master].clock.local(self.time);
        let term = process.machine.term();
        if let Some(at) = process.tasks.iter().position(|t| t.id == task) {
            let hello = HelloBody {
                client_id: u64::from(term),
                cluster_id: cluster_id(&self.cluster.config.name),
                role: Role::Master as u8,
                ..HelloBody::default()
            };
            let reply = process.tasks[at].step(leg, hello, segment);
            if let Some(bytes) = reply {
                self.net.send(&mut self.queue, self.time, socket, 0, Segment::Data(bytes));
            }
            if process.tasks[at].legs.iter().all(|leg| leg.result.is_some()) {
                self.end_task(&mut process, master, at, now);
            }
        }
        self.masters[master].process = Some(process);
        self.master_turn(master, Input::Tick);
    }
}

impl Task {
    /// Returns the bytes to send next.
    fn step(&mut self, leg: usize, hello: HelloBody, segment: Segment) -> Option<Vec<u8>> {
        let is_ping = matches!(self.what, Asks::Ping { .. });
        let shard = if is_ping { u16::try_from(leg).unwrap_or(0) } else { ANY_SHARD };
        let at = &mut self.legs[leg];
        if at.result.is_some() {
            return None;
        }
        match segment {
            Segment::Opened => {
                let handshake = Caller::new(HelloBody { shard, ..hello }, None);
                return Some(frame(Opcode::Hello, &at.handshake.insert(handshake).hello()));
            }
            Segment::Data(bytes) => at.input.extend_from_slice(&bytes),
            Segment::Refused => at.result = Some(Err(ProbeFailure::Refused)),
            Segment::End | Segment::Reset => at.result = Some(Err(ProbeFailure::Closed)),
            Segment::Open => {}
        }
        let (status, value, used) = match Response::parse(&at.input) {
            Ok(Some(reply)) => (reply.status, reply.value.to_vec(), reply.header.frame_bytes()),
            Ok(None) => return None,
            Err(_) => {
                at.result = Some(Err(ProbeFailure::Nonsense));
                return None;
            }
        };
        at.input.drain(..used);
        let handshake = at.handshake.as_mut().expect("nothing comes before the HELLO was sent");
        if handshake.is_ready() {
            at.result = Some(match status {
                Status::Ok => Ok(value),
                status => Err(ProbeFailure::Refusing(status)),
            });
            return None;
        }
        match handshake.answered(status, 0, &value) {
            Ok(Next::Ready(reply))
                if reply.server == self.server && (!is_ping || reply.shard == shard) =>
            {
                Some(frame(if is_ping { Opcode::Ping } else { Opcode::Map }, &[]))
            }
            Ok(Next::Ready(_)) => {
                at.result = Some(Err(ProbeFailure::Nonsense));
                None
            }
            Ok(Next::Prove(_)) => unreachable!("simulated clusters have no secret"),
            Err(error) => {
                at.result = Some(Err(error.into()));
                None
            }
        }
    }
}

fn frame(opcode: Opcode, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Request::write(RequestHeader::new(opcode, 0, 1), &[], value, &mut bytes);
    bytes
}
