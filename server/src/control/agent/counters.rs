//! What the agent counts, for STATS.

/// Counters and gauges of a server's agent since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AgentCounters {
    /// Renewals that the master has answered by a lease.
    pub leases_granted: u64,
    /// Leases that ran out.
    pub leases_expired: u64,
    /// Times that the master was lost: nothing heard for half a lease.
    pub masters_lost: u64,
    /// Times that this server became an orphan: the whole group without the master.
    pub orphan_spells: u64,
    /// 1 while it is one.
    pub is_orphan: u64,
    /// Gossip sent.
    pub gossip_sent: u64,
    /// Gossip of members of the group taken in.
    pub gossip_received: u64,
    /// Newer maps that came from a member of the group, not from the master.
    pub maps_by_gossip: u64,
    /// Datagrams passed on for others.
    pub datagrams_relayed: u64,
    /// Datagrams for the master that were sent through members of the group too.
    pub datagrams_detoured: u64,
    /// Datagrams dropped: replayed, outdated, or for somebody else.
    pub datagrams_dropped: u64,
    /// Datagrams dropped that did not come from where their sender is, or whose epoch can't be.
    pub datagrams_distrusted: u64,
    /// Probes of members of the group.
    pub peer_probes: u64,
}

impl AgentCounters {
    /// Number of [`Self::named`].
    pub const COUNT: usize = 13;

    /// Names and values.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); Self::COUNT] {
        [
            ("leases_granted", self.leases_granted),
            ("leases_expired", self.leases_expired),
            ("masters_lost", self.masters_lost),
            ("orphan_spells", self.orphan_spells),
            ("is_orphan", self.is_orphan),
            ("gossip_sent", self.gossip_sent),
            ("gossip_received", self.gossip_received),
            ("maps_by_gossip", self.maps_by_gossip),
            ("datagrams_relayed", self.datagrams_relayed),
            ("datagrams_detoured", self.datagrams_detoured),
            ("datagrams_dropped", self.datagrams_dropped),
            ("datagrams_distrusted", self.datagrams_distrusted),
            ("peer_probes", self.peer_probes),
        ]
    }
}
