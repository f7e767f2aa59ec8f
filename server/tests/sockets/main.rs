//! Tests of the server over real sockets, on both event loops. They send everything that clients
//! may send, in pieces of any size, and do everything that clients may do.
//!
//! ```text
//! fixture.rs   a scripted master, servers, a database
//! wire.rs      a client that sends any bytes
//! ```

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[macro_use]
mod fixture;
mod wire;

mod big;
mod churn;
mod control;
mod endings;
mod kernel_tls;
mod limits;
mod model;
mod shards;
mod table;
mod tls;
