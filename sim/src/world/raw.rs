//! Clients of other programs: they ask one server without a deadline, wait as long as it takes, and
//! some close the connection before they have an answer. Those without an id are to a server what
//! memcached's and Redis' clients are: their writes can't be recognised.

use standin_client::{Answer, ClientError, Outcome, Value as Read};
use standin_protocol::frame::{Opcode, Request, RequestHeader, Response, Status};
use standin_protocol::hello::{HelloBody, Role, cluster_id};
use standin_protocol::modify::wire;

use super::World;
use super::client::SWAP;
use super::cluster::{Cluster, KEYSPACE};
use super::events::{Event, Segment};
use super::net::Name;
use super::server::Process;
use crate::check::Asked;
use crate::origin::{Value, sent_bytes};
use crate::plan::{Act, Ask, Host};
use crate::random::mix;

/// One request of such a client.
#[derive(Debug)]
pub(crate) struct Raw {
    ask: Ask,
    id: Value,
    socket: usize,
    has_asked: bool,
    is_over: bool,
    /// The shard that has read that it has closed its connection.
    left: Option<(usize, usize)>,
}

impl Raw {
    pub(crate) fn client(&self) -> usize {
        self.ask.client
    }
}

impl World {
    /// Connects a client to a server for a request.
    pub(crate) fn ask_raw(&mut self, ask: Ask, id: Value) {
        let Ask { client, server, key, act, .. } = ask;
        let name = Name::Raw(self.raws.len());
        let from = (Host::Client(client), 0, name);
        let socket = self.net.open(&mut self.queue, self.time, from, Host::Server(server));
        let (has_asked, is_over, left) = (false, false, None);
        self.raws.push(Raw { ask, id, socket, has_asked, is_over, left });
        let (is_get, is_swap) = (act == Act::Get, act == Act::Swap);
        let (at, is_write, is_cas, dropped) = (self.time, !is_get, false, None);
        let asked = Asked { client, key, at, is_write, is_cas, is_swap, is_get, dropped };
        self.checker.asked(id, asked);
    }

    /// Lets such a client read a segment.
    pub(crate) fn raw_read(&mut self, index: usize, segment: Segment) {
        let Raw { ask, id, socket, has_asked, is_over, .. } = self.raws[index];
        let Ask { client, server, key, act, leaves, has_id } = ask;
        if is_over {
            return;
        }
        match segment {
            Segment::Opened => {
                let shard = self.cluster.topology.shard(
                    u16::try_from(server).unwrap_or(0),
                    self.cluster.topology.partition(KEYSPACE, &self.cluster.keys[key]),
                );
                let hello = HelloBody {
                    client_id: if has_id { mix(self.seed, 0x7A3 + u64::from(id)) | 1 } else { 0 },
                    cluster_id: cluster_id(&self.cluster.config.name),
                    shard,
                    role: Role::Client as u8,
                    ..HelloBody::default()
                };
                let header = RequestHeader::new(Opcode::Hello, 0, 0);
                self.raw_sends(socket, header, &[], &hello.to_bytes());
            }
            Segment::Data(bytes) if !has_asked => match Response::parse(&bytes) {
                Ok(Some(response)) if response.status == Status::Ok => {
                    self.raws[index].has_asked = true;
                    let (opcode, value) = self.raw_request(act, id);
                    let header = RequestHeader::new(opcode, self.cluster.keyspace_of(client), 1);
                    let name = Cluster::spelled(client, &self.cluster.keys[key]);
                    self.raw_sends(socket, header, &name, &value);
                    match leaves {
                        Some(0) => self.raw_leaves(index),
                        Some(later) => self.queue.push(self.time + later, Event::RawLeaves(index)),
                        None => {}
                    }
                }
                _ => self.raw_leaves(index),
            },
            Segment::Data(bytes) => {
                let Ok(Some(response)) = Response::parse(&bytes) else {
                    return self.violation(format!("nonsense for client {client}"));
                };
                let (version, ttl_s) = (response.header.cas_version, response.header.ttl_s);
                let value = || Read { bytes: response.value.to_vec(), version, ttl_s };
                let outcome = match (response.status, act) {
                    (Status::Ok, Act::Put) => Ok(Outcome::Written { version }),
                    (Status::Ok, Act::Swap) => Ok(Outcome::Modified(value())),
                    (Status::Ok, Act::Delete) => Ok(Outcome::Deleted),
                    (Status::Ok, _) => Ok(Outcome::Value(value())),
                    (Status::NotFound, _) => Ok(Outcome::NotFound),
                    (Status::OutcomeUnknown, _) => Err(ClientError::OutcomeUnknown),
                    _ => Err(ClientError::DeadlineExceeded),
                };
                let result = outcome.map(|outcome| Answer {
                    outcome,
                    served_by: u16::try_from(server).unwrap_or(0),
                    flags: response.header.flags,
                    sends: 1,
                });
                self.raws[index].is_over = true;
                self.close_end(socket, 0, Segment::End);
                self.completed(client, id, result);
            }
            Segment::Refused | Segment::End | Segment::Reset => self.raw_leaves(index),
            Segment::Open => {}
        }
    }

    /// Returns the operation of such a client, and its value.
    fn raw_request(&self, act: Act, id: Value) -> (Opcode, Vec<u8>) {
        let value = sent_bytes(id, self.setup.value_bytes);
        match act {
            Act::Get => (Opcode::Get, Vec::new()),
            Act::Put => (Opcode::Put, value),
            Act::Delete => (Opcode::Delete, Vec::new()),
            Act::Swap => {
                let operation = wire::write(&SWAP, 0).to_bytes();
                (Opcode::Modify, [&operation[..], &value].concat())
            }
            other => unreachable!("other client programs have no operation that {other}"),
        }
    }

    fn raw_sends(&mut self, socket: usize, header: RequestHeader, key: &[u8], value: &[u8]) {
        let mut frame = Vec::new();
        Request::write(header, key, value, &mut frame);
        self.net.send(&mut self.queue, self.time, socket, 0, Segment::Data(frame));
    }

    /// Closes the connection of such a client.
    pub(crate) fn raw_leaves(&mut self, index: usize) {
        if std::mem::replace(&mut self.raws[index].is_over, true) {
            return;
        }
        let (id, client) = (self.raws[index].id, self.raws[index].ask.client);
        self.close_end(self.raws[index].socket, 0, Segment::End);
        let _ = self.checker.take_asked(id);
        self.note(|| format!("client {client}: o{id} ends without an answer"));
    }

    /// Notes that a shard has read the end of a connection.
    pub(super) fn raw_is_known_to_have_left(&mut self, server: usize, shard: usize, socket: usize) {
        for raw in self.raws.iter_mut().filter(|raw| raw.socket == socket) {
            raw.left = Some((server, shard));
        }
    }

    /// Finds the writes that wait for an owner at the end of a turn before which their clients had
    /// left. They must not be sent anywhere.
    pub(super) fn look_for_abandoned(&mut self, server: usize, shard: usize, process: &Process) {
        for raw in self.raws.iter().filter(|raw| raw.left == Some((server, shard))) {
            let value = sent_bytes(raw.id, self.setup.value_bytes);
            if process.shards[shard].core.node.waits_for_owner(&value) {
                self.checker.pauses.left(server, raw.id);
            }
        }
    }
}
