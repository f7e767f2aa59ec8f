//! The size of the explored world.

/// The bounds of an exploration. Everything else is unbounded: time, delays, losses, the order of
/// messages, the number of renewals, and what reaches servers that the master does not hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// The number of servers: the home and its stand-ins.
    pub servers: usize,
    /// The number of steps of time that a lease lasts. With two steps, leases may overlap.
    pub lease_steps: u8,
    /// The number of writes.
    pub writes: usize,
    /// The number of published maps. No more than [`MAPS_MAX`](crate::state::MAPS_MAX) are needed,
    /// because maps that no server has any more do not count. With `delays`, no map is ever
    /// forgotten.
    pub maps_max: u8,
    /// Whether announcements may be delayed past newer ones. Otherwise a server learns only the
    /// newest map, or a map that another member has.
    pub delays: bool,
    /// The number of crashes of servers.
    pub crashes: u8,
    /// The number of restarts of the master.
    pub master_restarts: u8,
    /// The number of times that the master restarts without its state file. Each of them also
    /// counts as a restart.
    pub file_losses: u8,
    /// The number of times that a server falls silent, because it is paused or cut off from the
    /// master.
    pub silences: u8,
    /// The number of servers that are asked to stop.
    pub leaves: u8,
    /// Whether the members tell each other that they have lost the master, so that orphans are
    /// possible (`available`).
    pub orphans: bool,
}

impl Scope {
    /// Returns the number of steps after which an acknowledged write must be seen in mode
    /// `available`. It is the length of a lease.
    #[must_use]
    pub fn stale_steps(&self) -> usize {
        usize::from(self.lease_steps)
    }
}
