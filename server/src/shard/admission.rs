//! Admission of connections. Clients have their places (`limits.connections`); the master, peers
//! and `standin status` have separate ones, so that clients which take all of theirs can't make a
//! healthy server look dead. A connection has no place before its HELLO: when too many wait for
//! theirs, the oldest is closed.
//!
//! A caller names its role in its HELLO. With a cluster secret it must prove it; without one (on
//! loopback) it is believed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use standin_config::ClusterConfig;
use standin_protocol::bursts::Bursts;
use standin_protocol::hello::Role;
use standin_protocol::time::Micros;

use super::key::ConnKey;

/// The number of places for `standin status` and other observers.
const OBSERVERS: u32 = 4;
/// The time that a caller has for its HELLO even if the largest number is waiting. If connections
/// had to wait to be accepted, their HELLO has already arrived.
const GRACE: Duration = Duration::from_millis(2);
/// The number of connections that may be closing while others are accepted in their place.
pub(crate) const CLOSING: u32 = 8;

/// The numbers of connections that a server accepts, by the caller's role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// Clients.
    pub clients: u32,
    /// Shards of other servers.
    pub peers: u32,
    /// The master: a probe of each shard, and its successor's.
    pub masters: u32,
    /// Callers that only ask for maps and counters.
    pub observers: u32,
    /// Callers that have not said hello yet.
    pub handshakes: u32,
}

impl Places {
    /// Returns the places that the cluster file asks for.
    #[must_use]
    pub fn wanted(cluster: &ClusterConfig, server: u16) -> Self {
        let own = u32::from(cluster.servers[usize::from(server)].shards);
        // Each of their shards has a link to each of this server's, and all of them are replaced at once
        // when the cluster's secret is.
        let links = own.saturating_mul(peers_shards(cluster, server));
        Self {
            clients: cluster.limits.connections,
            peers: links.saturating_mul(2).saturating_add(2),
            masters: own * 2 + 2,
            observers: OBSERVERS,
            handshakes: cluster.limits.handshakes,
        }
    }

    pub(super) fn most(&self, role: Role) -> u32 {
        match role {
            Role::Client => self.clients,
            Role::Peer => self.peers,
            Role::Master => self.masters,
            Role::Observer => self.observers,
        }
    }
}

/// Shards of all other servers.
pub(crate) fn peers_shards(cluster: &ClusterConfig, server: u16) -> u32 {
    let all: u32 = cluster.servers.iter().map(|other| u32::from(other.shards)).sum();
    all - u32::from(cluster.servers[usize::from(server)].shards)
}

/// The places of a server and how many are taken, over all its shards. Written when a
/// connection comes or goes, never by a request.
#[derive(Debug)]
pub struct Admission {
    /// Those of clients and handshakes are below: they may change.
    places: Places,
    clients: AtomicU32,
    handshakes: AtomicU32,
    taken: [AtomicU32; Role::ALL.len()],
}

impl Admission {
    /// All places free.
    #[must_use]
    pub fn new(places: Places) -> Self {
        let (clients, handshakes) = (places.clients.into(), places.handshakes.into());
        Self { places, clients, handshakes, taken: Default::default() }
    }

    /// The places at the moment.
    #[must_use]
    pub fn places(&self) -> Places {
        Places {
            clients: self.clients.load(Ordering::Relaxed),
            handshakes: self.handshakes.load(Ordering::Relaxed),
            ..self.places
        }
    }

    /// Sets the places of clients and handshakes. Those who have one keep it.
    pub fn set_places(&self, places: Places) {
        self.clients.store(places.clients, Ordering::Relaxed);
        self.handshakes.store(places.handshakes, Ordering::Relaxed);
    }

    /// The number of places of this role that are taken.
    #[must_use]
    pub fn taken(&self, role: Role) -> u32 {
        self.taken[role as usize].load(Ordering::Relaxed)
    }

    /// Takes a place. Only the accepting shard does this, so no other shard adds at the same time.
    ///
    /// # Errors
    /// The number of places for such callers: all are taken.
    pub(super) fn admit(&self, role: Role) -> Result<(), u32> {
        let (taken, most) = (&self.taken[role as usize], self.places().most(role));
        if taken.load(Ordering::Relaxed) >= most {
            return Err(most);
        }
        taken.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Gives a place back.
    pub(super) fn leave(&self, role: Role) {
        self.taken[role as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

/// The connections of the accepting shard that have no place yet.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    /// Those whose HELLO is awaited, with the times since when; the oldest first.
    waiting: VecDeque<(ConnKey, Micros)>,
    /// Those, and the ones that are being closed.
    open: u32,
}

impl Handshakes {
    /// Returns the time at which one more may be accepted; `None`: when one of these has ended.
    pub(super) fn room_at(&self, places: &Places) -> Option<Micros> {
        let most = places.handshakes.max(1);
        match self.waiting.front() {
            _ if self.open >= most.saturating_add(CLOSING) => None,
            Some((_, since)) if self.waiting.len() >= most as usize => Some(*since + GRACE),
            _ => Some(Micros(0)),
        }
    }

    /// Adds an accepted connection; returns the one that has to be closed for it.
    pub(super) fn begin(&mut self, key: ConnKey, now: Micros, places: &Places) -> Option<ConnKey> {
        self.open += 1;
        self.waiting.push_back((key, now));
        let is_full = self.waiting.len() > places.handshakes.max(1) as usize;
        is_full.then(|| self.waiting.pop_front().map(|(oldest, _)| oldest)).flatten()
    }

    /// Notes that a HELLO is no longer awaited, because it has arrived or the connection is being
    /// closed.
    pub(super) fn heard(&mut self, key: ConnKey) {
        if let Some(at) = self.waiting.iter().rposition(|(waiting, _)| *waiting == key) {
            self.waiting.remove(at);
        }
    }

    /// Notes that a connection has a place, or has been closed.
    pub(super) fn end(&mut self, key: ConnKey) {
        self.heard(key);
        self.open = self.open.saturating_sub(1);
    }
}

/// The refused connections that have not been logged.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    clients: Bursts<()>,
    peers: Bursts<()>,
    masters: Bursts<()>,
    observers: Bursts<()>,
    /// Those that had not said hello.
    handshakes: Bursts<()>,
}

impl Refusals {
    /// Counts a refused caller of this role; `None`: it had not said hello.
    pub(super) fn add(&mut self, role: Option<Role>) {
        self.of(role).add(1, ());
    }

    /// Returns the roles whose next log line is due, each with the number since the last one.
    pub(super) fn due(&mut self, now: Micros) -> Vec<(Option<Role>, u64)> {
        let roles = Role::ALL.iter().copied().map(Some).chain([None]);
        roles.filter_map(|role| Some((role, self.of(role).due(now)?.0))).collect()
    }

    fn of(&mut self, role: Option<Role>) -> &mut Bursts<()> {
        match role {
            Some(Role::Client) => &mut self.clients,
            Some(Role::Peer) => &mut self.peers,
            Some(Role::Master) => &mut self.masters,
            Some(Role::Observer) => &mut self.observers,
            None => &mut self.handshakes,
        }
    }
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::*;

    const PLACES: Places = Places { clients: 2, peers: 1, masters: 1, observers: 1, handshakes: 2 };

    #[test]
    fn clients_take_nobody_elses_place() {
        let admission = Admission::new(PLACES);
        assert_eq!(admission.admit(Role::Client), Ok(()));
        assert_eq!(admission.admit(Role::Client), Ok(()));
        assert_eq!(admission.admit(Role::Client), Err(2));
        for role in [Role::Peer, Role::Master, Role::Observer] {
            assert_eq!(admission.admit(role), Ok(()));
            assert_eq!(admission.admit(role), Err(1));
        }
        admission.leave(Role::Client);
        assert_eq!(admission.admit(Role::Client), Ok(()));
        // Other limits: nobody has to go.
        admission.set_places(Places { clients: 1, ..PLACES });
        admission.leave(Role::Client);
        assert_eq!(admission.admit(Role::Client), Err(1));
        admission.set_places(Places { clients: 2, ..PLACES });
        assert_eq!(admission.admit(Role::Client), Ok(()));
    }

    #[test]
    fn the_oldest_silent_caller_goes_and_a_new_one_has_its_time() {
        let mut keys = SlotMap::<ConnKey, ()>::with_key();
        let [a, b, c, d] = std::array::from_fn(|_| keys.insert(()));
        let mut handshakes = Handshakes::default();
        assert_eq!(handshakes.begin(a, Micros(1), &PLACES), None);
        assert_eq!(handshakes.begin(b, Micros(2), &PLACES), None);
        assert_eq!(handshakes.room_at(&PLACES), Some(Micros(1) + GRACE));
        assert_eq!(handshakes.begin(c, Micros(60_000), &PLACES), Some(a));
        // One says hello: there is room at once.
        handshakes.end(b);
        assert_eq!(handshakes.room_at(&PLACES), Some(Micros(0)));
        assert_eq!(handshakes.begin(d, Micros(60_000), &PLACES), None);
        assert_eq!(handshakes.open, 3, "one of them is being closed");
        handshakes.end(a);
        assert_eq!(handshakes.open, 2);
    }

    #[test]
    fn while_too_many_are_being_closed_nobody_is_accepted() {
        let mut keys = SlotMap::<ConnKey, ()>::with_key();
        let mut handshakes = Handshakes::default();
        let mut gone = Vec::new();
        while handshakes.room_at(&PLACES).is_some() {
            gone.extend(handshakes.begin(keys.insert(()), Micros(0), &PLACES));
        }
        assert_eq!(handshakes.open, PLACES.handshakes + CLOSING);
        handshakes.end(gone[0]);
        assert!(handshakes.room_at(&PLACES).is_some());
    }

    #[test]
    fn the_log_is_told_with_a_count_and_not_too_often() {
        let mut refusals = Refusals::default();
        assert_eq!(refusals.due(Micros(0)), []);
        refusals.add(Some(Role::Client));
        assert_eq!(refusals.due(Micros(0)), [(Some(Role::Client), 1)]);
        refusals.add(Some(Role::Client));
        refusals.add(Some(Role::Client));
        refusals.add(None);
        assert_eq!(refusals.due(Micros(9_999_999)), [(None, 1)], "each role has its own line");
        assert_eq!(refusals.due(Micros(10_000_000)), [(Some(Role::Client), 2)]);
    }
}
