//! The 21 claims, shown with real processes: one test (or more) per claim, named for it,
//! asserting what the claim says and in which order it happens. The claims are quoted in
//! short; "data of a type" is a partition, "the database" the origin.
//!
//! ```text
//! system.rs        c01 to c09: groups, the database partitioned over the servers
//! client_side.rs   c10 to c14: the client's failover mode
//! server_side.rs   c15 to c18: forwarding, standing in, indications from the master
//! master_side.rs   c19 to c21: verification, announcement, periodic checks
//! ```

#[path = "../common/mod.rs"]
mod common;

mod client_side;
mod master_side;
mod server_side;
mod system;
