//! The calls of the asynchronous clients. They are in one place so that the shells can't diverge.

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

            /// Runs many operations at once. The requests to a shard are sent in one write, and answers are taken as
            /// they arrive. The results are in the order of the operations.
            pub async fn run_all(
                &self,
                operations: Vec<$crate::Operation>,
            ) -> Vec<Result<$crate::Answer, $crate::ClientError>> {
                let pending: Vec<Pending> =
                    operations.into_iter().map(|operation| self.submit(operation)).collect();
                let mut results = Vec::with_capacity(pending.len());
                for operation in pending {
                    results.push(operation.await);
                }
                results
            }

            /// Reads many values at once. The requests to a shard are sent in one write, and answers are
            /// taken as they arrive. The results are in the order of the keys.
            pub async fn get_many<K: AsRef<[u8]>>(
                &self,
                keyspace: u8,
                keys: &[K],
            ) -> Vec<Result<Option<$crate::Value>, $crate::ClientError>> {
                let get = |key: &K| {
                    $crate::facade::operation(keyspace, key.as_ref(), $crate::Action::Get)
                };
                let results = self.run_all(keys.iter().map(get).collect()).await;
                results.into_iter().map($crate::facade::value).collect()
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
            /// [`ClientError`] if the cluster's partitions are not known; otherwise see [`crate::Flushed`].
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

            /// Returns the keys that a server is asked for most.
            ///
            /// # Errors
            /// [`ClientError`].
            pub async fn hot(
                &self,
                target: $crate::Target,
            ) -> Result<standin_protocol::hot::HotReply, $crate::ClientError> {
                $crate::facade::hot(self.ask(target, $crate::Question::Hot).await)
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
