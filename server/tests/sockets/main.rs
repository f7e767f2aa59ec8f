//! The server over real sockets, on both event loops: everything that clients may send, in pieces
//! of any size, and may do to it.
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
mod limits;
mod model;
mod shards;
mod table;
