//! Faults for any target: the processes that a run starts, and what happens to them, when, and how it is undone.
//!
//! ```text
//! script.rs    what a scenario asks for                     ─┐ pure
//! times.rs     when faults begin and end                      │
//! links.rs     what is cut between which nodes                │
//! holds.rs     which faults make sense in which order        ┘
//! kinds/       starts a process, or a cluster of one kind, on free ports
//! resolve.rs   which process and which unit of systemd is meant, when a run begins
//! lan.rs       the network of namespaces, if it has one
//! setting.rs   everything that a run has started, and where it is
//! timeline.rs  carries the script out, notes the times, and undoes everything
//!
//! process.rs   a child that dies with the run       foreign.rs   a process of somebody else
//! child.rs     how children begin and end           watchdog.rs  ends what they have started, in any case
//! tool.rs      a program that runs to its end
//! proxy/       a proxy that is slow, silent or gone  database.rs  a table that is locked, or has no room
//! ```

mod child;
pub mod database;
mod foreign;
mod holds;
pub mod kinds;
mod lan;
pub mod links;
pub mod process;
pub mod proxy;
mod resolve;
pub mod script;
mod setting;
mod site;
mod timeline;
mod times;
mod tool;
mod watchdog;

pub use child::User;
pub(crate) use holds::mistakes;
pub use lan::Lan;
pub use process::{Process, SpawnError};
pub use setting::{Places, SettingError};
pub use timeline::{Announcement, Mark, Stage};
