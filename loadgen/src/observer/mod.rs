//! Observes a cluster under load: the master's events, as it writes them to its event file, and the
//! servers' counters.

mod events;
mod stats;

pub use events::{EventTail, MasterLine};
pub use stats::{StatsReading, StatsWatch};
