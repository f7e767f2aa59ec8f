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
}

/// A port that accepts connections.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub socket: OwnedFd,
    /// The protocol.
    pub service: Service,
}
