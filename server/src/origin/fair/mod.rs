//! Fair scheduling: the waiting calls of one kind (reads, or writes), by keyspace, and the workers
//! (threads or connections) that take them in turn. Pure: no lock, thread or clock.
//!
//! ```text
//! push ──► keyspace a ■■■■■■■■■ ──┐            ┌─► worker 0 ■■ a
//!          keyspace b ■■ ─────────┼─ in turn ──┼─► worker 1 ■  b
//!          keyspace c ────────────┘            └─► worker 2      kept for c
//! ```
//!
//! A locked table of one keyspace must not become an outage of another. So:
//!
//! - A worker has calls of one keyspace at a time, so a stuck call only delays calls of its own
//!   keyspace.
//! - A keyspace that already has a worker gets another one only if a free worker is left for each
//!   keyspace that has none. With as many workers as keyspaces, no keyspace ever waits for another.
//!   With fewer, half of them are reserved for keyspaces that have none.
//! - A call may require a worker for itself. A call that a worker got while it was limited to one
//!   call stays its only one until it has ended, even if the limit rises meanwhile.
//! - A worker takes no more calls of its keyspace while another waiting keyspace has at least two
//!   workers fewer, or none.
//! - Half of the queue's capacity is reserved for the keyspaces in equal parts, and the rest is
//!   shared. This holds for both calls and bytes.

use std::collections::VecDeque;

/// A call that can wait.
pub(super) trait Waits {
    /// Returns the id of its keyspace.
    fn keyspace(&self) -> u8;

    /// Returns its key, which is its row in the keyspace.
    fn key(&self) -> &[u8];

    /// Returns the number of bytes that it occupies.
    fn bytes(&self) -> usize;

    /// Whether it has been answered, so that nobody waits for it.
    fn is_over(&self) -> bool;

    /// Whether it requires a worker for itself.
    fn wants_alone(&self) -> bool {
        false
    }
}

/// The bounds for the calls of one kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// The number of waiting calls.
    pub(super) calls: usize,
    /// The number of bytes of the waiting calls.
    pub(super) bytes: usize,
    /// The number of workers.
    pub(super) workers: usize,
    /// The number of calls that a worker may have at once, unless set to another number.
    pub(super) depth: usize,
    /// Whether a call waits while another call of its row is under way, so that it can't overtake
    /// it.
    pub(super) is_ordered: bool,
}

/// The calls of one kind.
pub(super) struct Fair<T> {
    keyspaces: Vec<Option<Keyspace<T>>>,
    /// The keyspaces with waiting calls. The first has waited longest for its turn.
    turns: VecDeque<u8>,
    workers: Vec<Worker>,
    bounds: Bounds,
    places: Quota,
    bytes: Quota,
}

struct Keyspace<T> {
    waiting: VecDeque<T>,
    bytes: usize,
    /// The number of workers that have calls of it.
    workers: usize,
}

#[derive(Debug)]
struct Worker {
    /// Whether it can't take calls, like a connection that is down.
    is_away: bool,
    /// The number of calls that it may have at once.
    depth: usize,
    /// Whether it gets no other call before the one that it has has ended.
    is_alone: bool,
    /// The keyspace of the calls under way; meaningless if there are none.
    keyspace: u8,
    under_way: usize,
    /// The rows of the calls under way, if the order matters.
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

    /// Returns the part of a keyspace's use that exceeds its own share.
    fn over(&self, used: usize) -> usize {
        used.saturating_sub(self.own)
    }

    /// A keyspace without waiting calls has room for one call of any size.
    fn has_room(&self, used: usize, more: usize) -> bool {
        let grows = self.over(used + more) - self.over(used);
        used == 0 || self.shared_used + grows <= self.shared
    }

    fn change(&mut self, before: usize, after: usize) {
        self.shared_used = self.shared_used - self.over(before) + self.over(after);
    }
}

impl<T: Waits> Fair<T> {
    /// `ids`: the keyspaces that have such calls.
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

    /// Whether no call waits.
    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Returns the number of calls that wait, and their bytes.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let keyspaces = self.keyspaces.iter().flatten();
        keyspaces.fold((0, 0), |(calls, bytes), keyspace| {
            (calls + keyspace.waiting.len(), bytes + keyspace.bytes)
        })
    }

    /// Adds a call; returns it if there is no room, or no such keyspace.
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

    /// Adds a call that was taken but not executed. It is the next of its keyspace.
    pub(super) fn put_back(&mut self, call: T) {
        let id = call.keyspace();
        let keyspace = self.keyspaces.get_mut(usize::from(id)).and_then(Option::as_mut);
        let keyspace = keyspace.expect("the call was taken from its keyspace's queue");
        let (calls, bytes) = (keyspace.waiting.len(), call.bytes());
        self.places.change(calls, calls + 1);
        self.bytes.change(keyspace.bytes, keyspace.bytes + bytes);
        keyspace.bytes += bytes;
        keyspace.waiting.push_front(call);
        if calls == 0 {
            self.turns.push_front(id);
        }
    }

    /// Notes that a worker is available, or no longer is.
    pub(super) fn set_away(&mut self, worker: usize, is_away: bool) {
        self.workers[worker].is_away = is_away;
    }

    /// Sets the number of calls that a worker may have at once.
    pub(super) fn set_depth(&mut self, worker: usize, depth: usize) {
        self.workers[worker].depth = depth.clamp(1, self.bounds.depth);
    }

    /// Whether a worker's call is its only one until it has ended.
    pub(super) fn is_alone(&self, worker: usize) -> bool {
        self.workers[worker].is_alone
    }

    /// Returns the workers, those with the most room first.
    pub(super) fn by_room(&self) -> Vec<usize> {
        let mut workers: Vec<usize> =
            (0..self.workers.len()).filter(|&worker| self.workers[worker].has_room()).collect();
        workers.sort_by_key(|&worker| self.workers[worker].under_way);
        workers
    }

    /// Takes the next call for this worker, if there is one. [`Self::done`] must follow.
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

    /// Notes that nothing of this worker is under way, because it starts again.
    pub(super) fn reset(&mut self, worker: usize) {
        let anew = Worker::new(self.bounds.depth);
        let before = std::mem::replace(&mut self.workers[worker], anew);
        if before.under_way > 0
            && let Some(Some(keyspace)) = self.keyspaces.get_mut(usize::from(before.keyspace))
        {
            keyspace.workers -= 1;
        }
    }

    /// Takes the next call in turn, for a single worker that takes all calls. Not for calls whose
    /// order matters.
    pub(super) fn take_in_turn(&mut self) -> Option<T> {
        debug_assert!(!self.bounds.is_ordered, "its rows are not known to be free");
        while let Some(&id) = self.turns.front() {
            // All its calls may have been answered. Then its turn is over.
            if let Some(call) = self.remove(id) {
                return Some(call);
            }
        }
        None
    }

    /// Takes all waiting calls.
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

    /// Returns the next keyspace for a free worker, among those that may have one more: the one
    /// with the fewest workers, and among these the one that has waited longest.
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

    /// Whether a worker of this keyspace may take more calls, because no waiting keyspace has far
    /// fewer workers.
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

    /// Returns the position of the first call of a keyspace that may begin.
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

    /// Drops the calls that have been answered.
    pub(super) fn drop_all_answered(&mut self) {
        for id in 0..=u8::MAX {
            self.drop_the_answered(id);
        }
    }

    /// Takes a call out of the queue. The keyspace's next turn comes after all others'.
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

    /// Drops calls at the head of a keyspace's queue that were answered because they were overdue.
    /// Calls of a keyspace end roughly in the order in which they were added.
    fn drop_the_answered(&mut self, id: u8) {
        // `push` refuses a call of an unknown keyspace.
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
