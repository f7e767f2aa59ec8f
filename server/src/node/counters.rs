//! What a shard counts. Plain integers; the shell copies them to where STATS sums them.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// Counters and gauges of one shard since its start.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counters { $($(#[$doc])* pub $name: u64,)+ }

        impl Counters {
            /// Names, in the order of [`Self::values`].
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),+];

            /// Values, in the order of [`Self::NAMES`].
            #[must_use]
            pub fn values(&self) -> [u64; Self::NAMES.len()] {
                [$(self.$name),+]
            }
        }
    };
}

counters! {
    /// Requests received, of every kind.
    requests,
    /// Of these, the ones about keys or partitions: not PING, STATS and the like.
    data_requests,
    /// Reads answered from the cache.
    hits,
    /// Reads that found nothing in the cache.
    misses,
    /// Reads that shared another read's fetch.
    coalesced,
    /// Fetches sent to the origin.
    origin_reads,
    /// Writes and deletes sent to the origin.
    origin_writes,
    /// Calls that the origin failed or refused.
    origin_failures,
    /// Writes whose outcome is unknown.
    outcomes_unknown,
    /// Values kept for no longer than a lease, before this server owned their partitions.
    kept_briefly,
    /// Results not kept because something changed meanwhile.
    fills_refused,
    /// Requests sent on to the partition's owner.
    forwarded,
    /// Forwards that failed.
    forwards_failed,
    /// Requests processed for another server by the master's verdict.
    stand_in_requests,
    /// Requests processed for another server before the verdict.
    provisional_requests,
    /// Requests of partitions that nobody owns now.
    through_requests,
    /// Times that a write began to wait for its partition to get an owner.
    parked,
    /// Times that the right to act as an owner ended for want of a lease.
    leases_lost,
    /// Times that this shard went on without a master that nobody in its group heard.
    orphaned,
    /// Requests sent on through a member of the group because only this server can't reach the
    /// owner.
    relayed,
    /// Keys written here that were written down for a server that has to drop them.
    keys_logged,
    /// Keys for which there was no room to write them down.
    keys_not_logged,
    /// Times that a key was written down for an owner that is online.
    keys_owed,
    /// SETTLEs sent.
    settles_sent,
    /// Keys dropped because another server wrote them (SETTLE).
    keys_settled,
    /// Returns of a server that was told all that was written here.
    handed_back,
    /// Returns of a server that could not be told all that was written here.
    handbacks_failed,
    /// Repeated writes answered from memory.
    retries_answered,
    /// Repeated writes that joined one under way.
    retries_joined,
    /// Fetches held back after a change of owner.
    surge_held,
    /// Reads refused because too many fetches were held back, or for too long.
    surge_refused,
    /// Fetches that waited because rows under way and replies not taken were as many bytes as may
    /// be.
    fetches_delayed,
    /// Fetches held back because of `reads_per_second`.
    rate_held,
    /// Reads refused because of `reads_per_second`.
    rate_refused,
    /// Writes carried out but answered OUTCOME_UNKNOWN because no owner could vouch for them.
    writes_unacknowledged,
    /// Writes that waited and were dropped: this server had been stopped, or their clients had left.
    writes_dropped,
    /// Marked requests that this server does not own.
    not_owner,
    /// Partitions dropped because their owner changed.
    partitions_dropped,
    /// Partitions that came back to this server and whose cached values were kept.
    partitions_kept,
    /// Flushes of a keyspace in one partition.
    partitions_flushed,
    /// Requests refused for lack of room.
    overloaded,
    /// Requests whose deadline had passed.
    deadlines_passed,
    /// Requests for another shard of this server.
    strayed,
    /// Reports to the master.
    reports,
    /// Maps applied.
    maps_applied,
    /// Open connections.
    connections,
    /// Connections accepted.
    connections_accepted,
    /// Connections refused at the limit.
    connections_refused,
    /// Connections closed for what they sent or failed to send.
    connections_dropped,
    /// Items in the cache.
    items,
    /// Bytes of the items in the cache.
    items_bytes,
    /// Items evicted.
    evicted,
    /// Requests that wait for the origin or a peer.
    in_flight,
    /// Times that this shard had been stopped, or starved, for so long that it dropped what it held.
    pauses,
    /// Longest turn of the shard's loop in the last second, in microseconds.
    loop_lag_us,
}
