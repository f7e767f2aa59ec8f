//! Observes a cluster under load: the master's events, as it writes them to its event file, and the
//! servers' counters.

mod events;
mod reads;
mod stats;
pub mod told;
pub mod usage;

pub use events::{EventTail, MasterLine};
pub use reads::{OriginPoint, Reads, ReadsWatch};
pub use stats::{StatsReading, StatsWatch, origin_reads};
