//! Slices of walks through the keys that this shard has cached (codec/slice.rs): one in each turn, so that
//! other requests wait for no more than that.

use std::collections::VecDeque;

use standin_protocol::queue::Queue;

use super::backend::Backend;
use super::{ConnKey, Core, Effect};
use crate::node::{Answer, AnswerHead, Now, ReplyTo, Status, Walked};
use crate::shard::codec::slice::Slice;
use crate::shard::mailbox::Message;

/// The bytes that the slices may take that wait in a shard. Each counts as [`SLICE_BYTES`] at least.
const BYTES_MAX: usize = 16 << 20;
const SLICE_BYTES: usize = 512;

const NO_CACHE: &str = "there is no cache here: ask a server";

/// Whoever has asked for a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// A walk of a shard of this server.
    Walk { shard: u16, walk: u64 },
    /// A caller: another server, or a client of Standin's own protocol.
    Caller(ReplyTo),
}

/// The slices that wait.
#[derive(Debug, Default)]
pub(super) struct Slices {
    queue: VecDeque<(Asker, Box<Slice>)>,
    bytes: usize,
}

impl Slices {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn sizes(&self) -> Queue {
        Queue::new("bytes of slices", self.bytes, BYTES_MAX)
    }

    fn bytes_of(slice: &Slice) -> usize {
        slice.bytes().max(SLICE_BYTES)
    }

    /// Takes a slice in. Returns false if there are too many.
    fn push(&mut self, asker: Asker, slice: Box<Slice>) -> bool {
        let bytes = Self::bytes_of(&slice);
        let has_room = self.bytes + bytes <= BYTES_MAX;
        if has_room {
            self.bytes += bytes;
            self.queue.push_back((asker, slice));
        }
        has_room
    }

    fn pop(&mut self) -> Option<(Asker, Box<Slice>)> {
        let (asker, slice) = self.queue.pop_front()?;
        self.bytes -= Self::bytes_of(&slice);
        Some((asker, slice))
    }
}

impl<B: Backend> Core<B> {
    /// A caller asks for a slice.
    pub(super) fn serve_slice(&mut self, now: Now, key: ConnKey, tag: u64, slice: Box<Slice>) {
        if self.node.parts().is_none() {
            return self.refuse(now, key, tag, Status::NotSupported, NO_CACHE);
        }
        let Some(to) = self.answer_later(now, key, tag) else { return };
        self.node.counters().requests += 1;
        self.take_slice(now, Asker::Caller(to), slice);
    }

    /// Takes a slice in that is to be carried out here.
    pub(super) fn take_slice(&mut self, now: Now, asker: Asker, slice: Box<Slice>) {
        if self.stopping {
            return self.tell_asker(now, asker, Walked::Refused(Status::ShuttingDown));
        }
        if !self.slices.push(asker, slice) {
            self.node.counters().overloaded += 1;
            self.tell_asker(now, asker, Walked::Refused(Status::Overloaded));
        }
    }

    /// Carries out the slice that has waited longest.
    pub(super) fn carry_out_slice(&mut self, now: Now) {
        // None waits.
        let Some((asker, slice)) = self.slices.pop() else { return };
        if self.stopping {
            return self.tell_asker(now, asker, Walked::Refused(Status::ShuttingDown));
        }
        let names = self.names.as_ref().expect("no request is being decoded");
        let (node, slot) = (&self.node, slice.slot());
        let parts = node.parts().expect("nobody asks for slices where there is no cache");
        let answer = slice.carry_out(parts, names, |part, give| node.visit(now, part, slot, give));
        self.tell_asker(now, asker, Walked::Answer(answer.into()));
    }

    fn tell_asker(&mut self, now: Now, asker: Asker, walked: Walked) {
        match asker {
            Asker::Walk { shard, walk } if shard == self.context.shard => {
                self.walked(now, walk, walked);
            }
            Asker::Walk { shard, walk } => {
                let message = Message::Walked { walk, walked };
                self.effects.push_back(Effect::Post { shard, message });
            }
            Asker::Caller(to) => {
                let map_tag = self.node.map_tag();
                let answer = match walked {
                    Walked::Answer(value) => {
                        Answer { head: AnswerHead::under(Status::Ok, map_tag), value }
                    }
                    Walked::Refused(Status::Overloaded) => {
                        AnswerHead { map_tag, ..AnswerHead::overloaded() }.into()
                    }
                    Walked::Refused(status) => AnswerHead::under(status, map_tag).into(),
                    Walked::NotOnline => unreachable!("this server is the one that was asked"),
                };
                self.deliver(now, to, answer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_that_wait_are_bounded_in_bytes() {
        let slice =
            || Box::new(Slice::from_bytes(&[&[0; 24][..], &[b'a'; 1_000]].concat()).unwrap());
        let asker = |walk| Asker::Walk { shard: 0, walk };
        let mut slices = Slices::default();
        let taken = (0..).take_while(|walk| slices.push(asker(*walk), slice())).count();
        assert!((BYTES_MAX / 1_200..BYTES_MAX / 1_000).contains(&taken), "{taken}");
        assert_eq!(slices.pop().map(|(asker, _)| asker), Some(asker(0)), "the oldest");
        assert!(slices.push(asker(1), slice()) && !slices.push(asker(1), slice()));
        while slices.pop().is_some() {}
        assert_eq!((slices.bytes, slices.is_empty()), (0, true));
    }
}
