//! The calls that both shells offer, converted to operations and back. They are here so that the
//! shells can't diverge.

use std::sync::Arc;

use standin_protocol::body::{PingReply, StatsReply};
use standin_protocol::hash::keys_of_partitions;
use standin_protocol::map::{ClusterMap, Topology};

use crate::operation::{Action, Answer, ClientError, Operation, Outcome, Value};

type Ended = Result<Answer, ClientError>;

/// The result of a compare-and-swap.
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

/// The result of flushing a keyspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flushed {
    /// Partitions of the cluster.
    pub partitions: u32,
    /// The partitions that could not be flushed, and why. Flushing again is harmless.
    pub failed: Vec<(u32, ClientError)>,
}

impl Flushed {
    /// Whether every partition was flushed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty()
    }
}

/// The number of operations of one call that are under way at once.
pub(crate) const WINDOW: usize = 256;

/// The flush of a keyspace: one operation for each partition.
pub(crate) fn flushes(keyspace: u8, topology: &Topology) -> Vec<Operation> {
    let seed = topology.hash_seeds.of(keyspace);
    let keys = keys_of_partitions(seed, topology.partitions).into_iter();
    keys.map(|key| Operation { keyspace, key, action: Action::Flush }).collect()
}

pub(crate) fn flushed(ended: Vec<Ended>) -> Flushed {
    let partitions = u32::try_from(ended.len()).unwrap_or(u32::MAX);
    let failure = |(partition, ended): (u32, Ended)| match ended {
        Ok(Answer { outcome: Outcome::Flushed, .. }) => None,
        Ok(answer) => Some((partition, unexpected(&answer.outcome))),
        Err(error) => Some((partition, error)),
    };
    Flushed { partitions, failed: (0..).zip(ended).filter_map(failure).collect() }
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
