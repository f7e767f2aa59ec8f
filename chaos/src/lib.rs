//! The parts of the chaos command that the benchmark of a node's death (`benches/src/peers/`) uses
//! too. Neither is shipped.
//!
//! ```text
//! proxy/     a proxy before the database: slow, gone, or counting what is read
//! outage     the effect of a fault on clients, from the log of all requests
//! signals    to processes: stop, continue, terminate
//! ```

pub mod outage;
pub mod proxy;
pub mod signals;
