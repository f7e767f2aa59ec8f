//! A deterministic simulator of whole clusters, after TigerBeetle's VOPR and FoundationDB's
//! simulation: the shipped parts of clients, servers and master in one queue of events, with
//! a virtual clock, a simulated network and a simulated origin. The same seed gives the same run.
//!
//! ```text
//! plan/     the events of a run: from a seed, or by hand
//! world/    the parties, the network and the faults; executes a plan
//! origin.rs the model of a database
//! check/    what must hold
//! crowd/    clusters of up to 1,024 servers, control plane only: a test, and `cargo sim --growth`
//! shrink.rs shortens a plan that fails
//! many.rs   runs many seeds in parallel
//! counted.rs  counts how often things have happened
//! cli.rs    `cargo sim`
//! without_rules.rs  what goes wrong without single rules (with the feature `mutants`)
//! ```

mod check;
pub mod cli;
mod clock;
mod counted;
mod crowd;
mod flags;
mod many;
mod origin;
mod plan;
mod random;
mod scenarios;
mod shrink;
#[cfg(test)]
mod tests;
#[cfg(feature = "mutants")]
pub mod without_rules;
mod world;
