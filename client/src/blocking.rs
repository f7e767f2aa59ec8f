//! The client for plain threads: for the command line, and for programs without an event loop. Each
//! call runs a `poll(2)` loop. Nothing runs between calls.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use standin_protocol::body::{PingReply, StatsReply};
use standin_protocol::control::DATAGRAM_BYTES_MAX;
use standin_protocol::hot::HotReply;
use standin_protocol::map::{ClusterMap, Topology};
use standin_protocol::modify::Modify;
use standin_protocol::time::Micros;

use crate::config::{Bootstrap, ClientConfig};
use crate::engine::{ConnId, Engine, Input, Output};
use crate::event::ClientEvent;
use crate::facade::{self, CasOutcome, Flushed, ModifyOutcome};
use crate::ids::Map;
use crate::operation::{
    Action, Answer, ClientError, Modification, Operation, Question, Target, Value,
};
use crate::socket;
use crate::topology::differences;

const READ_BYTES: usize = 64 << 10;
/// The largest number of events that are kept until they are taken. The oldest are dropped first.
const EVENTS_MAX: usize = 1_024;

/// Returns the topology of the cluster that a cluster file leads to, and a description of the
/// differences if the file differs. If no server answers, returns the file's topology.
///
/// # Errors
/// If the system has no random numbers.
pub fn discover(
    config: ClientConfig,
    file: Arc<Topology>,
) -> io::Result<(Arc<Topology>, Option<String>)> {
    let mut client = Client::new(config, Bootstrap::Config(Arc::clone(&file)))?;
    // No party answers, so the file's topology is used.
    let Ok(map) = client.map(Target::Any) else { return Ok((file, None)) };
    let topology = Arc::clone(&map.topology);
    let how = (file.id != topology.id).then(|| differences(&file, &topology));
    Ok((topology, how))
}

/// A client of a cluster, for one thread.
pub struct Client {
    engine: Engine,
    attempt_timeout: Duration,
    connections: BTreeMap<ConnId, Connection>,
    notice_socket: Option<UdpSocket>,
    last_op: u64,
    ended: Map<u64, Result<Answer, ClientError>>,
    events: VecDeque<(Micros, ClientEvent)>,
    buffer: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    is_connected: bool,
    outbound: Vec<u8>,
    written: usize,
}

impl Client {
    /// Creates a client. Connections are opened when they are needed.
    ///
    /// # Errors
    /// If the system has no random numbers, or a file of `[tls]` can't be used.
    pub fn new(config: ClientConfig, bootstrap: Bootstrap) -> io::Result<Self> {
        let (client_id, seed) = socket::identity()?;
        Ok(Self {
            attempt_timeout: config.attempt_timeout,
            engine: Engine::start(config, bootstrap, client_id, seed)?,
            connections: BTreeMap::new(),
            notice_socket: None,
            last_op: 0,
            ended: Map::default(),
            events: VecDeque::new(),
            buffer: vec![0; READ_BYTES.max(DATAGRAM_BYTES_MAX)],
        })
    }

    /// Returns the events since the last call, oldest first. At most the last 1,024 are kept.
    pub fn take_events(&mut self) -> Vec<(Micros, ClientEvent)> {
        self.events.drain(..).collect()
    }

    /// Runs any operation, and returns everything that is known about its result.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn run(&mut self, operation: Operation) -> Result<Answer, ClientError> {
        let op_id = self.submit(operation);
        self.wait(op_id)
    }

    /// Reads a value. Returns `None` if there is no such row.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn get(&mut self, keyspace: u8, key: &[u8]) -> Result<Option<Value>, ClientError> {
        facade::value(self.run(facade::operation(keyspace, key, Action::Get)))
    }

    /// Reads many values at once. The requests to a shard are sent in one write, and answers are
    /// taken as they arrive. The results are in the order of the keys.
    pub fn get_many<K: AsRef<[u8]>>(
        &mut self,
        keyspace: u8,
        keys: &[K],
    ) -> Vec<Result<Option<Value>, ClientError>> {
        let get = |key: &K| self.submit(facade::operation(keyspace, key.as_ref(), Action::Get));
        let op_ids: Vec<u64> = keys.iter().map(get).collect();
        op_ids.into_iter().map(|op_id| facade::value(self.wait(op_id))).collect()
    }

    /// Writes a value through to the origin, and returns its version. A `ttl_s` of 0 means the
    /// lifetime of the keyspace.
    ///
    /// # Errors
    /// [`ClientError`]. After `OutcomeUnknown` the value may have been written.
    pub fn put(
        &mut self,
        keyspace: u8,
        key: &[u8],
        value: Vec<u8>,
        ttl_s: u32,
    ) -> Result<u64, ClientError> {
        let put = facade::operation(keyspace, key, Action::Put { value, ttl_s });
        facade::written(self.run(put))
    }

    /// Deletes a row. Returns false if there was none.
    ///
    /// # Errors
    /// [`ClientError`]. After `OutcomeUnknown` the row may have been deleted.
    pub fn delete(&mut self, keyspace: u8, key: &[u8]) -> Result<bool, ClientError> {
        facade::deleted(self.run(facade::operation(keyspace, key, Action::Delete)))
    }

    /// Writes a value if `version` is still current.
    ///
    /// # Errors
    /// [`ClientError`]. After `OutcomeUnknown` the value may have been written.
    pub fn cas(
        &mut self,
        keyspace: u8,
        key: &[u8],
        version: u64,
        value: Vec<u8>,
        ttl_s: u32,
    ) -> Result<CasOutcome, ClientError> {
        let cas = facade::operation(keyspace, key, Action::Cas { version, value, ttl_s });
        facade::swapped(self.run(cas))
    }

    /// Reads, changes and writes a value in one step at its owner: `modify` says how, and `operand`
    /// is what it puts there.
    ///
    /// # Errors
    /// [`ClientError`]. After `OutcomeUnknown` it may have been executed, and is not repeated.
    pub fn modify(
        &mut self,
        keyspace: u8,
        key: &[u8],
        modify: &Modify,
        operand: &[u8],
    ) -> Result<ModifyOutcome, ClientError> {
        let action = Action::Modify(Modification::new(modify, operand, 0));
        facade::modified(self.run(facade::operation(keyspace, key, action)))
    }

    /// Gives a cached value a new lifetime, and returns the lifetime. Returns `None` if there is no
    /// such row.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn touch(
        &mut self,
        keyspace: u8,
        key: &[u8],
        ttl_s: u32,
    ) -> Result<Option<u32>, ClientError> {
        facade::touched(self.run(facade::operation(keyspace, key, Action::Touch { ttl_s })))
    }

    /// Drops the cached value. The origin is not changed.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn invalidate(&mut self, keyspace: u8, key: &[u8]) -> Result<(), ClientError> {
        facade::invalidated(self.run(facade::operation(keyspace, key, Action::Invalidate)))
    }

    /// Drops many cached values. The origin is not changed. The results are in the order of the
    /// keys.
    pub fn invalidate_many<K: AsRef<[u8]>>(
        &mut self,
        keyspace: u8,
        keys: &[K],
    ) -> Vec<Result<(), ClientError>> {
        let operation = |key: &K| facade::operation(keyspace, key.as_ref(), Action::Invalidate);
        let ended = self.run_many(keys.iter().map(operation).collect());
        ended.into_iter().map(facade::invalidated).collect()
    }

    /// Drops a keyspace from all caches of the cluster. The origin is not changed. After a complete
    /// flush, reads return values that were read from the database after the call began (in mode
    /// `available`, within its bound).
    ///
    /// # Errors
    /// [`ClientError`] if the cluster's partitions are not known; otherwise see [`Flushed`].
    pub fn flush(&mut self, keyspace: u8) -> Result<Flushed, ClientError> {
        let map = match self.map_in_force() {
            Some(map) => map,
            None => self.map(Target::Any)?,
        };
        let flushes = facade::flushes(keyspace, &map.topology);
        Ok(facade::flushed(self.run_many(flushes)))
    }

    /// Runs any number of operations, with a bounded number at a time. The results are in the order
    /// of the operations.
    fn run_many(&mut self, operations: Vec<Operation>) -> Vec<Result<Answer, ClientError>> {
        let mut under_way = VecDeque::new();
        let mut ended = Vec::with_capacity(operations.len());
        for operation in operations {
            if under_way.len() == facade::WINDOW
                && let Some(op_id) = under_way.pop_front()
            {
                ended.push(self.wait(op_id));
            }
            under_way.push_back(self.submit(operation));
        }
        ended.extend(under_way.into_iter().map(|op_id| self.wait(op_id)).collect::<Vec<_>>());
        ended
    }

    /// Pings a shard.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn ping(&mut self, target: Target, shard: u16) -> Result<PingReply, ClientError> {
        facade::ping(self.ask(target, Question::Ping { shard }))
    }

    /// Reads a party's counters.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn stats(&mut self, target: Target) -> Result<StatsReply, ClientError> {
        facade::stats(self.ask(target, Question::Stats))
    }

    /// Reads the keys that a server is asked for most.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn hot(&mut self, target: Target) -> Result<HotReply, ClientError> {
        facade::hot(self.ask(target, Question::Hot))
    }

    /// Reads the map that a party has. [`Self::map_in_force`] returns the map of this client.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn map(&mut self, target: Target) -> Result<Arc<ClusterMap>, ClientError> {
        facade::map(self.ask(target, Question::Map))
    }

    /// Returns the map by which this client routes, once it has one.
    #[must_use]
    pub fn map_in_force(&self) -> Option<Arc<ClusterMap>> {
        self.engine.map().cloned()
    }

    /// Waits, for one attempt timeout at most, for a newer map that a reply has named. A program
    /// that ends after one operation would otherwise not learn that the cluster differs from its
    /// file ([`ClientEvent::TopologyDiffers`]).
    pub fn wait_for_map(&mut self) {
        let until = Micros::boottime() + self.attempt_timeout;
        while self.engine.is_fetching_map() {
            let left = until.since(Micros::boottime());
            if left.is_zero() {
                return;
            }
            self.turn(Some(left));
        }
    }

    fn submit(&mut self, operation: Operation) -> u64 {
        self.begin(|op_id| Input::Submit { op_id, operation })
    }

    fn ask(&mut self, target: Target, question: Question) -> Result<Answer, ClientError> {
        let op_id = self.begin(|op_id| Input::Ask { op_id, target, question });
        self.wait(op_id)
    }

    fn begin<'i>(&mut self, input: impl FnOnce(u64) -> Input<'i>) -> u64 {
        // Connections may have been closed since the last call.
        if self.engine.open_operations() == 0 {
            self.turn(Some(Duration::ZERO));
        }
        self.last_op += 1;
        self.engine.handle(Micros::boottime(), input(self.last_op));
        self.last_op
    }

    fn wait(&mut self, op_id: u64) -> Result<Answer, ClientError> {
        loop {
            self.carry_out();
            if let Some(result) = self.ended.remove(&op_id) {
                return result;
            }
            self.turn(None);
        }
    }

    /// Waits until a socket is ready, until the engine's deadline, or for `limit`.
    fn turn(&mut self, limit: Option<Duration>) {
        let now = Micros::boottime();
        let due = self.engine.next_deadline().map(|due| due.since(now));
        let timeout = limit.into_iter().chain(due).min();
        for (ready, flags) in self.poll_sockets(timeout) {
            match ready {
                Some(conn) => self.serve(conn, flags),
                None => self.receive_notices(),
            }
        }
        // The clock is read after the bytes were received, because otherwise a late tick could
        // overtake them.
        let now = Micros::boottime();
        if self.engine.next_deadline().is_some_and(|due| due <= now) {
            self.engine.handle(now, Input::Tick);
        }
        self.carry_out();
    }

    fn poll_sockets(&self, timeout: Option<Duration>) -> Vec<(Option<ConnId>, PollFlags)> {
        let mut names = Vec::new();
        let mut polled = Vec::new();
        for (conn, connection) in &self.connections {
            let is_writing = !connection.is_connected || !connection.outbound.is_empty();
            let flags = if is_writing { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            names.push(Some(*conn));
            polled.push(PollFd::new(&connection.stream, flags));
        }
        if let Some(socket) = &self.notice_socket {
            names.push(None);
            polled.push(PollFd::new(socket, PollFlags::IN));
        }
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        // The call was interrupted, or there was no memory. Nothing is ready, and the caller tries
        // again.
        if poll(&mut polled, timeout.as_ref()).is_err() {
            return Vec::new();
        }
        let flags = polled.iter().map(PollFd::revents);
        names.into_iter().zip(flags).filter(|(_, flags)| !flags.is_empty()).collect()
    }

    fn serve(&mut self, conn: ConnId, flags: PollFlags) {
        // Handling an earlier connection of the same wake-up may have ended this one.
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        if !connection.is_connected {
            return match socket::connect_result(connection.stream.as_fd()) {
                Ok(()) => {
                    connection.is_connected = true;
                    self.engine.handle(Micros::boottime(), Input::Connected(conn));
                }
                Err(_) => {
                    self.connections.remove(&conn);
                    self.engine.handle(Micros::boottime(), Input::ConnectFailed(conn));
                }
            };
        }
        let result = if flags == PollFlags::OUT {
            connection.write()
        } else {
            match connection.stream.read(&mut self.buffer) {
                Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    let input = Input::Received(conn, &self.buffer[..count]);
                    self.engine.handle(Micros::boottime(), input);
                    connection.write()
                }
                Err(error) if is_temporary(&error) => connection.write(),
                Err(error) => Err(error),
            }
        };
        if result.is_err() {
            self.connections.remove(&conn);
            self.engine.handle(Micros::boottime(), Input::Closed(conn));
        }
    }

    fn receive_notices(&mut self) {
        // Only one datagram is read per turn. An error (no process listens at the master's port) is
        // consumed too.
        if let Some(Ok(count)) = self.notice_socket.as_ref().map(|s| s.recv(&mut self.buffer)) {
            self.engine.handle(Micros::boottime(), Input::Datagram(&self.buffer[..count]));
        }
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Connect { conn, addr, .. } => {
                    match socket::start_connect(addr, self.engine.unsent_max()) {
                        Ok(socket) => {
                            let connection = Connection {
                                stream: socket.into(),
                                is_connected: false,
                                outbound: Vec::new(),
                                written: 0,
                            };
                            self.connections.insert(conn, connection);
                        }
                        Err(_) => {
                            self.engine.handle(Micros::boottime(), Input::ConnectFailed(conn))
                        }
                    }
                }
                Output::Send { conn, bytes } => {
                    // The connection ended while an earlier output was carried out, and the engine
                    // has been told.
                    let Some(connection) = self.connections.get_mut(&conn) else { continue };
                    connection.outbound.extend_from_slice(&bytes);
                    if connection.write().is_err() {
                        self.connections.remove(&conn);
                        self.engine.handle(Micros::boottime(), Input::Closed(conn));
                    }
                }
                Output::Close { conn } => drop(self.connections.remove(&conn)),
                Output::Datagram { to, bytes } => self.send_notice(to, &bytes),
                Output::Completed { op_id, result } => drop(self.ended.insert(op_id, result)),
                Output::Event(event) => {
                    if self.events.len() == EVENTS_MAX {
                        self.events.pop_front();
                    }
                    self.events.push_back((Micros::boottime(), event));
                }
            }
        }
    }

    fn send_notice(&mut self, to: SocketAddr, bytes: &[u8]) {
        if self.notice_socket.is_none() {
            let socket = socket::notice_socket(to);
            let socket = socket.and_then(|s| s.set_nonblocking(true).map(|()| s));
            match socket {
                Ok(socket) => self.notice_socket = Some(socket),
                Err(error) => tracing::warn!(%error, %to, "no socket for notices"),
            }
        }
        if let Some(socket) = &self.notice_socket {
            // The datagram may be lost, because only the verdict matters.
            let _ = socket.send(bytes);
        }
    }
}

impl Connection {
    /// Writes as many bytes as the socket accepts.
    fn write(&mut self) -> io::Result<()> {
        while self.written < self.outbound.len() {
            match self.stream.write(&self.outbound[self.written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if is_temporary(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.outbound.clear();
        self.written = 0;
        Ok(())
    }
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
