//! The counters of a shard. They are plain integers. The shell copies them to where STATS reads
//! them.

use standin_protocol::counters;

counters! {
    /// The counters of one shard since its start.
    pub struct Counters {
        /// Requests received, of every kind.
        Counter requests,
        /// Requests for keys or partitions, which excludes PING, STATS and the like.
        Counter data_requests,
        /// Requests of clients by Standin's own protocol.
        Counter requests_native,
        /// Requests by memcached's protocol. Each key of a command with many is one.
        Counter requests_memcached,
        /// Requests by Redis' protocol. Each key of a command with many is one.
        Counter requests_redis,
        /// Reads answered from the cache.
        Counter hits,
        /// Reads that found nothing in the cache.
        Counter misses,
        /// Reads that shared another read's fetch.
        Counter coalesced,
        /// Fetches sent to the origin.
        Counter origin_reads,
        /// Writes and deletes sent to the origin.
        Counter origin_writes,
        /// Writes of keyspaces without a database that ended when they arrived.
        Counter writes_at_once,
        /// Calls that were not made because too many wait for the origin. Their requests are answered
        /// OVERLOADED.
        Counter origin_shed,
        /// Calls that the origin failed or refused, and those that were not made.
        Counter origin_failures,
        /// Writes whose outcome is unknown.
        Counter outcomes_unknown,
        /// Values kept for no longer than a lease, before this server owned their partitions.
        Counter kept_briefly,
        /// Results not kept because the key or its partition changed meanwhile.
        Counter fills_refused,
        /// Requests forwarded to the partition's owner.
        Counter forwarded,
        /// Requests whose clients were referred to the shard that serves the key.
        Counter redirected,
        /// Forwards that failed.
        Counter forwards_failed,
        /// Requests processed for another server that the master has marked offline.
        Counter stand_in_requests,
        /// Requests processed for another server before the master has decided.
        Counter provisional_requests,
        /// Requests for partitions that currently have no owner.
        Counter through_requests,
        /// Times that a write began to wait for its partition to get an owner.
        Counter parked,
        /// Times that the right to act as an owner ended because the lease was lost.
        Counter leases_lost,
        /// Times that this shard became an orphan: it went on without the master because nobody in
        /// its group heard the master.
        Counter orphaned,
        /// Requests relayed through a member of the group because only this server can't reach the
        /// owner.
        Counter relayed,
        /// Keys written here that were logged for a server that has to drop them.
        Counter keys_logged,
        /// Keys that could not be logged because there was no room.
        Counter keys_not_logged,
        /// Times that a key was logged for an owner that is online.
        Counter keys_owed,
        /// SETTLEs sent.
        Counter settles_sent,
        /// Keys dropped because another server wrote them (SETTLE).
        Counter keys_settled,
        /// Returning servers that were told of all keys written here.
        Counter handed_back,
        /// Returning servers that could not be told of all keys written here.
        Counter handbacks_failed,
        /// Copies of writes that were answered from memory.
        Counter retries_answered,
        /// Copies of writes that joined one under way.
        Counter retries_joined,
        /// Fetches held back after a change of owner.
        Counter surge_held,
        /// Reads refused because too many fetches were held back, or because they were held back
        /// for too long.
        Counter surge_refused,
        /// Fetches that waited because rows under way and replies not taken had reached the limit
        /// in bytes.
        Counter fetches_delayed,
        /// Fetches held back because of `reads_per_second`.
        Counter rate_held,
        /// Reads refused because of `reads_per_second`.
        Counter rate_refused,
        /// Writes that were executed but answered OUTCOME_UNKNOWN because no owner confirmed that
        /// it had dropped the key.
        Counter writes_unacknowledged,
        /// Waiting writes that were dropped because this server had been stopped or their clients
        /// had left.
        Counter writes_dropped,
        /// Requests sent here by another server although this server does not own their partition.
        Counter not_owner,
        /// Partitions dropped because their owner changed.
        Counter partitions_dropped,
        /// Partitions that came back to this server and whose cached values were kept.
        Counter partitions_kept,
        /// Flushes of a keyspace in one partition.
        Counter partitions_flushed,
        /// Requests refused for lack of room.
        Counter overloaded,
        /// Requests whose deadline had passed.
        Counter deadlines_passed,
        /// Requests that took longer than the `log_slower_than` of their keyspace.
        Counter slow_requests,
        /// Requests for another shard of this server.
        Counter strayed,
        /// Reports to the master.
        Counter reports,
        /// Maps applied.
        Counter maps_applied,
        /// Open connections.
        Gauge connections,
        /// Connections accepted.
        Counter connections_accepted,
        /// Connections refused because all for callers of that kind are in use, or because this
        /// server is about to end.
        Counter connections_refused,
        /// Of these, connections of clients.
        Counter clients_refused,
        /// Of these, connections of other servers.
        Counter peers_refused,
        /// Of these, connections of the master.
        Counter masters_refused,
        /// Of these, connections of observers, such as `standin status`.
        Counter observers_refused,
        /// Of these, connections of callers that had not said hello.
        Counter handshakes_refused,
        /// Connections on which TLS was set up.
        Counter tls_handshakes,
        /// Of these, connections that the kernel encrypts since their handshakes were done.
        Counter tls_in_kernel,
        /// Connections closed because TLS failed on them, or was not spoken on a port that has to have it.
        Counter tls_failures,
        /// Logins by Standin's own protocol that failed because of a wrong secret, user or password.
        Counter auth_failures_native,
        /// Logins by memcached's protocol that failed because of a wrong user or password.
        Counter auth_failures_memcached,
        /// Logins by Redis' protocol that failed because of a wrong user or password.
        Counter auth_failures_redis,
        /// Connections closed because of what the other side sent or failed to send.
        Counter connections_dropped,
        /// Items in the cache.
        Gauge items,
        /// Bytes of the items in the cache.
        Gauge items_bytes,
        /// Items evicted.
        Counter evicted,
        /// Items that had been used and that eviction kept.
        Counter eviction_kept,
        /// Items dropped because they had expired, or because their partitions were dropped before.
        Counter expired,
        /// Memory for items: the size of the arena.
        Gauge arena_bytes,
        /// Memory of the index and of the lists by which items are evicted.
        Gauge index_bytes,
        /// Replies that connections have not read yet.
        Gauge output_bytes,
        /// Keys and values of the requests that wait.
        Gauge waiting_bytes,
        /// Fetches that are held back after a change of owner, or because of `reads_per_second`.
        Gauge fetches_held,
        /// Requests that wait for the origin or a peer.
        Gauge in_flight,
        /// Times that this shard had been stopped, or starved, for so long that it dropped the
        /// requests it held.
        Counter pauses,
        /// Longest turn of the shard's loop in the last second.
        Maximum loop_lag_us,
        /// Time that the shard's loop has spent in its turns. What the kernel does for
        /// it while it waits is not part of it.
        Counter busy_us,
    }
}
