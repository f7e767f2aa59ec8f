//! The counters of a master.

use standin_protocol::counters;

counters! {
    /// The counters of a master since its start.
    pub struct Counters {
        /// Datagrams of the cluster, before they are judged.
        Counter datagrams_received,
        /// Datagrams seen before, of ended incarnations, or about servers that don't exist.
        Counter datagrams_dropped,
        /// Those dropped because they did not come from the address of the server that they name.
        Counter datagrams_distrusted,
        /// Notices that a server may be offline.
        Counter reports,
        /// Discounted notices: their reporters have reported most of a group, and the servers had
        /// been contacted just before.
        Counter reports_discounted,
        /// Probes of all shards of a server.
        Counter probes,
        /// Probes that a shard left unanswered.
        Counter probes_failed,
        /// Servers that were asked to probe another.
        Counter probes_asked,
        /// Probes that were answered only through other members of the group.
        Counter probes_relayed,
        /// Servers that did not answer and might still hold a lease.
        Counter waitings,
        /// Leases of such servers that ran out.
        Counter leases_over,
        /// Servers marked offline by verdict.
        Counter verdicts_offline,
        /// Verdicts that the cap, or a lack of history, held back.
        Counter verdicts_withheld,
        /// Servers that said that they are stopping.
        Counter leavings,
        /// Servers that returned.
        Counter returns,
        /// Epochs published.
        Counter epochs,
        /// Announcements sent, including repeated ones.
        Counter announcements,
        /// Warnings that announcements were not acknowledged.
        Counter announcements_overdue,
        /// Acknowledgements of epochs that had not been acknowledged before.
        Counter acks,
        /// Times that states were adopted from a server.
        Counter adoptions,
        /// Failed attempts to write the state file.
        Counter saves_failed,
    }
}

counters! {
    /// The state of a master.
    pub struct MasterFigures {
        /// Term of this master.
        Gauge term,
        /// Epoch of the published map: its term times 2^32, plus its number; 0 before the first.
        Gauge map_epoch,
        /// 1 if the master announces its map, 0 while it still learns from the servers.
        Gauge is_announcing,
        /// Servers that are marked offline or waiting because they did not answer.
        Gauge servers_out,
        /// Largest number of servers that the master marks so at once.
        Gauge servers_out_max,
        /// Log lines that could not be written.
        Counter log_lines_lost,
        /// Time since the figures were read from the master's event loop. A loop that hangs gives none.
        Gauge loop_age_us,
    }
}

counters! {
    /// The master's view of one server.
    pub struct ViewFigures by ["server", "group"] {
        /// Time since the last sign of life of the server.
        Gauge server_silent_us,
        /// 1 while the master probes the server.
        Gauge server_probing,
        /// 1 while the server does not answer and the master does not mark it offline, because too many
        /// others are, or because the master has only just started.
        Gauge server_withheld,
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
