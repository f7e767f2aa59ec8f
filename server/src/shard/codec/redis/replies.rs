//! The replies of a connection, in the order of its requests; and the commands between MULTI and EXEC.
//!
//! ```text
//! MULTI ─► each command is kept as it came, and answered by QUEUED
//! EXEC  ─► *n, and the kept bytes take the place of EXEC: they are decoded again, as any others
//! ```
//! If keys are watched, something else comes first (watch.rs).
//! So the reply to EXEC is its beginning, followed by the replies to the commands.

use super::inline;
use super::plan::{Plan, plan};
use super::reply;
use super::said::Said;
use super::session::Session;
use super::table;
use super::tag::{Kind, Tag, marks};
use super::watch::Watched;
use crate::node::{AnswerHead, Status};
use crate::shard::codec::order::{Context, InOrder};
use crate::shard::codec::{Again, Answers, Memo, Read, Surroundings};

/// The largest number of bytes of the commands between MULTI and EXEC. Frameworks write many values by one
/// transaction.
pub(super) const QUEUE_BYTES_MAX: usize = 4 << 20;

/// The unanswered requests of a connection, and what it has set.
#[derive(Debug)]
pub(in crate::shard) struct Replies {
    order: InOrder<Waiting>,
    session: Session,
    queue: Queue,
}

/// The commands since MULTI.
#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    commands: u64,
    /// One of them was refused, so that EXEC will be.
    has_failed: bool,
    /// At a node, the mark of the slot of their keys; 0 if there are none.
    slot: u64,
    /// Their keys have several slots.
    is_crossing: bool,
}

impl Queue {
    /// Notes the mark of the slot of a command's keys.
    fn note_slot(&mut self, slot: u64) {
        self.is_crossing |= slot != 0 && self.slot != 0 && slot != self.slot;
        self.slot = if slot == 0 { self.slot } else { slot };
    }
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

impl Replies {
    /// Those of a connection that has set nothing.
    pub(in crate::shard) fn new(session: Session) -> Self {
        Self { order: InOrder::default(), session, queue: Queue::default() }
    }

    /// The tag of the next request.
    pub(in crate::shard) fn next_tag(&self) -> u64 {
        self.order.next_tag()
    }

    /// Notes a request that waits for its answer.
    pub(in crate::shard) fn wait(&mut self, memo: Memo<'_>) {
        let (tag, echo) = (Tag::unpack(memo.tag), memo.echo.into());
        self.arrive(Waiting { tag, echo });
    }

    fn arrive(&mut self, waiting: Waiting) {
        self.session.is_alone |=
            matches!(waiting.tag.kind, Kind::Watch | Kind::Guard | Kind::Transact);
        self.order.arrive(waiting);
    }

    /// Whether nothing more is decoded before a reply has been written.
    #[inline]
    pub(in crate::shard) fn is_alone(&self) -> bool {
        self.session.is_alone
    }

    /// Takes the bytes that come before all that has not been decoded.
    pub(in crate::shard) fn take_again(&mut self) -> Option<Again> {
        self.session.again.take()
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
        let Memo { tag, mut echo } = memo;
        let mut tag = Tag::unpack(tag);
        let is_noted = matches!(tag.kind, Kind::Multi | Kind::Unwatch | Kind::Reset | Kind::Arity);
        if tag.has(marks::QUEUING) || is_noted {
            tag = self.note(tag, echo, head.status);
            if tag.kind == Kind::Said {
                echo = &[];
            }
        }
        self.write(tag, echo, head, value, out);
    }

    #[inline]
    fn write(&mut self, tag: Tag, echo: &[u8], head: &AnswerHead, value: &[u8], out: &mut Vec<u8>) {
        if self.order.is_empty() {
            self.order.pass();
            return reply::write(tag, echo, head, value, &mut self.session, out);
        }
        let next = self.order.next_tag();
        self.arrive(Waiting { tag, echo: echo.into() });
        self.answer(next, head, value, out);
    }

    /// Writes the reply to the request of this tag if it is its turn, and those that waited for it.
    pub(in crate::shard) fn answer(
        &mut self,
        tag: u64,
        head: &AnswerHead,
        value: &[u8],
        out: &mut Vec<u8>,
    ) {
        let Self { order, session, .. } = self;
        order.answer(tag, head, value, |waiting, head, value| {
            reply::write(waiting.tag, &waiting.echo, head, value, session, out);
        });
    }

    /// Notes what a request between MULTI and EXEC means for these; returns the tag of its reply.
    #[cold]
    fn note(&mut self, tag: Tag, command: &[u8], status: Status) -> Tag {
        match tag.kind {
            Kind::Multi => {
                self.queue = Queue::default();
                return Tag::said(Said::Ok);
            }
            Kind::Queue if status != Status::Ok => self.queue.has_failed = true,
            Kind::Queue if self.queue.bytes.len() + command.len() > QUEUE_BYTES_MAX => {
                self.queue.has_failed = true;
                return Tag::said(Said::QueueTooLarge);
            }
            Kind::Queue => {
                self.queue.bytes.extend_from_slice(command);
                self.queue.commands += 1;
                self.queue.note_slot(tag.number);
                return Tag::said(Said::Queued);
            }
            _ if table::ends_transaction(tag) => {
                self.queue = Queue::default();
                self.session.watched = Watched::default();
            }
            Kind::Unwatch => self.session.watched = Watched::default(),
            Kind::Arity | Kind::Unknown | Kind::Subcommand => self.queue.has_failed = true,
            Kind::Said => {
                const REFUSED: [Said; 3] =
                    [Said::TooManyWords, Said::QueueTooLarge, Said::CrossSlot];
                let is_refused = REFUSED
                    .into_iter()
                    .any(|said| tag == Tag { marks: tag.marks, ..Tag::said(said) });
                self.queue.has_failed |= is_refused;
            }
            _ => {}
        }
        tag
    }

    /// Returns the bytes of the requests that take the place of this one.
    pub(in crate::shard) fn again(
        &mut self,
        memo: Memo<'_>,
        around: &Surroundings<'_>,
        out: &mut Vec<u8>,
    ) -> Option<Again> {
        let tag = Tag::unpack(memo.tag);
        if tag.kind == Kind::Inline {
            // The decoder has split it before.
            let words = inline::split(memo.echo).unwrap_or_default();
            return Some(Again { bytes: inline::join(&words), tag: memo.tag });
        }
        let queue = std::mem::take(&mut self.queue);
        let watched = std::mem::take(&mut self.session.watched);
        let head = Tag { number: queue.commands, ..Tag::new(Kind::ExecHead) };
        let (tag, bytes) = if queue.has_failed {
            (Tag::said(Said::ExecAbort), Vec::new())
        } else if queue.is_crossing {
            (Tag::said(Said::CrossSlot), Vec::new())
        } else {
            match plan(&watched, &queue.bytes, around) {
                Plan::Plain => (head, queue.bytes),
                Plan::Changed => (Tag::new(Kind::ExecNull), Vec::new()),
                Plan::Refused(said) => (Tag::said(said), Vec::new()),
                Plan::Guarded(mut exec) => {
                    let bytes =
                        exec.next_guard().expect("a transaction with watched keys has guards");
                    self.session.exec = Some(exec);
                    return Some(Again { bytes, tag: Tag::new(Kind::Guard).pack() });
                }
                Plan::Transacted(transacted, bytes) => {
                    self.session.transacted = Some(transacted);
                    return Some(Again { bytes, tag: Tag::new(Kind::Transact).pack() });
                }
            }
        };
        self.write(tag, &[], &AnswerHead::status(Status::Ok), &[], out);
        (!bytes.is_empty()).then_some(Again { bytes, tag: memo.tag })
    }

    /// The bytes of memory that answers take whose turn has not come.
    #[inline]
    pub(in crate::shard) fn waiting_bytes(&self) -> usize {
        self.order.waiting_bytes()
    }
}

impl Answers for Replies {
    #[inline]
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
    fn waiting_bytes(&self) -> usize {
        self.order.waiting_bytes()
    }
}
