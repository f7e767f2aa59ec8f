//! Fetches on their way to the origin, and those that are held back on it: by the limit after a
//! change of owner (surge.rs), for want of room for their rows (gate.rs), and by the limit of the
//! whole cluster (ceiling.rs). What waits for room takes its place under the last one after that, so
//! that many that have waited together do not begin together.
//!
//! ```text
//! begin_or_hold ─► Surge ─► start_fetch ─► Gate ─► Ceiling ─► send_fetch (read.rs)
//!                  release_held            release_gated  release_held
//! ```

use standin_protocol::time::Micros;

use super::answer::{AnswerHead, Status};
use super::ceiling::{self, Place};
use super::pace::Entry;
use super::read::Fetch;
use super::serving::Serving;
use super::state::Presence;
use super::surge;
use super::{Name, Node, Now, PendingKey};

/// What holds a fetch back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The owner has changed.
    Surge,
    /// `reads_per_second`.
    Ceiling,
}

/// A fetch is held back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) by: By,
    /// At the latest.
    pub(super) until: Micros,
}

impl Node {
    /// One fetch for all of them, as soon as it may begin.
    pub(super) fn begin_or_hold(
        &mut self,
        now: Now,
        name: Name,
        partition: u32,
        waiting: Vec<PendingKey>,
    ) {
        let Some(deadline) = self.first_deadline(&waiting) else { return };
        let is_home = self.topology.home(partition) == self.config.server;
        let ask = surge::Ask { partition, is_home, deadline, may_wait: self.may_hold() };
        match self.surge.enter(now.mono, &name, ask) {
            Entry::Begin => self.start_fetch(now, name, waiting),
            Entry::Wait(until) => self.hold(name, waiting, Held { by: By::Surge, until }),
            Entry::Refused => waiting.into_iter().for_each(|key| self.refuse_held(key, By::Surge)),
        }
    }

    /// Begins the fetch, or holds it back so that the whole cluster asks for no more than it may.
    pub(super) fn start_fetch(&mut self, now: Now, name: Name, waiting: Vec<PendingKey>) {
        let Some(deadline) = self.first_deadline(&waiting) else { return };
        let Some(first) = waiting.iter().find_map(|key| self.pending.get(*key)) else { return };
        // A place under the ceiling is for what begins at once.
        if !self.gate.fits(first.head.keyspace) {
            return self.delay(now, name, waiting);
        }
        let ask = self.ceiling_ask(first.partition, deadline);
        match self.ceiling.enter(now.mono, &name, ask) {
            Entry::Begin => self.send_fetch(now, name, waiting),
            Entry::Wait(until) => self.hold(name, waiting, Held { by: By::Ceiling, until }),
            Entry::Refused => {
                waiting.into_iter().for_each(|key| self.refuse_held(key, By::Ceiling));
            }
        }
    }

    /// A read joins a fetch that is held back; until then it waits at the latest.
    pub(super) fn hurry_held(
        &mut self,
        now: Now,
        name: &Name,
        partition: u32,
        deadline: Micros,
        held: Held,
    ) -> Micros {
        match held.by {
            By::Surge => self.surge.hurry(now.mono, partition, name, deadline, held.until),
            By::Ceiling => {
                let ask = self.ceiling_ask(partition, deadline);
                self.ceiling.hurry(now.mono, name, ask, held.until)
            }
        }
    }

    /// Fetches that were held back begin, or have waited too long.
    pub(super) fn release_held(&mut self, now: Now) {
        while let Some((name, may_begin)) = self.surge.release(now.mono) {
            let Some(waiting) = self.take_held(&name, By::Surge) else { continue };
            let Some(partition) = self.partition_of(&waiting) else { continue };
            // Where nothing may be kept any more, nothing is refused.
            if may_begin || !self.partitions[partition as usize].serving.keeps() {
                self.fetch_again(now, name, waiting);
                continue;
            }
            let stay = self.refuse_late(now, waiting, By::Surge);
            self.begin_or_hold(now, name, partition, stay);
        }
        while let Some((name, may_begin)) = self.ceiling.release(now.mono) {
            let Some(waiting) = self.take_held(&name, By::Ceiling) else { continue };
            if !may_begin {
                let stay = self.refuse_late(now, waiting, By::Ceiling);
                self.start_fetch(now, name, stay);
            } else if let Some(here) = self.keep_here(now, &name, waiting) {
                self.send_fetch(now, name, here);
            }
        }
    }

    /// Fetches that are held back for partitions that are another server's by now, or that have
    /// become this server's or have ceased to be. Those that are nobody's for a moment will be
    /// somebody's.
    pub(super) fn hand_on_held(&mut self, now: Now) {
        let partitions = &self.partitions;
        let serving = |partition: u32| partitions[partition as usize].serving;
        let mut moved: Vec<(Name, By)> = Vec::new();
        let names = self.surge.take(|partition| serving(partition).other().is_some());
        moved.extend(names.into_iter().map(|name| (name, By::Surge)));
        let names = self.ceiling.take(|partition| match serving(partition) {
            Serving::Cached => Place::Owned,
            serving if serving.other().is_some() => Place::Elsewhere,
            _ => Place::Through,
        });
        moved.extend(names.into_iter().map(|name| (name, By::Ceiling)));
        for (name, by) in moved {
            if let Some(waiting) = self.take_held(&name, by) {
                self.fetch_again(now, name, waiting);
            }
        }
    }

    /// One more fetch for those who wait, unless the partition is another server's by now.
    pub(super) fn fetch_again(&mut self, now: Now, name: Name, waiting: Vec<PendingKey>) {
        if let Some(here) = self.keep_here(now, &name, waiting) {
            self.start_fetch(now, name, here);
        }
    }

    /// Those of them that are to be answered by a fetch of this server that has not begun; others
    /// are sent on, or are late.
    fn keep_here(
        &mut self,
        now: Now,
        name: &Name,
        waiting: Vec<PendingKey>,
    ) -> Option<Vec<PendingKey>> {
        let mut here = Vec::new();
        for key in waiting {
            let Some(pending) = self.pending.get(key) else { continue };
            let serving = self.partitions[pending.partition as usize].serving;
            if now.mono > pending.deadline {
                self.counters.deadlines_passed += 1;
                self.reply(key, AnswerHead::status(Status::DeadlineExceeded));
            } else if pending.is_write() && self.is_abandoned(key, Presence::Gone) {
                self.counters.writes_dropped += 1;
                self.reply(key, AnswerHead::status(Status::Unavailable));
            } else if matches!(serving, Serving::Forward(_) | Serving::Relay(_)) && !pending.here {
                self.dispatch(now, key);
            } else {
                here.push(key);
            }
        }
        match self.fetches.get_mut(name) {
            // Sending one of them on has failed at once, and it is processed here.
            Some(fetch) => {
                fetch.waiting.append(&mut here);
                None
            }
            None => (!here.is_empty()).then_some(here),
        }
    }

    /// One of them was late; who has joined since may have time, and is given back.
    fn refuse_late(&mut self, now: Now, waiting: Vec<PendingKey>, by: By) -> Vec<PendingKey> {
        let until = now.mono + self.config.patience / 2;
        let has_time = |key: &PendingKey| {
            self.pending.get(*key).is_some_and(|pending| pending.deadline > until)
        };
        let (stay, late): (Vec<_>, Vec<_>) = waiting.into_iter().partition(has_time);
        late.into_iter().for_each(|key| self.refuse_held(key, by));
        stay
    }

    pub(super) fn refuse_held(&mut self, key: PendingKey, by: By) {
        match by {
            By::Surge => self.counters.surge_refused += 1,
            By::Ceiling => self.counters.rate_refused += 1,
        }
        self.reply(key, AnswerHead::overloaded());
    }

    fn hold(&mut self, name: Name, waiting: Vec<PendingKey>, held: Held) {
        match held.by {
            By::Surge => self.counters.surge_held += 1,
            By::Ceiling => self.counters.rate_held += 1,
        }
        let running = Vec::new();
        self.fetches.insert(name, Fetch { running, waiting, held: Some(held) });
    }

    /// Who waits for a fetch that this holds back; `None` if it does not any more.
    fn take_held(&mut self, name: &Name, by: By) -> Option<Vec<PendingKey>> {
        self.fetches.get(name)?.held.filter(|held| held.by == by)?;
        self.fetches.remove(name).map(|fetch| fetch.waiting)
    }

    fn ceiling_ask(&self, partition: u32, deadline: Micros) -> ceiling::Ask {
        let is_owned = self.partitions[partition as usize].serving == Serving::Cached;
        ceiling::Ask { partition, is_owned, deadline, may_wait: self.may_hold() }
    }

    /// Those who wait for a place leave room for writes.
    fn may_hold(&self) -> bool {
        self.pending.len() <= self.config.in_flight_max / 2
    }

    fn first_deadline(&self, waiting: &[PendingKey]) -> Option<Micros> {
        let waiting = waiting.iter().filter_map(|key| self.pending.get(*key));
        waiting.map(|pending| pending.deadline).min()
    }

    fn partition_of(&self, waiting: &[PendingKey]) -> Option<u32> {
        waiting.iter().find_map(|key| self.pending.get(*key)).map(|pending| pending.partition)
    }
}
