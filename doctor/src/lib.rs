//! What a host is like, what this cluster wants it to be like, and the difference: `standin doctor`.
//!
//! ```text
//!  /proc, /sys ─┐
//!  io_uring ────┤ read/ ──► Facts ──┐
//!  the card ────┤ (shell)           ├─ judge/ ──► Report ──► render.rs   a table
//!  the database ┘                   │  (pure)        │
//!  cluster.toml ──────────► Wanted ─┘                └────► change/      --apply, --revert
//!                                                           (shell)      and the record of old values
//! ```
//!
//! Reading decides nothing, and judging reads nothing: the same facts and the same cluster always give
//! the same report.

mod cgroups;
pub mod change;
mod facts;
mod judge;
mod parse;
pub mod read;
mod render;
mod report;
mod wanted;

pub use facts::{Card, Clock, Facts, Files, Reading, Unread, Uring, Way};
pub use judge::judge;
pub use render::{as_json, table};
pub use report::{Area, Change, Finding, Report, Verdict};
pub use wanted::{ServerNeeds, Wanted};
