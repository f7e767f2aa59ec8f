//! The calls that both shells offer, as operations and back: kept here so that they can't
//! drift apart.

use std::sync::Arc;

use standin_protocol::body::{PingReply, StatsReply};
use standin_protocol::map::ClusterMap;

use crate::operation::{Action, Answer, ClientError, Operation, Outcome, Value};

type Ended = Result<Answer, ClientError>;

/// How a compare-and-swap ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CasOutcome {
    /// Written; this is the new version.
    Written {
        /// The new version.
        version: u64,
    },
    /// Not written: another version is current. Read again, then retry.
    Mismatch {
        /// The current version; 0: unknown.
        version: u64,
    },
    /// There is no such row.
    NotFound,
}

pub(crate) fn operation(keyspace: u8, key: &[u8], action: Action) -> Operation {
    Operation { keyspace, key: key.to_vec(), action }
}

pub(crate) fn value(ended: Ended) -> Result<Option<Value>, ClientError> {
    match ended?.outcome {
        Outcome::Value(value) => Ok(Some(value)),
        Outcome::NotFound => Ok(None),
        other => Err(unexpected(&other)),
    }
}

pub(crate) fn written(ended: Ended) -> Result<u64, ClientError> {
    match ended?.outcome {
        Outcome::Written { version } => Ok(version),
        other => Err(unexpected(&other)),
    }
}

pub(crate) fn deleted(ended: Ended) -> Result<bool, ClientError> {
    match ended?.outcome {
        Outcome::Deleted => Ok(true),
        Outcome::NotFound => Ok(false),
        other => Err(unexpected(&other)),
    }
}

pub(crate) fn swapped(ended: Ended) -> Result<CasOutcome, ClientError> {
    match ended?.outcome {
        Outcome::Written { version } => Ok(CasOutcome::Written { version }),
        Outcome::Mismatch { version } => Ok(CasOutcome::Mismatch { version }),
        Outcome::NotFound => Ok(CasOutcome::NotFound),
        other => Err(unexpected(&other)),
    }
}

pub(crate) fn touched(ended: Ended) -> Result<Option<u32>, ClientError> {
    match ended?.outcome {
        Outcome::Touched { ttl_s } => Ok(Some(ttl_s)),
        Outcome::NotFound => Ok(None),
        other => Err(unexpected(&other)),
    }
}

pub(crate) fn invalidated(ended: Ended) -> Result<(), ClientError> {
    match ended?.outcome {
        Outcome::Invalidated => Ok(()),
        other => Err(unexpected(&other)),
    }
}

pub(crate) fn ping(ended: Ended) -> Result<PingReply, ClientError> {
    match ended?.outcome {
        Outcome::Ping(reply) => Ok(reply),
        other => Err(unexpected(&other)),
    }
}

pub(crate) fn stats(ended: Ended) -> Result<StatsReply, ClientError> {
    match ended?.outcome {
        Outcome::Stats(reply) => Ok(reply),
        other => Err(unexpected(&other)),
    }
}

pub(crate) fn map(ended: Ended) -> Result<Arc<ClusterMap>, ClientError> {
    match ended?.outcome {
        Outcome::Map(map) => Ok(map),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(outcome: &Outcome) -> ClientError {
    ClientError::Protocol(format!("the server's answer does not fit the request: {outcome:?}"))
}
