//! Walks through the cached keys of this server (codec/walk.rs): one slice of one walk in each turn, so
//! that other requests wait for no more than that. A walk goes from shard to shard by the mailboxes.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use standin_protocol::queue::Queue;

use super::backend::Backend;
use super::{ConnKey, Core, Effect};
use crate::node::{Answer, AnswerHead, Now, ReplyTo, Status};
use crate::shard::codec::walk::{Step, Walk};
use crate::shard::mailbox::Message;

/// The bytes that the walks of a shard may take. Each walk counts as [`WALK_BYTES`] at least.
const BYTES_MAX: usize = 16 << 20;
const WALK_BYTES: usize = 4 << 10;

const TOO_MANY: &str = "more names match than one reply may have: use SCAN";

const NO_CACHE: &str = "there is no cache here: ask a server";

/// The walks that wait for a slice.
#[derive(Debug, Default)]
pub(super) struct Walks {
    queue: VecDeque<(ReplyTo, Box<Walk>)>,
    bytes: usize,
    random: u64,
}

impl Walks {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn sizes(&self) -> Queue {
        Queue::new("bytes of walks", self.bytes, BYTES_MAX)
    }

    fn bytes_of(walk: &Walk) -> usize {
        walk.bytes().max(WALK_BYTES)
    }

    /// Takes a walk in; gives it back if there are too many.
    fn push(&mut self, to: ReplyTo, walk: Box<Walk>) -> Option<Box<Walk>> {
        let bytes = Self::bytes_of(&walk);
        if self.bytes + bytes > BYTES_MAX {
            return Some(walk);
        }
        self.bytes += bytes;
        self.queue.push_back((to, walk));
        None
    }

    fn pop(&mut self) -> Option<(ReplyTo, Box<Walk>)> {
        let (to, walk) = self.queue.pop_front()?;
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
    pub(super) fn serve_walk(&mut self, now: Now, key: ConnKey, tag: u64, mut walk: Box<Walk>) {
        let Some(parts) = self.node.parts() else {
            return self.refuse(now, key, tag, Status::NotSupported, NO_CACHE);
        };
        let Some(to) = self.answer_later(now, key, tag) else { return };
        self.node.counters().requests += 1;
        let shards = self.walked(&walk);
        walk.begin(&shards, parts, self.walks.random(now));
        self.walk_on(now, to, walk);
        self.pause_if_busy(key);
    }

    /// The shards through whose keys a walk goes that is at this one.
    fn walked(&self, walk: &Walk) -> Range<u16> {
        walk.shards(self.context.shard, self.context.shards)
    }

    /// Goes on with a walk, at this shard or another.
    pub(super) fn walk_on(&mut self, now: Now, to: ReplyTo, walk: Box<Walk>) {
        match walk.shard(&self.walked(&walk)) {
            // The other shard may be gone already.
            _ if self.stopping => self.deliver(now, to, Answer::status(Status::ShuttingDown)),
            None => self.end_walk(now, to, *walk),
            Some(shard) if shard == self.context.shard => {
                if self.walks.push(to, walk).is_some() {
                    self.refuse_walk(now, to);
                }
            }
            Some(shard) => {
                let message = Message::Walk { to, walk };
                self.effects.push_back(Effect::Post { shard, message });
            }
        }
    }

    /// Carries out one slice of the walk that has waited longest.
    pub(super) fn walk_slice(&mut self, now: Now) {
        // None waits.
        let Some((to, mut walk)) = self.walks.pop() else { return };
        if self.stopping {
            return self.walk_on(now, to, walk);
        }
        let names = self.names.as_ref().expect("no request is being decoded");
        let (mut name, node) = (Vec::new(), &self.node);
        let parts = node.parts().expect("a walk has begun");
        let shards = self.walked(&walk);
        let step = walk.slice(&shards, parts, |part, give| {
            node.visit(now, part, |keyspace, key| {
                name.clear();
                names.spell(keyspace, key, &mut name);
                give(&name);
            })
        });
        match step {
            Step::On => self.walk_on(now, to, walk),
            Step::Ended => self.end_walk(now, to, *walk),
            Step::TooMany => {
                let value = Bytes::from_static(TOO_MANY.as_bytes());
                let head = AnswerHead::under(Status::TooLarge, self.node.map_tag());
                self.deliver(now, to, Answer { head, value });
            }
        }
    }

    fn end_walk(&mut self, now: Now, to: ReplyTo, walk: Walk) {
        let head = AnswerHead::under(Status::Ok, self.node.map_tag());
        self.deliver(now, to, Answer { head, value: walk.into_answer().into() });
    }

    /// There are too many walks.
    pub(super) fn refuse_walk(&mut self, now: Now, to: ReplyTo) {
        self.node.counters().overloaded += 1;
        let map_tag = self.node.map_tag();
        self.deliver(now, to, AnswerHead { map_tag, ..AnswerHead::overloaded() }.into());
    }
}
