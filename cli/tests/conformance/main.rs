//! The 21 claims, shown with real processes. Each claim has one or more tests that are named for
//! it, and that assert the statements of the claim and their order. The comments quote the claims
//! in short form. In them, "data of a type" means a partition, and "the database" means the origin.
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
