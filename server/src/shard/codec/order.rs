//! Answers in the order of the requests, for protocols whose replies do not name their requests.
//!
//! ```text
//! arrive ─► tag 0, 1, 2, …                      in the order of the requests
//! answer ─┬─ of the oldest request  ─► out      followed by the answers that waited for it
//!         └─ of a later request     ─► waits    as bytes, which are counted
//! ```
//! A shard answers hits at once, and other requests when the database or another server has
//! answered. So the answer to a hit behind a miss waits here, in memory of its own. What waits
//! counts as output that the connection has not read: above its bound, the connection is neither
//! served nor read, and large late values become OVERLOADED.

use std::collections::VecDeque;

/// The number of requests for which an idle connection keeps memory.
const KEPT: usize = 64;

/// The requests of a connection that are unanswered, and those that wait for them; oldest first.
#[derive(Debug)]
pub struct InOrder<Context> {
    /// The tag of the oldest.
    first: u64,
    slots: VecDeque<Slot<Context>>,
    waiting_bytes: usize,
}

#[derive(Debug)]
enum Slot<Context> {
    /// Unanswered. The codec writes the answer by the context.
    Asked(Context),
    /// Answered. The answer waits for those of older requests.
    Answered(Vec<u8>),
}

impl<Context> Default for InOrder<Context> {
    fn default() -> Self {
        Self { first: 0, slots: VecDeque::new(), waiting_bytes: 0 }
    }
}

impl<Context> InOrder<Context> {
    /// Notes the next request, and returns its tag. The codec gets `context` back when it writes
    /// the answer.
    pub fn arrive(&mut self, context: Context) -> u64 {
        self.slots.push_back(Slot::Asked(context));
        self.first + (self.slots.len() as u64 - 1)
    }

    /// Answers a request. `write` appends the answer to `out` if the request is the oldest, and
    /// otherwise to memory in which it waits. The answers that waited for the oldest follow it.
    ///
    /// # Panics
    /// If no such request is unanswered: from then on the caller would mistake each answer for that
    /// of another request.
    pub fn answer(
        &mut self,
        tag: u64,
        out: &mut Vec<u8>,
        write: impl FnOnce(Context, &mut Vec<u8>),
    ) {
        let at = tag.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        let slot = at.and_then(|at| self.slots.get_mut(at));
        let slot = slot.expect("the request has arrived, and its answer was not written yet");
        let asked = std::mem::replace(slot, Slot::Answered(Vec::new()));
        let Slot::Asked(context) = asked else { panic!("a request is answered once") };
        if tag != self.first {
            let mut bytes = Vec::new();
            write(context, &mut bytes);
            self.waiting_bytes += Self::bytes_of(&bytes);
            *slot = Slot::Answered(bytes);
            return;
        }
        write(context, out);
        self.slots.pop_front();
        self.first += 1;
        while let Some(Slot::Answered(bytes)) = self.slots.front() {
            out.extend_from_slice(bytes);
            self.waiting_bytes -= Self::bytes_of(bytes);
            self.slots.pop_front();
            self.first += 1;
        }
        if self.slots.is_empty() {
            self.slots.shrink_to(KEPT);
        }
    }

    /// The memory that a waiting answer takes: small answers take most of it beside their bytes.
    fn bytes_of(answer: &[u8]) -> usize {
        size_of::<Slot<Context>>() + answer.len()
    }

    /// The bytes of memory that waiting answers take.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: usize = size_of::<Slot<&'static str>>();

    fn answer(order: &mut InOrder<&'static str>, tag: u64, out: &mut Vec<u8>) {
        order.answer(tag, out, |context, out| out.extend_from_slice(context.as_bytes()));
    }

    #[test]
    fn answers_come_in_the_order_of_the_requests() {
        let mut order = InOrder::default();
        let tags = ["a", "bb", "ccc", "dddd"].map(|context| order.arrive(context));
        let mut out = Vec::new();
        answer(&mut order, tags[2], &mut out);
        answer(&mut order, tags[1], &mut out);
        assert_eq!((out.len(), order.waiting_bytes()), (0, 5 + 2 * SLOT));
        answer(&mut order, tags[0], &mut out);
        assert_eq!((&*out, order.waiting_bytes()), (&b"abbccc"[..], 0));
        answer(&mut order, tags[3], &mut out);
        let tag = order.arrive("e");
        answer(&mut order, tag, &mut out);
        assert_eq!(out, b"abbcccdddde");
        assert!(order.slots.is_empty());
    }

    #[test]
    fn an_answer_in_order_is_written_where_it_is_sent_from() {
        let mut order = InOrder::default();
        let mut out = Vec::with_capacity(64);
        let at = out.as_ptr();
        for _ in 0..8 {
            let tag = order.arrive("hit");
            answer(&mut order, tag, &mut out);
            assert_eq!(order.waiting_bytes(), 0);
        }
        assert_eq!((out.len(), out.as_ptr()), (24, at));
    }

    #[test]
    fn every_order_of_answers_gives_the_same_bytes() {
        let contexts = ["0", "1", "2", "3", "4", "5", "6"];
        for number in 0..5_040_usize {
            let mut order = InOrder::default();
            let mut tags: Vec<u64> =
                contexts.iter().map(|context| order.arrive(*context)).collect();
            let (mut out, mut rest) = (Vec::new(), number);
            while !tags.is_empty() {
                let at = rest % tags.len();
                rest /= tags.len();
                answer(&mut order, tags.remove(at), &mut out);
            }
            assert_eq!((&*out, order.waiting_bytes()), (&b"0123456"[..], 0));
        }
    }

    #[test]
    fn an_idle_connection_keeps_little_memory() {
        let mut order = InOrder::default();
        let mut out = Vec::new();
        let tags: Vec<u64> = (0..10_000).map(|_| order.arrive("x")).collect();
        tags.iter().rev().for_each(|tag| answer(&mut order, *tag, &mut out));
        assert_eq!(out.len(), 10_000);
        assert!(order.slots.capacity() <= 2 * KEPT);
    }

    #[test]
    #[should_panic(expected = "a request is answered once")]
    fn a_second_answer_to_a_request_that_waits_is_a_bug() {
        let mut order = InOrder::default();
        order.arrive("a");
        let tag = order.arrive("b");
        answer(&mut order, tag, &mut Vec::new());
        answer(&mut order, tag, &mut Vec::new());
    }

    #[test]
    #[should_panic(expected = "the request has arrived")]
    fn a_second_answer_to_the_oldest_request_is_a_bug() {
        let mut order = InOrder::default();
        let tag = order.arrive("a");
        order.arrive("b");
        answer(&mut order, tag, &mut Vec::new());
        answer(&mut order, tag, &mut Vec::new());
    }
}
