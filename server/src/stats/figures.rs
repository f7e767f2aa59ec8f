//! The figures of a server as a whole, beside those of its shards and its control thread, and the
//! counters whose growth in the last ten seconds is published too.

standin_protocol::counters! {
    /// The figures of a server as a whole.
    pub struct ServerFigures {
        /// Log lines that could not be written.
        Counter log_lines_lost,
        /// The memory of this server's caches together, in bytes.
        Gauge memory_bytes,
        /// The limit of the whole cluster on reads of the database per second (`reads_per_second` of the file); zero:
        /// no limit.
        Gauge reads_per_second,
        /// 1 if the mode of the cluster is `strict`, 0 if it is `available`.
        Gauge is_strict,
        /// 1 if a keyspace has rows in a database, 0 if there is no database.
        Gauge has_database,
        /// Whether the database answers, or there is none: 1 or 0.
        Gauge origin_up,
        /// Time since the database was last known to answer; 0 while it does, or if there is none.
        Gauge origin_outage_ms,
        /// Time for which calls have been waiting for a lock that another session of the database holds; 0 if none
        /// does. With PostgreSQL only.
        Gauge origin_locked_ms,
        /// Connections of clients that there may be at once.
        Gauge connections_max,
        /// Connections of clients, which excludes those of other servers, of the master and of observers. Counted once
        /// a second.
        Gauge client_connections,
        /// Time since the master last granted a lease, or since the start if it never has.
        Gauge lease_age_us,
        /// Time since this server has its map, or since the start if it has none.
        Gauge map_age_us,
        /// Time since the last turn of the control thread, which takes the master's datagrams.
        Gauge control_age_us,
    }
}

standin_protocol::counters! {
    /// The names of the server and its cluster.
    pub struct InfoFigures by ["server", "cluster"] {
        /// 1; the labels say which server of which cluster publishes at this port.
        Gauge server_info,
    }
}

standin_protocol::counters! {
    /// The figures of one shard, beside those that are summed over all of them.
    pub struct ShardFigures by ["shard"] {
        /// Requests that this shard has taken up, as `standin_requests_total` counts them.
        Counter shard_requests,
        /// Connections of this shard.
        Gauge shard_connections,
        /// Longest turn of this shard's loop in the last second.
        Maximum shard_loop_lag_us,
        /// Time that this shard's loop has spent in its turns. What the kernel does for it while it waits
        /// is not part of it.
        Counter shard_busy_us,
        /// Time since this shard last published its counters, which it does ten times a second. A shard
        /// that hangs does not.
        Gauge shard_age_us,
    }
}

standin_protocol::counters! {
    /// The calls that wait for the database. The calls are reads or writes.
    pub struct QueueFigures by ["calls"] {
        /// Calls that wait until a connection or thread to the database is free.
        Gauge origin_queue,
        /// Keys and values of these calls, and what is kept of them.
        Gauge origin_queue_bytes,
    }
}

standin_protocol::counters! {
    /// The growth of some counters in the last ten seconds. Each is named for its counter.
    pub struct RecentFigures {
        /// Reads answered from the cache in the last ten seconds.
        Gauge hits_10s,
        /// Reads of keys that were not in the cache in the last ten seconds.
        Gauge misses_10s,
        /// Connections refused in the last ten seconds.
        Gauge connections_refused_10s,
        /// Connections of clients refused in the last ten seconds.
        Gauge clients_refused_10s,
        /// Connections of callers that had not said hello refused in the last ten seconds.
        Gauge handshakes_refused_10s,
        /// Connections of other servers refused in the last ten seconds.
        Gauge peers_refused_10s,
        /// Connections of the master refused in the last ten seconds.
        Gauge masters_refused_10s,
        /// Connections of observers refused in the last ten seconds.
        Gauge observers_refused_10s,
        /// Reads sent to the database in the last ten seconds.
        Gauge origin_reads_10s,
        /// Reads refused in the last ten seconds because of `reads_per_second`.
        Gauge rate_refused_10s,
        /// Reads refused in the last ten seconds because too many were held back after a change of
        /// owner, or for too long.
        Gauge surge_refused_10s,
        /// Requests refused for lack of room in the last ten seconds.
        Gauge overloaded_10s,
        /// Calls that the origin failed or refused in the last ten seconds.
        Gauge origin_failures_10s,
    }
}
