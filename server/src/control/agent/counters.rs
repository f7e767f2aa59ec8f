//! The figures of a server's agent.

use standin_protocol::counters;

counters! {
    /// The figures of a server's agent since its start.
    pub struct AgentCounters {
        /// Renewals that the master has answered by a lease.
        Counter leases_granted,
        /// Leases that ran out.
        Counter leases_expired,
        /// Times that the master was lost: nothing heard for half a lease.
        Counter masters_lost,
        /// Times that this server became an orphan: the whole group without the master.
        Counter orphan_spells,
        /// 1 while it is one.
        Gauge is_orphan,
        /// Gossip sent.
        Counter gossip_sent,
        /// Gossip of members of the group taken in.
        Counter gossip_received,
        /// Newer maps that came from a member of the group, not from the master.
        Counter maps_by_gossip,
        /// Datagrams passed on for others.
        Counter datagrams_relayed,
        /// Datagrams for the master that were sent through members of the group too.
        Counter datagrams_detoured,
        /// Datagrams dropped: replayed, outdated, or for somebody else.
        Counter datagrams_dropped,
        /// Datagrams dropped that did not come from where their sender is, or whose epoch can't be.
        Counter datagrams_distrusted,
        /// Probes of members of the group.
        Counter peer_probes,
    }
}
