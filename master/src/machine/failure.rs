//! The reasons why a probe of a shard fails, and which of them are evidence against its server.

use standin_protocol::frame::Status;
use standin_protocol::handshake::CallerError;

/// The reason why a shard did not answer with a [`standin_protocol::body::PingReply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProbeFailure {
    /// The connection was refused, because the process is gone.
    #[error("connection refused")]
    Refused,
    /// The network reports that there is no route.
    #[error("unreachable")]
    Unreachable,
    /// The shard did not answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The connection was closed or reset before the answer.
    #[error("closed the connection")]
    Closed,
    /// The secret was not accepted.
    #[error("refuses the cluster's secret: is it the same in both configurations?")]
    AuthFailed,
    /// The shard answered with a status other than OK.
    #[error("answers {0}")]
    Refusing(Status),
    /// The answer is not in the protocol, or comes from another cluster or another server than
    /// expected.
    #[error("gives an answer that no server of this cluster would give; is the address right?")]
    Nonsense,
    /// The server answers but can't reach the database, although other members of its group can.
    #[error("can't reach the database, but others of its group can")]
    OriginDown,
    /// The master itself could not try, for lack of descriptors, ports or memory.
    #[error("could not be tried: this master is out of descriptors, ports or memory")]
    NotTried,
}

impl From<CallerError> for ProbeFailure {
    fn from(error: CallerError) -> Self {
        match error {
            CallerError::AuthFailed => Self::AuthFailed,
            // A probe has no use for the time after which to try again.
            CallerError::NoRoom { .. } => Self::Refusing(Status::Overloaded),
            CallerError::Refused(status) => Self::Refusing(status),
            CallerError::Unreadable => Self::Nonsense,
        }
    }
}

impl ProbeFailure {
    /// Whether the failure is evidence that the server does not do its work. A busy server is
    /// alive, and its load would only overwhelm its stand-in. A probe that could not be tried says
    /// nothing about the server.
    #[must_use]
    pub fn is_evidence(self) -> bool {
        !matches!(self, Self::NotTried | Self::Refusing(Status::Overloaded))
    }
}
