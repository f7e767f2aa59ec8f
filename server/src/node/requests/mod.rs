//! The requests that wait for the origin, a peer or an owner, bounded in number and bytes, and the
//! writes that their clients repeat (repeated.rs).
//!
//! This part is told which requests arrive and are answered, and which connections end. It returns
//! whether there is room, and which requests are answered together.

mod pending;
mod repeated;

use std::ops::Index;

use hashbrown::HashMap;
use slotmap::SlotMap;

use pending::Progress;
pub(super) use pending::{Pending, Presence};
use repeated::Repeated;
pub(super) use repeated::{FINISHED_MAX, Known, Request};

use super::NodeConfig;
use super::answer::{Answer, Status};
use super::command::ConnId;
use super::state::PendingKey;
use standin_protocol::time::Micros;

/// The memory that a request takes in addition to its key and value.
const REQUEST_BYTES: usize = 256;

/// The waiting requests of a shard.
#[derive(Debug)]
pub(super) struct Requests {
    waiting: SlotMap<PendingKey, Pending>,
    /// The approximate memory that they take.
    bytes: usize,
    count_max: usize,
    bytes_max: usize,
    repeated: Repeated,
}

/// A request that has been answered.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) request: Pending,
    /// The repetitions of the request that get the same answer.
    pub(super) joined: Vec<PendingKey>,
}

/// The sizes of everything that grows here.
#[derive(Debug)]
pub(super) struct Sizes {
    pub(super) bytes: usize,
    pub(super) bytes_max: usize,
    /// The number of repeatable writes that are under way.
    pub(super) running: usize,
    pub(super) finished: usize,
}

impl Requests {
    pub(super) fn new(config: &NodeConfig, hashing: &ahash::RandomState) -> Self {
        Self {
            waiting: SlotMap::with_key(),
            bytes: 0,
            count_max: config.in_flight_max,
            bytes_max: config.pending_bytes_max(),
            repeated: Repeated::new(hashing),
        }
    }

    /// Whether there is room for a request with a key and a value of this many bytes together.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let bytes = self.bytes + REQUEST_BYTES + bytes;
        self.waiting.len() < self.count_max && bytes <= self.bytes_max
    }

    /// Makes a request wait. There must be room for it.
    pub(super) fn insert(&mut self, request: Pending) -> PendingKey {
        self.bytes += bytes_of(&request);
        self.waiting.insert(request)
    }

    /// Returns the request, if it has not been answered.
    pub(super) fn find(&self, key: PendingKey) -> Option<&Pending> {
        self.waiting.get(key)
    }

    /// Returns the number of waiting requests.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether more than half of the room is taken. The rest is for writes.
    pub(super) fn is_crowded(&self) -> bool {
        self.waiting.len() > self.count_max / 2
    }

    /// Notes that a write has arrived that its client can repeat. A repetition joins the first one,
    /// if it may.
    pub(super) fn arrive(&mut self, request: Request, key: PendingKey, is_retry: bool) -> Known {
        self.repeated.arrive(request, key, is_retry)
    }

    /// Notes that a request is answered. The result of a write that was executed here is
    /// remembered.
    pub(super) fn end(&mut self, key: PendingKey, answer: &Answer) -> Ended {
        let request = self.waiting.remove(key).expect("a request must be answered once");
        self.bytes -= bytes_of(&request);
        let is_final = matches!(
            answer.head.status,
            Status::Ok | Status::NotFound | Status::NotStored | Status::OutcomeUnknown
        );
        let joined = match request.head.identity.filter(|_| request.is_write()) {
            Some(identity) => {
                let is_remembered = is_final && request.progress.is_begun;
                self.repeated.end(identity, key, is_remembered.then_some(answer))
            }
            None => Vec::new(),
        };
        Ended { request, joined }
    }

    /// Notes that these connections send no more requests.
    pub(super) fn callers_left(&mut self, left: &HashMap<ConnId, Presence>) {
        for request in self.waiting.values_mut() {
            if let Some(presence) = left.get(&request.to.conn) {
                request.progress.caller = request.progress.caller.max(*presence);
            }
        }
    }

    fn progress(&mut self, key: PendingKey) -> &mut Progress {
        let request = self.waiting.get_mut(key).expect("a request waits until it is answered");
        &mut request.progress
    }

    /// Notes that this server processes the request in the owner's place.
    pub(super) fn process_here(&mut self, key: PendingKey) {
        self.progress(key).is_here = true;
    }

    /// Notes that a write has begun here, so that its result has to be remembered.
    pub(super) fn begin(&mut self, key: PendingKey) {
        self.progress(key).is_begun = true;
    }

    /// Notes that a MODIFY waits for a fetch of its value.
    pub(super) fn note_read(&mut self, key: PendingKey) {
        self.progress(key).has_read = true;
    }

    /// Notes that a write waits for an owner that accepts it. Returns since when it has.
    pub(super) fn wait(&mut self, now: Micros, key: PendingKey) -> Micros {
        *self.progress(key).waits_since.get_or_insert(now)
    }

    /// Notes that the owner has not accepted a write. Returns how often it had not before.
    pub(super) fn refused(&mut self, key: PendingKey) -> u32 {
        let refusals = &mut self.progress(key).refusals;
        *refusals = refusals.saturating_add(1);
        *refusals - 1
    }

    /// Notes how many places in the partition's ranking have been passed.
    pub(super) fn pass_places(&mut self, key: PendingKey, places: usize) {
        self.progress(key).places_passed = places;
    }

    /// Notes that no connection brings more requests.
    pub(super) fn all_callers_left(&mut self) {
        self.waiting.values_mut().for_each(|request| request.progress.caller = Presence::Gone);
    }

    /// Whether nobody waits for a request any more: neither its caller nor a caller that has
    /// repeated it since.
    pub(super) fn is_abandoned(&self, key: PendingKey, presence: Presence) -> bool {
        let request = &self[key];
        let identity = request.head.identity;
        let joined = identity.map_or(&[][..], |identity| self.repeated.joined(identity, key));
        request.progress.caller >= presence
            && joined.iter().all(|joined| self[*joined].progress.caller >= presence)
    }

    /// Returns the sizes of everything that grows here.
    pub(super) fn sizes(&self) -> Sizes {
        let (running, finished) = self.repeated.sizes();
        Sizes { bytes: self.bytes, bytes_max: self.bytes_max, running, finished }
    }
}

impl Index<PendingKey> for Requests {
    type Output = Pending;

    fn index(&self, key: PendingKey) -> &Pending {
        self.waiting.get(key).expect("a request waits until it is answered")
    }
}

fn bytes_of(request: &Pending) -> usize {
    REQUEST_BYTES + request.key.len() + request.value.len()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;
    use crate::node::command::{Action, CommandHead, Identity, ReplyTo};
    use crate::node::tests::{node_config, pending};

    fn requests() -> Requests {
        let config = NodeConfig { in_flight_max: 4, ..node_config(0, 7) };
        Requests::new(&config, &ahash::RandomState::with_seeds(1, 2, 3, 4))
    }

    fn put(conn: u64) -> Pending {
        let identity = Some(Identity { client_id: NonZeroU64::MIN, request_id: 3 });
        let head = CommandHead { identity, ..CommandHead::new(Action::Put, 1) };
        pending(head, ReplyTo { conn: ConnId { shard: 0, conn }, tag: 5 })
    }

    fn arrive(requests: &mut Requests, key: PendingKey) -> Known {
        let identity = requests[key].head.identity.unwrap();
        requests.arrive(Request { identity, action: Action::Put, hash: 9 }, key, true)
    }

    #[test]
    fn requests_are_bounded_in_number_and_bytes() {
        let mut requests = requests();
        assert!(!requests.has_room(64 << 20));
        let keys: Vec<_> = (0..4).map(|conn| requests.insert(put(conn))).collect();
        assert!(!requests.has_room(0) && requests.is_crowded());
        requests.end(keys[0], &Answer::status(Status::Ok));
        assert!(requests.has_room(0));
        for key in &keys[1..] {
            requests.end(*key, &Answer::status(Status::Ok));
        }
        assert_eq!((requests.len(), requests.sizes().bytes), (0, 0));
    }

    #[test]
    fn the_last_byte_of_the_room_can_be_used() {
        let mut requests = requests();
        let max = requests.sizes().bytes_max;
        let first = requests.insert(put(1));
        assert_eq!(requests.sizes().bytes, REQUEST_BYTES + b"kvalue".len());
        let rest = max - 2 * REQUEST_BYTES - b"kvalue".len();
        assert!(requests.has_room(rest) && !requests.has_room(rest + 1));
        requests.end(first, &Answer::status(Status::Ok));
        assert!(requests.has_room(rest + 1));
    }

    #[test]
    fn requests_are_crowded_when_more_than_half_of_the_room_is_taken() {
        let mut requests = requests();
        for (conn, is_crowded) in [(1, false), (2, false), (3, true)] {
            requests.insert(put(conn));
            assert_eq!(requests.is_crowded(), is_crowded, "{conn} of 4");
        }
    }

    #[test]
    fn a_repeated_write_is_answered_with_the_first_and_from_memory_after_it() {
        let mut requests = requests();
        let [first, second] = [1, 2].map(|conn| requests.insert(put(conn)));
        assert_eq!(arrive(&mut requests, first), Known::No);
        assert_eq!(arrive(&mut requests, second), Known::Joined);
        requests.begin(first);
        let answer = Answer::status(Status::Ok);
        assert_eq!(requests.end(first, &answer).joined, [second]);
        assert!(requests.end(second, &answer).joined.is_empty());
        let third = requests.insert(put(3));
        assert_eq!(arrive(&mut requests, third), Known::Ended(answer));
    }

    #[test]
    fn a_request_is_abandoned_when_all_its_callers_have_left() {
        let mut requests = requests();
        let [first, second] = [1, 2].map(|conn| requests.insert(put(conn)));
        arrive(&mut requests, first);
        arrive(&mut requests, second);
        let left = |conn, presence| HashMap::from_iter([(ConnId { shard: 0, conn }, presence)]);
        requests.callers_left(&left(1, Presence::Gone));
        assert!(!requests.is_abandoned(first, Presence::Ended), "it was repeated");
        requests.callers_left(&left(2, Presence::Ended));
        assert!(requests.is_abandoned(first, Presence::Ended));
        assert!(
            !requests.is_abandoned(first, Presence::Gone),
            "the other caller may only have stopped sending"
        );
    }

    #[test]
    #[should_panic(expected = "a request must be answered once")]
    fn a_request_is_answered_once() {
        let mut requests = requests();
        let key = requests.insert(put(1));
        requests.end(key, &Answer::status(Status::Ok));
        requests.end(key, &Answer::status(Status::Ok));
    }
}
