//! The counters of requests, and the reasons of failures.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use standin_client::ClientError;
use standin_protocol::frame::response_flags;

use super::{Ending, OpKind, Sample, micros};
use crate::checker::Verdict;

macro_rules! failure_kinds {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)+) => {
        /// Why a request failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum FailureKind { $($(#[$doc])* $variant,)+ }

        impl FailureKind {
            /// Every kind, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// As reports have it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

failure_kinds! {
    /// Refused for lack of room, here or at a server.
    Overloaded = "overloaded",
    /// The database was unreachable.
    OriginUnavailable = "origin_unavailable",
    /// The database refused.
    OriginRejected = "origin_rejected",
    /// The keyspace's statement changed no row.
    NotStored = "not_stored",
    /// A write may or may not have happened.
    OutcomeUnknown = "outcome_unknown",
    /// No answer in time.
    DeadlineExceeded = "deadline_exceeded",
    /// No server of the group answered.
    Unavailable = "unavailable",
    /// No connection could be opened.
    ConnectFailed = "connect_failed",
    /// The connection ended before the answer.
    ConnectionLost = "connection_lost",
    /// The server answered with an error.
    ServerError = "server_error",
    /// Refused for what it was: size, keyspace, secret.
    Refused = "refused",
    /// Answered with what this build does not understand.
    Protocol = "protocol",
}

/// Number of [`FailureKind`]s.
pub const FAILURE_KINDS: usize = FailureKind::ALL.len();

impl From<&ClientError> for FailureKind {
    fn from(error: &ClientError) -> Self {
        match error {
            ClientError::Overloaded { .. } => Self::Overloaded,
            ClientError::OriginUnavailable(_) => Self::OriginUnavailable,
            ClientError::OriginRejected(_) => Self::OriginRejected,
            ClientError::NotStored { .. } => Self::NotStored,
            ClientError::OutcomeUnknown => Self::OutcomeUnknown,
            ClientError::DeadlineExceeded => Self::DeadlineExceeded,
            ClientError::Unavailable { .. }
            | ClientError::NoMap
            | ClientError::NoAnswer(_)
            | ClientError::NotReady(_) => Self::Unavailable,
            ClientError::TooLarge(_)
            | ClientError::UnknownKeyspace(_)
            | ClientError::NotSupported { .. }
            | ClientError::NotPermitted { .. }
            | ClientError::NotANumber
            | ClientError::AuthFailed
            | ClientError::Tls { .. }
            | ClientError::NoSuchTarget(_) => Self::Refused,
            ClientError::Protocol(_) => Self::Protocol,
        }
    }
}

/// Counts of requests. Flags are those of the answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests that have ended, well or not.
    pub requests: u64,
    /// Of these, those that the schedule of an open loop has. The others follow from answers.
    #[serde(default)]
    pub scheduled: u64,
    /// Requests that failed for good.
    pub failed: u64,
    /// Requests that had not ended when a run was ended and no longer waited for. They are in no other figure.
    #[serde(default)]
    pub unanswered: u64,
    /// Reads.
    pub reads: u64,
    /// Writes and deletes.
    pub writes: u64,
    /// Reads that were answered. Here and below, a request for many keys counts as a read of each of them.
    pub reads_answered: u64,
    /// Reads answered "no such row".
    pub absent: u64,
    /// Reads that the checker has judged.
    pub checked: u64,
    /// Reads older than a write acknowledged before.
    pub stale: u64,
    /// Of these, older than the checker's bound allows.
    pub stale_beyond: u64,
    /// Age of the oldest of which it is known, in microseconds.
    pub stale_age_us_max: u64,
    /// Reads of what nobody had written there.
    pub wrong: u64,
    /// Reads that showed a failed write which had taken effect late.
    pub late_writes: u64,
    /// Of rows that are not the run's own: reads that showed what others have written since the run began.
    #[serde(default)]
    pub changed: u64,
    /// Of such rows: reads of which nothing can be said, because others were changing the row.
    #[serde(default)]
    pub unjudged: u64,
    /// Such rows that were read in the database at the end.
    #[serde(default)]
    pub rows_read: u64,
    /// Of these, changed by others since the run began.
    #[serde(default)]
    pub rows_changed: u64,
    /// Reads answered from a cache.
    pub hits: u64,
    /// Reads answered from the database.
    pub filled: u64,
    /// Answers of a server other than the key's home.
    pub stand_in: u64,
    /// Answers of a server that stood in before the master's verdict.
    pub provisional: u64,
    /// Answers fetched from the owner by the server asked.
    pub forwarded: u64,
    /// Requests that had to be sent more than once.
    pub resent: u64,
    /// Other keys drawn for writes whose key was being written, see
    /// [`Displaced`](super::Displaced).
    pub redraws: u64,
    /// Writes made as reads, because no key was free.
    pub became_reads: u64,
    /// Writes that filled keys of which a read had found nothing.
    pub fills: u64,
    /// Requests for many keys; they are among the reads.
    pub multi_gets: u64,
    /// Of these, failed for some of their keys only.
    pub multi_gets_partial: u64,
    /// Keys that they were answered for.
    pub multi_keys: u64,
    /// Keys that they have failed for.
    pub multi_keys_failed: u64,
    /// Increments that were made; they are among the writes.
    pub increments: u64,
    /// Increments that have found no counter.
    pub increments_absent: u64,
    /// Counters that were read at the end of a run whose answers are judged.
    pub counters_read: u64,
    /// How often a counter was below what was acknowledged, during the run or at its end. Each loss counts once.
    pub increments_lost: u64,
    /// By how much, in all.
    #[serde(default)]
    pub increments_lost_by: u64,
    /// How often a counter was above all that was sent to it.
    pub increments_extra: u64,
    /// By how much, in all.
    #[serde(default)]
    pub increments_extra_by: u64,
    /// Counters that the target has lost as a whole, as a cache may; they are not judged.
    pub counters_gone: u64,
    /// Compare-and-swaps that were made. The read of each is among the reads, the conditional write among the writes.
    pub swaps: u64,
    /// Compare-and-swaps that were refused because another version was there, or none.
    pub swaps_refused: u64,
    /// Failures, by [`FailureKind`].
    #[serde(with = "by_name")]
    pub failures: [u64; FAILURE_KINDS],
}

impl Counts {
    pub(super) fn add(&mut self, sample: &Sample) {
        self.add_request(sample);
        if let Ending::Answered { flags, is_absent, verdict } = sample.ending {
            self.add_answer(sample.op, flags, is_absent, verdict);
        }
    }

    /// Adds a request for many keys, whose answers are counted by [`Self::add_answer`].
    pub(super) fn add_many(&mut self, sample: &Sample) {
        self.add_request(sample);
    }

    fn add_request(&mut self, sample: &Sample) {
        self.requests += 1;
        self.scheduled += u64::from(sample.is_scheduled);
        self.resent += u64::from(sample.sends > 1);
        self.redraws += u64::from(sample.displaced.redraws);
        self.became_reads += u64::from(sample.displaced.became_read);
        self.fills += u64::from(sample.is_fill);
        match sample.op {
            OpKind::Read => self.reads += 1,
            OpKind::Write => self.writes += 1,
        }
        if let Ending::Failed(kind) = sample.ending {
            self.failed += 1;
            self.failures[kind as usize] += 1;
        }
    }

    /// Adds the answer to a request, or for one key of it.
    pub(crate) fn add_answer(
        &mut self,
        op: OpKind,
        flags: u8,
        is_absent: bool,
        verdict: Option<Verdict>,
    ) {
        let has = |flag: u8| u64::from(flags & flag != 0);
        self.stand_in += has(response_flags::STAND_IN);
        self.provisional += has(response_flags::PROVISIONAL);
        self.forwarded += has(response_flags::FORWARDED);
        if op == OpKind::Read {
            self.reads_answered += 1;
            self.absent += u64::from(is_absent);
            self.hits += has(response_flags::HIT);
            self.filled += has(response_flags::FILLED);
        }
        // The run is not checked, or the answer not yet.
        if let Some(verdict) = verdict {
            self.add_verdict(verdict);
        }
    }

    /// Adds what was judged of an answer.
    pub(super) fn add_verdict(&mut self, verdict: Verdict) {
        if verdict == Verdict::Unjudged {
            self.unjudged += 1;
            return;
        }
        self.checked += 1;
        match verdict {
            Verdict::Fresh | Verdict::Unjudged => {}
            Verdict::Late => self.late_writes += 1,
            Verdict::Changed => self.changed += 1,
            Verdict::Stale { age, is_beyond, .. } => {
                self.stale += 1;
                self.stale_beyond += u64::from(is_beyond);
                // The longest duration stands for one that is not known.
                if age < Duration::MAX {
                    self.stale_age_us_max = self.stale_age_us_max.max(micros(age));
                }
            }
            Verdict::Wrong(_) => self.wrong += 1,
        }
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        let pairs = [
            (&mut self.requests, other.requests),
            (&mut self.scheduled, other.scheduled),
            (&mut self.failed, other.failed),
            (&mut self.unanswered, other.unanswered),
            (&mut self.reads, other.reads),
            (&mut self.writes, other.writes),
            (&mut self.reads_answered, other.reads_answered),
            (&mut self.absent, other.absent),
            (&mut self.checked, other.checked),
            (&mut self.stale, other.stale),
            (&mut self.stale_beyond, other.stale_beyond),
            (&mut self.wrong, other.wrong),
            (&mut self.late_writes, other.late_writes),
            (&mut self.changed, other.changed),
            (&mut self.unjudged, other.unjudged),
            (&mut self.rows_read, other.rows_read),
            (&mut self.rows_changed, other.rows_changed),
            (&mut self.hits, other.hits),
            (&mut self.filled, other.filled),
            (&mut self.stand_in, other.stand_in),
            (&mut self.provisional, other.provisional),
            (&mut self.forwarded, other.forwarded),
            (&mut self.resent, other.resent),
            (&mut self.redraws, other.redraws),
            (&mut self.became_reads, other.became_reads),
            (&mut self.fills, other.fills),
            (&mut self.multi_gets, other.multi_gets),
            (&mut self.multi_gets_partial, other.multi_gets_partial),
            (&mut self.multi_keys, other.multi_keys),
            (&mut self.multi_keys_failed, other.multi_keys_failed),
            (&mut self.increments, other.increments),
            (&mut self.increments_absent, other.increments_absent),
            (&mut self.counters_read, other.counters_read),
            (&mut self.increments_lost, other.increments_lost),
            (&mut self.increments_lost_by, other.increments_lost_by),
            (&mut self.increments_extra, other.increments_extra),
            (&mut self.increments_extra_by, other.increments_extra_by),
            (&mut self.counters_gone, other.counters_gone),
            (&mut self.swaps, other.swaps),
            (&mut self.swaps_refused, other.swaps_refused),
        ];
        for (sum, part) in pairs {
            *sum += part;
        }
        self.stale_age_us_max = self.stale_age_us_max.max(other.stale_age_us_max);
        for (sum, part) in self.failures.iter_mut().zip(other.failures) {
            *sum += part;
        }
    }

    /// Share of the answered reads that came from a cache, 0 to 1; 0 without reads.
    #[must_use]
    pub fn hit_ratio(&self) -> f64 {
        if self.reads_answered == 0 { 0.0 } else { self.hits as f64 / self.reads_answered as f64 }
    }

    /// The kinds of failure that there were, with their numbers.
    pub fn failures_by_kind(&self) -> impl Iterator<Item = (FailureKind, u64)> + '_ {
        FailureKind::ALL.iter().copied().zip(self.failures).filter(|(_, count)| *count > 0)
    }
}

/// Failures as a map from the names of the kinds that there were to their numbers.
pub(super) mod by_name {
    use super::{BTreeMap, Deserialize, FAILURE_KINDS, FailureKind};

    /// Writes those that there were.
    pub(crate) fn serialize<S: serde::Serializer>(
        failures: &[u64; FAILURE_KINDS],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let there = FailureKind::ALL.iter().zip(failures).filter(|(_, count)| **count > 0);
        serializer.collect_map(there.map(|(kind, count)| (kind.name(), count)))
    }

    /// Reads them. A kind that this version does not know is an error.
    pub(crate) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u64; FAILURE_KINDS], D::Error> {
        let there = BTreeMap::<String, u64>::deserialize(deserializer)?;
        let mut failures = [0; FAILURE_KINDS];
        for (name, count) in there {
            let kind = FailureKind::ALL.iter().position(|kind| kind.name() == name);
            let kind = kind.ok_or_else(|| {
                serde::de::Error::custom(format_args!("{name:?} is no kind of failure"))
            })?;
            failures[kind] = count;
        }
        Ok(failures)
    }
}
