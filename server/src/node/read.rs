//! Reads that the cache does not answer. All waiting requests share one fetch (scenario 6), and its
//! result is kept only if nothing has changed meanwhile (scenario 5).
//!
//! Reads that arrive while a fetch runs wait for its end. If its result could be kept, they are
//! answered from the cache like any later read. Otherwise one more fetch serves them all.

use bytes::Bytes;
use standin_protocol::mutant::{self, Mutant};

use super::answer::{Answer, AnswerHead, Status, VALUE_BYTES_MAX, flags, ms_left};
use super::cache::{Content, Kept, Lifetime, Touched};
use super::command::{Action, Command};
use super::fetches::Ended;
use super::partitions::serving::Serving;
use super::state::FetchStart;
use super::{Aimed, Name, Node, Now, PendingKey};
use crate::origin::{Failure, Outcome, RowValue};

impl Node {
    /// Processes a read or touch that missed, or a CAS that has to learn the version.
    pub(super) fn read(&mut self, now: Now, key: PendingKey) {
        if now.mono > self.requests[key].deadline {
            self.counters.deadlines_passed += 1;
            return self.reply(key, AnswerHead::status(Status::DeadlineExceeded));
        }
        self.counters.misses += 1;
        match self.keyspaces.is_cache(self.requests[key].head.keyspace) {
            // What the cache does not have is nowhere.
            true => self.reply(key, AnswerHead::status(Status::NotFound)),
            false => self.fetch(now, key),
        }
    }

    /// Handles the end of a fetch: answers the requests that wait for it. Another fetch that waited
    /// for room may begin.
    pub(super) fn fetch_done(
        &mut self,
        now: Now,
        name: Name,
        started: FetchStart,
        outcome: Outcome,
    ) {
        self.answer_fetch(now, name, started, outcome);
        self.release_delayed(now);
    }

    fn answer_fetch(&mut self, now: Now, name: Name, started: FetchStart, outcome: Outcome) {
        let Ended { running, waiting } = self.fetches.end(&name);
        let value = match outcome {
            Outcome::Value(Some(row)) if row.bytes.len() > VALUE_BYTES_MAX => {
                let text = format!("the row's value is larger than {VALUE_BYTES_MAX} bytes");
                return self.fail_reads(running, waiting, &Failure::Rejected(text));
            }
            Outcome::Value(value) => value,
            Outcome::Failed(failure) => return self.fail_reads(running, waiting, &failure),
            Outcome::Written { .. } => unreachable!("the origin must answer a fetch with a value"),
        };
        let kept = self.keep_fetched(now, &running, started, value.as_ref());
        for key in running {
            self.reply_read(now, key, value.as_ref(), kept, flags::FILLED);
        }
        if kept.is_some() {
            for key in waiting {
                self.reply_read(now, key, value.as_ref(), kept, flags::HIT);
            }
            return;
        }
        // Nothing was kept, perhaps because another server owns the partition by now.
        self.fetch_again(now, name, waiting);
    }

    fn fail_reads(
        &mut self,
        running: Vec<PendingKey>,
        waiting: Vec<PendingKey>,
        failure: &Failure,
    ) {
        let answer = failure_answer(failure, false);
        for key in running.into_iter().chain(waiting) {
            self.reply_with(key, answer.clone());
        }
    }

    fn keep_fetched(
        &mut self,
        now: Now,
        running: &[PendingKey],
        started: FetchStart,
        row: Option<&RowValue>,
    ) -> Option<Kept> {
        // A TOUCH among the waiting requests gives the lifetime. A GET has no lifetime of its own.
        let waiters = || running.iter().map(|key| &self.requests[*key]);
        let asks =
            waiters().find(|w| w.head.action == Action::Touch).or_else(|| waiters().next())?;
        let (head, key) = (asks.head, asks.key.clone());
        let serving = self.partitions.serving(asks.partition);
        if !serving.keeps() {
            return None;
        }
        if self.partitions.generation(head.keyspace, asks.partition) != started.generation
            || !self.cache.may_fill(started.token, now.mono)
            || self.handback.is_closed(asks.partition, now.mono)
        {
            self.counters.fills_refused += 1;
            return None;
        }
        // Another server may still write without telling this one, so the value is not kept for
        // longer than a lease.
        let is_brief = serving.is_brief() && !mutant::is(Mutant::BriefStays);
        let ends = is_brief.then(|| started.at + self.config.brief);
        let lifetime = Lifetime { ttl: head.ttl(), ends };
        let (value, flags) = (row.map(|row| &*row.bytes), row.map_or(0, |row| row.flags));
        let content = Content { value, flags, marks: 0 };
        let kept = self.cache.keep(now, head.keyspace, &key, content, lifetime);
        self.counters.kept_briefly += u64::from(is_brief && kept.is_some());
        kept
    }

    fn reply_read(
        &mut self,
        now: Now,
        key: PendingKey,
        row: Option<&RowValue>,
        kept: Option<Kept>,
        source: u8,
    ) {
        let pending = &self.requests[key];
        if pending.head.action == Action::Modify {
            return self.dispatch(now, key);
        }
        let cached = if kept.is_some() { flags::CACHED } else { 0 };
        let state = self.partitions.state(pending.partition);
        let version = kept.map_or(0, |kept| state.told_version(kept.version));
        let ttl_ms = kept.map_or(0, |kept| ms_left(kept.expires_at_ms, now.mono.as_millis()));
        let (status, value) = match (pending.head.action, row) {
            (Action::Cas, Some(_)) => (Status::VersionMismatch, Bytes::new()),
            (_, None) => (Status::NotFound, Bytes::new()),
            (Action::Touch, Some(_)) => (Status::Ok, Bytes::new()),
            (_, Some(row)) => (Status::Ok, row.bytes.clone()),
        };
        let item_flags = row.map_or(0, |row| row.flags);
        let head = AnswerHead {
            flags: source | cached,
            version,
            ttl_ms,
            item_flags,
            ..AnswerHead::status(status)
        };
        self.reply_with(key, Answer { head, value });
    }

    /// Gives a cached value a new lifetime. Returns `None` if it has to be fetched first.
    pub(super) fn touch(
        &mut self,
        now: Now,
        command: &Command<'_>,
        place: Aimed,
    ) -> Option<AnswerHead> {
        if self.partitions.serving(place.partition) != Serving::Cached {
            return None;
        }
        let Command { head, key, .. } = *command;
        let floor = self.partitions.owned_floor(head.keyspace, place.partition);
        match self.cache.touch(now, head.keyspace, key, floor, head.ttl()) {
            Touched::Missed => None,
            Touched::Absent => {
                Some(AnswerHead { flags: flags::HIT, ..AnswerHead::status(Status::NotFound) })
            }
            Touched::Kept(Kept { version, expires_at_ms }) => {
                self.counters.hits += 1;
                let flags = flags::HIT | flags::CACHED;
                Some(AnswerHead {
                    flags: flags | self.partitions.state(place.partition).flags(),
                    version,
                    ttl_ms: ms_left(expires_at_ms, now.mono.as_millis()),
                    ..AnswerHead::status(Status::Ok)
                })
            }
        }
    }

    /// Drops a cached value, and makes sure that fetches under way do not cache an older one.
    pub(super) fn invalidate(&mut self, keyspace: u8, key: &[u8], hash: u64) {
        self.cache.disturb(hash);
        self.cache.forget(keyspace, key);
    }
}

/// Returns the answer that tells the caller what a failure of the origin means for its request.
pub(super) fn failure_answer(failure: &Failure, is_write: bool) -> Answer {
    let message = |status, message: &str| Answer {
        head: AnswerHead::status(status),
        value: Bytes::copy_from_slice(message.as_bytes()),
    };
    match failure {
        Failure::OutcomeUnknown if is_write => {
            Answer::text(Status::OutcomeUnknown, "the database has not answered in time")
        }
        Failure::Doubtful(text) if is_write => message(Status::OutcomeUnknown, text),
        Failure::Timeout | Failure::OutcomeUnknown => {
            Answer::text(Status::OriginUnavailable, "the database has not answered in time")
        }
        Failure::Unavailable => Answer::text(
            Status::OriginUnavailable,
            "the database was not reached, or was not free in time",
        ),
        Failure::Overloaded => AnswerHead::overloaded().into(),
        Failure::Refused(text) | Failure::Doubtful(text) => {
            message(Status::OriginUnavailable, text)
        }
        Failure::Rejected(text) => message(Status::OriginRejected, text),
    }
}
