//! The requests that wait for the origin, a peer or an owner, bounded in number and bytes, and the
//! copies of writes (repeated.rs).
//!
//! This part is told which requests arrive and are answered, and which connections end. It returns
//! whether there is room, and which requests are answered together.

mod pending;
mod repeated;

use std::num::NonZeroU64;
use std::ops::Index;

use hashbrown::HashMap;
use slotmap::SlotMap;

use pending::Progress;
pub(super) use pending::{Pending, Presence};
use repeated::Repeated;
pub(super) use repeated::{FINISHED_MAX, Known};

use super::NodeConfig;
use super::answer::{Answer, Status};
use super::command::{ConnId, Hop, Identity};
use super::slow::Waits;
use super::state::PendingKey;
use standin_protocol::hash::value_hash;
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
    /// The identity of the next write that has none.
    own: Identity,
}

/// A request that has been answered.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) request: Pending,
    /// The copies of the request that get the same answer.
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
            own: Identity { client_id: own_id(config), request_id: 0 },
        }
    }

    /// Returns an identity for a write whose client gives it none. This server may send the write to
    /// another one more than once, and its copies must be recognised there.
    pub(super) fn own_identity(&mut self) -> Identity {
        self.own.request_id = self.own.request_id.wrapping_add(1);
        self.own
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

    /// Notes that a request has arrived, and finds out whether it is a copy of a write that is under
    /// way or was executed here. A copy that another server has sent does not join a write that was
    /// sent on to another server, because that server may be the one that waits for the copy.
    pub(super) fn arrive(&mut self, key: PendingKey) -> Known {
        let Self { waiting, repeated, .. } = self;
        let pending = &waiting[key];
        let Some(request) = pending.request() else { return Known::No };
        let is_direct = pending.head.hop == Hop::None;
        let is_here = |first: PendingKey| !waiting[first].progress.is_elsewhere;
        repeated.arrive(request, key, |first| is_direct || is_here(first))
    }

    /// Notes that it is a write's turn to be executed here, and finds out whether a copy of it is
    /// being executed or was executed meanwhile.
    pub(super) fn turn(&mut self, key: PendingKey) -> Known {
        let Self { waiting, repeated, .. } = self;
        let Some(request) = waiting[key].request() else { return Known::No };
        let has_begun = |progress: &Progress| progress.is_begun && !progress.is_elsewhere;
        repeated.turn(request, key, |first| has_begun(&waiting[first].progress))
    }

    /// Whether a write was executed here; `None` if it may have been forgotten.
    pub(super) fn has_executed(&self, identity: Identity) -> Option<bool> {
        self.repeated.has_executed(identity)
    }

    /// Notes that a request is answered. The result of a write that was executed here is
    /// remembered, also if it was decided then that nothing is written.
    pub(super) fn end(&mut self, key: PendingKey, answer: &Answer) -> Ended {
        let request = self.waiting.remove(key).expect("a request must be answered once");
        self.bytes -= bytes_of(&request);
        let is_final = matches!(
            answer.head.status,
            Status::Ok
                | Status::NotFound
                | Status::NotStored
                | Status::OutcomeUnknown
                | Status::VersionMismatch
                | Status::NotANumber
                | Status::OutOfRange
                | Status::TooLarge
        );
        let joined = match request.request() {
            Some(copy) => {
                let is_remembered = is_final && request.progress.is_begun;
                self.repeated.end(copy, key, is_remembered.then_some(answer))
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

    /// Notes that the request is sent on to another server.
    pub(super) fn sent_on(&mut self, now: Micros, key: PendingKey, peer: u16) {
        self.waits(key).sent_on(now, peer);
        let progress = self.progress(key);
        (progress.was_sent_on, progress.is_elsewhere) = (true, true);
    }

    /// Notes that the other server has answered the request, or that sending it has failed.
    pub(super) fn is_back(&mut self, now: Micros, key: PendingKey) {
        self.waits(key).change(now, None);
        self.progress(key).is_elsewhere = false;
    }

    /// Returns what a request waits for.
    pub(super) fn waits(&mut self, key: PendingKey) -> &mut Waits {
        let request = self.waiting.get_mut(key).expect("a request waits until it is answered");
        &mut request.waits
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

    /// Whether nobody waits for a request any more: neither its caller nor that of a copy.
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

/// Returns the id of this shard of this process among the clients, whose ids are drawn at random.
fn own_id(config: &NodeConfig) -> NonZeroU64 {
    NonZeroU64::new(value_hash(&config.seed.to_le_bytes())).unwrap_or(NonZeroU64::MIN)
}

fn bytes_of(request: &Pending) -> usize {
    REQUEST_BYTES + request.key.len() + request.value.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::command::{Action, CommandHead, ReplyTo};
    use crate::node::tests::{node_config, pending};

    fn requests() -> Requests {
        let config = NodeConfig { in_flight_max: 4, ..node_config(0, 7) };
        Requests::new(&config, &ahash::RandomState::with_seeds(1, 2, 3, 4))
    }

    fn put(conn: u64) -> Pending {
        let identity = Some(Identity { client_id: NonZeroU64::MIN, request_id: 3 });
        let head = CommandHead { identity, is_retry: true, ..CommandHead::new(Action::Put, 1) };
        pending(
            head,
            ReplyTo {
                conn: ConnId { shard: 0, conn },
                tag: 5,
                asked: crate::node::Asked::other(Micros(0)),
            },
        )
    }

    fn forwarded(conn: u64) -> Pending {
        let mut put = put(conn);
        (put.head.hop, put.head.is_retry) = (Hop::Forwarded, false);
        put
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
        assert_eq!(requests.arrive(first), Known::No);
        assert_eq!(requests.arrive(second), Known::Joined);
        requests.begin(first);
        let answer = Answer::status(Status::Ok);
        assert_eq!(requests.end(first, &answer).joined, [second]);
        assert!(requests.end(second, &answer).joined.is_empty());
        let third = requests.insert(put(3));
        assert_eq!(requests.arrive(third), Known::Ended(answer.clone()));
        let fourth = requests.insert(forwarded(4));
        assert_eq!(requests.arrive(fourth), Known::Ended(answer), "the first copy is not marked");
    }

    #[test]
    fn only_what_was_executed_here_is_remembered() {
        let statuses = [
            (Status::Ok, true),
            (Status::NotFound, true),
            (Status::NotStored, true),
            (Status::OutcomeUnknown, true),
            (Status::NotOwner, false),
            (Status::Unavailable, false),
            (Status::DeadlineExceeded, false),
            (Status::OriginUnavailable, false),
            (Status::VersionMismatch, true),
            (Status::NotANumber, true),
            (Status::OutOfRange, true),
            (Status::TooLarge, true),
            (Status::Overloaded, false),
        ];
        for (status, is_ending) in statuses {
            for has_begun in [false, true] {
                let mut requests = requests();
                let [first, second] = [1, 2].map(|conn| requests.insert(put(conn)));
                requests.arrive(first);
                assert_eq!(requests.turn(first), Known::No);
                if has_begun {
                    requests.begin(first);
                }
                requests.end(first, &Answer::status(status));
                let is_known = requests.arrive(second) != Known::No;
                assert_eq!(is_known, is_ending && has_begun, "{status:?}, begun: {has_begun}");
            }
        }
    }

    #[test]
    fn a_copy_from_another_server_does_not_wait_for_one_that_was_sent_to_another_server() {
        let mut requests = requests();
        let [first, second] = [1, 2].map(|conn| requests.insert(put(conn)));
        let returned = requests.insert(forwarded(3));
        requests.arrive(first);
        requests.sent_on(Micros(0), first, 1);
        assert_eq!(requests.arrive(second), Known::Joined, "no server waits for it");
        assert_eq!(requests.arrive(returned), Known::No);
        assert_eq!(requests.turn(returned), Known::No);
        requests.begin(returned);
        requests.is_back(Micros(0), first);
        assert_eq!(requests.turn(first), Known::Joined, "it is being executed");
        let answer = Answer::status(Status::Ok);
        assert_eq!(requests.end(returned, &answer).joined, [second, first]);
    }

    #[test]
    fn a_write_that_was_sent_on_before_it_was_executed_here_has_an_unmarked_copy() {
        let mut requests = requests();
        let mut unmarked = put(1);
        unmarked.head.is_retry = false;
        let first = requests.insert(unmarked);
        requests.arrive(first);
        requests.sent_on(Micros(0), first, 1);
        requests.is_back(Micros(0), first);
        assert_eq!(requests.turn(first), Known::No);
        requests.begin(first);
        let answer = Answer::status(Status::Ok);
        requests.end(first, &answer);
        let late = requests.insert(forwarded(2));
        assert_eq!(requests.arrive(late), Known::Ended(answer));
    }

    #[test]
    fn a_request_is_abandoned_when_all_its_callers_have_left() {
        let mut requests = requests();
        let [first, second] = [1, 2].map(|conn| requests.insert(put(conn)));
        requests.arrive(first);
        requests.arrive(second);
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
