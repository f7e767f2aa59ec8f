//! The reasons why a server can't start.

use std::io;
use std::net::SocketAddr;

use standin_protocol::map::MapError;
use standin_tls::TlsError;

use crate::descriptors::TooFewDescriptors;
use crate::origin::OriginStartError;
use crate::shard::LoopError;
use crate::shard::users::UsersError;
use crate::store::StoreError;

/// The reason why a server can't start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The cluster file has no such server.
    #[error("the cluster file has no server {name:?}; its servers are: {known}")]
    UnknownServer {
        /// The requested name.
        name: String,
        /// The existing names.
        known: String,
    },
    /// An address is in use, or not this machine's.
    #[error(
        "can't listen on {address} ({what}): {error}; `address` must be an address of this \
         machine, with a port that is free and that this user may use"
    )]
    Bind {
        /// The kind of socket.
        what: &'static str,
        /// Its address.
        address: SocketAddr,
        /// The error.
        error: io::Error,
    },
    /// The address of a service is in use, or not this machine's.
    #[error(
        "can't listen on {address} for {key}: {error}; `{key}` must be an address of this machine, \
         with a port that is free and that this user may use"
    )]
    BindService {
        /// The key in the cluster file.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// The error.
        error: io::Error,
    },
    /// The users of a service are unknown.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// TLS can't be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The topology is invalid.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The system lets this process open too few files and sockets.
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
    /// The event loop that the cluster file asks for is unavailable.
    #[error(transparent)]
    Loop(#[from] LoopError),
    /// The origin can't work as configured.
    #[error(transparent)]
    Origin(#[from] OriginStartError),
    /// The cache can't be mapped.
    #[error("the cache of shard {shard}: {error}")]
    Store {
        /// The shard.
        shard: u16,
        /// The error.
        error: StoreError,
    },
    /// The system has no thread, descriptor or randomness left.
    #[error("{what}: {error}")]
    System {
        /// The failed operation.
        what: &'static str,
        /// The error.
        error: io::Error,
    },
}
