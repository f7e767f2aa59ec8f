//! The path of one operation: it is checked, routed, sent, and ended exactly once.

use standin_protocol::frame::{Opcode, RequestHeader, Status, TTL_S_MAX, request_flags};
use standin_protocol::hello::{ANY_SHARD, HelloBody, Role};
use standin_protocol::time::Micros;

use super::connection::{Connection, Place};
use super::errors::Passed;
use super::{ConnId, Engine, Output, Timer};
use crate::event::ClientEvent;
use crate::operation::{Answer, ClientError, Operation, Outcome, Question, Target};
use crate::session::Session;

/// The purpose of an open request.
#[derive(Debug)]
pub(super) enum Work {
    /// A caller's operation.
    Operation { op_id: u64, operation: Operation, partition: Option<u32> },
    /// A caller's question.
    Question { op_id: u64, target: Target, question: Question },
    /// The engine's own PING on a silent connection.
    Ping,
    /// The engine's own MAP.
    MapFetch,
}

/// The current send of an operation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Current {
    pub(super) conn: ConnId,
    pub(super) place: Place,
    /// Whether the server's failover machine waits for the result of this send.
    pub(super) trial: bool,
}

/// A request that has not ended.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) work: Work,
    pub(super) deadline: Micros,
    /// The current send; `None` while the request waits for a map or a timer.
    pub(super) current: Option<Current>,
    /// The number of failed sends to the current server.
    pub(super) failures: u32,
    /// The servers that did not serve the request in this round.
    pub(super) tried: Vec<u16>,
    /// All servers that did not serve the request, each with its latest reason.
    pub(super) tried_ever: Vec<(u16, Passed)>,
    /// The connections on which an answer may still arrive.
    pub(super) sent_on: Vec<ConnId>,
    pub(super) sends: u32,
    /// Whether a send may have taken effect although its connection was lost or given up.
    pub(super) is_outcome_open: bool,
    /// Whether the question has already waited for the seeds' answer.
    pub(super) has_doubted: bool,
    pub(super) overloads: u32,
}

impl Open {
    pub(super) fn new(work: Work, deadline: Micros) -> Self {
        Self {
            work,
            deadline,
            current: None,
            failures: 0,
            tried: Vec::new(),
            tried_ever: Vec::new(),
            sent_on: Vec::new(),
            sends: 0,
            is_outcome_open: false,
            has_doubted: false,
            overloads: 0,
        }
    }

    /// Returns the bytes that count against the client's limit.
    fn bytes(&self) -> usize {
        match &self.work {
            Work::Operation { operation, .. } => {
                operation.key.len() + operation.action.value().len()
            }
            Work::Question { .. } | Work::Ping | Work::MapFetch => 0,
        }
    }

    /// Notes that a server did not serve the request.
    pub(super) fn passed_over(&mut self, server: u16, passed: Passed) {
        self.current = None;
        self.tried.push(server);
        match self.tried_ever.iter_mut().find(|(tried, _)| *tried == server) {
            Some((_, latest)) => *latest = passed,
            None => self.tried_ever.push((server, passed)),
        }
    }

    pub(super) fn is_write(&self) -> bool {
        matches!(&self.work, Work::Operation { operation, .. } if operation.action.is_write())
    }

    /// Whether it must not be sent again, because it may have been executed.
    pub(super) fn is_spent(&self) -> bool {
        let is_repeatable = match &self.work {
            Work::Operation { operation, .. } => operation.action.is_repeatable(),
            Work::Question { .. } | Work::Ping | Work::MapFetch => true,
        };
        self.is_outcome_open && !is_repeatable
    }

    fn denies_the_write(&self, result: &Result<Answer, ClientError>) -> bool {
        let denies = |answer: &Answer| match &answer.outcome {
            Outcome::Mismatch { .. } => true,
            Outcome::Encoded(reply) => match reply.status {
                Status::Ok | Status::NotFound => false,
                // A condition of it does not hold.
                Status::NotStored => reply.header.opcode != Opcode::Modify as u8,
                _ => true,
            },
            _ => false,
        };
        self.is_write() && result.as_ref().map_or(true, denies)
    }

    fn op_id(&self) -> Option<u64> {
        match self.work {
            Work::Operation { op_id, .. } | Work::Question { op_id, .. } => Some(op_id),
            Work::Ping | Work::MapFetch => None,
        }
    }
}

impl Engine {
    pub(super) fn submit(&mut self, now: Micros, op_id: u64, operation: Operation) {
        let bytes = operation.key.len() + operation.action.value().len();
        if let Err(error) = self.admit(&operation, bytes) {
            self.outputs.push_back(Output::Completed { op_id, result: Err(error) });
            return;
        }
        self.open_bytes += bytes;
        let id = self.insert(now, Work::Operation { op_id, operation, partition: None });
        self.dispatch(now, id);
    }

    pub(super) fn ask(&mut self, now: Micros, op_id: u64, target: Target, question: Question) {
        if self.callers_open >= self.config.operations_max {
            let result = Err(self.overloaded());
            self.outputs.push_back(Output::Completed { op_id, result });
            return;
        }
        let id = self.insert(now, Work::Question { op_id, target, question });
        self.dispatch(now, id);
    }

    /// Registers a request under an id that no open request has.
    pub(super) fn insert(&mut self, now: Micros, work: Work) -> u32 {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            // Zero is the id of HELLO.
            if self.last_id != 0 && !self.open.contains_key(&self.last_id) {
                break;
            }
        }
        let deadline = now + self.config.operation_timeout;
        let open = Open::new(work, deadline);
        self.callers_open += usize::from(open.op_id().is_some());
        self.open.insert(self.last_id, open);
        self.deadlines.push_back((deadline, self.last_id));
        self.last_id
    }

    /// Returns an open request. A request that may have ended is looked up in `open` instead.
    pub(super) fn request(&mut self, id: u32) -> &mut Open {
        self.open.get_mut(&id).expect("a request that is being handled must not have ended")
    }

    /// Routes a request that has no current send.
    pub(super) fn dispatch(&mut self, now: Micros, id: u32) {
        // The request may have ended before its turn or its timer.
        let Some(open) = self.open.get_mut(&id) else { return };
        debug_assert!(
            open.current.is_none(),
            "a request is dispatched only while it has no current send"
        );
        if open.is_spent() {
            return self.finish(now, id, Err(ClientError::OutcomeUnknown));
        }
        let Some(router) = &mut self.router else {
            self.unrouted.push_back(id);
            self.ask_a_seed(now);
            return;
        };
        open.failures = 0;
        match &mut open.work {
            Work::Operation { operation, partition, .. } => {
                let partition = *partition.get_or_insert_with(|| {
                    let topology = &router.map().topology;
                    let hashed = operation.hashed(&topology.key_forms);
                    topology.partition(operation.keyspace, &hashed)
                });
                let Some(route) = router.route(now, partition, &open.tried) else {
                    return self.another_round(now, id);
                };
                if route.trial {
                    self.event(ClientEvent::Trial { server: route.server });
                }
                let place = Place::Server { server: route.server, shard: route.shard };
                self.place(now, id, place, route.trial);
            }
            Work::Question { target, question, .. } => {
                let (target, question) = (*target, *question);
                match self.place_of(target, question, id) {
                    Ok(place) => self.place(now, id, place, false),
                    Err(error @ (ClientError::NoAnswer(_) | ClientError::NotReady(_))) => {
                        self.ended_without_answer(now, id, error);
                    }
                    Err(error) => self.finish(now, id, Err(error)),
                }
            }
            Work::Ping | Work::MapFetch => {}
        }
    }

    /// Adds a request to the connection to a place, which is opened if needed.
    pub(super) fn place(&mut self, now: Micros, id: u32, place: Place, trial: bool) {
        let lanes = match place {
            Place::Server { .. } => self.config.connections_per_shard.max(1),
            Place::Master | Place::Seed(_) => 1,
        };
        let lane = u16::try_from(id % u32::from(lanes)).unwrap_or(0);
        let conn = match self.by_place.get(&(place, lane)) {
            Some(conn) => *conn,
            None => self.connect(now, place, lane),
        };
        self.request(id).current = Some(Current { conn, place, trial });
        let connection = self.connections.get_mut(&conn).expect("each place has a connection");
        connection.waiting.push_back(id);
        self.transmit_waiting(now, conn);
    }

    /// Sends the requests that wait for a connection, as far as there is room.
    pub(super) fn transmit_waiting(&mut self, now: Micros, conn: ConnId) {
        while let Some(connection) = self.connections.get_mut(&conn) {
            if !connection.has_room(&self.config) {
                break;
            }
            // No request waits.
            let Some(id) = connection.waiting.pop_front() else { break };
            let is_here = |open: &Open| open.current.is_some_and(|current| current.conn == conn);
            if self.open.get(&id).is_some_and(is_here) {
                self.transmit(now, conn, id);
            }
        }
        self.mark_unsent(conn);
    }

    /// Sends a request on an open connection.
    pub(super) fn transmit(&mut self, now: Micros, conn: ConnId, id: u32) {
        let connection =
            self.connections.get_mut(&conn).expect("the connection to the request's place exists");
        let open = self.open.get_mut(&id).expect("a request that is sent must not have ended");
        let walk;
        let (opcode, keyspace, key, value) = match &open.work {
            Work::Operation { operation: o, .. } => {
                (o.action.opcode(), o.keyspace, &o.key[..], o.action.value())
            }
            Work::Question { question, .. } => {
                walk = question.value();
                (question.opcode(), 0, &[][..], &walk.0[..walk.1])
            }
            Work::Ping => (Question::Ping { shard: 0 }.opcode(), 0, &[][..], &[][..]),
            Work::MapFetch => (Question::Map.opcode(), 0, &[][..], &[][..]),
        };
        let mut header = RequestHeader::new(opcode, keyspace, id);
        if let Work::Operation { operation, .. } = &open.work {
            header.set_ttl_s(operation.action.ttl_s());
            header.cas_version = operation.action.version();
            if operation.action.is_item() {
                header.flags |= request_flags::ITEM;
            }
        }
        if open.sends > 0 {
            header.flags |= request_flags::RETRY;
        }
        let left_ms = open.deadline.since(now).as_millis();
        header.deadline_ms = u16::try_from(left_ms).unwrap_or(u16::MAX).max(1);
        header.map_epoch = self.router.as_ref().map_or(0, |router| router.map().epoch.tag());
        let session = connection.session().expect("requests are sent on open connections only");
        session.send(header, opcode, key, value);
        connection.asked(now);
        open.sends += 1;
        if !open.sent_on.contains(&conn) {
            open.sent_on.push(conn);
        }
        let patience = now + self.config.operation_timeout / 2;
        self.patience.push_back((patience, id, open.sends));
    }

    /// Ends a caller's request, exactly once.
    pub(super) fn finish(&mut self, now: Micros, id: u32, result: Result<Answer, ClientError>) {
        // The request has already ended.
        let Some(open) = self.open.get(&id) else { return };
        // The answer to the last send says nothing about an earlier send that was not answered.
        let is_unknown = open.is_outcome_open && open.denies_the_write(&result);
        let result = if is_unknown { Err(ClientError::OutcomeUnknown) } else { result };
        if let Some(op_id) = open.op_id() {
            self.callers_open -= 1;
            self.outputs.push_back(Output::Completed { op_id, result });
        }
        self.retire(now, id);
    }

    /// Forgets a request whose result nobody waits for any more.
    pub(super) fn retire(&mut self, now: Micros, id: u32) {
        let open = self.open.remove(&id).expect("a request must end exactly once");
        self.open_bytes -= open.bytes();
        for conn in &open.sent_on {
            if let Some(connection) = self.connections.get_mut(conn) {
                connection.forget(id);
            }
        }
        if self.map_fetch == Some(id) {
            self.map_fetch = None;
        }
        // The request ended without success of its trial, so failover mode goes on.
        if let Some(Current { place: Place::Server { server, .. }, trial: true, .. }) = open.current
        {
            self.trial_failed(now, server);
        }
        for conn in open.sent_on {
            self.transmit_waiting(now, conn);
        }
    }

    /// Ends a request whose operation timeout has passed.
    pub(super) fn expire(&mut self, now: Micros, id: u32) {
        // The request has ended before its timer.
        let Some(open) = self.open.get(&id) else { return };
        let was_sent = open.is_outcome_open || !open.sent_on.is_empty();
        let error = match &open.work {
            _ if open.is_write() && was_sent => ClientError::OutcomeUnknown,
            Work::Question { target, .. } if self.router.is_some() => self.no_answer(*target),
            _ if self.router.is_none() => ClientError::NoMap,
            _ if open.overloads > 0 && open.current.is_none() => self.overloaded(),
            _ if !was_sent || !open.tried_ever.is_empty() => self.unavailable(&open.tried_ever),
            _ => ClientError::DeadlineExceeded,
        };
        // A server that left the request unanswered until its deadline has failed.
        if let Some(Current { place: Place::Server { server, .. }, trial, .. }) = open.current
            && matches!(open.work, Work::Operation { .. })
        {
            let failures = open.failures + 1;
            self.request(id).current = None;
            self.failed(now, server, failures, trial);
        }
        self.finish(now, id, Err(error));
    }

    pub(super) fn overloaded(&self) -> ClientError {
        ClientError::Overloaded { retry_after: self.config.attempt_timeout }
    }

    /// Starts another round after a pause, because all servers that may serve the request have been
    /// tried. The deadline ends the rounds.
    fn another_round(&mut self, now: Micros, id: u32) {
        self.request(id).tried.clear();
        self.set_timer(now + self.config.attempt_timeout / 2, Timer::Dispatch(id));
        self.doubt(now);
    }

    /// Handles an operation that no server has answered. Before the caller is told, the seeds are
    /// asked whether another cluster has replaced this one.
    pub(super) fn ended_without_answer(&mut self, now: Micros, id: u32, error: ClientError) {
        self.doubt(now);
        match self.open.get_mut(&id) {
            Some(open) if self.doubt.is_open() && !open.has_doubted => {
                open.has_doubted = true;
                open.tried.clear();
                self.unrouted.push_back(id);
            }
            _ => self.finish(now, id, Err(error)),
        }
    }

    fn admit(&self, operation: &Operation, bytes: usize) -> Result<(), ClientError> {
        let limits = self.config.limits;
        let (key, value) = (operation.key.len(), operation.action.value_bytes());
        if key > usize::from(limits.key_bytes) {
            let text = format!("the key has {key} bytes, the limit is {}", limits.key_bytes);
            return Err(ClientError::TooLarge(text));
        }
        if value > limits.value_bytes as usize {
            let text = format!("the value has {value} bytes, the limit is {}", limits.value_bytes);
            return Err(ClientError::TooLarge(text));
        }
        let ttl_s = operation.action.ttl_s();
        if ttl_s > TTL_S_MAX {
            let text = format!(
                "the lifetime is {ttl_s} s, the limit is {TTL_S_MAX} s (45 days); 0 asks for the keyspace's own"
            );
            return Err(ClientError::TooLarge(text));
        }
        if self.callers_open >= self.config.operations_max
            || self.open_bytes + bytes > self.config.operation_bytes_max.max(bytes)
        {
            return Err(self.overloaded());
        }
        Ok(())
    }

    fn place_of(&self, target: Target, question: Question, id: u32) -> Result<Place, ClientError> {
        let Some(router) = &self.router else { return Err(ClientError::NoMap) };
        let servers = &router.map().topology.servers;
        let shard = match question {
            Question::Ping { shard } | Question::Walk { shard, .. } => shard,
            Question::Stats | Question::Hot | Question::Map => 0,
        };
        let server = match target {
            Target::Master => return Ok(Place::Master),
            Target::Server(server) => server,
            Target::Any => {
                let open = self.open.get(&id);
                let tried = open.map_or(&[][..], |open| &open.tried);
                let ids = 0..u16::try_from(servers.len()).unwrap_or(u16::MAX);
                let untried = ids.into_iter().find(|server| !tried.contains(server));
                let passed = open.map_or(&[][..], |open| &open.tried_ever);
                untried.ok_or_else(|| self.nobody(question, passed))?
            }
        };
        match servers.get(usize::from(server)) {
            None => Err(ClientError::NoSuchTarget(format!("server with id {server}"))),
            Some(info) if shard >= info.shards => {
                Err(ClientError::NoSuchTarget(format!("shard {shard} at {}", info.name)))
            }
            Some(_) => Ok(Place::Server { server, shard }),
        }
    }

    fn connect(&mut self, now: Micros, place: Place, lane: u16) -> ConnId {
        self.last_conn += 1;
        let conn = ConnId(self.last_conn);
        let topology = self.router.as_ref().map(|router| &router.map().topology);
        let addr = match (place, topology) {
            (Place::Server { server, .. }, Some(topology)) => {
                topology.servers.get(usize::from(server)).map(|info| info.address)
            }
            (Place::Master, Some(topology)) => Some(topology.master),
            (Place::Seed(index), _) => self.seeds.addresses.get(index).copied(),
            (Place::Server { .. } | Place::Master, None) => None,
        };
        let timeout = self.config.connect_timeout;
        let addr = addr.expect("each place must be in the map or in the list of seeds");
        self.connections.insert(conn, Connection::new(place, addr, now));
        self.by_place.insert((place, lane), conn);
        self.outputs.push_back(Output::Connect { conn, addr, timeout });
        conn
    }

    pub(super) fn connected(&mut self, now: Micros, conn: ConnId) {
        // The engine gave the connection up before it was open.
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        if !connection.is_connecting() {
            return;
        }
        let shard = match connection.place {
            Place::Server { shard, .. } => shard,
            Place::Master | Place::Seed(_) => ANY_SHARD,
        };
        let role = if self.config.observer { Role::Observer } else { Role::Client };
        let hello = HelloBody {
            client_id: self.client_id,
            cluster_id: self.cluster_id,
            shard,
            role: role as u8,
            ..HelloBody::default()
        };
        connection.open(now, Session::new(hello, self.config.credential()));
        self.mark_unsent(conn);
    }
}
