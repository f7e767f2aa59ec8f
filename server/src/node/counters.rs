//! The counters of a shard. They are plain integers. The shell copies them to where STATS reads
//! them.

use standin_protocol::counters;

counters! {
    /// The counters of one shard since its start.
    pub struct Counters {
        /// Requests that this process has taken up, by all protocols, of clients and of other members, data or not. A
        /// request that a server sends on to another one is counted by both.
        Counter requests,
        /// Those of them that are for keys or partitions, which excludes PING, STATS and the like.
        Counter data_requests,
        /// Requests by Standin's own protocol of clients, the master and observers, which excludes those of other
        /// servers.
        Counter requests_native,
        /// Requests of clients by memcached's protocol. Each key of a command with many is one.
        Counter requests_memcached,
        /// Requests of clients by Redis' protocol. Each key of a command with many is one.
        Counter requests_redis,
        /// Reads answered from the cache, whether a client or another server has asked.
        Counter hits,
        /// Reads of keys that were not in the cache when they came, whether a client or another server has asked.
        Counter misses,
        /// Reads that waited for the answer of the database to another read of the same key, and asked for nothing
        /// themselves.
        Counter coalesced,
        /// Reads sent to the database.
        Counter origin_reads,
        /// Writes and deletes sent to the database.
        Counter origin_writes,
        /// Writes to keyspaces without a database that were done when they arrived, and waited for nothing.
        Counter writes_at_once,
        /// Reads and writes that were not sent to the database because too many wait for it. Their requests are
        /// answered OVERLOADED.
        Counter origin_shed,
        /// Reads and writes that the database has failed or refused, and those that were not sent to it.
        Counter origin_failures,
        /// Writes that may or may not have been carried out, because the database has not answered, or another server
        /// has not. They are answered OUTCOME_UNKNOWN.
        Counter outcomes_unknown,
        /// Values cached for no longer than a lease, because this server did not own their partitions yet when it read
        /// them.
        Counter kept_briefly,
        /// Values read from the database that were not cached, because the key was written or its partition changed
        /// hands meanwhile.
        Counter fills_refused,
        /// Requests that were sent on to the server that owns the partition.
        Counter forwarded,
        /// Requests of Redis Cluster clients that were answered with the address of the shard that serves the key
        /// (MOVED).
        Counter redirected,
        /// Requests that were sent on to another server and that it has not answered.
        Counter forwards_failed,
        /// Requests for partitions of a server that the master has marked offline, which this server has processed in
        /// its place.
        Counter stand_in_requests,
        /// Requests for partitions of a server that does not answer and that the master has not marked offline yet,
        /// which this server has processed in its place.
        Counter provisional_requests,
        /// Requests for partitions that had no owner. Reads go to the database; writes may have to wait.
        Counter through_requests,
        /// Writes that had to wait because their partition had no owner.
        Counter parked,
        /// Times that a shard lost the right to act as an owner because the server's lease had expired.
        Counter leases_lost,
        /// Times that a shard became an orphan: it went on without the master because nobody in its group heard the
        /// master.
        Counter orphaned,
        /// Requests that were sent on through a third server of the group, because this one can't reach the owner.
        Counter relayed,
        /// Keys written here that were noted for a server that has to drop them from its cache.
        Counter keys_logged,
        /// Keys written here that could not be noted for lack of room. The server that they were for drops its cache of
        /// their partitions.
        Counter keys_not_logged,
        /// Keys written here that were noted for an owner that is online but can't be reached from here.
        Counter keys_owed,
        /// Messages (SETTLE) that tell an owner to drop keys that were written here.
        Counter settles_sent,
        /// Keys dropped from the cache because another server has written them (SETTLE).
        Counter keys_settled,
        /// Times that a returning server was told of all keys that were written here while it was away.
        Counter handed_back,
        /// Times that a returning server could not be told of all keys that were written here while it was away. It
        /// drops its cache of their partitions.
        Counter handbacks_failed,
        /// Repeated sends of a write that had been carried out, which were answered as the first one was.
        Counter retries_answered,
        /// Repeated sends of a write that was still under way, which were answered together with it.
        Counter retries_joined,
        /// Reads of the database that were held back after a change of owner.
        Counter surge_held,
        /// Reads refused (OVERLOADED) after a change of owner, because too many reads of the database were held back,
        /// or for too long.
        Counter surge_refused,
        /// Reads of the database that were delayed because rows under way and replies that clients do not take had
        /// reached a limit in bytes.
        Counter fetches_delayed,
        /// Reads of the database that were held back because of `reads_per_second`.
        Counter rate_held,
        /// Reads refused (OVERLOADED) because of `reads_per_second`.
        Counter rate_refused,
        /// Writes that were carried out but answered OUTCOME_UNKNOWN, because no owner has confirmed in time that it
        /// dropped the old value.
        Counter writes_unacknowledged,
        /// Writes that waited and were dropped without being carried out, because this server had been stopped for a
        /// while or their clients had left.
        Counter writes_dropped,
        /// Requests that another server has sent here although this server does not own their partition.
        Counter not_owner,
        /// Times that the cached values of a partition were dropped because its owner had changed.
        Counter partitions_dropped,
        /// Times that a partition came back to this server and its cached values were kept.
        Counter partitions_kept,
        /// Flushes of a keyspace, counted in each partition.
        Counter partitions_flushed,
        /// Requests refused (OVERLOADED) for lack of room. Those of `reads_per_second` and of a change of owner are
        /// counted apart.
        Counter overloaded,
        /// Requests dropped or refused because the deadline that they bring had passed.
        Counter deadlines_passed,
        /// Requests that took longer than the `log_slower_than` of their keyspace.
        Counter slow_requests,
        /// Requests that came to a shard and were for another shard of this server.
        Counter strayed,
        /// Reports to the master that a server does not answer.
        Counter reports,
        /// Times that a shard has taken over a newer map of the cluster.
        Counter maps_applied,
        /// Open connections that others have made, of every kind.
        Gauge connections,
        /// Connections accepted, of every kind.
        Counter connections_accepted,
        /// Connections closed at once because all places for callers of that kind are taken, or because this process is
        /// about to end.
        Counter connections_refused,
        /// Of these, connections of clients.
        Counter clients_refused,
        /// Of these, connections of other servers.
        Counter peers_refused,
        /// Of these, connections of the master.
        Counter masters_refused,
        /// Of these, connections of observers, such as `standin status`.
        Counter observers_refused,
        /// Of these, connections of callers that had not said who they are when too many did not.
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
        /// Connections closed because of what the other side did: it sent what is no request, did not finish a request
        /// or its login in time, did not take its replies, or is no longer admitted.
        Counter connections_dropped,
        /// Items in the cache.
        Gauge items,
        /// Bytes of the items in the cache.
        Gauge items_bytes,
        /// Items dropped from the cache to make room.
        Counter evicted,
        /// Items that eviction came upon and kept, because they had been used.
        Counter eviction_kept,
        /// Items found in the cache and dropped because their lifetime had ended, or because their partitions had been
        /// dropped before.
        Counter expired,
        /// Memory set aside for items, used or not: the size of the arena.
        Gauge arena_bytes,
        /// Memory of the index and of the lists by which items are evicted.
        Gauge index_bytes,
        /// Bytes of replies that connections have not taken yet.
        Gauge output_bytes,
        /// Bytes of the keys and values of the requests that wait.
        Gauge waiting_bytes,
        /// Reads of the database that are held back at the moment, after a change of owner or because of
        /// `reads_per_second`.
        Gauge fetches_held,
        /// Requests that wait at the moment for the database or for another server.
        Gauge in_flight,
        /// Times that a shard had been stopped, or had got no CPU time, for so long that it dropped the requests it
        /// held.
        Counter pauses,
        /// Longest turn of a shard's loop in the last second.
        Maximum loop_lag_us,
        /// Time that the loops of the shards have spent in their turns. What the kernel does for them while they wait
        /// is not part of it.
        Counter busy_us,
    }
}
