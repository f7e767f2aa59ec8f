//! The other servers in this shard's own experience: whether they can be reached, and the probes of
//! them that are under way.
//!
//! This part is told that sending to a server failed, that bytes arrived from it, that the master
//! has contradicted a failure, and the time. It returns whether a server's reachability has
//! changed. In that case, the serving of partitions has to be evaluated again.

mod probes;

use std::time::Duration;

use standin_protocol::map::{ClusterMap, MapEpoch};
use standin_protocol::time::Micros;

use probes::Probes;
pub(super) use probes::{Asked, Ended};

use super::PeerProbe;
use super::partitions::serving::Reach;
use crate::timers::Timers;

/// All servers of the cluster, by id.
#[derive(Debug)]
pub(super) struct Peers {
    peers: Vec<Peer>,
    /// The times until which peers are not tried again.
    holds: Timers,
    /// The time for which an unreachable server is not tried again.
    hold: Duration,
    probes: Probes,
}

/// The state of one server.
#[derive(Debug, Clone, Copy, Default)]
struct Peer {
    /// The time before which the server is not tried again after sending has failed, unless
    /// something contradicts the failure.
    unreachable_until: Option<Micros>,
    /// Whether the master has contradicted the failure: only this server can't reach the peer.
    is_split: bool,
    /// The time since which sending has failed without being contradicted, however often it was
    /// tried again.
    failing_since: Option<Micros>,
    /// Whether the last attempt was refused, which means that the process is dead.
    refuses: bool,
    /// Whether a ping is on its way to the server.
    is_pinged: bool,
}

impl Peer {
    fn reach(&self) -> Reach {
        match (self.unreachable_until.is_some(), self.is_split) {
            (false, _) => Reach::Direct,
            (true, true) => Reach::Split,
            (true, false) => Reach::None,
        }
    }

    /// Forgets that the server could not be reached.
    fn clear(&mut self) {
        *self = Self { is_pinged: self.is_pinged, ..Self::default() };
    }
}

/// The effect of a failed attempt to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    /// The server has become unreachable.
    Unreachable,
    /// The server already was unreachable, but its port has begun to refuse connections, or has
    /// ceased to.
    Refuses,
    /// Nothing has changed.
    Known,
}

impl Peers {
    /// Creates the state in which all servers can be reached, as far as is known.
    pub(super) fn new(servers: usize, hold: Duration) -> Self {
        let peers = vec![Peer::default(); servers];
        Self { peers, holds: Timers::default(), hold, probes: Probes::default() }
    }

    fn peer(&self, server: u16) -> &Peer {
        &self.peers[usize::from(server)]
    }

    /// Changes the state of a server, and its deadline with it.
    fn change<T>(&mut self, server: usize, change: impl FnOnce(&mut Peer) -> T) -> T {
        let peer = &mut self.peers[server];
        let before = peer.unreachable_until;
        let result = change(peer);
        self.holds.change(before, peer.unreachable_until);
        result
    }

    /// Whether the server can be reached.
    pub(super) fn reach(&self, server: u16) -> Reach {
        self.peer(server).reach()
    }

    /// Whether each server can be reached, by id.
    pub(super) fn reach_of_all(&self) -> Vec<Reach> {
        self.peers.iter().map(Peer::reach).collect()
    }

    /// Returns the time since which the server can't be reached and nothing has contradicted that.
    pub(super) fn failing_since(&self, server: u16) -> Option<Micros> {
        self.peer(server).failing_since
    }

    /// Whether the server is known to be dead, and not merely unreachable.
    pub(super) fn is_dead(&self, server: u16) -> bool {
        self.peer(server).refuses
    }

    /// Whether a ping is on its way there.
    pub(super) fn is_pinged(&self, server: u16) -> bool {
        self.peer(server).is_pinged
    }

    /// Notes that a map is applied after the one of epoch `held`. Where it changes the state of a
    /// server, the master's word takes precedence over earlier observations of this shard.
    pub(super) fn map_applied(&mut self, map: &ClusterMap, held: MapEpoch) {
        for (server, status) in map.statuses().iter().enumerate() {
            if status.since > held {
                self.change(server, Peer::clear);
            }
        }
    }

    /// Notes that the master says that the server is online. Returns true if this shard considered
    /// it unreachable. The server is then reached through others until it answers here again.
    pub(super) fn contradicted(&mut self, now: Micros, server: u16) -> bool {
        let until = now + self.hold;
        self.change(server.into(), |peer| {
            let is_news = peer.reach() == Reach::None;
            if is_news {
                peer.is_split = true;
                peer.failing_since = None;
                peer.unreachable_until = Some(until);
            }
            is_news
        })
    }

    /// Notes that bytes arrived from the server, so it can be reached. Returns true if this shard
    /// did not know that.
    pub(super) fn answered(&mut self, server: u16) -> bool {
        self.change(server.into(), |peer| {
            let is_news = peer.reach() != Reach::Direct;
            peer.clear();
            is_news
        })
    }

    /// Notes that sending to the server failed. `refuses` says whether its port refused the
    /// connection.
    pub(super) fn failed(&mut self, now: Micros, server: u16, refuses: bool) -> Failed {
        let until = now + self.hold;
        self.change(server.into(), |peer| {
            peer.failing_since.get_or_insert(now);
            let is_other = peer.refuses != refuses;
            peer.refuses = refuses;
            if peer.reach() == Reach::Direct {
                peer.unreachable_until = Some(until);
                return Failed::Unreachable;
            }
            if is_other { Failed::Refuses } else { Failed::Known }
        })
    }

    /// Ends the holds that are over, so that these servers are tried again. Returns true if there
    /// were any.
    pub(super) fn expire(&mut self, now: Micros) -> bool {
        if !self.holds.is_due(now) {
            return false;
        }
        for server in 0..self.peers.len() {
            self.change(server, |peer| {
                if peer.unreachable_until.is_some_and(|until| until <= now) {
                    peer.unreachable_until = None;
                    peer.is_split = false;
                    peer.refuses = false;
                }
            });
        }
        true
    }

    /// Returns the time at which [`Self::expire`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Micros> {
        let scan = || self.peers.iter().filter_map(|peer| peer.unreachable_until).min();
        debug_assert_eq!(self.holds.first(), scan());
        self.holds.first()
    }

    /// Notes that the server is being pinged. Returns false if a ping is already on its way.
    pub(super) fn begin_ping(&mut self, server: u16) -> bool {
        !std::mem::replace(&mut self.peers[usize::from(server)].is_pinged, true)
    }

    /// Takes a request for a probe of the server, which has this many shards.
    pub(super) fn ask_probe(&mut self, nonce: u64, server: u16, shards: u16) -> Asked {
        self.probes.ask(nonce, server, shards)
    }

    /// Notes that one of the shards of a probed server has answered its ping, or has failed to.
    pub(super) fn probe_answered(
        &mut self,
        server: u16,
        shards: u16,
        answer: PeerProbe,
    ) -> Option<Ended> {
        self.probes.answered(server, shards, answer)
    }

    /// Returns the number of probes under way.
    pub(super) fn probes(&self) -> usize {
        self.probes.len()
    }

    /// Notes that the ping has ended.
    pub(super) fn end_ping(&mut self, server: u16) {
        self.peers[usize::from(server)].is_pinged = false;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_deadline_is_the_one_that_a_scan_finds(
            steps in prop::collection::vec((0..4_u8, 0..4_u16, 1..150_u64), 0..100),
        ) {
            let mut peers = Peers::new(4, HOLD);
            let mut now = Micros(0);
            for (step, server, us) in steps {
                now = now + Duration::from_micros(us);
                match step {
                    0 => _ = peers.failed(now, server, us % 2 == 0),
                    1 => _ = peers.answered(server),
                    2 => _ = peers.contradicted(now, server),
                    _ => _ = peers.expire(now),
                }
                let searched = peers.peers.iter().filter_map(|peer| peer.unreachable_until).min();
                prop_assert_eq!(peers.next_deadline(), searched);
            }
        }
    }

    const HOLD: Duration = Duration::from_micros(100);

    fn peers() -> Peers {
        Peers::new(2, HOLD)
    }

    #[test]
    fn a_failure_counts_until_the_hold_is_over_and_is_news_once() {
        let mut peers = peers();
        assert_eq!(peers.failed(Micros(10), 1, false), Failed::Unreachable);
        assert_eq!(peers.failed(Micros(20), 1, false), Failed::Known);
        assert_eq!(peers.failed(Micros(30), 1, true), Failed::Refuses);
        assert!(peers.is_dead(1));
        assert_eq!(peers.reach_of_all(), [Reach::Direct, Reach::None]);
        assert_eq!(peers.next_deadline(), Some(Micros(110)));
        assert!(!peers.expire(Micros(109)) && peers.expire(Micros(110)));
        assert_eq!(peers.reach(1), Reach::Direct);
        assert!(!peers.is_dead(1));
        assert_eq!(peers.failing_since(1), Some(Micros(10)), "nothing has contradicted it");
    }

    #[test]
    fn the_master_s_contradiction_makes_it_a_split_until_bytes_come() {
        let mut peers = peers();
        assert!(!peers.contradicted(Micros(5), 1), "it can be reached");
        peers.failed(Micros(10), 1, false);
        assert!(peers.contradicted(Micros(20), 1));
        assert!(!peers.contradicted(Micros(30), 1), "known");
        assert_eq!((peers.reach(1), peers.failing_since(1)), (Reach::Split, None));
        assert_eq!(peers.next_deadline(), Some(Micros(120)));
        assert!(peers.answered(1) && !peers.answered(1));
        assert_eq!(peers.reach(1), Reach::Direct);
    }

    #[test]
    fn one_ping_at_a_time_is_on_its_way_whatever_else_is_learned() {
        let mut peers = peers();
        assert!(peers.begin_ping(1) && !peers.begin_ping(1));
        peers.failed(Micros(10), 1, false);
        peers.answered(1);
        assert!(peers.is_pinged(1));
        peers.end_ping(1);
        assert!(peers.begin_ping(1));
    }

    #[test]
    fn a_map_that_says_something_new_of_a_server_counts_more_than_what_was_seen_before() {
        use standin_protocol::map::ServerStatus;
        let epoch = |counter| MapEpoch { term: 1, counter };
        for (since, is_cleared) in [(2, false), (3, false), (4, true)] {
            let mut peers = peers();
            peers.failed(Micros(10), 1, true);
            let status = |since| ServerStatus { since: epoch(since), ..ServerStatus::default() };
            let topology = crate::node::tests::pair(1, 16);
            let map = ClusterMap::new(topology, epoch(5), vec![status(1), status(since)]);
            peers.map_applied(&map, epoch(3));
            let expected = if is_cleared { Reach::Direct } else { Reach::None };
            assert_eq!((peers.reach(1), peers.is_dead(1)), (expected, !is_cleared), "{since}");
        }
    }

    #[test]
    fn probes_are_counted_by_server() {
        let mut peers = peers();
        assert_eq!(peers.probes(), 0);
        for (server, running) in [(0, 1), (1, 2), (1, 2)] {
            peers.ask_probe(7, server, 1);
            assert_eq!(peers.probes(), running);
        }
    }
}
