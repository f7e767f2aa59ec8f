//! Shards: one thread each, with its own event loop, connections, cache and links.
//!
//! ```text
//! ring/ or epoll/       the loop: sockets and buffers            (shells)
//! pool.rs               the buffers of the latter
//! outside.rs           the other threads, as a loop reaches them
//! turn.rs              what a loop does after each wake-up
//! core/                connections, staging, serving            (no sockets)
//!     core/backend.rs  what serves the commands: the node, or a proxy's client
//!     core/peers.rs    its links to other servers' shards
//! handshake.rs         hello of accepted connections
//! sealed.rs            the TLS of connections
//! in_kernel.rs         one that the kernel has
//! give.rs              giving them to the kernel after their handshakes
//! admission.rs         who may have a connection
//! codec/               bytes to commands, answers to bytes      (no rules)
//! link.rs              a connection to another server's shard
//! limits.rs            what a frame may carry, by who sends it
//! listeners.rs         the ports, and the protocol of each
//! access.rs            who may connect, and as whom
//! rights.rs            what a request needs of its caller's rights
//! users.rs             password files of services
//! mailbox.rs           what other threads tell a shard
//! context.rs           what a shard is told when it starts
//! ```

pub mod access;
pub mod admission;
mod buffers;
pub mod challenges;
pub mod codec;
mod context;
pub mod core;
mod epoll;
mod give;
pub mod handshake;
pub mod in_kernel;
mod key;
mod limits;
pub mod link;
pub mod listeners;
pub mod mailbox;
mod nodes;
mod outside;
mod pool;
mod rights;
mod ring;
mod sealed;
mod sockets;
#[cfg(test)]
mod tests;
pub mod turn;
mod unreadable;
pub mod users;

use standin_config::IoKind;
use standin_protocol::time::Micros;
use tracing::{info, warn};

pub use self::context::ShardContext;
use self::core::Core;
use self::core::backend::Backend;
pub use self::give::kernel_tls;
use self::listeners::Listener;
pub use self::outside::{Outside, ServerThreads};
use crate::node::Now;

/// Why a shard's loop can't run, or ended.
#[derive(Debug, thiserror::Error)]
pub enum LoopError {
    /// The kernel does not let this process use io_uring as the loop needs it.
    #[error(
        "io_uring is unavailable ({0}): it needs Linux 6.1 or newer, and kernel.io_uring_disabled \
         must be 0. Set io = \"epoll\" (or \"auto\") for this server"
    )]
    NoUring(std::io::Error),
    /// A system call failed that the loop can't do without.
    #[error("{what}: {error}")]
    System {
        /// The operation that failed.
        what: &'static str,
        /// The error.
        error: std::io::Error,
    },
}

impl LoopError {
    fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::System { what, error }
    }
}

/// Returns why a shard can't run on io_uring here, if it can't.
pub(crate) fn uring_missing() -> Option<LoopError> {
    ring::Ring::new().err()
}

/// Returns the kernel's operations that a shard uses on io_uring, each with whether this kernel has it;
/// `None` if it does not say.
pub(crate) fn uring_operations() -> Vec<(&'static str, Option<bool>)> {
    ring::supported()
}

/// Runs a shard on the calling thread until it is told to stop. Only shard 0 is given the
/// listeners: it accepts, and hands each connection to the shard that its hello asks for, or whose
/// turn it is.
///
/// # Errors
/// [`LoopError`].
pub fn run<B: Backend>(
    node: B,
    context: ShardContext,
    outside: Outside<B>,
    listeners: Vec<Listener>,
    io: IoKind,
) -> Result<(), LoopError> {
    let shard = context.shard;
    let uring = match io {
        IoKind::Epoll => None,
        IoKind::Auto | IoKind::Uring => match ring::Ring::new() {
            Ok(ring) => Some(ring),
            Err(error) if io == IoKind::Auto => {
                warn!(shard, %error, "this shard runs on epoll");
                None
            }
            Err(error) => return Err(error),
        },
    };
    let core = Core::new(node, context, now().mono);
    match uring {
        Some(ring) => {
            info!(shard, "this shard runs on io_uring");
            ring.run(core, outside, listeners)
        }
        None => {
            info!(shard, "this shard runs on epoll");
            epoll::run(core, outside, listeners)
        }
    }
}

/// The clocks, read once or twice per wake-up.
#[expect(clippy::disallowed_methods, reason = "the loops are the shell that reads the clock")]
fn now() -> Now {
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let wall_us = wall.map_or(0, |wall| u64::try_from(wall.as_micros()).unwrap_or(u64::MAX));
    Now { mono: Micros::boottime(), wall_us }
}
