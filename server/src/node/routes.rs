//! What clients that find the owner of a key by themselves are told: which shard of which server to ask
//! for each partition. This only routes. Whoever is asked answers by the table in docs/FAILOVER.md.
//!
//! Clients of Redis Cluster ask for all routes when they begin, and again when a server does not answer
//! them. They report that to nobody, so this is the moment to find out: every server that is said to be
//! online is pinged, and one that does not answer is reported to the master. The routes are given when
//! all have answered and the master has decided, so that a client does not return to a dead server.
//!
//! ```text
//! Node::routes   ─► pings ─► verdicts, a new map ─► answer      after `park_max` in any case
//! Node::redirect ─► the shard that serves a key, if it is another one (MOVED)
//! ```

use std::collections::VecDeque;

use bytes::Bytes;
use standin_protocol::map::{ClusterMap, NO_SERVER, ServerState};
use standin_protocol::time::Micros;

use super::answer::{Answer, AnswerHead};
use super::command::ReplyTo;
use super::partitions::serving::{Reach, Serving};
use super::{Aimed, Node, Now, Output};

/// The largest number of clients that wait for routes.
const ASKED_MAX: usize = 4_096;
/// The shortest time between two pings of a server for requests that are redirected to it, in
/// microseconds.
const CHECK_INTERVAL_US: u64 = 10_000;

/// The shard that serves a key, where that is another one than the client has asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redirect {
    /// The key's slot.
    pub slot: u16,
    /// Server id.
    pub server: u16,
    /// Shard of the server.
    pub shard: u16,
}

impl Redirect {
    /// Returns it as the value of an answer.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 6] {
        let [a, b] = self.slot.to_le_bytes();
        let [c, d] = self.server.to_le_bytes();
        let [e, f] = self.shard.to_le_bytes();
        [a, b, c, d, e, f]
    }

    /// Reads the value of an answer.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, d, e, f] = *bytes else { return None };
        let [slot, server, shard] = [[a, b], [c, d], [e, f]].map(u16::from_le_bytes);
        Some(Self { slot, server, shard })
    }
}

/// The state of a server as clients are told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Health {
    /// It answers.
    Ok,
    /// It does not answer this server, and the master has not decided yet.
    Suspected,
    /// It is offline, or was silent for too long.
    Failed,
}

/// The routes to all partitions, as one shard sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routes {
    /// The epoch of the map; 0 if the shard has none yet.
    pub epoch: u64,
    /// The health of each server.
    pub servers: Vec<Health>,
    /// The server to ask for each partition. It is empty if the shard has no map.
    pub partitions: Vec<u16>,
}

impl Routes {
    /// Returns them as the value of an answer.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(10 + self.servers.len() + 2 * self.partitions.len());
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        // At most 1,024.
        bytes.extend_from_slice(&(self.servers.len() as u16).to_le_bytes());
        bytes.extend(self.servers.iter().map(|health| *health as u8));
        bytes.extend(self.partitions.iter().flat_map(|server| server.to_le_bytes()));
        bytes
    }

    /// Reads the value of an answer.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (epoch, bytes) = bytes.split_first_chunk()?;
        let (count, bytes) = bytes.split_first_chunk()?;
        let (servers, bytes) = bytes.split_at_checked(u16::from_le_bytes(*count).into())?;
        let health = |byte: &u8| match byte {
            0 => Some(Health::Ok),
            1 => Some(Health::Suspected),
            2 => Some(Health::Failed),
            _ => None,
        };
        let (partitions, rest) = bytes.as_chunks();
        rest.is_empty().then_some(Self {
            epoch: u64::from_le_bytes(*epoch),
            servers: servers.iter().map(health).collect::<Option<_>>()?,
            partitions: partitions.iter().map(|server| u16::from_le_bytes(*server)).collect(),
        })
    }
}

/// The clients that have asked for routes, and the pings that they wait for.
#[derive(Debug)]
pub(super) struct RoutesAsked {
    /// With the times at which they are answered in any case, in order.
    clients: VecDeque<(ReplyTo, Micros)>,
    /// For each server, whether its answer to a ping is awaited, and when the last one was sent.
    pings: Vec<(bool, Micros)>,
}

impl RoutesAsked {
    pub(super) fn new(servers: usize) -> Self {
        Self { clients: VecDeque::new(), pings: vec![(false, Micros(0)); servers] }
    }

    /// Notes a client. Returns false if there are too many.
    fn arrive(&mut self, to: ReplyTo, by: Micros) -> bool {
        let has_room = self.clients.len() < ASKED_MAX;
        if has_room {
            self.clients.push_back((to, by));
        }
        has_room
    }

    /// Notes that a server is pinged. Returns false if its answer is awaited already.
    fn begin_ping(&mut self, now: Micros, server: u16) -> bool {
        let (is_awaited, at) = &mut self.pings[usize::from(server)];
        *at = now;
        !std::mem::replace(is_awaited, true)
    }

    /// Whether a ping of the server is due again.
    fn is_ping_due(&self, now: Micros, server: u16) -> bool {
        let (is_awaited, at) = self.pings[usize::from(server)];
        !is_awaited && now.0 >= at.0 + CHECK_INTERVAL_US
    }

    /// Notes that a ping has ended.
    fn end_ping(&mut self, server: u16) {
        self.pings[usize::from(server)].0 = false;
    }

    /// Takes out the clients that are to be answered: all if everything that they wait for is known,
    /// otherwise those whose time is up.
    fn due(&mut self, now: Micros, is_undecided: bool) -> Vec<ReplyTo> {
        let is_awaited = self.pings.iter().any(|(is_awaited, _)| *is_awaited);
        let is_known = !is_awaited && !is_undecided;
        let mut due = Vec::new();
        while let Some((to, _)) = self.clients.pop_front_if(|(_, by)| is_known || *by <= now) {
            due.push(to);
        }
        due
    }

    /// Returns the time at which a client is answered in any case.
    pub(super) fn next_deadline(&self) -> Option<Micros> {
        self.clients.front().map(|(_, by)| *by)
    }
}

impl Node {
    /// Gives the routes to a client, as [`Output::Reply`] with [`Routes`] as the value.
    pub fn routes(&mut self, now: Now, to: ReplyTo) {
        self.begin(now);
        self.counters.requests += 1;
        if !self.routes_asked.arrive(to, now.mono + self.config.park_max) {
            let answer = self.refuse_full();
            return self.outputs.push_back(Output::Reply { to, answer });
        }
        // At most 1,024.
        for server in 0..self.topology.servers.len() as u16 {
            if server != self.config.server
                && self.partitions.is_online(server)
                && self.peers.reach(server) == Reach::Direct
                && self.routes_asked.begin_ping(now.mono, server)
            {
                self.check_peer(server);
            }
        }
        self.give_routes(now);
    }

    /// Returns the shard that serves a key if that is another one: for a partition of another server
    /// that can be reached as far as is known, or of another shard of this server. `None` if this shard
    /// serves the key, or if it can't be said where it is served better: then the request is answered
    /// here, by the table.
    pub fn redirect(
        &mut self,
        now: Now,
        keyspace: u8,
        key: &[u8],
        place: Aimed,
    ) -> Option<Redirect> {
        let (server, shard) = self.elsewhere(place)?;
        let slot = self.topology.slot_prefixes.as_ref()?.slot(keyspace, key);
        // The client has asked here because it knows no better, or because the owner does not answer it.
        if server != self.config.server && self.routes_asked.is_ping_due(now.mono, server) {
            self.routes_asked.begin_ping(now.mono, server);
            self.check_peer(server);
        }
        self.counters.redirected += 1;
        Some(Redirect { slot, server, shard })
    }

    /// Returns the server and the shard that [`Self::redirect`] names.
    #[must_use]
    pub fn elsewhere(&self, place: Aimed) -> Option<(u16, u16)> {
        let own = self.config.server;
        let server = match self.partitions.serving(place.partition) {
            serving if serving.is_own() => own,
            Serving::Forward(owner) => owner,
            _ => return None,
        };
        let shard = self.topology.shard(server, place.partition);
        let is_here = server == own && shard == self.config.shard;
        (!is_here && !self.health.stopping).then_some((server, shard))
    }

    /// Notes the end of a ping that was sent because of clients. `failed` says, if the server can't be
    /// reached, whether its port refused the connection.
    pub(super) fn check_done(&mut self, now: Now, server: u16, failed: Option<bool>) {
        self.routes_asked.end_ping(server);
        if let Some(refuses) = failed {
            self.mark_unreachable(now, server, refuses);
        }
        self.give_routes(now);
    }

    /// Answers the clients that wait for routes, if all that they wait for is known or their time is up.
    pub(super) fn give_routes(&mut self, now: Now) {
        if self.routes_asked.next_deadline().is_none() {
            return;
        }
        let is_undecided = (0..self.topology.servers.len() as u16).any(|server| {
            let since = self.peers.failing_since(server);
            let is_recent = since.is_some_and(|since| now.mono < since + self.config.park_max);
            is_recent && self.health_of(server) == Health::Suspected
        });
        let due = self.routes_asked.due(now.mono, is_undecided);
        if due.is_empty() {
            return;
        }
        let value = Bytes::from(self.current_routes().to_bytes());
        for to in due {
            let head = AnswerHead { map_tag: self.map_tag(), ..Answer::value(Bytes::new()).head };
            let answer = Answer { head, value: value.clone() };
            self.outputs.push_back(Output::Reply { to, answer });
        }
    }

    fn current_routes(&self) -> Routes {
        let servers =
            (0..self.topology.servers.len() as u16).map(|id| self.health_of(id)).collect();
        let (epoch, partitions) = match self.partitions.map() {
            None => (0, Vec::new()),
            Some(map) => {
                let all = 0..self.topology.partitions;
                (map.epoch.to_u64(), all.map(|partition| self.route(map, partition)).collect())
            }
        };
        Routes { epoch, servers, partitions }
    }

    /// The server to ask for a partition: its owner, if that answers this server or answers the master.
    /// Otherwise it is the server that a client of Standin's own protocol would ask.
    fn route(&self, map: &ClusterMap, partition: u32) -> u16 {
        let ownership = map.ownership(partition);
        match ownership.owner {
            NO_SERVER => map.candidates(partition).next().unwrap_or(ownership.home),
            owner if self.peers.reach(owner) == Reach::None && ownership.stand_in != NO_SERVER => {
                ownership.stand_in
            }
            owner => owner,
        }
    }

    fn health_of(&self, server: u16) -> Health {
        let state = self.partitions.map().map(|map| map.state(server));
        match state {
            Some(ServerState::Offline | ServerState::Waiting) => Health::Failed,
            Some(ServerState::Online) if self.peers.reach(server) == Reach::None => {
                Health::Suspected
            }
            _ => Health::Ok,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{Asked, ConnId};

    fn to(tag: u64) -> ReplyTo {
        ReplyTo { conn: ConnId { shard: 0, conn: 7 }, tag, asked: Asked::other(Micros(0)) }
    }

    #[test]
    fn clients_wait_for_pings_and_verdicts_but_not_for_ever() {
        let mut asked = RoutesAsked::new(2);
        assert!(asked.arrive(to(1), Micros(100)) && asked.begin_ping(Micros(0), 1));
        assert!(asked.arrive(to(2), Micros(150)) && !asked.begin_ping(Micros(50), 1));
        assert_eq!(asked.next_deadline(), Some(Micros(100)));
        assert_eq!(asked.due(Micros(99), false), []);
        assert_eq!(asked.due(Micros(100), false), [to(1)], "its time is up");
        asked.end_ping(1);
        assert_eq!(asked.due(Micros(110), true), [], "the master has not decided");
        assert_eq!(asked.due(Micros(110), false), [to(2)]);
        assert_eq!(asked.next_deadline(), None);
    }

    #[test]
    fn a_server_is_pinged_for_redirected_requests_once_in_a_while() {
        let mut asked = RoutesAsked::new(1);
        assert!(asked.is_ping_due(Micros(CHECK_INTERVAL_US), 0));
        asked.begin_ping(Micros(CHECK_INTERVAL_US), 0);
        assert!(!asked.is_ping_due(Micros(5 * CHECK_INTERVAL_US), 0), "it has not answered");
        asked.end_ping(0);
        assert!(!asked.is_ping_due(Micros(2 * CHECK_INTERVAL_US - 1), 0));
        assert!(asked.is_ping_due(Micros(2 * CHECK_INTERVAL_US), 0));
    }

    #[test]
    fn those_who_wait_are_bounded() {
        let mut asked = RoutesAsked::new(1);
        let arrived = (0..2 * ASKED_MAX as u64).filter(|tag| asked.arrive(to(*tag), Micros(1)));
        assert_eq!(arrived.count(), ASKED_MAX);
    }

    #[test]
    fn values_of_answers_are_read_as_they_were_written() {
        let redirect = Redirect { slot: 16_383, server: 1_023, shard: 255 };
        assert_eq!(Redirect::from_bytes(&redirect.to_bytes()), Some(redirect));
        assert_eq!(Redirect::from_bytes(b"12345"), None);
        for partitions in [Vec::new(), vec![0, 1, 0, 1_023]] {
            let servers = vec![Health::Ok, Health::Suspected, Health::Failed];
            let routes = Routes { epoch: 1 << 40, servers, partitions };
            let bytes = routes.to_bytes();
            assert_eq!(Routes::from_bytes(&bytes).as_ref(), Some(&routes));
            for end in 0..13 {
                assert_eq!(Routes::from_bytes(&bytes[..end]), None, "{end}");
            }
        }
    }
}
