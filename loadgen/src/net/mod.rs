//! Networks of namespaces, whose links can be cut in one direction, and lose and repeat packets.
//!
//! ```text
//! namespaces.rs   namespaces, a bridge, veth pairs; ip and nft as child processes
//! rules.rs        the text of the nftables rules, pure
//! ```
//! Nodes are numbers here; their names belong to their owners.

mod namespaces;
mod rules;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

pub use namespaces::Namespaces;
pub use rules::address;

/// A network namespace, as an open file. It is gone when nobody has it open and nobody is in it.
pub type Network = Arc<OwnedFd>;

/// A node, by the last part of its address: 1 to 254.
pub type NodeNumber = u8;

/// A fault of the network, between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Impairment<Node> {
    /// Nothing that `from` sends reaches `to`.
    Cut {
        /// The sender.
        from: Node,
        /// The receiver.
        to: Node,
    },
    /// This percentage of the packets that `from` sends to `to` is lost.
    Loss {
        /// The sender.
        from: Node,
        /// The receiver.
        to: Node,
        /// How many of a hundred.
        percent: u8,
        /// Whether only datagrams (UDP) are lost.
        is_udp: bool,
    },
    /// This percentage of the datagrams (UDP) that `from` sends to `to` arrives twice.
    Duplication {
        /// The sender.
        from: Node,
        /// The receiver.
        to: Node,
        /// How many of a hundred.
        percent: u8,
    },
}

impl<Node> Impairment<Node> {
    /// The same fault between the nodes that have these names elsewhere.
    #[must_use]
    pub fn map<Other>(self, other: impl Fn(Node) -> Other) -> Impairment<Other> {
        match self {
            Self::Cut { from, to } => Impairment::Cut { from: other(from), to: other(to) },
            Self::Loss { from, to, percent, is_udp } => {
                Impairment::Loss { from: other(from), to: other(to), percent, is_udp }
            }
            Self::Duplication { from, to, percent } => {
                Impairment::Duplication { from: other(from), to: other(to), percent }
            }
        }
    }
}

/// The reason why there is no such network.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// Threads, namespaces.
    #[error("{what}: {error}")]
    System {
        /// The action that failed.
        what: &'static str,
        /// How it failed.
        error: io::Error,
    },
    /// The user may not make one.
    #[error("network namespaces need root")]
    NotRoot,
    /// A program is missing.
    #[error(
        "{program} can't be started ({error}); on Debian and Ubuntu: apt-get install {package}"
    )]
    Missing {
        /// The program.
        program: &'static str,
        /// Debian's package.
        package: &'static str,
        /// How it failed.
        error: io::Error,
    },
    /// A program failed.
    #[error("{program} failed: {output}")]
    Refused {
        /// The program.
        program: &'static str,
        /// Its output.
        output: String,
    },
}

/// Moves the calling thread into a network namespace: the sockets that it opens from now on,
/// and the threads and processes that it starts, belong there.
///
/// # Errors
/// Only root may.
pub fn enter(network: &Network) -> io::Result<()> {
    let kind = Some(LinkNameSpaceType::Network);
    Ok(move_into_link_name_space(network.as_fd(), kind)?)
}

/// The network namespace of the calling thread.
///
/// # Errors
/// There is no `/proc`.
pub(crate) fn here() -> io::Result<Network> {
    Ok(Arc::new(File::open("/proc/thread-self/ns/net")?.into()))
}

/// Runs a function on this thread in a network namespace, if there is one, and comes back.
///
/// # Errors
/// Those of the function; and only root may.
pub(crate) fn visit<T>(
    network: Option<&Network>,
    deed: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let Some(network) = network else { return deed() };
    let before = here()?;
    enter(network)?;
    let done = deed();
    enter(&before)?;
    done
}

/// Runs a function in a network namespace, if there is one; threads that it starts stay there.
///
/// # Errors
/// Only root may.
pub fn within<T: Send>(
    network: Option<&Network>,
    deed: impl FnOnce() -> T + Send,
) -> Result<T, NetError> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            if let Some(network) = network {
                enter(network)?;
            }
            Ok(deed())
        });
        match thread.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
    .map_err(|error| NetError::System { what: "entering a network namespace", error })
}
