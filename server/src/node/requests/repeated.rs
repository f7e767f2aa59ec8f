//! Copies of a write: its client sends it again because it received no answer, or another server
//! sends it on a second time because the first attempt seems to have failed (scenarios 14, 33).
//! The copies may arrive in any order. A write that is still under way is joined. A write that was
//! executed here is answered from memory. Neither is executed twice, so a copy can't overwrite what
//! another client has written in between.
//!
//! A request is identified by the client's id and its own id. All copies but the first are marked
//! RETRY, so of two copies at least one is. Requests of which neither is marked are different ones,
//! whatever their ids: a client that wrongly uses an id twice must not lose a write for it.

use std::collections::VecDeque;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use standin_protocol::mutant::{self, Mutant};

use crate::node::answer::{Answer, Status};
use crate::node::command::{Action, Identity};
use crate::node::state::PendingKey;

/// The number of writes that are remembered after their end.
pub(in crate::node) const FINISHED_MAX: usize = 4_096;
/// The longest value of an answer that is remembered with it. Numbers are shorter.
const VALUE_REMEMBERED_MAX: usize = 256;

/// One copy of a write. Everything that the write does is compared besides the identity, because ids
/// can be reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) identity: Identity,
    pub(super) action: Action,
    pub(super) keyspace: u8,
    /// The hash of the key.
    pub(super) hash: u64,
    /// The hash of the value, and of the operation of a MODIFY.
    pub(super) content_hash: u64,
    pub(super) item_flags: u32,
    pub(super) version: u64,
    pub(super) ttl_ms: u64,
    /// Whether it was sent before: by its client, or by this server to another one.
    pub(super) is_marked: bool,
}

impl Request {
    /// Whether two requests are copies of one write.
    fn is_copy_of(self, known: Self) -> bool {
        let is_marked = self.is_marked || known.is_marked && !mutant::is(Mutant::CopyUnmarked);
        let known = Self { is_marked: self.is_marked, ..known };
        self == known && is_marked && !mutant::is(Mutant::NoIdentity)
    }
}

#[derive(Debug)]
struct Running {
    request: Request,
    first: PendingKey,
    joined: Vec<PendingKey>,
}

/// The result of looking up a write.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::node) enum Known {
    /// It is unknown, and has to be executed.
    No,
    /// It is under way, and will be answered when that ends.
    Joined,
    /// It has been executed, with this answer.
    Ended(Answer),
}

/// The writes of a shard, by client and request id.
#[derive(Debug)]
pub(super) struct Repeated {
    running: HashMap<Identity, Running, ahash::RandomState>,
    finished: HashMap<Identity, (Request, Answer), ahash::RandomState>,
    order: VecDeque<Identity>,
}

impl Repeated {
    pub(super) fn new(hashing: &ahash::RandomState) -> Self {
        Self {
            running: HashMap::with_hasher(hashing.clone()),
            finished: HashMap::with_hasher(hashing.clone()),
            order: VecDeque::new(),
        }
    }

    /// Returns the number of writes under way, and the number of those remembered.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.running.len(), self.finished.len().max(self.order.len()))
    }

    /// Whether a write was executed here; `None` if it may have been forgotten.
    pub(super) fn has_executed(&self, identity: Identity) -> Option<bool> {
        match self.finished.contains_key(&identity) {
            true => Some(true),
            false => (self.order.len() < FINISHED_MAX).then_some(false),
        }
    }

    /// Notes that a write has arrived. It joins a copy under way if `may_join` allows that.
    pub(super) fn arrive(
        &mut self,
        request: Request,
        key: PendingKey,
        may_join: impl Fn(PendingKey) -> bool,
    ) -> Known {
        if let Some(known) = self.known(request, key, may_join) {
            return known;
        }
        let running = || Running { request, first: key, joined: Vec::new() };
        self.running.entry(request.identity).or_insert_with(running);
        Known::No
    }

    /// Notes that it is a write's turn to be executed. A copy that did not join when it arrived may
    /// have been executed since, or be under way at the origin, which `has_begun` says. Otherwise
    /// later copies join this one.
    pub(super) fn turn(
        &mut self,
        request: Request,
        key: PendingKey,
        has_begun: impl Fn(PendingKey) -> bool,
    ) -> Known {
        if let Some(known) = self.known(request, key, has_begun) {
            return known;
        }
        let running = || Running { request, first: key, joined: Vec::new() };
        let running = self.running.entry(request.identity).or_insert_with(running);
        if request.is_copy_of(running.request) {
            running.first = key;
        }
        Known::No
    }

    fn known(
        &mut self,
        request: Request,
        key: PendingKey,
        may_join: impl Fn(PendingKey) -> bool,
    ) -> Option<Known> {
        if let Some((known, answer)) = self.finished.get(&request.identity)
            && request.is_copy_of(*known)
        {
            return Some(Known::Ended(answer.clone()));
        }
        let running = self.running.get_mut(&request.identity)?;
        let first = running.first;
        if first == key || !request.is_copy_of(running.request) || !may_join(first) {
            return None;
        }
        running.request.is_marked |= request.is_marked;
        running.joined.push(key);
        Some(Known::Joined)
    }

    /// Returns the copies that have joined a write under way.
    pub(super) fn joined(&self, identity: Identity, key: PendingKey) -> &[PendingKey] {
        match self.running.get(&identity) {
            Some(running) if running.first == key => &running.joined,
            _ => &[],
        }
    }

    /// Notes that a write has been answered, and remembers it if it has an ending. Returns the
    /// copies that have joined it.
    pub(super) fn end(
        &mut self,
        mut request: Request,
        key: PendingKey,
        ending: Option<&Answer>,
    ) -> Vec<PendingKey> {
        let identity = request.identity;
        let joined = match self.running.entry(identity) {
            Entry::Occupied(running) if running.get().first == key => {
                let running = running.remove();
                request.is_marked |= running.request.is_marked;
                running.joined
            }
            // It was answered from memory, is itself a copy, or has the identity of another request.
            _ => Vec::new(),
        };
        if let Some(ending) = ending {
            if self.finished.insert(identity, (request, remembered(ending))).is_none() {
                self.order.push_back(identity);
            }
            if self.order.len() > FINISHED_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.finished.remove(&oldest);
            }
        }
        joined
    }
}

/// Returns the answer for copies. If its value is too long to be remembered, they only learn that
/// the write may have been executed.
fn remembered(answer: &Answer) -> Answer {
    match answer.value.len() <= VALUE_REMEMBERED_MAX {
        true => answer.clone(),
        false => Answer::text(Status::OutcomeUnknown, "executed before; its answer is not known"),
    }
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use std::num::NonZeroU64;

    use super::*;

    const UNMARKED: bool = false;
    const MARKED: bool = true;

    fn request(request_id: u32, is_marked: bool) -> Request {
        let identity = Identity { client_id: NonZeroU64::MIN, request_id };
        let (action, keyspace) = (Action::Put, 1);
        let (hash, content_hash) = (7, 8);
        let (item_flags, version, ttl_ms) = (0, 0, 0);
        Request {
            identity,
            action,
            keyspace,
            hash,
            content_hash,
            item_flags,
            version,
            ttl_ms,
            is_marked,
        }
    }

    fn ok() -> Answer {
        Answer::text(Status::Ok, "3")
    }

    fn writes<const N: usize>() -> (Repeated, [PendingKey; N]) {
        let mut keys: SlotMap<PendingKey, ()> = SlotMap::with_key();
        let repeated = Repeated::new(&ahash::RandomState::with_seeds(1, 2, 3, 4));
        (repeated, [(); N].map(|()| keys.insert(())))
    }

    #[test]
    fn copies_join_or_are_answered_from_memory_in_any_order() {
        for (first_mark, second_mark) in [(UNMARKED, MARKED), (MARKED, UNMARKED), (MARKED, MARKED)]
        {
            let (mut repeated, [first, second]) = writes();
            let (one, two) = (request(1, first_mark), request(1, second_mark));
            assert_eq!(repeated.arrive(one, first, |_| true), Known::No);
            assert_eq!(repeated.arrive(two, second, |_| true), Known::Joined);
            assert_eq!(repeated.joined(one.identity, first), [second]);
            assert_eq!(repeated.end(two, second, None), [], "not the one that runs");
            assert_eq!(repeated.end(one, first, Some(&ok())), [second]);
            assert_eq!(repeated.arrive(two, second, |_| true), Known::Ended(ok()));
            assert_eq!(repeated.arrive(request(1, UNMARKED), second, |_| true), Known::Ended(ok()));
        }
    }

    #[test]
    fn two_unmarked_requests_are_different_ones_whatever_their_ids() {
        let (mut repeated, [first, second]) = writes();
        let unmarked = request(1, UNMARKED);
        assert_eq!(repeated.arrive(unmarked, first, |_| true), Known::No);
        assert_eq!(repeated.arrive(unmarked, second, |_| true), Known::No);
        assert_eq!(repeated.end(unmarked, first, Some(&ok())), []);
        assert_eq!(repeated.end(unmarked, second, Some(&ok())), []);
        assert_eq!(repeated.arrive(unmarked, first, |_| true), Known::No);
        assert_eq!(repeated.end(unmarked, first, None), []);
        assert_eq!(repeated.arrive(request(1, MARKED), first, |_| true), Known::Ended(ok()));
    }

    #[test]
    fn a_request_that_does_something_else_is_another_one() {
        let one = request(1, MARKED);
        let others = [
            Request { action: Action::Delete, ..one },
            Request { keyspace: 2, ..one },
            Request { hash: 9, ..one },
            Request { content_hash: 9, ..one },
            Request { item_flags: 9, ..one },
            Request { version: 9, ..one },
            Request { ttl_ms: 9, ..one },
            Request { identity: request(2, MARKED).identity, ..one },
        ];
        for other in others {
            let (mut repeated, [first, second]) = writes();
            repeated.arrive(one, first, |_| true);
            assert_eq!(repeated.arrive(other, second, |_| true), Known::No, "{other:?}");
            assert_eq!(repeated.turn(other, second, |_| true), Known::No, "{other:?}");
            assert_eq!(repeated.end(one, first, Some(&ok())), []);
            assert_eq!(repeated.arrive(other, second, |_| true), Known::No, "{other:?}");
            repeated.end(other, second, Some(&ok()));
            assert_eq!(repeated.arrive(other, second, |_| true), Known::Ended(ok()), "the last");
        }
    }

    #[test]
    fn a_copy_that_went_its_own_way_is_executed_once() {
        let (mut repeated, [first, second, third, fourth]) = writes();
        let [one, two] = [request(1, UNMARKED), request(1, MARKED)];
        repeated.arrive(one, first, |_| true);
        assert_eq!(repeated.arrive(two, second, |_| false), Known::No, "the first is elsewhere");
        assert_eq!(repeated.arrive(two, third, |_| true), Known::Joined);
        assert_eq!(repeated.turn(two, second, |_| false), Known::No);
        assert_eq!(repeated.turn(one, first, |key| key == second), Known::Joined);
        assert_eq!(repeated.end(two, second, Some(&ok())), [third, first]);
        assert_eq!(repeated.arrive(one, fourth, |_| true), Known::Ended(ok()));
        assert_eq!(repeated.turn(one, first, |_| true), Known::Ended(ok()));
    }

    #[test]
    fn a_copy_whose_first_has_ended_otherwise_is_joined_by_the_next() {
        let (mut repeated, [first, second, third]) = writes();
        let marked = request(1, MARKED);
        repeated.arrive(marked, first, |_| true);
        repeated.arrive(marked, second, |_| false);
        assert_eq!(repeated.end(marked, first, None), []);
        assert_eq!(repeated.turn(marked, second, |_| false), Known::No);
        assert_eq!(repeated.arrive(marked, third, |_| true), Known::Joined);
        assert_eq!(repeated.end(marked, second, Some(&ok())), [third]);
        assert_eq!(repeated.sizes(), (0, 1));
    }

    #[test]
    fn a_long_answer_is_not_remembered() {
        let (mut repeated, [key]) = writes();
        for (id, bytes, status) in [(1, 256, Status::Ok), (2, 257, Status::OutcomeUnknown)] {
            repeated.arrive(request(id, UNMARKED), key, |_| true);
            let answer = Answer::value(vec![b'x'; bytes].into());
            repeated.end(request(id, UNMARKED), key, Some(&answer));
            match repeated.arrive(request(id, MARKED), key, |_| true) {
                Known::Ended(answer) => assert_eq!(answer.head.status, status),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_number_of_remembered_writes_is_bounded() {
        let (mut repeated, [key]) = writes();
        let identity = |id| request(id, UNMARKED).identity;
        for id in 0..=u32::try_from(FINISHED_MAX).unwrap() {
            assert_eq!(repeated.has_executed(identity(0)).is_none(), id > 4_096);
            repeated.arrive(request(id, UNMARKED), key, |_| true);
            repeated.end(request(id, UNMARKED), key, Some(&ok()));
        }
        assert_eq!(repeated.finished.len(), FINISHED_MAX);
        assert_eq!(repeated.has_executed(identity(0)), None);
        assert_eq!(repeated.has_executed(identity(1)), Some(true));
        assert_eq!(repeated.arrive(request(0, MARKED), key, |_| true), Known::No);
        assert_eq!(repeated.arrive(request(1, MARKED), key, |_| true), Known::Ended(ok()));
    }
}
