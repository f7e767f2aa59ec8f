//! How much a shard remembers, and how much it may: for whoever checks that all of it is
//! bounded (the simulator does, while servers and links come and go).

use standin_protocol::queue::Queue;

use super::Node;

impl Node {
    /// All that grows in this shard. Outputs count as taken: they are, after each turn.
    pub fn queues(&self) -> impl Iterator<Item = Queue> + '_ {
        let (servers, pending) = (self.topology.servers.len(), self.pending.len());
        let shards: usize = self.topology.servers.iter().map(|s| usize::from(s.shards)).sum();
        let waiting: usize = self.writes.values().map(std::collections::VecDeque::len).sum();
        let (partition_keys, bytes) = self.unsettled.sizes();
        let (running, finished) = self.recent.sizes();
        let (words, overflowed) = self.home.sizes();
        let requests = |f: &&super::Forwarded| matches!(f, super::Forwarded::Request(_));
        let sent_on = self.forwards.values().filter(requests).count();
        let (reserved, reserved_max) = self.gate.sizes();
        let queues = [
            ("bytes of rows under way", reserved, reserved_max),
            ("fetches that wait for room", self.gate.waiting(), self.fetches.len()),
            ("pending", pending, self.config.in_flight_max),
            ("pending bytes", self.pending_bytes, self.config.pending_bytes_max()),
            // Each of these is one request's, or several requests share one.
            ("calls", self.calls.len(), pending),
            ("fetches", self.fetches.len(), pending),
            // A place for each fetch, and one more for each who was in more of a hurry; a few are
            // those of requests that have ended.
            ("held back", self.surge.held(), self.config.in_flight_max),
            ("held at the ceiling", self.ceiling.held(), self.config.in_flight_max),
            ("writes", self.writes.len() + waiting, pending),
            ("parked", self.parked.len(), pending),
            ("unacked", self.unacked.len(), pending),
            ("running writes of clients", running, pending),
            ("requests sent on", sent_on, pending),
            // To each shard of each server a ping, a probe, a HANDBACK and the SETTLEs of one
            // round; those of rounds that newer maps have cut short end with their links.
            ("other forwards", self.forwards.len() - sent_on, 16 * shards),
            ("writes remembered", finished, super::recent::FINISHED_MAX),
            ("keys of a partition", partition_keys, self.config.log_keys_max),
            ("bytes of keys", bytes, self.config.log_bytes_max),
            ("handovers", self.handovers.len(), servers),
            ("words of others", words, shards),
            ("overflowed partitions", overflowed, self.topology.partitions as usize),
            ("probes", self.probes.len(), servers),
            ("outputs", self.outputs.len(), 0),
        ];
        queues.into_iter().map(|(name, length, bound)| Queue::new(name, length, bound))
    }

    /// What was sent to peers and has not ended.
    pub(crate) fn forwards(&self) -> usize {
        self.forwards.len()
    }
}
