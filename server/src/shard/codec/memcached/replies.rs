//! The replies of a connection, in the order of its requests.

use super::meta::recaching;
use super::{Kind, Tag, reply};
use crate::node::{AnswerHead, OwnedCommand};
use crate::shard::codec::names::Names;
use crate::shard::codec::order::{Context, InOrder};
use crate::shard::codec::{Answers, Memo, Read};

/// The unanswered requests of a connection.
#[derive(Debug, Default)]
pub(in crate::shard) struct Replies {
    order: InOrder<Waiting>,
    group: reply::Group,
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Waiting {
    tag: Tag,
    echo: Box<[u8]>,
}

impl Context for Waiting {
    fn heap_bytes(&self) -> usize {
        self.echo.len()
    }
}

impl Waiting {
    fn of(memo: Memo<'_>) -> Self {
        Self { tag: Tag::unpack(memo.tag), echo: memo.echo.into() }
    }
}

impl Replies {
    /// The tag of the next request.
    pub(in crate::shard) fn next_tag(&self) -> u64 {
        self.order.next_tag()
    }

    /// Notes a request that waits for its answer.
    pub(in crate::shard) fn wait(&mut self, memo: Memo<'_>) {
        self.order.arrive(Waiting::of(memo));
    }

    /// Writes the reply to a request that is answered at once, if it is its turn.
    #[inline]
    pub(in crate::shard) fn answer_now(
        &mut self,
        memo: Memo<'_>,
        head: &AnswerHead,
        value: &[u8],
        out: &mut Vec<u8>,
    ) {
        if self.order.is_empty() {
            self.order.pass();
            let tag = Tag::unpack(memo.tag);
            return reply::write(tag, memo.echo, head, value, &mut self.group, out);
        }
        let tag = self.order.next_tag();
        self.order.arrive(Waiting::of(memo));
        self.answer(tag, head, value, out);
    }

    /// Writes the reply to the request of this tag if it is its turn, and those that waited for it.
    pub(in crate::shard) fn answer(
        &mut self,
        tag: u64,
        head: &AnswerHead,
        value: &[u8],
        out: &mut Vec<u8>,
    ) {
        let Self { order, group } = self;
        order.answer(tag, head, value, |waiting, head, value| {
            reply::write(waiting.tag, &waiting.echo, head, value, group, out);
        });
    }

    /// The read-modify-write by which an `mg` goes on that has found a stale value.
    pub(in crate::shard) fn recaching(
        &self,
        tag: u64,
        names: &Names,
        deadline_ms: u32,
    ) -> Option<OwnedCommand> {
        let waiting = self.order.context(tag)?;
        if waiting.tag.kind != Kind::MetaGet {
            return None;
        }
        recaching(&waiting.echo, names, deadline_ms)
    }

    /// The bytes of memory that answers take whose turn has not come.
    #[inline]
    pub(in crate::shard) fn waiting_bytes(&self) -> usize {
        self.order.waiting_bytes()
    }
}

impl Answers for Replies {
    #[inline(always)]
    fn answer_read(
        &mut self,
        read: &Read,
        bytes: &[u8],
        head: AnswerHead,
        value: &[u8],
        out: &mut Vec<u8>,
    ) {
        self.answer_now(read.memo(bytes), &head, value, out);
    }

    #[inline]
    fn recaches(&self, tag: u64) -> bool {
        super::recaches(tag)
    }

    #[inline]
    fn waiting_bytes(&self) -> usize {
        self.order.waiting_bytes()
    }
}
