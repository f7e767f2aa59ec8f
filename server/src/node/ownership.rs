//! Changes of how partitions are served. They follow from maps, the lease, this server's word, the
//! reachability of peers, and time. This file also finds out when everything that began before such
//! a change has ended (draining).

use std::sync::Arc;

use standin_protocol::map::{ClusterMap, MapEpoch, ServerState};
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::time::Micros;

use super::partitions::serving::Reach;
use super::partitions::{Circumstances, LeaseChange};
use super::peers::Failed;
use super::{Lease, Node, Now, Output, Word};

impl Node {
    /// Applies a newer map. Drops a map that is not newer (scenarios 9–11).
    pub fn apply_map(&mut self, now: Now, map: Arc<ClusterMap>) {
        self.begin(now);
        if !self.partitions.is_newer(&map) {
            return;
        }
        let held = self.partitions.map().map_or(MapEpoch::default(), |held| held.epoch);
        self.peers.map_applied(&map, held);
        self.handback.map_arrived(&map);
        let before = self.partitions.replace_map(now.mono, Arc::clone(&map));
        self.counters.maps_applied += 1;
        self.refresh_serving_after(now, before.as_deref());
        self.handback.map_applied(now.mono, &map);
        self.tell_owed(now);
        self.announce_drained(now);
        if map.state(self.config.server) == ServerState::Returning {
            self.ask_measure();
        }
        self.give_routes(now);
    }

    /// Sets the lease that the shard holds from now on. The map that the lease requires has been
    /// applied.
    pub fn lease(&mut self, now: Now, lease: Lease) {
        let was_orphan = self.partitions.is_orphan();
        if let Some(change) = self.partitions.renew_lease(now.mono, lease) {
            self.lease_changed(now, change);
        }
        let is_orphan = self.partitions.is_orphan();
        if was_orphan != is_orphan {
            self.counters.orphaned += u64::from(is_orphan);
            self.unpark_all(now);
        }
    }

    /// Ends a lease whose time is up, and then the wait of writes that have waited for as long as
    /// they may. It is called before the requests of a wake-up are served, and before anything else
    /// happens. A map that arrives with the wake-up, for example, is too late for these writes.
    #[inline]
    pub fn begin(&mut self, now: Now) {
        self.time = now.mono;
        if now.mono >= self.partitions.lease_ends()
            && let Some(change) = self.partitions.check_lease(now.mono)
        {
            self.lease_changed(now, change);
        }
        if now.mono >= self.writes.first_overdue() {
            self.end_waiting(now);
        }
    }

    fn lease_changed(&mut self, now: Now, change: LeaseChange) {
        self.counters.leases_lost += u64::from(change == LeaseChange::Lost);
        self.refresh_serving(now);
        self.announce_drained(now);
    }

    /// Whether the owner may serve values of the partition from the cache at this time. Values that
    /// the next owner keeps briefly do not count.
    #[must_use]
    pub fn caches(&self, now: Micros, partition: u32) -> bool {
        self.partitions.caches(now, partition)
    }

    /// Whether [`Self::caches`] holds because of a lease. An orphan does not count, because others
    /// may be orphans too.
    #[must_use]
    pub fn caches_by_lease(&self, now: Micros, partition: u32) -> bool {
        self.caches(now, partition) && !self.partitions.is_by_word()
    }

    /// Notes that the agent is about to tell a member of the group that it has lost the master.
    pub fn word(&mut self, word: Word) {
        self.partitions.give_word(word);
    }

    /// Ends the words whose time is up. Partitions that were served as `Early` because of them
    /// become this server's own.
    pub(super) fn end_words(&mut self, now: Now) {
        if self.partitions.end_words(now.mono) {
            self.refresh_serving(now);
        }
    }

    /// Notes that the master says that a server which this shard could not reach is online (claim
    /// 16). The server remains the owner. It is reached through other members until it answers this
    /// shard again.
    pub fn verdict(&mut self, now: Now, server: u16, state: ServerState) {
        self.begin(now);
        // The master may have another cluster file.
        let is_known = usize::from(server) < self.topology.servers.len();
        if !is_known || state != ServerState::Online || self.peers.reach(server) == Reach::Direct {
            return;
        }
        self.ping_peer(server);
        if self.peers.contradicted(now.mono, server) {
            self.refresh_serving(now);
        }
        self.give_routes(now);
    }

    /// Notes that bytes have arrived from a peer, so it is reachable again.
    pub fn peer_answered(&mut self, now: Now, server: u16) {
        if self.peers.answered(server) {
            self.begin(now);
            self.refresh_serving(now);
        }
    }

    /// Marks a peer as unreachable after sending to it has failed. Reports it, and stands in for it
    /// (claim 15). `refuses` says whether its port refused the connection.
    pub(super) fn mark_unreachable(&mut self, now: Now, server: u16, refuses: bool) {
        match self.peers.failed(now.mono, server, refuses) {
            Failed::Unreachable => {
                self.counters.reports += 1;
                self.outputs.push_back(Output::Report { server });
                self.refresh_serving(now);
            }
            Failed::Refuses => self.acknowledge_again(now),
            Failed::Known => {}
        }
    }

    /// Makes unreachable peers whose hold time is over be tried again.
    pub(super) fn expire_unreachable(&mut self, now: Now) {
        if self.peers.expire(now.mono) {
            self.refresh_serving(now);
        }
    }

    /// Evaluates how partitions are served, after the lease, words or reachability have changed.
    fn refresh_serving(&mut self, now: Now) {
        self.refresh_serving_after(now, self.partitions.map().cloned().as_deref());
    }

    /// Evaluates how partitions are served, and routes waiting requests again. `before` is the
    /// previous map if the map has changed; otherwise it is the current one.
    fn refresh_serving_after(&mut self, now: Now, before: Option<&ClusterMap>) {
        let floor = self.cache.next_version(now);
        let is_doubted = self.partitions.has_given_word_since(self.handback.returning())
            && !mutant::is(Mutant::HandbackOutlivesWord);
        let map = self.partitions.map().cloned();
        let is_told_all =
            map.as_ref().is_some_and(|map| self.handback.is_told_all(map, is_doubted));
        let reach = &self.peers.reach_of_all();
        let circumstances = Circumstances { now: now.mono, before, reach, floor };
        let may_keep = |partition| self.handback.may_keep(is_told_all, partition);
        let refreshed = self.partitions.refresh(circumstances, may_keep);
        self.counters.partitions_kept += refreshed.kept;
        self.counters.partitions_dropped += refreshed.dropped;
        if refreshed.has_raised_floors {
            self.begin_sweep(now);
        }
        for taken in refreshed.taken {
            self.fetches.took_over(now.mono, taken.partition, taken.is_home, taken.changed);
        }
        if let Some(map) = map.filter(|_| refreshed.owns_home) {
            self.handback.owns_home(map, refreshed.has_begun_to_own_home);
        }
        self.fetches.owns(now.mono, self.partitions.owned());
        self.mark_outdated_writes();
        self.redirect_held(now);
        self.acknowledge_again(now);
        self.unpark_all(now);
        self.retry_walks(now);
    }

    /// Marks the writes under way whose partition has changed hands as outdated.
    fn mark_outdated_writes(&mut self) {
        // A write that began while this server did not own the partition belongs to no ownership.
        // The ownership may be the same before and after this map, and the next map may still skip
        // this server.
        self.calls.outdate(|write| {
            self.partitions.is_of(write.generation, write.partition) && write.begun.as_owner
        });
    }

    /// Reports that this shard has drained, once nothing that began under older maps is left and
    /// every returning server knows what was written here.
    pub(super) fn announce_drained(&mut self, now: Now) {
        // Nothing has begun before the first map.
        if self.partitions.map().is_none() {
            return;
        }
        let is_drained = !self.calls.has_outdated() && self.hand_over(now);
        if (is_drained || mutant::is(Mutant::NoDrain))
            && let Some(epoch) = self.partitions.drained()
        {
            self.outputs.push_back(Output::Drained(epoch));
        }
    }
}
