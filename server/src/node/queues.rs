//! The length of each queue of a shard, with its bound. The simulator checks that the bounds hold
//! while servers and links come and go.

use standin_protocol::queue::Queue;

use super::Node;

/// The largest number of walks of a shard.
pub(crate) const WALKS_MAX: usize = 4_096;

impl Node {
    /// Copies the sizes and counters of the parts to [`Self::counters`].
    pub fn refresh_counters(&mut self) {
        let store = self.cache.counts();
        self.counters.items = store.items;
        self.counters.items_bytes = store.live_bytes;
        self.counters.evicted = store.evicted;
        self.counters.eviction_kept = store.kept;
        self.counters.expired = store.expired;
        self.counters.arena_bytes = store.arena_bytes;
        self.counters.index_bytes = store.index_bytes + store.policy_bytes;
        self.counters.waiting_bytes = self.requests.sizes().bytes as u64;
        let fetches = self.fetches.sizes();
        self.counters.fetches_held = (fetches.held_back + fetches.held_back_at_ceiling) as u64;
    }

    /// Returns the lengths of everything that grows in this shard. Outputs are not counted, because
    /// they are taken after each turn.
    pub fn queues(&self) -> impl Iterator<Item = Queue> + '_ {
        let (servers, pending) = (self.topology.servers.len(), self.requests.len());
        let shards: usize = self.topology.servers.iter().map(|s| usize::from(s.shards)).sum();
        let (parked, unacknowledged) = self.writes.waiting();
        let handback = self.handback.sizes();
        let requests = self.requests.sizes();
        let forwarded = self.forwards.requests().count();
        let walks = self.forwards.walks();
        let fetches = self.fetches.sizes();
        let queues = [
            ("bytes of rows under way", fetches.reserved_bytes, fetches.reserved_bytes_max),
            ("fetches that wait for room", fetches.delayed, fetches.fetches),
            ("pending", pending, self.config.in_flight_max),
            ("pending bytes", requests.bytes, requests.bytes_max),
            // Each of these belongs to one request, or is shared by several.
            ("calls", self.calls.len(), pending),
            ("fetches", fetches.fetches, pending),
            // There is a place for each fetch, and another one for each request that gives up
            // earlier than the fetch to which it was added. A few places belong to requests that
            // have ended.
            ("held back", fetches.held_back, self.config.in_flight_max),
            ("held at the ceiling", fetches.held_back_at_ceiling, self.config.in_flight_max),
            ("writes", self.writes.len(), pending),
            ("parked", parked, pending),
            ("unacked", unacknowledged, pending),
            ("running writes of clients", requests.running, pending),
            ("forwarded requests", forwarded, pending),
            // Each shard of each server may be sent a ping, a probe, a HANDBACK and the SETTLEs of
            // one round. Those of rounds that newer maps have cut short end with their links.
            ("other forwards", self.forwards.len() - forwarded - walks, 16 * shards),
            // The shell bounds their bytes.
            ("walks at others", walks + self.walks_asked.len(), WALKS_MAX),
            ("writes remembered", requests.finished, super::requests::FINISHED_MAX),
            ("keys of a partition", handback.partition_keys, self.config.log_keys_max),
            ("bytes of keys", handback.bytes, self.config.log_bytes_max),
            ("handovers", handback.handovers, servers),
            ("words of others", handback.words, shards),
            ("overflowed partitions", handback.overflowed, self.topology.partitions as usize),
            ("probes", self.peers.probes(), servers),
            ("outputs", self.outputs.len(), 0),
        ];
        queues.into_iter().map(|(name, length, bound)| Queue::new(name, length, bound))
    }

    /// Returns the number of messages to peers that have not ended.
    pub(crate) fn forwards(&self) -> usize {
        self.forwards.len()
    }
}
