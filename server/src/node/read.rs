//! Reads that the cache does not answer: one fetch for all who wait (scenario 6), kept
//! only if nothing changed meanwhile (scenario 5).
//!
//! At most one fetch per key runs. A read joins only a fetch that starts after it; those
//! that come while one runs wait for its end. If its result could be kept, they find it
//! in the cache like any later read; if not, one more fetch serves them all.

use bytes::Bytes;
use standin_protocol::mutant::{self, Mutant};

use super::answer::{Answer, AnswerHead, Status, VALUE_BYTES_MAX, flags, seconds_left};
use super::command::{Action, Command};
use super::held::{By, Held};
use super::keep::Kept;
use super::serving::Serving;
use super::state::FetchStart;
use super::{Aimed, CallState, Name, Node, Now, PendingKey};
use crate::origin::{Failure, Operation, Outcome};

/// The fetch that runs for a key, and the reads that came too late for it.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) running: Vec<PendingKey>,
    pub(super) waiting: Vec<PendingKey>,
    /// It does not run yet, but is held back.
    pub(super) held: Option<Held>,
}

impl Fetch {
    /// All that wait for its end.
    pub(super) fn waiters(&self) -> impl Iterator<Item = PendingKey> + '_ {
        self.running.iter().chain(&self.waiting).copied()
    }
}

impl Node {
    /// A read or touch that missed, or a CAS that has to learn the version.
    pub(super) fn read(&mut self, now: Now, key: PendingKey) {
        let Some(pending) = self.pending.get(key) else { return };
        if now.mono > pending.deadline {
            self.counters.deadlines_passed += 1;
            return self.reply(key, AnswerHead::status(Status::DeadlineExceeded));
        }
        self.counters.misses += 1;
        let name = Self::name(pending.head.keyspace, &pending.key);
        let is_crowded = self.pending.len() > self.config.in_flight_max / 2;
        let keeps = self.partitions[pending.partition as usize].serving.keeps();
        if let Some(fetch) = self.fetches.get(&name) {
            if let Some(held) = fetch.held {
                // Those who wait leave room for writes.
                if is_crowded && (keeps || held.by == By::Ceiling) {
                    return self.refuse_held(key, held.by);
                }
                let (partition, deadline) = (pending.partition, pending.deadline);
                let until = self.hurry_held(now, &name, partition, deadline, held);
                if let Some(fetch) = self.fetches.get_mut(&name) {
                    fetch.held = Some(Held { until, ..held });
                }
            }
            let Some(fetch) = self.fetches.get_mut(&name) else { return };
            self.counters.coalesced += 1;
            match mutant::is(Mutant::JoinRunningFetch) {
                true => fetch.running.push(key),
                false => fetch.waiting.push(key),
            }
            return;
        }
        let partition = pending.partition;
        match keeps {
            true => self.begin_or_hold(now, name, partition, vec![key]),
            false => self.start_fetch(now, name, vec![key]),
        }
    }

    /// Asks the origin.
    pub(super) fn send_fetch(&mut self, now: Now, name: Name, running: Vec<PendingKey>) {
        let waiters = running.iter().filter_map(|key| self.pending.get(*key));
        let Some(deadline) = waiters.map(|waiter| waiter.deadline).max() else { return };
        let Some(first) = running.first().and_then(|key| self.pending.get(*key)) else { return };
        let (hash, partition) = (first.hash, first.partition);
        let (keyspace, key) = (first.head.keyspace, first.key.clone());
        let Some(reserved) = self.gate.enter(keyspace) else {
            return self.delay(now, name, running);
        };
        let token = self.tokens.fetch(hash);
        let generation = self.generation(keyspace, partition);
        let (waiting, held) = (Vec::new(), None);
        self.fetches.insert(name.clone(), Fetch { running, waiting, held });
        let started = FetchStart { token, generation, at: now.mono };
        let state = CallState::Fetch { name, started, reserved };
        self.submit(now, state, keyspace, Operation::Get, key, deadline);
    }

    /// It waits for room for its row.
    pub(super) fn delay(&mut self, now: Now, name: Name, waiting: Vec<PendingKey>) {
        self.counters.fetches_delayed += 1;
        self.gate.wait(name.clone(), now.mono + self.config.patience);
        let (running, held) = (Vec::new(), None);
        self.fetches.insert(name, Fetch { running, waiting, held });
    }

    /// So many bytes of replies have not been taken by their callers: fetches that waited for
    /// room may begin, if there is some now.
    pub(crate) fn told_unsent(&mut self, now: Now, bytes: usize) {
        self.gate.told_unsent(bytes);
        self.release_gated(now);
    }

    /// Fetches that waited for room begin, or have waited for too long.
    pub(super) fn release_gated(&mut self, now: Now) {
        while let Some((name, may_begin)) = self.gate.release(now.mono) {
            let Some(Fetch { mut running, mut waiting, .. }) = self.fetches.remove(&name) else {
                continue;
            };
            waiting.append(&mut running);
            match may_begin {
                true => self.fetch_again(now, name, waiting),
                false => waiting.into_iter().for_each(|key| self.refuse_delayed(key)),
            }
        }
    }

    fn refuse_delayed(&mut self, key: PendingKey) {
        self.counters.overloaded += 1;
        self.reply(key, AnswerHead::overloaded());
    }

    /// A fetch has ended: whoever waits hears of it, and another that waited for room may begin.
    pub(super) fn fetch_done(
        &mut self,
        now: Now,
        name: Name,
        started: FetchStart,
        outcome: Outcome,
    ) {
        self.answer_fetch(now, name, started, outcome);
        self.release_gated(now);
    }

    fn answer_fetch(&mut self, now: Now, name: Name, started: FetchStart, outcome: Outcome) {
        let Some(Fetch { running, waiting, .. }) = self.fetches.remove(&name) else { return };
        let value = match outcome {
            Outcome::Value(Some(value)) if value.len() > VALUE_BYTES_MAX => {
                let text = format!("the row's value is larger than {VALUE_BYTES_MAX} bytes");
                return self.fail_reads(running, waiting, &Failure::Rejected(text));
            }
            Outcome::Value(value) => value,
            Outcome::Failed(failure) => return self.fail_reads(running, waiting, &failure),
            Outcome::Written { .. } => {
                debug_assert!(false, "a fetch is answered by a value");
                return;
            }
        };
        let bytes = value.as_ref();
        let kept = self.keep_fetched(now, &running, started, value.as_deref());
        for key in running {
            self.reply_read(now, key, bytes, kept, flags::FILLED);
        }
        if kept.is_some() {
            for key in waiting {
                self.reply_read(now, key, bytes, kept, flags::HIT);
            }
            return;
        }
        // Nothing was kept, perhaps because the partition is another server's by now.
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
        value: Option<&[u8]>,
    ) -> Option<Kept> {
        // A TOUCH among the waiters brings the lifetime; a GET has none of its own.
        let waiters = || running.iter().filter_map(|key| self.pending.get(*key));
        let asks =
            waiters().find(|w| w.head.action == Action::Touch).or_else(|| waiters().next())?;
        let (head, key) = (asks.head, asks.key.clone());
        let state = self.partitions[asks.partition as usize];
        if !state.serving.keeps() {
            return None;
        }
        if self.generation(head.keyspace, asks.partition) != started.generation
            || !self.tokens.may_keep(started.token, now.mono)
            || self.home.is_closed(asks.partition, now.mono)
        {
            self.counters.fills_refused += 1;
            return None;
        }
        // Another may still write, and say nothing here: not for longer than a lease.
        let is_brief = state.serving.is_brief() && !mutant::is(Mutant::BriefStays);
        let ends = is_brief.then(|| started.at + self.config.brief);
        let kept = self.keep(now, &head, &key, value, ends);
        self.counters.kept_briefly += u64::from(is_brief && kept.is_some());
        kept
    }

    fn reply_read(
        &mut self,
        now: Now,
        key: PendingKey,
        value: Option<&Bytes>,
        kept: Option<Kept>,
        source: u8,
    ) {
        let Some(pending) = self.pending.get(key) else { return };
        let cached = if kept.is_some() { flags::CACHED } else { 0 };
        let state = self.partitions[pending.partition as usize];
        let version = kept.map_or(0, |kept| state.told_version(kept.version));
        let ttl_s = kept.map_or(0, |kept| seconds_left(kept.expires_at_ms, now.mono.as_millis()));
        let (status, value) = match (pending.head.action, value) {
            (Action::Cas, Some(_)) => (Status::VersionMismatch, Bytes::new()),
            (_, None) => (Status::NotFound, Bytes::new()),
            (Action::Touch, Some(_)) => (Status::Ok, Bytes::new()),
            (_, Some(value)) => (Status::Ok, value.clone()),
        };
        let head =
            AnswerHead { flags: source | cached, version, ttl_s, ..AnswerHead::status(status) };
        self.reply_with(key, Answer { head, value });
    }

    /// A new lifetime for a cached value; `None` if it has to be fetched first.
    pub(super) fn touch(
        &mut self,
        now: Now,
        command: &Command<'_>,
        place: Aimed,
    ) -> Option<AnswerHead> {
        let state = self.partitions[place.partition as usize];
        if state.serving != Serving::Cached {
            return None;
        }
        let Command { head, key, .. } = *command;
        let now_ms = now.mono.as_millis();
        let floor =
            self.flushes.raise(state.owned_floor, state.is_flushed, head.keyspace, place.partition);
        let item = self.store.get(place.probe, head.keyspace, key, floor, now_ms)?;
        if item.negative {
            return Some(AnswerHead { flags: flags::HIT, ..AnswerHead::status(Status::NotFound) });
        }
        let expires_at_ms = self.expires_at_ms(&head, false, now);
        let version = self.store.touch(head.keyspace, key, floor, expires_at_ms, now_ms)?;
        self.counters.hits += 1;
        Some(AnswerHead {
            flags: flags::HIT | flags::CACHED | state.flags,
            version,
            ttl_s: seconds_left(expires_at_ms, now_ms),
            ..AnswerHead::status(Status::Ok)
        })
    }

    /// Drops a cached value, and what fetches under way may bring of it.
    pub(super) fn invalidate(&mut self, keyspace: u8, key: &[u8], hash: u64) {
        self.tokens.disturb(hash);
        self.forget(keyspace, key);
    }
}

/// The answer that tells the caller what a failure of the origin means for it.
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
