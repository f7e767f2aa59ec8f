//! The size of the explored world.

/// Bounds of an exploration. All but these are unbounded: time, delays, losses, the order of
/// messages, how often leases are renewed,
/// what reaches servers that the master does not hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// The home and its stand-ins.
    pub servers: usize,
    /// Steps of time that a lease lasts: with two, leases may overlap.
    pub lease_steps: u8,
    /// Writes.
    pub writes: usize,
    /// Maps published. More than [`MAPS_MAX`](crate::state::MAPS_MAX) need not be: those that nobody
    /// holds any more do not count. Only with `delays` none is ever forgotten.
    pub maps_max: u8,
    /// Announcements may be delayed past newer ones. Otherwise a server learns the newest map,
    /// or one that another member holds.
    pub delays: bool,
    /// Crashes of servers.
    pub crashes: u8,
    /// Restarts of the master.
    pub master_restarts: u8,
    /// The number of times that the master restarts without its state file, each of which also
    /// counts as a restart.
    pub file_losses: u8,
    /// Servers that fall silent: they are paused, or cut off from the master.
    pub silences: u8,
    /// Servers asked to stop.
    pub leaves: u8,
    /// Whether the group gossips about the master (`available`): orphans.
    pub orphans: bool,
}

impl Scope {
    /// Steps after which an acknowledged write must be seen in mode `available`: a lease.
    #[must_use]
    pub fn stale_steps(&self) -> usize {
        usize::from(self.lease_steps)
    }
}
