//! A client's process: the shipped engine, and a caller that follows the plan.

use std::collections::BTreeMap;

use standin_client::engine::{ConnId, Engine, Input, Output};
use standin_client::modify::{Edit, Gives, Modify, Ttl};
use standin_client::{Action, Bootstrap, ClientConfig, ClientEvent, Modification, Operation};

use super::cluster::{Cluster, address, host_at};
use super::events::{Actor, Pace, Segment};
use super::net::Name;
use super::transactions::Seen;
use super::{Answered, World};
use crate::check::Asked;
use crate::clock::Clock;
use crate::flags::in_words;
use crate::origin::{Value, sent_bytes, sent_value, stored_value};
use crate::plan::{Act, Host};
use crate::random::mix;

/// A machine with a client on it.
pub(crate) struct ClientHost {
    pub(crate) clock: Clock,
    pub(crate) engine: Engine,
    pub(crate) pace: Pace,
    sockets: BTreeMap<ConnId, usize>,
    /// The version last seen of each key, for CAS.
    versions: Vec<u64>,
    /// What was last seen of each pair of keys, for transactions.
    pub(super) seen: Vec<Option<Seen>>,
    pub(crate) events: Events,
}

/// The counts of events in a client.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Events {
    pub(crate) failovers: u64,
    pub(crate) trials: u64,
    pub(crate) trials_failed: u64,
    pub(crate) left_by_trial: u64,
    pub(crate) left_by_map: u64,
    pub(crate) verdicts_online: u64,
    pub(crate) verdicts_offline: u64,
    pub(crate) maps: u64,
    pub(crate) topologies: u64,
}

impl ClientHost {
    pub(crate) fn new(cluster: &Cluster, seed: u64, client: usize, clock: Clock) -> Self {
        let identity = mix(seed, 0xC11E + client as u64);
        let servers = cluster.topology.servers.iter();
        let bootstrap = match mix(identity, 1) % 6 {
            0 | 3 => Bootstrap::Seeds(servers.map(|server| server.address).collect()),
            // Not in the schedules written by hand, which have small seeds and depend on
            // microseconds.
            1 if seed >= 1_000 => Bootstrap::Config(cluster.outdated.clone()),
            _ => Bootstrap::Config(cluster.topology.clone()),
        };
        let config = ClientConfig::from(&*cluster.config);
        Self {
            clock,
            engine: Engine::new(config, bootstrap, identity, mix(identity, 2)),
            pace: Pace::default(),
            sockets: BTreeMap::new(),
            versions: vec![0; cluster.keys.len()],
            seen: vec![None; cluster.keys.len()],
            events: Events::default(),
        }
    }
}

/// Replaces the value, and returns the one before.
pub(super) const SWAP: Modify =
    Modify { gives: Gives::Old, ttl: Ttl::Keyspace, ..Modify::new(Edit::Set) };

impl World {
    /// Begins an operation of a caller.
    pub(crate) fn act(&mut self, client: usize, key: usize, act: Act, id: Value) {
        if act == Act::Behind && !self.setup.without_database {
            self.origin.changed_behind(self.time, key, id);
            return self.note(|| format!("the database: k{key} is v{id}"));
        }
        if let Act::Transact(written) = act {
            return self.transact(client, key, written, id);
        }
        let value = sent_bytes(id, self.setup.value_bytes);
        let version = self.clients[client].versions[key];
        let action = match act {
            Act::Get => Action::Get,
            Act::Put => Action::Put { value, ttl_s: 0 },
            Act::Delete => Action::Delete,
            Act::Cas if version == 0 => Action::Get,
            Act::Cas => Action::Cas { version, value, ttl_s: 0 },
            Act::Swap => Action::Modify(Modification::new(&SWAP, &value, 0)),
            Act::Transact(_) => unreachable!("it has begun"),
            Act::Touch => Action::Touch { ttl_s: 0 },
            Act::Invalidate => Action::Invalidate,
            // There is nothing behind the cache if there is no database.
            Act::Flush | Act::Behind => Action::Flush,
        };
        let is_swap = matches!(action, Action::Modify(_));
        let is_write =
            is_swap || matches!(action, Action::Put { .. } | Action::Cas { .. } | Action::Delete);
        let is_cas = matches!(action, Action::Cas { .. });
        let is_get = action == Action::Get;
        let is_drop = matches!(action, Action::Invalidate | Action::Flush);
        let dropped = is_drop.then(|| self.origin.history[key].len() - 1);
        let at = self.time;
        let asked = Asked { client, key, at, is_write, is_cas, is_swap, is_get, dropped };
        self.checker.asked(id, asked);
        let name = &self.cluster.keys[key];
        let key = match action {
            Action::Flush => self.cluster.flush_key(name),
            _ => Cluster::spelled(client, name),
        };
        let keyspace = self.cluster.keyspace_of(client);
        let operation = Operation { keyspace, key, action };
        self.client_turn(client, Input::Submit { op_id: u64::from(id), operation });
    }

    pub(crate) fn client_turn(&mut self, client: usize, input: Input<'_>) {
        let now = self.clients[client].clock.local(self.time);
        self.clients[client].engine.handle(now, input);
        while let Some(output) = self.clients[client].engine.poll() {
            self.client_wants(client, output);
        }
        let host = &self.clients[client];
        let epoch = host.engine.map().map(|map| map.epoch);
        if let Some(due) = host.engine.next_deadline() {
            let due = host.clock.when(due);
            self.wake(Actor::Client(client), due);
        }
        if let Err(wrong) = self.checker.client_map(client, epoch) {
            self.violation(wrong);
        }
    }

    fn client_wants(&mut self, client: usize, output: Output) {
        match output {
            Output::Connect { conn, addr, .. } => {
                let Some(to) = host_at(addr) else { return };
                let to = self.redirected(Host::Client(client), to);
                let from = (Host::Client(client), 0, Name::Engine(conn.0));
                let socket = self.net.open(&mut self.queue, self.time, from, to);
                self.clients[client].sockets.insert(conn, socket);
            }
            Output::Send { conn, bytes } => {
                let Some(&socket) = self.clients[client].sockets.get(&conn) else { return };
                self.net.send(&mut self.queue, self.time, socket, 0, Segment::Data(bytes));
            }
            Output::Close { conn } => {
                if let Some(socket) = self.clients[client].sockets.remove(&conn) {
                    self.close_end(socket, 0, Segment::End);
                }
            }
            Output::Datagram { to, bytes } => {
                let Some(to) = host_at(to) else { return };
                let to = self.redirected(Host::Client(client), to);
                let host = Host::Client(client);
                let from = (host, address(host));
                self.net.datagram(&mut self.queue, self.time, from, to, bytes);
            }
            Output::Completed { op_id, result } => {
                let id = Value::try_from(op_id).unwrap_or(0);
                self.completed(client, id, result);
            }
            Output::Event(event) => self.client_event(client, &event),
        }
    }

    pub(super) fn completed(
        &mut self,
        client: usize,
        id: Value,
        result: Result<standin_client::Answer, standin_client::ClientError>,
    ) {
        use standin_client::Outcome;
        if let Some(of) = self.checker.take_transaction(id) {
            return self.transacted(client, id, &of, &result);
        }
        let Some(asked) = self.checker.take_asked(id) else {
            return self.violation(format!("operation {id} of client {client} ended twice"));
        };
        let version = match result.as_ref().map(|answer| &answer.outcome) {
            Ok(Outcome::Value(value)) => value.version,
            Ok(Outcome::Written { version } | Outcome::Mismatch { version }) => *version,
            _ => 0,
        };
        if version != 0 {
            self.clients[client].versions[asked.key] = version;
        }
        let from = |answer: &standin_client::Answer| {
            let by = answer.served_by;
            format!("server {}", crate::plan::letter(by.into()))
        };
        if self.is_told {
            let by = result.as_ref().ok().map(|answer| usize::from(answer.served_by));
            let (key, asked_at, ended) = (asked.key, asked.at, self.time);
            self.answers.push(Answered { key, asked: asked_at, ended, by });
            let what = match &result {
                Ok(answer) => {
                    let outcome = describe(&answer.outcome, id);
                    format!("{outcome} ({}{})", from(answer), in_words(answer.flags))
                }
                Err(error) => format!("failed: {error:?}"),
            };
            let text = format!(
                "client {client}: o{id} of k{}, asked {} ms ago: {what}",
                asked.key,
                (self.time - asked.at) / 1_000
            );
            self.note(|| text);
        }
        let Self { checker, servers, origin, time, .. } = self;
        let executors = |identity| {
            let running = servers.iter().filter_map(|server| server.process.as_ref());
            let executed =
                running.map(|process| Some(usize::from(process.has_executed(identity)?)));
            executed.sum()
        };
        if let Err(wrong) = checker.completed(*time, id, asked, &result, origin, &executors) {
            self.violation(wrong);
        }
    }

    fn client_event(&mut self, client: usize, event: &ClientEvent) {
        let events = &mut self.clients[client].events;
        match event {
            ClientEvent::EnteredFailover { .. } => events.failovers += 1,
            ClientEvent::Trial { .. } => events.trials += 1,
            ClientEvent::TrialFailed { .. } => events.trials_failed += 1,
            ClientEvent::LeftFailover { by_map: false, .. } => events.left_by_trial += 1,
            ClientEvent::LeftFailover { by_map: true, .. } => events.left_by_map += 1,
            ClientEvent::MapApplied { .. } => events.maps += 1,
            ClientEvent::Verdict { state, .. } => match state {
                standin_protocol::map::ServerState::Online => events.verdicts_online += 1,
                _ => events.verdicts_offline += 1,
            },
            ClientEvent::TopologyDiffers { .. } => events.topologies += 1,
            ClientEvent::Reported { .. } | ClientEvent::MapRefused { .. } => {}
        }
        self.note(|| format!("client {client}: {event:?}"));
    }

    /// Lets a client read a segment.
    pub(crate) fn client_read(&mut self, client: usize, socket: usize, segment: Segment) {
        let name = self.net.sockets[socket].ends[0].name;
        if let Name::Raw(index) = name {
            return self.raw_read(index, segment);
        }
        let Name::Engine(conn) = name else { return };
        let conn = ConnId(conn);
        match segment {
            Segment::Opened => self.client_turn(client, Input::Connected(conn)),
            Segment::Refused => {
                self.clients[client].sockets.remove(&conn);
                self.client_turn(client, Input::ConnectFailed(conn));
            }
            Segment::Data(bytes) => self.client_turn(client, Input::Received(conn, &bytes)),
            Segment::End | Segment::Reset => {
                self.clients[client].sockets.remove(&conn);
                self.close_end(socket, 0, Segment::End);
                self.client_turn(client, Input::Closed(conn));
            }
            Segment::Open => {}
        }
    }
}

fn describe(outcome: &standin_client::Outcome, id: Value) -> String {
    use standin_client::Outcome;
    match outcome {
        Outcome::Value(value) => match stored_value(&value.bytes).or(sent_value(&value.bytes)) {
            Some(value) => format!("read v{value}"),
            None => "read nonsense".to_owned(),
        },
        Outcome::Written { .. } => format!("wrote v{id}"),
        Outcome::Modified(old) => {
            let old = stored_value(&old.bytes).or(sent_value(&old.bytes));
            let old = old.map_or("nothing".to_owned(), |old| format!("v{old}"));
            format!("replaced {old} by v{id}")
        }
        Outcome::NotFound => "found nothing".to_owned(),
        other => format!("{other:?}"),
    }
}
