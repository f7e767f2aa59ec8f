//! The metrics of a process, for Prometheus: the figures that a role gives and those of the process
//! itself, published over HTTP on a thread of their own.
//!
//! ```text
//! the role's figures ─┐
//! process.rs ─────────┴► exposition.rs ─► endpoint.rs ◄─ GET /metrics
//!                        text or          connections, users,
//!                        OpenMetrics      which format is wanted (negotiation.rs)
//! ```
//! Not here: which figures a role has. Each role has a list, and gives the values when it is asked.

mod endpoint;
mod exposition;
mod negotiation;
pub mod process;

pub use endpoint::{Admit, BindError, DESCRIPTORS, Endpoint, Listener, Source};
pub use exposition::{Format, Group, encode, published_name};
