//! Answers in the order of the requests, for protocols whose replies do not name their requests.
//!
//! ```text
//! arrive ─► tag 0, 1, 2, …                      in the order of the requests
//! answer ─┬─ of the oldest request  ─► written  followed by the answers that waited for it
//!         └─ of a later request     ─► waits    not written yet, and counted
//! ```
//! A shard answers hits at once, and other requests when the database or another server has
//! answered. So the answer to a hit behind a miss waits here, in memory of its own. An answer is
//! written when its turn comes, so that a reply may depend on the replies before it. What waits
//! counts as output that the connection has not read: above its bound, the connection is neither
//! served nor read, and large late values become OVERLOADED.
//!
//! A request that is answered at once while no older one is unanswered does not come here, except
//! for its number ([`InOrder::pass`]).

use std::collections::VecDeque;

use crate::node::AnswerHead;

/// The number of requests for which an idle connection keeps memory.
const KEPT: usize = 64;

/// What a codec keeps of a request to write its reply.
pub trait Context {
    /// The bytes of memory that it takes beside itself.
    fn heap_bytes(&self) -> usize;
}

/// The requests of a connection that are unanswered, and those that wait for them; oldest first.
#[derive(Debug)]
pub struct InOrder<C> {
    /// The tag of the oldest.
    first: u64,
    slots: VecDeque<Slot<C>>,
    waiting_bytes: usize,
}

/// A request, and its answer if that waits for those of older requests.
#[derive(Debug)]
struct Slot<C> {
    context: C,
    answer: Option<(AnswerHead, Box<[u8]>)>,
}

impl<C> Default for InOrder<C> {
    fn default() -> Self {
        Self { first: 0, slots: VecDeque::new(), waiting_bytes: 0 }
    }
}

impl<C: Context> InOrder<C> {
    /// The tag of the next request.
    #[inline]
    #[must_use]
    pub fn next_tag(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    /// Whether every request so far has been answered.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// What is kept of a request that waits for its answer.
    #[must_use]
    pub fn context(&self, tag: u64) -> Option<&C> {
        let at = usize::try_from(tag.checked_sub(self.first)?).ok()?;
        Some(&self.slots.get(at)?.context)
    }

    /// Notes that the next request has been answered at once, and no older one is unanswered.
    #[inline]
    pub fn pass(&mut self) {
        debug_assert!(self.slots.is_empty(), "its reply would overtake others");
        self.first += 1;
    }

    /// Notes the next request, which has the tag [`Self::next_tag`]. The codec gets `context` back
    /// when it writes the reply.
    pub fn arrive(&mut self, context: C) {
        self.waiting_bytes += context.heap_bytes();
        self.slots.push_back(Slot { context, answer: None });
    }

    /// Takes the answer to a request. If the request is the oldest, `write` writes the reply, and
    /// then the replies to those that waited for it. Otherwise the answer waits.
    ///
    /// # Panics
    /// If no such request is unanswered: from then on the caller would mistake each answer for that
    /// of another request.
    pub fn answer(
        &mut self,
        tag: u64,
        head: &AnswerHead,
        value: &[u8],
        mut write: impl FnMut(&C, &AnswerHead, &[u8]),
    ) {
        let at = tag.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        let slot = at.and_then(|at| self.slots.get_mut(at));
        let slot = slot.expect("the request has arrived, and its reply was not written yet");
        assert!(slot.answer.is_none(), "a request is answered once");
        if tag != self.first {
            self.waiting_bytes += Self::bytes_of(value);
            slot.answer = Some((*head, value.into()));
            return;
        }
        write(&slot.context, head, value);
        self.waiting_bytes -= slot.context.heap_bytes();
        self.slots.pop_front();
        self.first += 1;
        while let Some(Slot { context, answer: Some((head, value)) }) = self.slots.front() {
            write(context, head, value);
            self.waiting_bytes -= Self::bytes_of(value) + context.heap_bytes();
            self.slots.pop_front();
            self.first += 1;
        }
        if self.slots.is_empty() {
            self.slots.shrink_to(KEPT);
        }
    }

    /// The memory that a waiting answer takes: small answers take most of it beside their bytes.
    fn bytes_of(value: &[u8]) -> usize {
        size_of::<Slot<C>>() + value.len()
    }

    /// The bytes of memory that waiting answers, and what is kept of requests, take.
    #[inline]
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Status;

    impl Context for &'static str {
        fn heap_bytes(&self) -> usize {
            1
        }
    }

    const SLOT: usize = size_of::<Slot<&'static str>>();

    fn arrive(order: &mut InOrder<&'static str>, context: &'static str) -> u64 {
        let tag = order.next_tag();
        order.arrive(context);
        tag
    }

    fn answer(order: &mut InOrder<&'static str>, tag: u64, value: &[u8], out: &mut Vec<u8>) {
        order.answer(tag, &AnswerHead::status(Status::Ok), value, |context, _, value| {
            out.extend_from_slice(context.as_bytes());
            out.extend_from_slice(value);
        });
    }

    #[test]
    fn answers_come_in_the_order_of_the_requests() {
        let mut order = InOrder::default();
        let tags = ["a", "bb", "ccc", "dddd"].map(|context| arrive(&mut order, context));
        let mut out = Vec::new();
        answer(&mut order, tags[2], b"3", &mut out);
        answer(&mut order, tags[1], b"", &mut out);
        assert_eq!((out.len(), order.waiting_bytes()), (0, 4 + 1 + 2 * SLOT));
        answer(&mut order, tags[0], b"1", &mut out);
        assert_eq!((&*out, order.waiting_bytes()), (&b"a1bbccc3"[..], 1));
        answer(&mut order, tags[3], b"", &mut out);
        assert!(order.is_empty());
        order.pass();
        let tag = arrive(&mut order, "e");
        assert_eq!(tag, 5);
        answer(&mut order, tag, b"", &mut out);
        assert_eq!((&*out, order.waiting_bytes()), (&b"a1bbccc3dddde"[..], 0));
    }

    #[test]
    fn every_order_of_answers_gives_the_same_bytes() {
        let contexts = ["0", "1", "2", "3", "4", "5", "6"];
        for number in 0..5_040_usize {
            let mut order = InOrder::default();
            let mut tags: Vec<u64> =
                contexts.iter().map(|context| arrive(&mut order, context)).collect();
            let (mut out, mut rest) = (Vec::new(), number);
            while !tags.is_empty() {
                let at = rest % tags.len();
                rest /= tags.len();
                answer(&mut order, tags.remove(at), b"", &mut out);
            }
            assert_eq!((&*out, order.waiting_bytes()), (&b"0123456"[..], 0));
        }
    }

    #[test]
    fn an_idle_connection_keeps_little_memory() {
        let mut order = InOrder::default();
        let mut out = Vec::new();
        let tags: Vec<u64> = (0..10_000).map(|_| arrive(&mut order, "x")).collect();
        tags.into_iter().rev().for_each(|tag| answer(&mut order, tag, b"", &mut out));
        assert_eq!(out.len(), 10_000);
        assert!(order.slots.capacity() <= 2 * KEPT, "{}", order.slots.capacity());
    }

    #[test]
    #[should_panic(expected = "answered once")]
    fn a_second_answer_is_a_bug() {
        let mut order = InOrder::default();
        let (_, second) = (arrive(&mut order, "a"), arrive(&mut order, "b"));
        let mut out = Vec::new();
        answer(&mut order, second, b"", &mut out);
        answer(&mut order, second, b"", &mut out);
    }

    #[test]
    #[should_panic(expected = "the request has arrived")]
    fn a_second_answer_to_the_oldest_request_is_a_bug() {
        let mut order = InOrder::default();
        let (first, _) = (arrive(&mut order, "a"), arrive(&mut order, "b"));
        let mut out = Vec::new();
        answer(&mut order, first, b"", &mut out);
        answer(&mut order, first, b"", &mut out);
    }
}
