//! Fetches begin, wait and are released as [`Fetches`](super::fetches::Fetches) says; requests that
//! wait for one are refused, forwarded, or wait for another.

use super::answer::{AnswerHead, Status};
use super::calls::Started;
use super::fetches::{Ask, Begun, Joined, Limit, Place, Released, Reserved};
use super::partitions::serving::Serving;
use super::state::{FetchStart, Presence};
use super::{Name, Node, Now, PendingKey};
use crate::origin::Operation;

impl Node {
    /// A read waits for the fetch of its key that there is, or for a new one.
    pub(super) fn fetch(&mut self, now: Now, key: PendingKey) {
        let ask = self.ask_for(&[key]).expect("there is a request");
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

    /// One fetch for all of them, as soon as it may begin.
    fn begin_fetch(&mut self, now: Now, name: Name, waiting: Vec<PendingKey>) {
        // None is left: all were refused.
        let Some(ask) = self.ask_for(&waiting) else { return };
        let begun = self.fetches.begin(now.mono, name.clone(), waiting, ask);
        self.fetch_begun(now, name, begun);
    }

    /// One fetch for all of them, which the limit after a change of owner lets pass.
    fn start_fetch(&mut self, now: Now, name: Name, waiting: Vec<PendingKey>) {
        // None is left: all were refused.
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

    /// Asks the origin.
    fn send_fetch(&mut self, now: Now, name: Name, reserved: Reserved) {
        let running = self.fetches.running(&name);
        let deadline = running.iter().map(|key| self.requests[*key].deadline).max();
        let deadline = deadline.expect("a fetch runs for somebody");
        let first = &self.requests[running[0]];
        let (keyspace, key) = (first.head.keyspace, first.key.clone());
        let token = self.cache.begin_fetch(first.hash);
        let generation = self.partitions.generation(keyspace, first.partition);
        let started = FetchStart { token, generation, at: now.mono };
        let state = Started::Fetch { name, started, reserved };
        self.submit(now, state, keyspace, Operation::Get, key, deadline);
    }

    /// Callers have not taken this many bytes of replies: fetches that waited for room may begin,
    /// if there is some now.
    pub(crate) fn told_unsent(&mut self, now: Now, bytes: usize) {
        self.fetches.told_unsent(bytes);
        self.release_delayed(now);
    }

    /// Fetches that waited for room begin, or have waited for too long.
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

    /// Fetches that were held back begin, or have waited too long.
    pub(super) fn release_held(&mut self, now: Now) {
        while let Some(released) = self.fetches.release(now.mono, Limit::Surge) {
            let Released { name, waiting, may_begin } = released;
            // If the result may not be cached any more, nothing is refused.
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

    /// Passes on waiting fetches of partitions whose owner has changed, to or from this server.
    /// Those of partitions without an owner keep waiting, because they will have one soon.
    pub(super) fn hand_on_held(&mut self, now: Now) {
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

    /// One more fetch for those who wait, unless the partition is another server's by now.
    pub(super) fn fetch_again(&mut self, now: Now, name: Name, waiting: Vec<PendingKey>) {
        if let Some(here) = self.still_here(now, &name, waiting) {
            self.start_fetch(now, name, here);
        }
    }

    /// Returns the requests that wait for a fetch of this server that has not begun. Others are
    /// forwarded, or are late.
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
            } else if matches!(serving, Serving::Forward(_) | Serving::Relay(_)) && !pending.here {
                self.dispatch(now, key);
            } else {
                here.push(key);
            }
        }
        // Another fetch of the key has begun if sending one of them on has failed at once.
        self.fetches.join_all(name, here)
    }

    /// Refuses the requests that are late; requests that have joined since may have time, and are
    /// given back.
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

    /// Returns the figures that the limits need for a fetch of these requests; `None`: there are
    /// none.
    fn ask_for(&self, waiting: &[PendingKey]) -> Option<Ask> {
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
