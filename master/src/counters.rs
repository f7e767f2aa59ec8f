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
