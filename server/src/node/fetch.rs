//! Reads that need a fetch. [`Fetches`](super::fetches::Fetches) says when fetches begin, wait and
//! are released. Requests that can't wait for their fetch are refused, forwarded, or wait for
//! another one.

use super::answer::{AnswerHead, Status};
use super::calls::Started;
use super::fetches::{Ask, Begun, Joined, Limit, Place, Released, Reserved};
use super::partitions::serving::Serving;
use super::requests::Presence;
use super::slow::Wait;
use super::state::FetchStart;
use super::{Name, Node, Now, PendingKey};
use crate::origin::Operation;

impl Node {
    /// Makes a read wait for the current fetch of its key, or for a new one.
    pub(super) fn fetch(&mut self, now: Now, key: PendingKey) {
        self.requests.waits(key).change(now.mono, Some(Wait::Fetch));
        let ask = self.ask_for(&[key]).expect("one request was given");
        let name = self.name_of(key);
        match self.fetches.join(now.mono, &name, key, ask) {
            Joined::No => {
                let begun = self.fetches.begin(now.mono, name.clone(), vec![key], ask);
                self.fetch_begun(now, name, begun);
            }
            Joined::Yes => self.counters.coalesced += 1,
            Joined::Refused(limit) => self.refuse_held(key, limit),
        }
    }

    /// Begins one fetch for all of these requests, as soon as the limits allow it.
    fn begin_fetch(&mut self, now: Now, name: Name, waiting: Vec<PendingKey>) {
        // All requests were refused.
        let Some(ask) = self.ask_for(&waiting) else { return };
        let begun = self.fetches.begin(now.mono, name.clone(), waiting, ask);
        self.fetch_begun(now, name, begun);
    }

    /// Begins one fetch for all of these requests, which the limit after a change of owner lets
    /// pass.
    fn start_fetch(&mut self, now: Now, name: Name, waiting: Vec<PendingKey>) {
        // All requests were refused.
        let Some(ask) = self.ask_for(&waiting) else { return };
        let begun = self.fetches.start(now.mono, name.clone(), waiting, ask);
        self.fetch_begun(now, name, begun);
    }

    fn fetch_begun(&mut self, now: Now, name: Name, begun: Begun) {
        match begun {
            Begun::Runs(reserved) => self.send_fetch(now, name, reserved),
            Begun::HeldBack(Limit::Surge) => self.counters.surge_held += 1,
            Begun::HeldBack(Limit::Ceiling) => self.counters.rate_held += 1,
            Begun::Delayed => self.counters.fetches_delayed += 1,
            Begun::Refused(limit, waiting) => {
                waiting.into_iter().for_each(|key| self.refuse_held(key, limit));
            }
        }
    }

    /// Submits the fetch to the origin.
    fn send_fetch(&mut self, now: Now, name: Name, reserved: Reserved) {
        let running = self.fetches.running(&name);
        let deadline = running.iter().map(|key| self.requests[*key].deadline).max();
        let deadline = deadline.expect("a running fetch has at least one waiting request");
        let first = &self.requests[running[0]];
        let (keyspace, key) = (first.head.keyspace, first.key.clone());
        let token = self.cache.begin_fetch(first.hash);
        let generation = self.partitions.generation(keyspace, first.partition);
        let started = FetchStart { token, generation, at: now.mono };
        let state = Started::Fetch { name, started, reserved };
        self.submit(now, state, keyspace, Operation::Get, key, deadline);
    }

    /// Notes how many bytes of replies callers have not taken. Fetches that waited for room begin
    /// if there is some now.
    pub(crate) fn told_unsent(&mut self, now: Now, bytes: usize) {
        self.fetches.told_unsent(bytes);
        self.release_delayed(now);
    }

    /// Begins the fetches that have waited for room, and refuses those that have waited for too
    /// long.
    pub(super) fn release_delayed(&mut self, now: Now) {
        while let Some(Released { name, waiting, may_begin }) = self.fetches.release_room(now.mono)
        {
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

    /// Begins the fetches that were held back by a limit, and refuses those that have waited for
    /// too long.
    pub(super) fn release_held(&mut self, now: Now) {
        while let Some(released) = self.fetches.release(now.mono, Limit::Surge) {
            let Released { name, waiting, may_begin } = released;
            // A request is refused only if the result may still be cached: otherwise the limit does
            // not apply.
            if may_begin || !self.ask_for(&waiting).is_some_and(|ask| ask.keeps) {
                self.fetch_again(now, name, waiting);
                continue;
            }
            let stay = self.refuse_late(now, waiting, Limit::Surge);
            self.begin_fetch(now, name, stay);
        }
        while let Some(released) = self.fetches.release(now.mono, Limit::Ceiling) {
            let Released { name, waiting, may_begin } = released;
            if !may_begin {
                let stay = self.refuse_late(now, waiting, Limit::Ceiling);
                self.start_fetch(now, name, stay);
            } else if let Some(here) = self.still_here(now, &name, waiting) {
                let begun = self.fetches.run(now.mono, name.clone(), here);
                self.fetch_begun(now, name, begun);
            }
        }
    }

    /// Redirects waiting fetches whose partitions have changed owner, to or from this server.
    /// Fetches of partitions without an owner keep waiting, because the partitions will have one
    /// soon.
    pub(super) fn redirect_held(&mut self, now: Now) {
        let partitions = &self.partitions;
        let misplaced = self.fetches.misplaced(|partition| match partitions.serving(partition) {
            Serving::Cached => Place::Owned,
            serving if serving.other().is_some() => Place::Elsewhere,
            _ => Place::Through,
        });
        for (name, limit) in misplaced {
            if let Some(waiting) = self.fetches.take_held(&name, limit) {
                self.fetch_again(now, name, waiting);
            }
        }
    }

    /// Begins another fetch for the waiting requests, unless another server owns the partition by
    /// now.
    pub(super) fn fetch_again(&mut self, now: Now, name: Name, waiting: Vec<PendingKey>) {
        if let Some(here) = self.still_here(now, &name, waiting) {
            self.start_fetch(now, name, here);
        }
    }

    /// Returns the requests that wait for a fetch of this server that has not begun. The other
    /// requests are forwarded, or are answered because they are late.
    fn still_here(
        &mut self,
        now: Now,
        name: &Name,
        waiting: Vec<PendingKey>,
    ) -> Option<Vec<PendingKey>> {
        let mut here = Vec::new();
        for key in waiting {
            let pending = &self.requests[key];
            let serving = self.partitions.serving(pending.partition);
            if now.mono > pending.deadline {
                self.counters.deadlines_passed += 1;
                self.reply(key, AnswerHead::status(Status::DeadlineExceeded));
            } else if pending.is_write() && self.requests.is_abandoned(key, Presence::Gone) {
                self.counters.writes_dropped += 1;
                self.reply(key, AnswerHead::status(Status::Unavailable));
            } else if matches!(serving, Serving::Forward(_) | Serving::Relay(_))
                && !pending.is_here()
            {
                self.dispatch(now, key);
            } else {
                here.push(key);
            }
        }
        // If forwarding one of the requests has failed at once, another fetch of the key may have
        // begun.
        self.fetches.join_all(name, here)
    }

    /// Refuses the requests that are late. Returns the others: requests that joined later may still
    /// have time.
    fn refuse_late(&mut self, now: Now, waiting: Vec<PendingKey>, limit: Limit) -> Vec<PendingKey> {
        let until = now.mono + self.config.patience / 2;
        let has_time = |key: &PendingKey| self.requests[*key].deadline > until;
        let (stay, late): (Vec<_>, Vec<_>) = waiting.into_iter().partition(has_time);
        late.into_iter().for_each(|key| self.refuse_held(key, limit));
        stay
    }

    fn refuse_held(&mut self, key: PendingKey, limit: Limit) {
        match limit {
            Limit::Surge => self.counters.surge_refused += 1,
            Limit::Ceiling => self.counters.rate_refused += 1,
        }
        self.reply(key, AnswerHead::overloaded());
    }

    /// Returns the figures that the limits need for a fetch of these requests, or `None` if there
    /// are no requests.
    pub(super) fn ask_for(&self, waiting: &[PendingKey]) -> Option<Ask> {
        let deadline = waiting.iter().map(|key| self.requests[*key].deadline).min()?;
        let partition = self.requests[waiting[0]].partition;
        let serving = self.partitions.serving(partition);
        Some(Ask {
            partition,
            is_home: self.partitions.is_home(partition),
            is_owned: serving == Serving::Cached,
            keeps: serving.keeps(),
            deadline,
            may_wait: !self.requests.is_crowded(),
        })
    }
}
