//! Whose turn it is: the calls of one kind (reads, or writes) that wait, by keyspace, and the
//! workers (threads or connections) that take them. Pure: no lock, thread or clock.
//!
//! ```text
//! push ──► keyspace a ■■■■■■■■■ ──┐            ┌─► worker 0 ■■ a
//!          keyspace b ■■ ─────────┼─ in turn ──┼─► worker 1 ■  b
//!          keyspace c ────────────┘            └─► worker 2      kept for c
//! ```
//!
//! One keyspace's locked table must not be another's outage. So:
//!
//! - A worker has calls of one keyspace at a time: whoever is stuck is stuck behind its own.
//! - A keyspace that has a worker already gets another one only while a free worker is left for
//!   each keyspace that has none. With as many workers as keyspaces nobody ever waits for
//!   another. Where there are fewer workers, half of them are kept free for such keyspaces.
//! - A call may want a worker for itself. A worker that may have only one call has that one alone,
//!   also when it may have more before that call has ended.
//! - A worker takes no more calls of its keyspace while another keyspace that waits has at least
//!   two workers fewer, or none.
//! - Half of the places where calls wait are the keyspaces' own, in equal parts; the rest is for
//!   all. The same is true of the bytes.

use std::collections::VecDeque;

/// What waits.
pub(super) trait Waits {
    /// Id of its keyspace.
    fn keyspace(&self) -> u8;

    /// Its row in the keyspace.
    fn key(&self) -> &[u8];

    /// The memory that it holds.
    fn bytes(&self) -> usize;

    /// Whether nobody waits for it any more.
    fn is_over(&self) -> bool;

    /// Whether it wants a worker for itself.
    fn wants_alone(&self) -> bool {
        false
    }
}

/// How many calls of a kind there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// That wait.
    pub(super) calls: usize,
    /// Of those that wait.
    pub(super) bytes: usize,
    /// Who takes them.
    pub(super) workers: usize,
    /// That a worker has at once, unless it is told another number.
    pub(super) depth: usize,
    /// A call waits while another of its row is under way: it must not overtake that one.
    pub(super) is_ordered: bool,
}

/// The calls of one kind.
pub(super) struct Fair<T> {
    keyspaces: Vec<Option<Keyspace<T>>>,
    /// Keyspaces of which calls wait; the first has waited longest for its turn.
    turns: VecDeque<u8>,
    workers: Vec<Worker>,
    bounds: Bounds,
    places: Quota,
    bytes: Quota,
}

struct Keyspace<T> {
    waiting: VecDeque<T>,
    bytes: usize,
    /// Workers that have calls of it.
    workers: usize,
}

#[derive(Debug)]
struct Worker {
    /// It can't take a call: a connection that is down.
    is_away: bool,
    /// Calls that it may have at once.
    depth: usize,
    /// It gets no other call before the one that it has is done.
    is_alone: bool,
    /// Of what is under way; meaningless when nothing is.
    keyspace: u8,
    under_way: usize,
    /// Rows of what is under way, where the order matters.
    keys: Vec<Box<[u8]>>,
}

impl Worker {
    fn new(depth: usize) -> Self {
        let (is_away, is_alone, keyspace, under_way) = (false, false, 0, 0);
        Self { is_away, depth, is_alone, keyspace, under_way, keys: Vec::new() }
    }

    fn has_room(&self) -> bool {
        !self.is_away && !self.is_alone && self.under_way < self.depth
    }
}

/// A bound, half of which is divided among the keyspaces.
#[derive(Debug)]
struct Quota {
    own: usize,
    shared: usize,
    shared_used: usize,
}

impl Quota {
    fn new(most: usize, keyspaces: usize) -> Self {
        let own = most / (2 * keyspaces.max(1));
        Self { own, shared: most - own * keyspaces.max(1), shared_used: 0 }
    }

    /// What a keyspace that goes from `before` to `after` takes of what is for all.
    fn over(&self, used: usize) -> usize {
        used.saturating_sub(self.own)
    }

    /// A keyspace of which nothing waits has room for one call, however large.
    fn has_room(&self, used: usize, more: usize) -> bool {
        let grows = self.over(used + more) - self.over(used);
        used == 0 || self.shared_used + grows <= self.shared
    }

    fn change(&mut self, before: usize, after: usize) {
        self.shared_used = self.shared_used - self.over(before) + self.over(after);
    }
}

impl<T: Waits> Fair<T> {
    /// `keyspaces`: the ids of those that have such calls.
    pub(super) fn new(bounds: Bounds, ids: impl IntoIterator<Item = u8>) -> Self {
        let mut keyspaces: Vec<Option<Keyspace<T>>> = Vec::new();
        for id in ids {
            let index = usize::from(id);
            if keyspaces.len() <= index {
                keyspaces.resize_with(index + 1, || None);
            }
            keyspaces[index] = Some(Keyspace { waiting: VecDeque::new(), bytes: 0, workers: 0 });
        }
        let count = keyspaces.iter().flatten().count();
        let (places, bytes) = (Quota::new(bounds.calls, count), Quota::new(bounds.bytes, count));
        let workers = (0..bounds.workers).map(|_| Worker::new(bounds.depth)).collect();
        Self { keyspaces, turns: VecDeque::new(), workers, bounds, places, bytes }
    }

    /// Calls wait.
    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Adds a call; gives it back when there is no room for it, or no such keyspace.
    pub(super) fn push(&mut self, call: T) -> Result<(), T> {
        let id = call.keyspace();
        self.drop_the_answered(id);
        let Some(Some(keyspace)) = self.keyspaces.get_mut(usize::from(id)) else {
            return Err(call);
        };
        let (calls, bytes) = (keyspace.waiting.len(), call.bytes());
        if !self.places.has_room(calls, 1) || !self.bytes.has_room(keyspace.bytes, bytes) {
            return Err(call);
        }
        self.places.change(calls, calls + 1);
        self.bytes.change(keyspace.bytes, keyspace.bytes + bytes);
        keyspace.bytes += bytes;
        keyspace.waiting.push_back(call);
        if calls == 0 {
            self.turns.push_back(id);
        }
        Ok(())
    }

    /// Adds a call that has been taken and not been executed: it is the next of its keyspace.
    pub(super) fn put_back(&mut self, call: T) {
        let id = call.keyspace();
        let Some(Some(keyspace)) = self.keyspaces.get_mut(usize::from(id)) else { return };
        let (calls, bytes) = (keyspace.waiting.len(), call.bytes());
        self.places.change(calls, calls + 1);
        self.bytes.change(keyspace.bytes, keyspace.bytes + bytes);
        keyspace.bytes += bytes;
        keyspace.waiting.push_front(call);
        if calls == 0 {
            self.turns.push_front(id);
        }
    }

    /// A worker comes, or goes away.
    pub(super) fn set_away(&mut self, worker: usize, is_away: bool) {
        self.workers[worker].is_away = is_away;
    }

    /// How many calls a worker may have at once from now on.
    pub(super) fn set_depth(&mut self, worker: usize, depth: usize) {
        self.workers[worker].depth = depth.clamp(1, self.bounds.depth);
    }

    /// Whether the call that a worker has is its only one until that is done.
    pub(super) fn is_alone(&self, worker: usize) -> bool {
        self.workers[worker].is_alone
    }

    /// A worker that could take a call comes before those that have less room.
    pub(super) fn by_room(&self) -> Vec<usize> {
        let mut workers: Vec<usize> =
            (0..self.workers.len()).filter(|&worker| self.workers[worker].has_room()).collect();
        workers.sort_by_key(|&worker| self.workers[worker].under_way);
        workers
    }

    /// The next call for this worker, if one is for it. To be followed by [`Self::done`].
    pub(super) fn take(&mut self, worker: usize) -> Option<T> {
        let Worker { keyspace, under_way, depth, .. } = self.workers[worker];
        if !self.workers[worker].has_room() {
            return None;
        }
        let id = match under_way {
            0 => self.next_for_free()?,
            _ if self.may_deepen(keyspace) => keyspace,
            _ => return None,
        };
        self.drop_the_answered(id);
        let wants_alone = self.first(id)?.wants_alone();
        if wants_alone && under_way > 0 {
            return None;
        }
        let call = self.remove(id)?;
        let state = self.keyspaces[usize::from(id)].as_mut()?;
        let worker = &mut self.workers[worker];
        worker.is_alone = wants_alone || depth == 1;
        state.workers += usize::from(worker.under_way == 0);
        worker.keyspace = id;
        worker.under_way += 1;
        if self.bounds.is_ordered {
            worker.keys.push(call.key().into());
        }
        Some(call)
    }

    /// A call that [`Self::take`] gave this worker has ended.
    pub(super) fn done(&mut self, worker: usize, key: &[u8]) {
        let worker = &mut self.workers[worker];
        worker.under_way -= 1;
        worker.is_alone &= worker.under_way > 0;
        if let Some(index) = worker.keys.iter().position(|row| **row == *key) {
            worker.keys.swap_remove(index);
        }
        if worker.under_way == 0
            && let Some(Some(keyspace)) = self.keyspaces.get_mut(usize::from(worker.keyspace))
        {
            keyspace.workers -= 1;
        }
    }

    /// Nothing of this worker is under way any more, whatever it was: it begins anew.
    pub(super) fn reset(&mut self, worker: usize) {
        let anew = Worker::new(self.bounds.depth);
        let before = std::mem::replace(&mut self.workers[worker], anew);
        if before.under_way > 0
            && let Some(Some(keyspace)) = self.keyspaces.get_mut(usize::from(before.keyspace))
        {
            keyspace.workers -= 1;
        }
    }

    /// The next call in turn, for one who takes them all. Not where the order matters.
    pub(super) fn take_in_turn(&mut self) -> Option<T> {
        debug_assert!(!self.bounds.is_ordered, "its rows are not known to be free");
        while let Some(&id) = self.turns.front() {
            // All of it may have been answered, and its turn is over.
            if let Some(call) = self.remove(id) {
                return Some(call);
            }
        }
        None
    }

    /// Everything that waits.
    pub(super) fn drain(&mut self) -> Vec<T> {
        self.turns.clear();
        (self.places.shared_used, self.bytes.shared_used) = (0, 0);
        let mut all = Vec::new();
        for keyspace in self.keyspaces.iter_mut().flatten() {
            keyspace.bytes = 0;
            all.extend(keyspace.waiting.drain(..));
        }
        all
    }

    /// The keyspace whose turn it is, among those that may have one more worker: the one with the
    /// fewest, then the one that has waited for longest.
    fn next_for_free(&mut self) -> Option<u8> {
        let mut index = 0;
        while let Some(&id) = self.turns.get(index) {
            self.drop_the_answered(id);
            index += usize::from(self.turns.get(index) == Some(&id));
        }
        let free = self.workers.iter().filter(|w| !w.is_away && w.under_way == 0).count();
        let present = self.workers.iter().filter(|worker| !worker.is_away).count();
        let keyspaces = self.keyspaces.iter().flatten().count();
        let without = self.keyspaces.iter().flatten().filter(|k| k.workers == 0).count();
        let may = |id: &u8| {
            let has = self.workers_of(*id);
            let kept = if keyspaces <= present { without } else { without.min(present / 2) };
            (has == 0 || free > kept) && self.position(*id).is_some()
        };
        self.turns.iter().copied().filter(may).min_by_key(|&id| self.workers_of(id))
    }

    /// Nobody who waits has much less.
    fn may_deepen(&self, id: u8) -> bool {
        let has = self.workers_of(id);
        let is_short = |other: u8| {
            let others = self.workers_of(other);
            other != id && (others == 0 || others + 1 < has)
        };
        !self.turns.iter().any(|&other| is_short(other))
    }

    fn workers_of(&self, id: u8) -> usize {
        self.keyspaces[usize::from(id)].as_ref().map_or(0, |keyspace| keyspace.workers)
    }

    /// The first call of a keyspace that may begin.
    fn position(&self, id: u8) -> Option<usize> {
        let keyspace = self.keyspaces[usize::from(id)].as_ref()?;
        let is_free = |call: &T| {
            !self.bounds.is_ordered
                || !self.workers.iter().any(|worker| {
                    worker.keyspace == id && worker.keys.iter().any(|key| **key == *call.key())
                })
        };
        keyspace.waiting.iter().position(is_free)
    }

    fn first(&self, id: u8) -> Option<&T> {
        let position = self.position(id)?;
        self.keyspaces[usize::from(id)].as_ref()?.waiting.get(position)
    }

    /// Nobody waits for these.
    pub(super) fn drop_all_answered(&mut self) {
        for id in 0..=u8::MAX {
            self.drop_the_answered(id);
        }
    }

    /// Takes the call out of the queue; the keyspace's next turn is after all others'.
    fn remove(&mut self, id: u8) -> Option<T> {
        self.drop_the_answered(id);
        let position = self.position(id)?;
        let keyspace = self.keyspaces[usize::from(id)].as_mut()?;
        let calls = keyspace.waiting.len();
        let call = keyspace.waiting.remove(position)?;
        self.places.change(calls, calls - 1);
        self.bytes.change(keyspace.bytes, keyspace.bytes - call.bytes());
        keyspace.bytes -= call.bytes();
        self.turns.retain(|&other| other != id);
        if calls > 1 {
            self.turns.push_back(id);
        }
        Some(call)
    }

    /// What has been answered because its time was up keeps no place. Calls of a keyspace end
    /// much in the order in which they came.
    fn drop_the_answered(&mut self, id: u8) {
        let Some(Some(keyspace)) = self.keyspaces.get_mut(usize::from(id)) else { return };
        while let Some(call) = keyspace.waiting.pop_front_if(|call| call.is_over()) {
            let calls = keyspace.waiting.len();
            self.places.change(calls + 1, calls);
            self.bytes.change(keyspace.bytes, keyspace.bytes - call.bytes());
            keyspace.bytes -= call.bytes();
            if calls == 0 {
                self.turns.retain(|&other| other != id);
            }
        }
    }
}

#[cfg(test)]
mod tests;
