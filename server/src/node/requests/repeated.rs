//! Writes that a client repeats because it received no answer (scenario 14). A write that is still
//! under way is joined. A write that was executed here is answered from memory. Neither is executed
//! twice, so a repetition can't overwrite what another client has written in between.
//!
//! A request is identified by the client's id and its own id. Only requests marked RETRY are looked
//! up.

use std::collections::VecDeque;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::node::answer::{Answer, Status};
use crate::node::command::{Action, Identity};
use crate::node::state::PendingKey;

/// The number of writes that are remembered after their end.
pub(in crate::node) const FINISHED_MAX: usize = 4_096;
/// The longest value of an answer that is remembered with it. Numbers are shorter.
const VALUE_REMEMBERED_MAX: usize = 256;

/// The fields compared besides the identity, because ids can be reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node) struct Request {
    pub(in crate::node) identity: Identity,
    pub(in crate::node) action: Action,
    pub(in crate::node) hash: u64,
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

    /// Notes that a write has arrived. A repetition joins the first one, if it may.
    pub(super) fn arrive(&mut self, request: Request, key: PendingKey, is_retry: bool) -> Known {
        let running = self.running.get_mut(&request.identity);
        match running {
            Some(running) if is_retry && running.request == request => {
                running.joined.push(key);
                return Known::Joined;
            }
            Some(_) => return Known::No,
            None => {}
        }
        if is_retry
            && let Some((known, ending)) = self.finished.get(&request.identity)
            && *known == request
        {
            return Known::Ended(ending.clone());
        }
        let running = Running { request, first: key, joined: Vec::new() };
        self.running.insert(request.identity, running);
        Known::No
    }

    /// Returns the repetitions that have joined a write under way.
    pub(super) fn joined(&self, identity: Identity, key: PendingKey) -> &[PendingKey] {
        match self.running.get(&identity) {
            Some(running) if running.first == key => &running.joined,
            _ => &[],
        }
    }

    /// Notes that a write has been answered, and remembers it if it has an ending. Returns the
    /// repetitions that have joined it.
    pub(super) fn end(
        &mut self,
        identity: Identity,
        key: PendingKey,
        ending: Option<&Answer>,
    ) -> Vec<PendingKey> {
        // It was answered from memory, or another request with the same identity has ended.
        let Entry::Occupied(running) = self.running.entry(identity) else { return Vec::new() };
        // The write is itself a repetition, or another request with the same identity.
        if running.get().first != key {
            return Vec::new();
        }
        let running = running.remove();
        if let Some(ending) = ending {
            let ending = remembered(ending);
            if self.finished.insert(identity, (running.request, ending)).is_none() {
                self.order.push_back(identity);
            }
            if self.order.len() > FINISHED_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.finished.remove(&oldest);
            }
        }
        running.joined
    }
}

/// Returns the answer for repetitions. If its value is too long to be remembered, they only learn
/// that the write may have been executed.
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

    fn request(request_id: u32, hash: u64) -> Request {
        let identity = Identity { client_id: NonZeroU64::MIN, request_id };
        Request { identity, action: Action::Put, hash }
    }

    fn ok() -> Answer {
        Answer::text(Status::Ok, "3")
    }

    #[test]
    fn a_repeated_write_joins_or_is_answered_from_memory() {
        let mut keys: SlotMap<PendingKey, ()> = SlotMap::with_key();
        let (first, second) = (keys.insert(()), keys.insert(()));
        let mut repeated = Repeated::new(&ahash::RandomState::with_seeds(1, 2, 3, 4));
        assert_eq!(repeated.arrive(request(1, 7), first, false), Known::No);
        assert_eq!(repeated.arrive(request(1, 8), second, true), Known::No, "another request");
        assert_eq!(repeated.arrive(request(1, 7), second, true), Known::Joined);
        let identity = request(1, 7).identity;
        assert_eq!(repeated.end(identity, second, Some(&ok())), [], "not the one that runs");
        assert_eq!(repeated.end(identity, first, Some(&ok())), [second]);
        assert_eq!(repeated.arrive(request(1, 7), second, true), Known::Ended(ok()));
        assert_eq!(repeated.arrive(request(1, 7), second, false), Known::No, "not marked");
    }

    #[test]
    fn a_long_answer_is_not_remembered() {
        let mut keys: SlotMap<PendingKey, ()> = SlotMap::with_key();
        let key = keys.insert(());
        let mut repeated = Repeated::new(&ahash::RandomState::with_seeds(1, 2, 3, 4));
        for (id, bytes, status) in [(1, 256, Status::Ok), (2, 257, Status::OutcomeUnknown)] {
            repeated.arrive(request(id, 7), key, false);
            let answer = Answer::value(vec![b'x'; bytes].into());
            repeated.end(request(id, 7).identity, key, Some(&answer));
            match repeated.arrive(request(id, 7), key, true) {
                Known::Ended(answer) => assert_eq!(answer.head.status, status),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_number_of_remembered_writes_is_bounded() {
        let mut keys: SlotMap<PendingKey, ()> = SlotMap::with_key();
        let key = keys.insert(());
        let mut repeated = Repeated::new(&ahash::RandomState::with_seeds(1, 2, 3, 4));
        for id in 0..=u32::try_from(FINISHED_MAX).unwrap() {
            repeated.arrive(request(id, 7), key, false);
            repeated.end(request(id, 7).identity, key, Some(&ok()));
        }
        assert_eq!(repeated.finished.len(), FINISHED_MAX);
        assert_eq!(repeated.arrive(request(0, 7), key, true), Known::No);
        assert_eq!(repeated.arrive(request(1, 7), key, true), Known::Ended(ok()));
    }
}
