//! The other servers by this shard's own experience: whether they can be reached, and the probes
//! of them that are under way.
//!
//! Told: that sending to a server failed, that bytes came from it, that the master has contradicted
//! a failure, and time. Returns: whether its reachability has changed, in which case the partitions
//! have to be looked at again.

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
    /// How long an unreachable server is not tried again.
    hold: Duration,
    probes: Probes,
}

/// The state of one server.
#[derive(Debug, Clone, Copy, Default)]
struct Peer {
    /// Sending failed; not tried again before this time unless something contradicts it.
    unreachable_until: Option<Micros>,
    /// The master has contradicted it: only this server can't reach it.
    is_split: bool,
    /// The time since when nothing has contradicted that, however often it was tried again.
    failing_since: Option<Micros>,
    /// The last attempt was refused: its process is dead.
    refuses: bool,
    /// A ping is on its way there.
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

    /// Something says that it can be reached.
    fn clear(&mut self) {
        *self = Self { is_pinged: self.is_pinged, ..Self::default() };
    }
}

/// The effect of a failure to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    /// The server counts as unreachable from now on.
    Unreachable,
    /// It did already, but now its port refuses the connection, or does not any more.
    Refuses,
    /// Nothing.
    Known,
}

impl Peers {
    /// All can be reached, as far as is known.
    pub(super) fn new(servers: usize, hold: Duration) -> Self {
        let peers = vec![Peer::default(); servers];
        Self { peers, holds: Timers::default(), hold, probes: Probes::default() }
    }

    fn peer(&self, server: u16) -> &Peer {
        &self.peers[usize::from(server)]
    }

    /// Changes what is known of a server, and its deadline with it.
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

    /// The time since when the server can't be reached, and nothing has contradicted it.
    pub(super) fn failing_since(&self, server: u16) -> Option<Micros> {
        self.peer(server).failing_since
    }

    /// Whether the server is known to be dead, and not only out of this shard's reach.
    pub(super) fn is_dead(&self, server: u16) -> bool {
        self.peer(server).refuses
    }

    /// Whether a ping is on its way there.
    pub(super) fn is_pinged(&self, server: u16) -> bool {
        self.peer(server).is_pinged
    }

    /// A map is applied after the one of epoch `held`: where it says something new of a server,
    /// the master's word counts more than what this shard saw before it.
    pub(super) fn map_applied(&mut self, map: &ClusterMap, held: MapEpoch) {
        for (server, status) in map.statuses().iter().enumerate() {
            if status.since > held {
                self.change(server, Peer::clear);
            }
        }
    }

    /// The master says that the server is online. True if that is news: it is reached through
    /// others until it answers here as well.
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

    /// Bytes came from the server: it can be reached after all. True if that is news.
    pub(super) fn answered(&mut self, server: u16) -> bool {
        self.change(server.into(), |peer| {
            let is_news = peer.reach() != Reach::Direct;
            peer.clear();
            is_news
        })
    }

    /// Sending to the server failed. `refuses`: its port refused the connection.
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

    /// Servers that could not be reached are tried again. True if there are any.
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

    /// The time at which [`Self::expire`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Micros> {
        let scan = || self.peers.iter().filter_map(|peer| peer.unreachable_until).min();
        debug_assert_eq!(self.holds.first(), scan());
        self.holds.first()
    }

    /// The server is to be pinged; false if a ping is on its way there.
    pub(super) fn begin_ping(&mut self, server: u16) -> bool {
        !std::mem::replace(&mut self.peers[usize::from(server)].is_pinged, true)
    }

    /// Takes a request for a probe of the server, which has this many shards.
    pub(super) fn ask_probe(&mut self, nonce: u64, server: u16, shards: u16) -> Asked {
        self.probes.ask(nonce, server, shards)
    }

    /// One of the shards of a server that is probed has answered its ping, or has not.
    pub(super) fn probe_answered(
        &mut self,
        server: u16,
        shards: u16,
        answer: PeerProbe,
    ) -> Option<Ended> {
        self.probes.answered(server, shards, answer)
    }

    /// The number of probes under way.
    pub(super) fn probes(&self) -> usize {
        self.probes.len()
    }

    /// The ping has ended.
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
        fn the_deadline_is_what_a_search_finds(
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
