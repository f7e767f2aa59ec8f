//! The counters of a master.

use standin_protocol::counters;

counters! {
    /// The counters of a master since its start.
    pub struct Counters {
        /// Datagrams received with a right code, before anything else is judged of them.
        Counter datagrams_received,
        /// Datagrams dropped because they had been seen before, came from a server process that has ended, or name a
        /// server that does not exist.
        Counter datagrams_dropped,
        /// Datagrams dropped because they did not come from the address of the server that they name.
        Counter datagrams_distrusted,
        /// Reports of clients and servers that a server does not answer.
        Counter reports,
        /// Reports that began no verification, because their reporter has reported most of a group and the server had
        /// been contacted just before.
        Counter reports_discounted,
        /// Verifications of a server: each contacts all of its shards.
        Counter probes,
        /// Verifications in which a shard did not answer.
        Counter probes_failed,
        /// Requests to a server to verify another one, in case only the master can't reach it.
        Counter probes_asked,
        /// Verifications that only other members of the group could carry out, because the master can't reach the
        /// server.
        Counter probes_relayed,
        /// Times that a server did not answer and might still hold a lease, so that its partitions have no owner until
        /// that has expired.
        Counter waitings,
        /// Times that the lease of such a server has expired.
        Counter leases_over,
        /// Times that a server was marked offline because it did not answer, kept restarting, or could not reach the
        /// database.
        Counter verdicts_offline,
        /// Times that a server was not marked offline although it did not answer, because too many others are, or
        /// because the master has only just started.
        Counter verdicts_withheld,
        /// Times that a server was marked offline because it was stopped in order.
        Counter leavings,
        /// Times that a server has come back.
        Counter returns,
        /// Maps published, each with another epoch.
        Counter epochs,
        /// Datagrams that announce a map to a server, including repeated ones.
        Counter announcements,
        /// Warnings in the log that a server does not acknowledge a map.
        Counter announcements_overdue,
        /// Acknowledgements of a map by a server that had not acknowledged it before.
        Counter acks,
        /// Times that the master has taken over the states of servers from a server, because it had lost its own or
        /// they were older.
        Counter adoptions,
        /// Failed attempts to write the state file.
        Counter saves_failed,
    }
}

counters! {
    /// The counters of a master's ports since its start.
    pub struct PortCounters {
        /// Connections on which TLS was set up.
        Counter tls_handshakes,
        /// Connections closed because TLS failed on them, or was not spoken although the port has it, or was spoken
        /// although it has none. Those to servers are among them.
        Counter tls_failures,
        /// Logins of servers, clients and observers that failed because of a wrong secret, user or password.
        Counter auth_failures_native,
        /// Datagrams dropped because they are none of Standin, or were made with another secret, another cluster file or
        /// another version.
        Counter datagrams_refused,
    }
}

counters! {
    /// The state of a master.
    pub struct MasterFigures {
        /// Term of this master, which rises at each start.
        Gauge term,
        /// Epoch of the published map: its term times 2^32, plus its number; 0 before the first.
        Gauge map_epoch,
        /// 1 if the master announces its map, 0 while it still learns from the servers.
        Gauge is_announcing,
        /// Servers that are marked offline or waiting because they did not answer, which excludes those that were
        /// stopped in order.
        Gauge servers_out,
        /// Largest number of servers that the master marks so at once (`offline_servers_max`).
        Gauge servers_out_max,
        /// Log lines that could not be written.
        Counter log_lines_lost,
        /// Time since the figures were read from the master's event loop. A loop that hangs gives none.
        Gauge loop_age_us,
    }
}

counters! {
    /// The name of the cluster.
    pub struct InfoFigures by ["cluster"] {
        /// 1; the label says of which cluster this is the master.
        Gauge info,
    }
}

counters! {
    /// The master's view of one server.
    pub struct ViewFigures by ["server", "group"] {
        /// Time since the master last heard from the server.
        Gauge server_silent_us,
        /// 1 while the master verifies whether the server is offline.
        Gauge server_probing,
        /// 1 while the server does not answer and the master does not mark it offline, because too many
        /// others are, or because the master has only just started.
        Gauge server_withheld,
        /// 1 while the server leaves or is offline because it was stopped in order: it had said so, and nothing was
        /// lost. 0 for a server that is offline because it did not answer.
        Gauge server_stopped,
        /// Time for which the server has left announcements unacknowledged; 0 if it has acknowledged all,
        /// or need not.
        Gauge server_unacknowledged_us,
    }
}

counters! {
    /// The state of one server.
    pub struct StateFigures by ["server", "group", "state"] {
        /// 1 for the state that the master has published of the server, 0 for the others.
        Gauge server_state,
    }
}
