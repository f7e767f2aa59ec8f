//! The ports of a server, and the protocol that is spoken on each. One shard accepts connections on
//! all of them.

use std::os::fd::OwnedFd;

use standin_config::ServiceProtocol;

/// The protocol of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Service {
    /// Standin's own. A caller says in its hello which shard it wants.
    #[default]
    Standin,
    /// Another one. Its connections are spread over the shards.
    Other(ServiceProtocol),
    /// That of Redis, as a node of Redis Cluster: a port of one shard, which keeps its connections and
    /// refers clients to other nodes for keys that are theirs.
    Node,
}

impl Service {
    /// The protocol if it is not Standin's own.
    #[must_use]
    pub fn protocol(self) -> Option<ServiceProtocol> {
        match self {
            Self::Standin => None,
            Self::Other(protocol) => Some(protocol),
            Self::Node => Some(ServiceProtocol::Redis),
        }
    }
}

/// A port that accepts connections.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub socket: OwnedFd,
    /// The protocol.
    pub service: Service,
}
