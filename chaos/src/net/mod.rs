//! The network that a cluster runs on: loopback, or a namespace per node, whose links can be
//! cut in one direction, and lose and repeat datagrams.
//!
//! ```text
//! namespaces.rs   namespaces, a bridge, veth pairs; ip and nft as child processes
//! rules.rs        the text of the nftables rules, pure
//! ```

mod namespaces;
mod rules;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use standin_loadgen::faults::{Network, enter};
use standin_loadgen::ports::free_addresses;
use standin_loadgen::rng::Random;

pub(crate) use namespaces::Namespaces;

/// Names of the servers, by their ids.
pub(crate) const SERVERS: [&str; 4] = ["a1", "a2", "b1", "b2"];

/// A node of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    /// The load generator.
    Client,
    /// The proxy before the database.
    Origin,
    /// The master.
    Master,
    /// A server, by its id.
    Server(u16),
}

impl Node {
    /// All of them.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let servers = (0..).zip(SERVERS).map(|(id, _)| Self::Server(id));
        [Self::Client, Self::Origin, Self::Master].into_iter().chain(servers)
    }

    /// The name on the command line and in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Origin => "origin",
            Self::Master => "master",
            Self::Server(id) => SERVERS.get(usize::from(id)).copied().unwrap_or("?"),
        }
    }

    /// The node of that name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::all().find(|node| node.name() == name)
    }
}

/// A fault of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Impairment {
    /// Nothing that `from` sends reaches `to`.
    Cut {
        /// The sender.
        from: Node,
        /// The receiver.
        to: Node,
    },
    /// This percentage of all datagrams (UDP) is lost.
    Loss(u8),
    /// This percentage of all datagrams (UDP) arrives twice.
    Duplication(u8),
}

/// The kind of network.
#[derive(Debug)]
pub(crate) enum Net {
    /// All on loopback: nothing can be cut.
    Loopback(BTreeMap<Node, SocketAddr>),
    /// One namespace each.
    Namespaces(Namespaces),
}

/// The reason why the network could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetError {
    /// Ports, threads, namespaces.
    #[error("{what}: {error}")]
    System {
        /// The action that failed.
        what: &'static str,
        /// How it failed.
        error: io::Error,
    },
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
    /// Loopback has no links that could be cut.
    #[error("this fault needs network namespaces: run it as root, without --loopback")]
    Loopback,
}

impl Net {
    /// Free ports of loopback.
    pub(crate) fn loopback(random: &mut Random) -> Result<Self, NetError> {
        let nodes: Vec<Node> = Node::all().collect();
        let addresses = free_addresses(nodes.len(), random)
            .map_err(|error| NetError::System { what: "free ports", error })?;
        Ok(Self::Loopback(nodes.into_iter().zip(addresses).collect()))
    }

    /// The address at which the node listens.
    pub(crate) fn address(&self, node: Node) -> SocketAddr {
        match self {
            Self::Loopback(addresses) => addresses[&node],
            Self::Namespaces(_) => SocketAddr::from((rules::address(node), rules::PORT)),
        }
    }

    /// The namespace that a process of this node belongs in.
    pub(crate) fn network(&self, node: Node) -> Option<Network> {
        match self {
            Self::Loopback(_) => None,
            Self::Namespaces(namespaces) => Some(namespaces.network(node)),
        }
    }

    /// Runs a function in the node's namespace; threads that it starts stay there.
    pub(crate) fn within<T: Send>(
        &self,
        node: Node,
        deed: impl FnOnce() -> T + Send,
    ) -> Result<T, NetError> {
        let network = self.network(node);
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                if let Some(network) = &network {
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

    /// Sets the faults of the network from now on.
    pub(crate) fn impair(&self, impairments: &[Impairment]) -> Result<(), NetError> {
        match self {
            Self::Loopback(_) if impairments.is_empty() => Ok(()),
            Self::Loopback(_) => Err(NetError::Loopback),
            Self::Namespaces(namespaces) => namespaces.impair(impairments),
        }
    }
}
