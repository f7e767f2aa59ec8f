//! The figures of a server as a whole, beside those of its shards and its control thread, and the
//! counters whose growth in the last ten seconds is published too.

standin_protocol::counters! {
    /// The figures of a server as a whole.
    pub struct ServerFigures {
        /// Log lines that could not be written.
        Counter log_lines_lost,
        /// The memory of this server's caches together, in bytes.
        Gauge memory_bytes,
        /// The limit of the whole cluster on reads of the database per second; zero: no limit.
        Gauge reads_per_second,
        /// 1 if the mode of the cluster is `strict`, 0 if it is `available`.
        Gauge is_strict,
        /// 1 if a keyspace has rows in a database, 0 if there is no database.
        Gauge has_database,
        /// Whether the database answers, or there is none: 1 or 0.
        Gauge origin_up,
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
