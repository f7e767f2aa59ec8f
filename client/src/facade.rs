//! The calls that both shells offer, converted to operations and back. They are in one place so
//! that the shells can't diverge.

use std::sync::Arc;

use standin_protocol::body::{PingReply, StatsReply};
use standin_protocol::hot::HotReply;
use standin_protocol::map::{ClusterMap, Topology};

use crate::operation::{Action, Answer, ClientError, Operation, Outcome, Value};

type Ended = Result<Answer, ClientError>;

/// The result of a compare-and-swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CasOutcome {
    /// The value was written.
    Written {
        /// The new version.
        version: u64,
    },
    /// The value was not written, because another version is current. Read the value again, then
    /// retry.
    Mismatch {
        /// The current version; 0 if it is unknown.
        version: u64,
    },
    /// There is no such row.
    NotFound,
}

/// The result of a read-modify-write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModifyOutcome {
    /// It was executed. The value is the one that the operation gives.
    Done(Value),
    /// A condition does not hold. The value is the one that is there, if the operation gives the old
    /// one.
    Unmet(Value),
    /// Another version is current.
    Mismatch {
        /// The current version; 0 if it is unknown.
        version: u64,
    },
    /// There is no value.
    NotFound,
}

/// The result of flushing a keyspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flushed {
    /// The number of partitions of the cluster.
    pub partitions: u32,
    /// The partitions that could not be flushed, with the reasons. Flushing again is harmless.
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

/// Returns the operations that flush a keyspace, one for each partition.
pub(crate) fn flushes(keyspace: u8, topology: &Topology) -> Vec<Operation> {
    let keys = topology.keys_of_partitions(keyspace).into_iter();
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

pub(crate) fn modified(ended: Ended) -> Result<ModifyOutcome, ClientError> {
    match ended?.outcome {
        Outcome::Modified(value) => Ok(ModifyOutcome::Done(value)),
        Outcome::Unmet(value) => Ok(ModifyOutcome::Unmet(value)),
        Outcome::Mismatch { version } => Ok(ModifyOutcome::Mismatch { version }),
        Outcome::NotFound => Ok(ModifyOutcome::NotFound),
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

pub(crate) fn hot(ended: Ended) -> Result<HotReply, ClientError> {
    match ended?.outcome {
        Outcome::Hot(reply) => Ok(reply),
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

#[cfg(test)]
mod tests {
    use standin_protocol::frame::response_flags;
    use standin_protocol::key::KeyForm;

    use super::*;
    use crate::testing::topology;

    fn ended(outcome: Outcome) -> Ended {
        Ok(Answer { outcome, served_by: 0, flags: 0, sends: 1 })
    }

    /// This also holds if the keyspace normalises its keys, because the keys of a FLUSH are not
    /// keys of rows.
    #[test]
    fn a_flush_asks_for_each_partition_once() {
        let forms = [(1, KeyForm::Uuid)].into_iter().collect();
        let topology = Topology::clone(&topology(&[0, 0])).with_key_forms(forms);
        let operations = flushes(1, &topology);
        let partition = |operation: &Operation| {
            topology.partition(operation.keyspace, &operation.hashed(&topology.key_forms))
        };
        let partitions: Vec<u32> = operations.iter().map(partition).collect();
        assert_eq!(partitions, (0..topology.partitions).collect::<Vec<_>>());
        assert!(operations.iter().all(|operation| operation.action == Action::Flush));
    }

    #[test]
    fn a_flush_is_complete_when_every_partition_has_answered() {
        let whole = flushed(vec![ended(Outcome::Flushed), ended(Outcome::Flushed)]);
        assert!(whole.is_complete() && whole.partitions == 2);
        let part = flushed(vec![ended(Outcome::Flushed), Err(ClientError::NoMap)]);
        assert!(!part.is_complete());
        assert_eq!(part.failed, [(1, ClientError::NoMap)]);
        assert!(
            !flushed(vec![ended(Outcome::Deleted)]).is_complete(),
            "the answer belongs to another operation"
        );
    }

    #[test]
    fn a_call_returns_its_answer_and_refuses_an_answer_that_does_not_fit() {
        let outcomes = || {
            let value = Value { bytes: b"v".to_vec(), version: 7, ttl_s: 3 };
            [
                Outcome::Value(value),
                Outcome::NotFound,
                Outcome::Written { version: 7 },
                Outcome::Deleted,
                Outcome::Touched { ttl_s: 9 },
                Outcome::Invalidated,
                Outcome::Mismatch { version: 8 },
                Outcome::Flushed,
            ]
        };
        fn results<T>(
            outcomes: [Outcome; 8],
            call: fn(Ended) -> Result<T, ClientError>,
        ) -> Vec<Option<T>> {
            outcomes.map(|outcome| call(ended(outcome)).ok()).into_iter().collect()
        }
        let values = results(outcomes(), value).into_iter();
        let values: Vec<_> = values.map(|v| v.map(|v| v.map(|v| v.version))).collect();
        let (no, none) = (None, Some(None));
        assert_eq!(values, [Some(Some(7)), none, no, no, no, no, no, no]);
        assert_eq!(
            results(outcomes(), written),
            [None, None, Some(7), None, None, None, None, None]
        );
        assert_eq!(
            results(outcomes(), deleted),
            [None, Some(false), None, Some(true), None, None, None, None]
        );
        let (no, none) = (None, Some(None));
        assert_eq!(results(outcomes(), touched), [no, none, no, no, Some(Some(9)), no, no, no]);
        let is_ok: Vec<bool> =
            results(outcomes(), invalidated).iter().map(Option::is_some).collect();
        assert_eq!(is_ok, [false, false, false, false, false, true, false, false]);
        let swapped = results(outcomes(), swapped);
        assert_eq!(swapped[1], Some(CasOutcome::NotFound));
        assert_eq!(swapped[2], Some(CasOutcome::Written { version: 7 }));
        assert_eq!(swapped[6], Some(CasOutcome::Mismatch { version: 8 }));
        assert_eq!(swapped.iter().flatten().count(), 3);
        assert!(ping(ended(Outcome::Deleted)).is_err() && stats(ended(Outcome::Deleted)).is_err());
        let reply = PingReply { server: 5, ..PingReply::default() };
        assert_eq!(ping(ended(Outcome::Ping(reply))).unwrap().server, 5);
        assert!(map(ended(Outcome::Deleted)).is_err());
    }

    #[test]
    fn an_answer_names_its_source() {
        let of = |flags| Answer { outcome: Outcome::Deleted, served_by: 0, flags, sends: 1 };
        let told = |answer: Answer| (answer.is_hit(), answer.is_stand_in());
        assert_eq!(told(of(0)), (false, false));
        assert_eq!(told(of(response_flags::HIT)), (true, false));
        assert_eq!(told(of(response_flags::STAND_IN)), (false, true));
        assert_eq!(told(of(response_flags::HIT | response_flags::STAND_IN)), (true, true));
    }
}
