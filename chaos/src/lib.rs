//! The part of the chaos command that the benchmark of a node's death (`benches/src/peers/`) uses too. Neither is
//! shipped.

pub mod outage;
