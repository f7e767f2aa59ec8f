//! A client of memcached and Redis that loses nothing: every request ends, with an answer or with the reason
//! why there is none. Pure; `drive/wire.rs` moves the bytes.
//!
//! ```text
//! submit ─► placement.rs: which server ─► connection.rs ─► codec/ ─► sealed.rs, with TLS ─► Output::Send
//!             │ or cluster.rs                │  ▲              ├ text.rs, meta.rs: memcached
//!             ▲ leaves out                   │  │              └ resp.rs: Redis
//!           ejections, after failures ◄──────┘  │
//! end ◄─ Answer, or Failure ◄───────────────────┴── Input
//! ```
//! A server that can't be reached is tried again in steps of [`Settings::reconnect`]. Requests to it wait for
//! the next attempt, and fail with it: so a failure is always that of an attempt, and a closed loop does not
//! spin. A connection is closed if nothing has arrived on it for the whole timeout, or if an answer takes twice
//! that.

mod cluster;
pub mod codec;
mod connection;
mod deadlines;
mod held;
mod io;
pub mod placement;
mod sealed;
pub mod settings;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use standin_protocol::frame::response_flags;
use standin_protocol::slots::slot;
use standin_protocol::time::Micros;

use self::cluster::{Cluster, Redirect, SENDS_MAX};
use self::codec::{Reply, quoted};
use self::connection::{Connection, Ended, State};
pub use self::io::{ConnId, Input, Output};
use self::placement::Placement;
pub use self::sealed::Refusal;
use self::settings::Settings;
use super::operation::{Answer, Ending, Failure, Found, Question};
use crate::recorder::FailureKind;

/// The largest number of open requests of a client.
pub const OPEN_MAX: usize = 1 << 20;
/// The number of bytes of open requests from which on a client takes no more.
pub const OPEN_BYTES_MAX: usize = 256 << 20;

/// A server.
#[derive(Debug)]
struct Member<T> {
    connections: Vec<Connection<T>>,
    /// The connection of the next request.
    next: usize,
    /// Connections that have failed without an answer in between.
    failures: u32,
    /// It is left out until then.
    ejected: Option<Micros>,
}

impl<T> Member<T> {
    fn new(connections: u16) -> Self {
        let connections = (0..connections.max(1)).map(|_| Connection::new()).collect();
        Self { connections, next: 0, failures: 0, ejected: None }
    }

    /// The connections take turns.
    fn next(&mut self) -> (u16, &mut Connection<T>) {
        let place = self.next;
        self.next = (place + 1) % self.connections.len();
        (u16::try_from(place).unwrap_or(0), &mut self.connections[place])
    }
}

/// See the head of the file. `T` identifies a request to the caller.
#[derive(Debug)]
pub struct Engine<T> {
    settings: Settings,
    placement: Placement,
    /// In the place of the placement.
    cluster: Option<Cluster>,
    members: Vec<Member<T>>,
    outputs: VecDeque<Output>,
    /// Connections with bytes to send.
    dirty: Vec<(u16, u16)>,
    open: usize,
    open_bytes: usize,
    pipeline: usize,
    /// See [`Self::next_deadline`]; `None`: it has to be looked for.
    deadline: Option<Option<Micros>>,
    /// See [`Self::refusal`].
    refusal: Option<Refusal>,
    /// Room for what has been decrypted.
    plain: Vec<u8>,
}

impl<T> Engine<T> {
    /// A client with nothing open.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let names = settings.servers.iter().map(|server| server.name.clone()).collect();
        let connections = settings.connections;
        Self {
            cluster: settings.is_cluster.then(Cluster::new),
            placement: Placement::new(settings.distribution, settings.hash, names),
            members: settings.servers.iter().map(|_| Member::new(connections)).collect(),
            outputs: VecDeque::new(),
            dirty: Vec::new(),
            open: 0,
            open_bytes: 0,
            pipeline: settings.pipeline.map_or(usize::MAX, |pipeline| pipeline.max(1) as usize),
            deadline: None,
            refusal: None,
            plain: Vec::new(),
            settings,
        }
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The number of requests that have not ended.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open
    }

    /// Opens all connections, so that no measured request pays for it.
    pub fn connect_all(&mut self, now: Micros) {
        for server in self.servers() {
            for place in 0..self.settings.connections.max(1) {
                self.connect(now, server, place);
            }
        }
    }

    /// Whether no connection is being opened or waits for the answer to its greeting, and no node of a cluster is being asked for the first slots.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let is_unknown = self.cluster.as_ref().is_some_and(|cluster| !cluster.is_known());
        let is_pending = |connection: &Connection<T>| match connection.state {
            State::Connecting(_) => true,
            // A question that has timed out is not waited for.
            State::Open => {
                connection.greeted().is_some() || is_unknown && connection.oldest().is_some()
            }
            State::Down(_) => false,
        };
        !self.members.iter().flat_map(|member| &member.connections).any(is_pending)
    }

    /// The reason why the slots of a cluster are not known, in the words of the node that was asked; `None` if
    /// they are, if this is no cluster, or if no node has answered.
    #[must_use]
    pub fn slots_problem(&self) -> Option<&str> {
        self.cluster.as_ref().and_then(Cluster::problem)
    }

    /// Takes a request. Its end will be told by [`Self::handle`].
    ///
    /// # Errors
    /// There is no room for it.
    pub fn submit(
        &mut self,
        now: Micros,
        question: &Question<'_>,
        token: T,
    ) -> Result<(), (T, Failure)> {
        if self.open >= OPEN_MAX || self.open_bytes >= OPEN_BYTES_MAX {
            let text = format!("this client has {} open requests already", self.open);
            return Err((token, Failure { kind: FailureKind::Overloaded, text }));
        }
        let server = match &self.cluster {
            Some(cluster) => cluster.server(question.key),
            None => self.placement.server(question.key),
        };
        let (place, connection) = self.members[usize::from(server)].next();
        let bytes = connection.push(now, &self.settings, question, token, self.pipeline);
        self.open += 1;
        self.open_bytes += bytes;
        if self.deadline == Some(None) || self.cluster.is_some() {
            self.deadline = None;
        }
        self.pushed(now, server, place);
        Ok(())
    }

    /// Groups keys into requests as the usual clients do: those of a server come together, in a Redis Cluster those of a
    /// slot, because one MGET may not have keys of several. The numbers are places in `keys`.
    #[must_use]
    pub fn split(&self, keys: &[Vec<u8>]) -> Vec<Vec<usize>> {
        let mut groups: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        for (place, key) in keys.iter().enumerate() {
            let group = match &self.cluster {
                Some(_) => slot(key),
                None => self.placement.server(key),
            };
            groups.entry(group).or_default().push(place);
        }
        groups.into_values().collect()
    }

    /// Takes what has happened, and gives the ends of requests to `end`.
    pub fn handle(&mut self, now: Micros, input: Input<'_>, end: &mut impl FnMut(T, Ending<'_>)) {
        if !matches!(input, Input::Received(..)) || self.cluster.is_some() {
            self.deadline = None;
        }
        match input {
            Input::Tick => self.tick(now, end),
            Input::Connected(id) if self.is_current(id) => self.tcp_connected(now, id),
            Input::ConnectFailed(id, why) if self.is_current(id) => {
                self.connect_failed(now, id, why, end);
            }
            Input::Received(id, bytes) if self.is_current(id) => {
                self.tcp_received(now, id, bytes, end);
            }
            Input::Closed(id) if self.is_current(id) && self.is_opening(id) => {
                self.connect_failed(now, id, "it has closed the connection before TLS began", end);
            }
            Input::Closed(id) if self.is_current(id) => {
                self.lost(now, id, (FailureKind::ConnectionLost, "the connection has ended"), end);
            }
            // An event of a socket that was given up.
            Input::Connected(_)
            | Input::ConnectFailed(..)
            | Input::Received(..)
            | Input::Closed(_) => {}
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        while let Some((server, place)) = self.dirty.pop() {
            let connection = &mut self.members[usize::from(server)].connections[usize::from(place)];
            let bytes = connection.take_output();
            if !bytes.is_empty() {
                let incarnation = connection.incarnation;
                return Some(Output::Send(ConnId { server, place, incarnation }, bytes));
            }
        }
        self.outputs.pop_front()
    }

    /// The connection is open, with its TLS.
    fn opened(&mut self, now: Micros, id: ConnId) {
        self.deadline = None;
        let connection =
            &mut self.members[usize::from(id.server)].connections[usize::from(id.place)];
        connection.connected(now, &self.settings);
        connection.release(self.pipeline);
        self.mark_dirty(id.server, id.place);
        self.ask_slots(now);
    }

    fn received(
        &mut self,
        now: Micros,
        id: ConnId,
        bytes: &[u8],
        end: &mut impl FnMut(T, Ending<'_>),
    ) {
        let member = &mut self.members[usize::from(id.server)];
        let name = &self.settings.servers[usize::from(id.server)].name;
        let (mut answers, mut ended_bytes, mut refused) = (0, 0, None);
        let (mut redirects, mut slots, mut problem) = (Vec::new(), None, None);
        let is_cluster = self.cluster.is_some();
        let connection = &mut member.connections[usize::from(id.place)];
        let result =
            connection.receive(now, self.settings.protocol, bytes, |ended, bytes| match ended {
                Ended::Request(sent, reply) => {
                    if let Reply::Error(text) = reply
                        && is_cluster
                        && sent.sends < SENDS_MAX
                        && let Some(redirect) = Redirect::of(text, name)
                    {
                        return redirects.push((sent, redirect, bytes));
                    }
                    answers += 1;
                    ended_bytes += bytes;
                    let protocol = self.settings.protocol;
                    let Reply::Many(bytes) = reply else {
                        return end(sent.token, ending(id.server, name, reply, sent.sends));
                    };
                    match protocol.values(&sent.keys, bytes) {
                        Ok(values) => {
                            let (found, sends) = (Found::Many(&values), sent.sends);
                            let (flags, server) = (0, id.server);
                            end(sent.token, Ok(Answer { found, flags, server, sends }));
                        }
                        Err(malformed) => {
                            let why = (FailureKind::Protocol, malformed.0.as_ref());
                            end(sent.token, Err(failure(name, why)));
                        }
                    }
                }
                Ended::Slots(Reply::Array(array)) => slots = Some(array.to_vec()),
                Ended::Slots(Reply::Error(text)) => {
                    problem = Some(format!("{name} answers CLUSTER SLOTS with {}", quoted(text)));
                }
                // It is asked again.
                Ended::Slots(_) => {}
                Ended::Refused(text) => refused = Some(quoted(text)),
            });
        if result.is_ok() {
            connection.release(self.pipeline);
        }
        self.open -= answers;
        self.open_bytes -= ended_bytes;
        if answers > 0 || !redirects.is_empty() {
            member.failures = 0;
        }
        if let (Some(problem), Some(cluster)) = (problem, &mut self.cluster) {
            cluster.not_learned(problem);
        }
        if let Some(array) = slots {
            self.learn(now, id.server, &array);
        }
        for (sent, redirect, bytes) in redirects {
            let text = format!("{redirect:?} is no IP address, or that of a node too many");
            if let Err(sent) = self.redirect(now, sent, redirect) {
                self.open -= 1;
                self.open_bytes -= bytes;
                end(sent.token, Err(Failure { kind: FailureKind::ServerError, text }));
            }
        }
        self.ask_slots(now);
        if let Some(text) = refused {
            self.outputs.push_back(Output::Close(id));
            let why = format!("the connection was refused: {text}");
            let name = self.settings.servers[usize::from(id.server)].name.clone();
            self.refusal.get_or_insert(Refusal::Login { server: name, text });
            self.lost(now, id, (FailureKind::ServerError, &why), end);
            self.drop_held(id, (FailureKind::ServerError, &why), end);
        } else if let Err(malformed) = result {
            self.outputs.push_back(Output::Close(id));
            self.lost(now, id, (FailureKind::Protocol, &malformed.0), end);
        } else {
            self.mark_dirty(id.server, id.place);
        }
    }

    /// A socket is gone. What was sent on it has failed; what was not waits for the next one.
    fn lost(
        &mut self,
        now: Micros,
        id: ConnId,
        why: (FailureKind, &str),
        end: &mut impl FnMut(T, Ending<'_>),
    ) {
        self.deadline = None;
        let member = &mut self.members[usize::from(id.server)];
        let connection = &mut member.connections[usize::from(id.place)];
        let name = &self.settings.servers[usize::from(id.server)].name;
        let was_idle = connection.is_idle();
        let (mut ended, mut ended_bytes) = (0, 0);
        for (token, bytes) in connection.closed(now + self.settings.reconnect) {
            ended += 1;
            ended_bytes += bytes;
            end(token, Err(failure(name, why)));
        }
        self.open -= ended;
        self.open_bytes -= ended_bytes;
        // A server may close what nobody uses.
        if !was_idle {
            self.failed(now, id.server);
        }
    }

    fn connect_failed(
        &mut self,
        now: Micros,
        id: ConnId,
        why: &str,
        end: &mut impl FnMut(T, Ending<'_>),
    ) {
        self.deadline = None;
        let why = (FailureKind::ConnectFailed, why);
        let member = &mut self.members[usize::from(id.server)];
        let connection = &mut member.connections[usize::from(id.place)];
        let none_sent = connection.closed(now + self.settings.reconnect).next().is_none();
        assert!(none_sent, "nothing is sent before a connection is open");
        self.drop_held(id, why, end);
        self.failed(now, id.server);
    }

    fn drop_held(
        &mut self,
        id: ConnId,
        why: (FailureKind, &str),
        end: &mut impl FnMut(T, Ending<'_>),
    ) {
        let name = &self.settings.servers[usize::from(id.server)].name;
        let member = &mut self.members[usize::from(id.server)];
        for (token, bytes) in member.connections[usize::from(id.place)].give_up() {
            self.open -= 1;
            self.open_bytes -= bytes;
            end(token, Err(failure(name, why)));
        }
    }

    /// A connection of this server has failed.
    fn failed(&mut self, now: Micros, server: u16) {
        if let Some(cluster) = &mut self.cluster {
            cluster.doubt();
        }
        let member = &mut self.members[usize::from(server)];
        member.failures += 1;
        if let Some(ejection) = self.settings.ejection
            && member.failures >= ejection.failures
        {
            (member.failures, member.ejected) = (0, Some(now + ejection.retry));
            self.place();
        }
    }

    fn place(&mut self) {
        let members = &self.members;
        self.placement.set_used(|server| members[usize::from(server)].ejected.is_none());
    }

    /// A request was given to this connection.
    fn pushed(&mut self, now: Micros, server: u16, place: u16) {
        let connection = &self.members[usize::from(server)].connections[usize::from(place)];
        match connection.state {
            State::Open => self.mark_dirty(server, place),
            State::Down(again) if again <= now => self.connect(now, server, place),
            // It is sent when the connection is open.
            State::Down(_) | State::Connecting(_) => self.deadline = None,
        }
    }

    fn connect(&mut self, now: Micros, server: u16, place: u16) {
        let connection = &mut self.members[usize::from(server)].connections[usize::from(place)];
        connection.connecting(now);
        self.deadline = None;
        let address = self.settings.servers[usize::from(server)].address;
        self.outputs.push_back(Output::Connect(self.id(server, place), address));
    }

    fn mark_dirty(&mut self, server: u16, place: u16) {
        if self.dirty.last() != Some(&(server, place)) && !self.dirty.contains(&(server, place)) {
            self.dirty.push((server, place));
        }
    }

    fn id(&self, server: u16, place: u16) -> ConnId {
        let connection = &self.members[usize::from(server)].connections[usize::from(place)];
        ConnId { server, place, incarnation: connection.incarnation }
    }

    fn is_current(&self, id: ConnId) -> bool {
        self.id(id.server, id.place) == id
    }

    fn servers(&self) -> std::ops::Range<u16> {
        0..u16::try_from(self.members.len()).unwrap_or(u16::MAX)
    }
}

fn ending<'a>(server: u16, name: &str, reply: Reply<'a>, sends: u32) -> Ending<'a> {
    let (found, flags) = match reply {
        Reply::Value(value) => (Found::Value(value), response_flags::HIT),
        Reply::Absent => (Found::Absent, 0),
        Reply::Exists => (Found::Exists, 0),
        Reply::Versioned(value, version) => (Found::Versioned(value, version), response_flags::HIT),
        Reply::Number(number) => (Found::Number(number), 0),
        Reply::Done | Reply::Array(_) | Reply::Many(_) | Reply::Push => (Found::Done, 0),
        Reply::Error(text) => {
            return Err(failure(name, (FailureKind::ServerError, &quoted(text))));
        }
    };
    Ok(Answer { found, flags, server, sends })
}

fn failure(name: &str, (kind, why): (FailureKind, &str)) -> Failure {
    Failure { kind, text: format!("{name}: {why}") }
}
