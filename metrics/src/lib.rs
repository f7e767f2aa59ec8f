//! What a process answers over HTTP, on a thread of its own: its metrics, for Prometheus, and what else is
//! given to it as a site.
//!
//! ```text
//! the role's figures ─┐                      prometheus.rs: the site of
//! process.rs ─────────┴► exposition.rs ─────► the metrics (negotiation.rs) ─┐
//!                        text or OpenMetrics                                ├► http.rs ◄─ GET
//!                                                           another site ───┘  connections, users,
//!                                                                              who may ask (guard.rs),
//!                                                                              what fails (mishaps.rs)
//! ```
//! Not here: which figures a role has. Each role has a list, and gives the values when it is asked.

mod exposition;
mod guard;
mod http;
mod mishaps;
mod negotiation;
pub mod process;
mod prometheus;

pub use exposition::{Format, Group, encode, published_name};
pub use http::{Admit, Answer, Asked, BindError, DESCRIPTORS, Endpoint, Listener, Site, Status};
pub use prometheus::{Source, metrics};
