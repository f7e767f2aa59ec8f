//! Walks through cached keys (codec/walk.rs) that connections of this shard have asked for. A walk asks
//! one shard after another for a slice: this one and those of this server by their mailboxes, those of
//! other servers by WALKs, which the backend sends. Slices are carried out where they are asked for
//! (slicing.rs), whatever the walks of that shard wait for: so walks never wait for each other.
//!
//! What a walk finds is complete by one map: if there is another one at its end, it begins again. A server
//! that it has passed over may be online by that.

use bytes::Bytes;
use slotmap::{Key as _, KeyData, SlotMap, new_key_type};
use standin_protocol::queue::Queue;

use super::backend::Backend;
use super::slicing::Asker;
use super::{ConnKey, Core, Effect};
use crate::node::queues::WALKS_MAX;
use crate::node::{Answer, AnswerHead, Now, ReplyTo, Status, Walked};
use crate::shard::codec::walk::{Step, Walk};
use crate::shard::mailbox::Message;

/// The bytes that the walks of a shard may take. Each walk counts as [`WALK_BYTES`] at least.
const BYTES_MAX: usize = 16 << 20;
const WALK_BYTES: usize = BYTES_MAX / WALKS_MAX;

const TOO_MANY: &str = "more names match than one reply may have: use SCAN";

/// How often a walk begins, if the map changes meanwhile.
const BEGUN_MAX: u32 = 8;

new_key_type! {
    struct WalkKey;
}

/// A walk that has not ended.
#[derive(Debug)]
struct Open {
    to: ReplyTo,
    walk: Box<Walk>,
    /// [`Backend::map_tag`] when it began.
    map_tag: u32,
    begun: u32,
}

/// The walks that have not ended.
#[derive(Debug, Default)]
pub(super) struct Walks {
    open: SlotMap<WalkKey, Open>,
    bytes: usize,
    random: u64,
}

impl Walks {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn sizes(&self) -> Queue {
        Queue::new("bytes of walks", self.bytes, BYTES_MAX)
    }

    fn bytes_of(walk: &Walk) -> usize {
        walk.bytes().max(WALK_BYTES)
    }

    /// Takes a walk in; `None` if there are too many.
    fn begin(&mut self, to: ReplyTo, walk: Box<Walk>) -> Option<u64> {
        let bytes = Self::bytes_of(&walk);
        if self.bytes + bytes > BYTES_MAX {
            return None;
        }
        self.bytes += bytes;
        Some(self.open.insert(Open { to, walk, map_tag: 0, begun: 0 }).data().as_ffi())
    }

    /// A walk; `None` if it has ended.
    fn get(&mut self, walk: u64) -> Option<&mut Open> {
        self.open.get_mut(WalkKey::from(KeyData::from_ffi(walk)))
    }

    /// Changes a walk, if it has not ended.
    fn change<T>(&mut self, walk: u64, change: impl FnOnce(&mut Walk) -> T) -> Option<T> {
        let Open { walk, .. } = self.open.get_mut(WalkKey::from(KeyData::from_ffi(walk)))?;
        self.bytes -= Self::bytes_of(walk);
        let result = change(walk);
        self.bytes += Self::bytes_of(walk);
        Some(result)
    }

    /// Whether what the walks have found is not more than they may take.
    fn has_room(&self) -> bool {
        self.bytes <= BYTES_MAX
    }

    fn end(&mut self, walk: u64) -> Option<(ReplyTo, Box<Walk>)> {
        let Open { to, walk, .. } = self.open.remove(WalkKey::from(KeyData::from_ffi(walk)))?;
        self.bytes -= Self::bytes_of(&walk);
        Some((to, walk))
    }

    /// A number that nobody can foresee who does not know all requests. Walks need no better one.
    fn random(&mut self, now: Now) -> u64 {
        let mixed = (self.random ^ now.wall_us).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.random = mixed ^ mixed >> 29;
        self.random
    }
}

impl<B: Backend> Core<B> {
    /// Begins the walk that a request asks for.
    pub(super) fn serve_walk(&mut self, now: Now, key: ConnKey, tag: u64, walk: Box<Walk>) {
        let Some(to) = self.answer_later(now, key, tag) else { return };
        self.node.counters().requests += 1;
        match self.walks.begin(to, walk) {
            Some(walk) => self.begin_walk(now, walk),
            None => self.refuse_walk(now, to),
        }
        self.pause_if_busy(key);
    }

    /// Begins a walk, or begins it again.
    fn begin_walk(&mut self, now: Now, walk: u64) {
        let Some(topology) = self.node.topology() else {
            return self.fail_walk(now, walk, Status::Unavailable, "");
        };
        let (map_tag, random) = (self.node.map_tag(), self.walks.random(now));
        let own = (self.context.server, self.context.shard);
        self.walks.change(walk, |walk| walk.begin(topology, own, random));
        // It has ended.
        let Some(open) = self.walks.get(walk) else { return };
        open.map_tag = map_tag;
        open.begun += 1;
        self.walk_on(now, walk);
    }

    /// Asks for the next slice of a walk, or ends it.
    fn walk_on(&mut self, now: Now, walk: u64) {
        // It has ended.
        let Some(Open { to, walk: open, .. }) = self.walks.get(walk) else { return };
        if !self.conns.contains_key(KeyData::from_ffi(to.conn.conn).into()) {
            // Nobody takes its answer.
            self.walks.end(walk);
            return;
        }
        let Some((server, shard)) = open.stop() else { return self.end_walk(now, walk) };
        let slice = Box::new(open.slice());
        let own = self.context.shard;
        if self.node.parts().is_none() || server != self.context.server {
            return B::ask_walk(self, now, walk, (server, shard), &slice);
        }
        let asker = Asker::Walk { shard: own, walk };
        if shard == own {
            return self.take_slice(now, asker, slice);
        }
        let message = Message::Slice { shard: own, walk, slice };
        self.effects.push_back(Effect::Post { shard, message });
    }

    /// What has come of a slice that a walk has asked for.
    pub fn walked(&mut self, now: Now, walk: u64, walked: Walked) {
        let names = self.names.as_ref().expect("no request is being decoded");
        let step = match walked {
            Walked::Answer(answer) => self.walks.change(walk, |walk| walk.take(&answer, names)),
            Walked::NotOnline => self.walks.change(walk, |walk| {
                walk.pass_over();
                Step::On
            }),
            Walked::Refused(Status::Overloaded) => {
                let Some((to, _)) = self.walks.end(walk) else { return };
                return self.refuse_walk(now, to);
            }
            Walked::Refused(status) => return self.fail_walk(now, walk, status, ""),
        };
        match step {
            // It has ended.
            None => {}
            Some(_) if !self.walks.has_room() => {
                let (to, _) = self.walks.end(walk).expect("it has just changed");
                self.refuse_walk(now, to);
            }
            Some(Step::On) => self.walk_on(now, walk),
            Some(Step::Ended) => self.end_walk(now, walk),
            Some(Step::TooMany) => self.fail_walk(now, walk, Status::TooLarge, TOO_MANY),
            Some(Step::Wrong) => self.fail_walk(now, walk, Status::Unavailable, ""),
        }
    }

    fn end_walk(&mut self, now: Now, walk: u64) {
        let map_tag = self.node.map_tag();
        match self.walks.get(walk) {
            Some(open) if open.map_tag == map_tag => {}
            Some(open) if open.begun < BEGUN_MAX => return self.begin_walk(now, walk),
            // The map changes all the time.
            _ => return self.fail_walk(now, walk, Status::Unavailable, ""),
        }
        let Some((to, walk)) = self.walks.end(walk) else { return };
        let head = AnswerHead::under(Status::Ok, self.node.map_tag());
        self.deliver(now, to, Answer { head, value: walk.into_answer().into() });
    }

    fn fail_walk(&mut self, now: Now, walk: u64, status: Status, text: &'static str) {
        let Some((to, _)) = self.walks.end(walk) else { return };
        let head = AnswerHead::under(status, self.node.map_tag());
        let value = Bytes::from_static(text.as_bytes());
        self.deliver(now, to, Answer { head, value });
    }

    /// This shard stops, and others of this server too, so that they may not answer any more.
    pub(super) fn stop_walks(&mut self, now: Now) {
        let all: Vec<u64> = self.walks.open.keys().map(|key| key.data().as_ffi()).collect();
        for walk in all {
            self.fail_walk(now, walk, Status::ShuttingDown, "");
        }
    }

    /// There are too many walks.
    fn refuse_walk(&mut self, now: Now, to: ReplyTo) {
        self.node.counters().overloaded += 1;
        let map_tag = self.node.map_tag();
        self.deliver(now, to, AnswerHead { map_tag, ..AnswerHead::overloaded() }.into());
    }
}
