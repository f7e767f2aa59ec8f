//! The figures of a master.

use standin_protocol::counters;

counters! {
    /// The figures of a master since its start.
    pub struct Counters {
        /// Datagrams of the cluster, before they are judged.
        Counter datagrams_received,
        /// Datagrams seen before, of ended incarnations, or about servers that don't exist.
        Counter datagrams_dropped,
        /// Of these, datagrams that did not come from the address of the server that they name.
        Counter datagrams_distrusted,
        /// Notices that a server may be offline.
        Counter reports,
        /// Those of reporters that accuse most of a group, about servers contacted just before.
        Counter reports_discounted,
        /// Probes of all shards of a server.
        Counter probes,
        /// Probes that a shard left unanswered.
        Counter probes_failed,
        /// Servers that were asked to probe another.
        Counter probes_asked,
        /// Probes that only others of the group got an answer to.
        Counter probes_relayed,
        /// Servers that did not answer and might still hold a lease.
        Counter waitings,
        /// Leases of such servers that ran out.
        Counter leases_over,
        /// Servers marked offline by verdict.
        Counter verdicts_offline,
        /// Verdicts that the cap, or a lack of history, held back.
        Counter verdicts_withheld,
        /// Servers that said that they stop.
        Counter leavings,
        /// Servers that came back.
        Counter returns,
        /// Epochs published.
        Counter epochs,
        /// Announcements sent, repeats included.
        Counter announcements,
        /// Warnings that announcements were not acknowledged.
        Counter announcements_overdue,
        /// Acknowledgements that were news.
        Counter acks,
        /// States that were taken over from a server.
        Counter adoptions,
        /// Failed attempts to write the state file.
        Counter saves_failed,
    }
}
