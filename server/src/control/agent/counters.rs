//! The figures of a server's agent.

use standin_protocol::counters;

counters! {
    /// The figures of a server's agent since its start.
    pub struct AgentCounters {
        /// Renewals that the master has answered with a lease.
        Counter leases_granted,
        /// Leases that expired.
        Counter leases_expired,
        /// 1 while this server holds a lease of the master that has not expired.
        Gauge is_leased,
        /// Times that the master was lost, because nothing was heard from it for half a lease.
        Counter masters_lost,
        /// Times that this server became an orphan, because its whole group had lost the master.
        Counter orphan_spells,
        /// 1 while this server is an orphan.
        Gauge is_orphan,
        /// Epoch of the map that this server has: its term times 2^32, plus its number; 0 before the first.
        Gauge map_epoch,
        /// Gossip sent.
        Counter gossip_sent,
        /// Gossip received from members of the group.
        Counter gossip_received,
        /// Newer maps that came from a member of the group instead of the master.
        Counter maps_by_gossip,
        /// Datagrams relayed for others.
        Counter datagrams_relayed,
        /// Datagrams for the master that were also sent through members of the group.
        Counter datagrams_detoured,
        /// Datagrams dropped because they were replayed, outdated, or for another recipient.
        Counter datagrams_dropped,
        /// Datagrams dropped because they came from another address than their sender's, or named
        /// an implausible epoch.
        Counter datagrams_distrusted,
        /// Probes of members of the group.
        Counter peer_probes,
    }
}
