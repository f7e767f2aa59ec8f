//! The reasons why a master does not start or run.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use standin_tls::TlsError;

use crate::shell::descriptors::TooFewDescriptors;
use crate::state::StateError;

/// The reason why a master does not start or run.
#[derive(Debug, thiserror::Error)]
pub enum MasterError {
    /// Another program listens on the address.
    #[error(
        "the master's address {address} ({protocol}) is in use; is another master running? Stop \
         it, or change `master.address` in the cluster file of all members"
    )]
    AddressTaken {
        /// The address.
        address: SocketAddr,
        /// UDP or TCP.
        protocol: &'static str,
    },
    /// Listening on the address failed.
    #[error(
        "can't listen on the master's address {address} ({protocol}): {source}. Is \
         `master.address` an address of this machine?"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// UDP or TCP.
        protocol: &'static str,
        /// The error that the system reports.
        source: io::Error,
    },
    /// TLS can't be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system lets this process open too few files and sockets.
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
    /// The state file exists, but can't be read.
    #[error("can't read the master's state file {path}: {source}")]
    StateRead {
        /// The file.
        path: PathBuf,
        /// The error that the system reports.
        source: io::Error,
    },
    /// The state file is damaged.
    #[error(
        "the master's state file {path} is damaged: {source}. Move it away and start again: the \
         master then learns the states from the servers before it changes any"
    )]
    StateDamaged {
        /// The file.
        path: PathBuf,
        /// The kind of damage.
        source: StateError,
    },
    /// The state file belongs to another cluster.
    #[error(
        "the state file {path} belongs to cluster {found:?}, but this is {expected:?}; give each \
         master its own `master.state_file`"
    )]
    StateOfOther {
        /// The file.
        path: PathBuf,
        /// The cluster in the file.
        found: String,
        /// This cluster.
        expected: String,
    },
    /// The state file can't be written.
    #[error(
        "can't write the master's state file {path}: {source}. Without it, a restarted master \
         could contradict this one; set `master.state_file` to a place that this user \
         may write to"
    )]
    StateWrite {
        /// The file.
        path: PathBuf,
        /// The error that the system reports.
        source: io::Error,
    },
    /// The event loop could not be set up, or has failed.
    #[error("the master's event loop failed: {0}")]
    Loop(#[from] io::Error),
    /// The master's thread has panicked.
    #[error("the master stopped because of a bug; see its log")]
    Panicked,
}

impl MasterError {
    /// Returns the error for a socket that could not be bound.
    pub(crate) fn listening(
        address: SocketAddr,
        protocol: &'static str,
        source: io::Error,
    ) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::AddressTaken { address, protocol },
            _ => Self::Listen { address, protocol, source },
        }
    }
}
