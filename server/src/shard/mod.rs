//! Shards: one thread each, with its own event loop, connections, cache and links.
//!
//! ```text
//! ring.rs / epoll.rs   the loop: sockets and buffers            (shells)
//! core.rs, core/       connections, staging, serving            (no sockets)
//! handshake.rs         hello of accepted connections
//! admission.rs         who may have a connection
//! link.rs, peers.rs    connections to other servers' shards
//! limits.rs            what a frame may carry, by who sends it
//! mailbox.rs           what other threads tell a shard
//! ```

pub mod admission;
mod buffers;
pub mod core;
mod epoll;
pub mod handshake;
mod limits;
pub mod link;
pub mod mailbox;
mod peers;
mod ring;
mod sockets;
mod unreadable;

use std::net::TcpListener;
use std::sync::Arc;

use standin_config::{ClusterConfig, IoKind};
use standin_protocol::auth::ClusterKey;
use standin_protocol::map::Topology;
use standin_protocol::time::Micros;
use tracing::{info, warn};

use self::admission::Admission;
use self::core::Core;
use self::handshake::Challenges;
use self::link::LinkConfig;
use self::mailbox::Mailboxes;
use crate::control::ControlHandle;
use crate::node::{Node, Now};
use crate::origin::Origin;
use crate::stats::StatsHub;

/// What a shard shares with the rest of its server.
#[derive(Clone)]
pub struct ShardContext {
    /// This shard.
    pub shard: u16,
    /// Shards of this server.
    pub shards: u16,
    /// This server's id.
    pub server: u16,
    /// The cluster file.
    pub cluster: Arc<ClusterConfig>,
    /// The topology that follows from it.
    pub topology: Arc<Topology>,
    /// The cluster's key, if it has one.
    pub key: Option<ClusterKey>,
    /// Accepted connections of all shards.
    pub admission: Arc<Admission>,
    /// All shards' mailboxes.
    pub mailboxes: Mailboxes,
    /// Where counters are left.
    pub hub: Arc<StatsHub>,
    /// The database.
    pub origin: Origin,
    /// The control thread.
    pub control: ControlHandle,
    /// What callers have to answer if the cluster has a secret.
    pub challenges: Challenges,
    /// Settings of links to peers.
    pub link: LinkConfig,
}

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
        /// What was tried.
        what: &'static str,
        /// How it failed.
        error: std::io::Error,
    },
}

impl LoopError {
    fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::System { what, error }
    }
}

/// Why a shard can't run on io_uring here, if it can't.
pub(crate) fn uring_missing() -> Option<LoopError> {
    ring::Ring::new().err()
}

/// Runs a shard on the calling thread until it is told to stop. Only shard 0 is given the
/// listener: it accepts, and hands each connection to the shard that its hello asks for.
///
/// # Errors
/// [`LoopError`].
pub fn run(
    node: Node,
    context: ShardContext,
    listener: Option<TcpListener>,
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
            ring.run(core, listener)
        }
        None => {
            info!(shard, "this shard runs on epoll");
            epoll::run(core, listener)
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

/// The longest turn of a loop within the last second or two.
#[derive(Debug, Default)]
struct LoopLag {
    current_us: u64,
    previous_us: u64,
    window_start: Micros,
}

impl LoopLag {
    /// A turn that began at `start` has ended at `end`; the figure to publish.
    fn turn(&mut self, start: Micros, end: Micros) -> u64 {
        if end.0 >= self.window_start.0 + 1_000_000 {
            self.previous_us = std::mem::take(&mut self.current_us);
            self.window_start = end;
        }
        self.current_us = self.current_us.max(end.0.saturating_sub(start.0));
        self.current_us.max(self.previous_us)
    }
}
