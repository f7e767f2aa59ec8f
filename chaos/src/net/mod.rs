//! The network that a cluster runs on: loopback, or a namespace per node, whose links can be
//! cut in one direction, and lose and repeat datagrams (`standin_loadgen::net`).

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use standin_loadgen::net::{self, Namespaces, Network, NodeNumber, within};
use standin_loadgen::ports::free_addresses;
use standin_loadgen::rng::Random;

/// The port of all nodes that have an address of their own.
const PORT: u16 = 7_100;
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

    /// The number that it has in a network of namespaces.
    fn number(self) -> NodeNumber {
        match self {
            Self::Client => 1,
            Self::Origin => 2,
            Self::Master => 3,
            Self::Server(id) => 10 + NodeNumber::try_from(id).unwrap_or(0),
        }
    }

    /// The node of that name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::all().find(|node| node.name() == name)
    }
}

/// A fault of the network.
pub(crate) type Impairment = net::Impairment<Node>;

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
    /// Ports.
    #[error("free ports: {0}")]
    Ports(io::Error),
    /// Namespaces.
    #[error(transparent)]
    Namespaces(#[from] net::NetError),
    /// Loopback has no links that could be cut.
    #[error("this fault needs network namespaces: run it as root, without --loopback")]
    Loopback,
}

impl Net {
    /// Free ports of loopback.
    pub(crate) fn loopback(random: &mut Random) -> Result<Self, NetError> {
        let nodes: Vec<Node> = Node::all().collect();
        let addresses = free_addresses(nodes.len(), random).map_err(NetError::Ports)?;
        Ok(Self::Loopback(nodes.into_iter().zip(addresses).collect()))
    }

    /// A namespace for each node.
    pub(crate) fn namespaces() -> Result<Self, NetError> {
        Ok(Self::Namespaces(Namespaces::make(Node::all().map(Node::number))?))
    }

    /// The address at which the node listens.
    pub(crate) fn address(&self, node: Node) -> SocketAddr {
        match self {
            Self::Loopback(addresses) => addresses[&node],
            Self::Namespaces(_) => SocketAddr::from((net::address(node.number()), PORT)),
        }
    }

    /// The namespace that a process of this node belongs in.
    pub(crate) fn network(&self, node: Node) -> Option<Network> {
        match self {
            Self::Loopback(_) => None,
            Self::Namespaces(namespaces) => Some(namespaces.network(node.number())),
        }
    }

    /// Runs a function in the node's namespace; threads that it starts stay there.
    pub(crate) fn within<T: Send>(
        &self,
        node: Node,
        deed: impl FnOnce() -> T + Send,
    ) -> Result<T, NetError> {
        Ok(within(self.network(node).as_ref(), deed)?)
    }

    /// Sets the faults of the network from now on.
    pub(crate) fn impair(&self, impairments: &[Impairment]) -> Result<(), NetError> {
        match self {
            Self::Loopback(_) if impairments.is_empty() => Ok(()),
            Self::Loopback(_) => Err(NetError::Loopback),
            Self::Namespaces(namespaces) => {
                let numbered = impairments.iter().map(|one| one.map(Node::number));
                Ok(namespaces.impair(&numbered.collect::<Vec<_>>())?)
            }
        }
    }
}
