//! The calls that both shells offer, converted to operations and back. They are in one place so
//! that the shells can't diverge.

use std::sync::Arc;

use standin_protocol::body::{PingReply, StatsReply};
use standin_protocol::hash::keys_of_partitions;
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

pub(crate) fn map(ended: Ended) -> Result<Arc<ClusterMap>, ClientError> {
    match ended?.outcome {
        Outcome::Map(map) => Ok(map),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(outcome: &Outcome) -> ClientError {
    ClientError::Protocol(format!("the server's answer does not fit the request: {outcome:?}"))
}

/// Defines the calls of an asynchronous client. It has `submit` and `ask`, which begin an operation
/// or a question at once and return a future of its end, and `map_in_force`.
macro_rules! async_calls {
    ($Client:ident) => {
        impl $Client {
            /// Runs any operation, and returns everything that is known about its result.
            ///
            /// # Errors
            /// [`ClientError`].
            pub async fn run(
                &self,
                operation: $crate::Operation,
            ) -> Result<$crate::Answer, $crate::ClientError> {
                self.submit(operation).await
            }

            /// Reads a value. Returns `None` if there is no such row.
            ///
            /// # Errors
            /// [`ClientError`].
            pub async fn get(
                &self,
                keyspace: u8,
                key: &[u8],
            ) -> Result<Option<$crate::Value>, $crate::ClientError> {
                $crate::facade::value(
                    self.submit($crate::facade::operation(keyspace, key, $crate::Action::Get))
                        .await,
                )
            }

            /// Reads many values at once. The requests to a shard are sent in one write, and answers are
            /// taken as they arrive. The results are in the order of the keys.
            pub async fn get_many<K: AsRef<[u8]>>(
                &self,
                keyspace: u8,
                keys: &[K],
            ) -> Vec<Result<Option<$crate::Value>, $crate::ClientError>> {
                let get = |key: &K| {
                    self.submit($crate::facade::operation(
                        keyspace,
                        key.as_ref(),
                        $crate::Action::Get,
                    ))
                };
                let pending: Vec<Pending> = keys.iter().map(get).collect();
                let mut values = Vec::with_capacity(pending.len());
                for get in pending {
                    values.push($crate::facade::value(get.await));
                }
                values
            }

            /// Writes a value through to the origin, and returns its version. A `ttl_s` of 0 means the
            /// lifetime of the keyspace.
            ///
            /// # Errors
            /// [`ClientError`]. After `OutcomeUnknown` the value may have been written.
            pub async fn put(
                &self,
                keyspace: u8,
                key: &[u8],
                value: Vec<u8>,
                ttl_s: u32,
            ) -> Result<u64, $crate::ClientError> {
                let put =
                    $crate::facade::operation(keyspace, key, $crate::Action::Put { value, ttl_s });
                $crate::facade::written(self.submit(put).await)
            }

            /// Deletes a row. Returns false if there was none.
            ///
            /// # Errors
            /// [`ClientError`]. After `OutcomeUnknown` the row may have been deleted.
            pub async fn delete(
                &self,
                keyspace: u8,
                key: &[u8],
            ) -> Result<bool, $crate::ClientError> {
                $crate::facade::deleted(
                    self.submit($crate::facade::operation(keyspace, key, $crate::Action::Delete))
                        .await,
                )
            }

            /// Writes a value if `version` is still current.
            ///
            /// # Errors
            /// [`ClientError`]. After `OutcomeUnknown` the value may have been written.
            pub async fn cas(
                &self,
                keyspace: u8,
                key: &[u8],
                version: u64,
                value: Vec<u8>,
                ttl_s: u32,
            ) -> Result<$crate::CasOutcome, $crate::ClientError> {
                let cas = $crate::facade::operation(
                    keyspace,
                    key,
                    $crate::Action::Cas { version, value, ttl_s },
                );
                $crate::facade::swapped(self.submit(cas).await)
            }

            /// Reads, changes and writes a value in one step at its owner: `modify` says how, and `operand`
            /// is what it puts there.
            ///
            /// # Errors
            /// [`ClientError`]. After `OutcomeUnknown` it may have been executed, and is not repeated.
            pub async fn modify(
                &self,
                keyspace: u8,
                key: &[u8],
                modify: &standin_protocol::modify::Modify,
                operand: &[u8],
            ) -> Result<$crate::ModifyOutcome, $crate::ClientError> {
                let action = $crate::Action::Modify($crate::Modification::new(modify, operand, 0));
                $crate::facade::modified(
                    self.submit($crate::facade::operation(keyspace, key, action)).await,
                )
            }

            /// Gives a cached value a new lifetime, and returns the lifetime. Returns `None` if there is no
            /// such row.
            ///
            /// # Errors
            /// [`ClientError`].
            pub async fn touch(
                &self,
                keyspace: u8,
                key: &[u8],
                ttl_s: u32,
            ) -> Result<Option<u32>, $crate::ClientError> {
                let touch =
                    $crate::facade::operation(keyspace, key, $crate::Action::Touch { ttl_s });
                $crate::facade::touched(self.submit(touch).await)
            }

            /// Drops the cached value. The origin is not changed.
            ///
            /// # Errors
            /// [`ClientError`].
            pub async fn invalidate(
                &self,
                keyspace: u8,
                key: &[u8],
            ) -> Result<(), $crate::ClientError> {
                $crate::facade::invalidated(
                    self.submit($crate::facade::operation(
                        keyspace,
                        key,
                        $crate::Action::Invalidate,
                    ))
                    .await,
                )
            }

            /// Drops many cached values. The origin is not changed. The results are in the order of the
            /// keys.
            pub async fn invalidate_many<K: AsRef<[u8]>>(
                &self,
                keyspace: u8,
                keys: &[K],
            ) -> Vec<Result<(), $crate::ClientError>> {
                let operation = |key: &K| {
                    $crate::facade::operation(keyspace, key.as_ref(), $crate::Action::Invalidate)
                };
                let ended = self.run_many(keys.iter().map(operation).collect()).await;
                ended.into_iter().map($crate::facade::invalidated).collect()
            }

            /// Drops a keyspace from all caches of the cluster. The origin is not changed. After a complete
            /// flush, reads return values that were read from the database after the call began (in mode
            /// `available`, within its bound).
            ///
            /// # Errors
            /// [`ClientError`] if the cluster's partitions are not known; otherwise see [`Flushed`].
            pub async fn flush(
                &self,
                keyspace: u8,
            ) -> Result<$crate::Flushed, $crate::ClientError> {
                let map = match self.map_in_force() {
                    Some(map) => map,
                    None => self.map($crate::Target::Any).await?,
                };
                let flushes = $crate::facade::flushes(keyspace, &map.topology);
                Ok($crate::facade::flushed(self.run_many(flushes).await))
            }

            /// Runs any number of operations, with a bounded number at a time. The results are in the order
            /// of the operations.
            async fn run_many(
                &self,
                operations: Vec<$crate::Operation>,
            ) -> Vec<Result<$crate::Answer, $crate::ClientError>> {
                let mut under_way: std::collections::VecDeque<Pending> =
                    std::collections::VecDeque::new();
                let mut ended = Vec::with_capacity(operations.len());
                for operation in operations {
                    if under_way.len() == $crate::facade::WINDOW
                        && let Some(pending) = under_way.pop_front()
                    {
                        ended.push(pending.await);
                    }
                    under_way.push_back(self.submit(operation));
                }
                for pending in under_way {
                    ended.push(pending.await);
                }
                ended
            }

            /// Returns the state of a shard.
            ///
            /// # Errors
            /// [`ClientError`].
            pub async fn ping(
                &self,
                target: $crate::Target,
                shard: u16,
            ) -> Result<standin_protocol::body::PingReply, $crate::ClientError> {
                $crate::facade::ping(self.ask(target, $crate::Question::Ping { shard }).await)
            }

            /// Returns a party's counters.
            ///
            /// # Errors
            /// [`ClientError`].
            pub async fn stats(
                &self,
                target: $crate::Target,
            ) -> Result<standin_protocol::body::StatsReply, $crate::ClientError> {
                $crate::facade::stats(self.ask(target, $crate::Question::Stats).await)
            }

            /// Returns the map that a party has. [`Self::map_in_force`] returns the map of this client.
            ///
            /// # Errors
            /// [`ClientError`].
            pub async fn map(
                &self,
                target: $crate::Target,
            ) -> Result<std::sync::Arc<standin_protocol::map::ClusterMap>, $crate::ClientError>
            {
                $crate::facade::map(self.ask(target, $crate::Question::Map).await)
            }
        }
    };
}
pub(crate) use async_calls;

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
