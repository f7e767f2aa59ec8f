//! The codec of Redis' protocol, RESP2 and RESP3, docs/REDIS.md. Keys name their keyspaces
//! (`names.rs`). Replies come in the order of the requests.
//!
//! ```text
//! bulk.rs      the words of a command         inline.rs, line.rs   those of a command in a line
//! table.rs     the commands                   call.rs      a command with its words
//! refuse.rs    commands that are answered by an error, and ignored as they come
//! strings.rs   GET, SET, INCR, …              lifetimes.rs EXPIRE, TTL, …
//! server.rs    HELLO, CLIENT, CONFIG, …       scripts.rs   the scripts that are known
//! cluster.rs   CLUSTER and MOVED             slots.rs     keys of several slots
//! keys.rs      SCAN, KEYS, RANDOMKEY
//! replies.rs   the order of replies, and MULTI  watch.rs, plan.rs, guard.rs   WATCH
//! reply.rs, about.rs, info.rs, resp.rs        their bytes
//! said.rs      fixed replies                  failure.rs   those to requests that fail
//! session.rs   what a connection has set
//! tag.rs       what is remembered of requests password.rs  authentication
//! plain.rs     the key of a plain read
//! ```
//! Each key of MGET, MSET, DEL, UNLINK, EXISTS and TOUCH is a request of its own, which is decoded as
//! soon as it is there: such a command has any length, its keys are looked up together, and a
//! connection holds no more of it than one key and value. Any other command is decoded when all of it
//! is there. What is too long for that is answered by an error and ignored as it comes.
//!
//! A decoder can be set back to any request: what it has to know about the bytes before it is in the
//! request's tag ([`Tag`]).

mod about;
mod bulk;
mod call;
mod cluster;
mod failure;
mod guard;
mod help;
mod info;
mod inline;
mod keys;
mod lifetimes;
mod line;
pub(in crate::shard) mod password;
mod plain;
mod plan;
mod queued;
mod refuse;
mod replies;
mod reply;
mod resp;
mod said;
mod scripts;
mod server;
mod session;
mod slots;
mod strings;
mod table;
mod tag;
#[cfg(test)]
mod tests;
mod transact;
mod watch;

use self::bulk::{Word, Words, Wrong};
use self::call::{Call, Made};
pub(in crate::shard) use self::replies::Replies;
use self::said::Said;
pub(in crate::shard) use self::session::Session;
use self::slots::{Checked, SlotMark};
use self::table::{Found, Run};
use self::tag::{Kind, Tag, marks};
use super::{Read, Reads, Request, Spelling, Surroundings, What, flushes, head, position};
use crate::node::{Action, Status};

/// The largest number of words of a command that is decoded as a whole.
const WORDS_MAX: u32 = 1_024;
/// The bytes that a command may have beside its value.
const BESIDE_VALUE: usize = 64 << 10;
/// The longest name of a command.
const NAME_BYTES_MAX: u32 = 64;
/// The number of bytes of an unknown command's words that are repeated.
const SHOWN_BYTES: usize = 128;
/// The bits for a number of words in the tag of a key of many; above them is a slot.
const LEFT_BITS: u32 = 32;
/// The bits for a number of bytes in the tag of what is ignored.
const SKIP_BITS: u32 = 30;

/// The version of Redis whose commands these are, which clients ask for.
const REDIS_VERSION: &str = "7.0.15";

/// The position of a decoder in the bytes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::shard) struct Decoder {
    /// It is between MULTI and EXEC.
    is_queuing: bool,
    /// It is that of a connection to the port of a node.
    is_node: bool,
    /// Keys may be watched, so that the answers to reads need the names of their keys.
    is_watching: bool,
    at: At,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum At {
    /// Before a command.
    #[default]
    Command,
    /// Among the keys of a command, of which this number of words is left. All must have this slot.
    Parts { kind: Kind, left: u32, slot: SlotMark },
    /// In words that are ignored: the number of bytes that are left of one, and of other words.
    Skip { words: u32, bytes: u32 },
    /// At a flush, before this part of it.
    Flush { part: u32 },
    /// Before a command that is carried out only if its key has not changed.
    Guard,
    /// Before a transaction that its owner carries out in one step.
    Transact,
    /// Before the reply to what is no command, which waits for room.
    Wrong(Wrong),
    /// The connection is to be closed, and what is left is ignored.
    Ending,
    /// Nothing more is read.
    Ended,
}

impl Reads for Decoder {
    /// The request at the head of `bytes` if it is a whole read of a key: GET, or a part of MGET.
    #[inline(always)]
    fn read(&mut self, bytes: &[u8], around: &Surroundings<'_>) -> Option<Read> {
        match self.at {
            _ if self.is_watching => None,
            At::Command if !self.is_queuing => {
                let rest = bytes.strip_prefix(b"*2\r\n$3\r\nGET\r\n")?;
                let (tag, at) = (Tag::new(Kind::Get), bytes.len() - rest.len());
                plain::read(tag, at, bytes, around)
            }
            At::Parts { kind: Kind::Mget, left, slot: 0 } => {
                let last = if left == 1 { marks::LAST } else { 0 };
                let tag = Tag { kind: Kind::Mget, marks: last, number: left.into() };
                let read = plain::read(tag, 0, bytes, around)?;
                self.at = match left {
                    1 => At::Command,
                    _ => At::Parts { kind: Kind::Mget, left: left - 1, slot: 0 },
                };
                Some(read)
            }
            _ => None,
        }
    }
}

impl Decoder {
    /// That of a connection to the port of a node.
    pub(super) fn of_node() -> Self {
        Self { is_node: true, ..Self::default() }
    }

    /// The request at the head of `bytes`, or `None` if not all of it is there yet.
    pub(super) fn decode(&mut self, bytes: &[u8], around: &Surroundings<'_>) -> Option<Request> {
        let result = match self.at {
            At::Command if bytes[0] == b'*' => self.command(bytes, around),
            At::Command => self.line(bytes, around),
            At::Parts { kind, left, slot } => {
                self.part(kind, false, slot, Words { bytes, at: 0, left }, around)
            }
            At::Skip { words, bytes: left } => self.skip(words, left, bytes),
            At::Flush { part } => Ok(Some(self.flush(part, bytes, around))),
            At::Guard => Ok(Some(self.guard(bytes, around))),
            At::Transact => Ok(Some(self.transact(bytes, around))),
            At::Wrong(wrong) => Err(wrong),
            At::Ending | At::Ended => Ok(Some(self.end(bytes))),
        };
        result.unwrap_or_else(|wrong| {
            self.at = At::Ending;
            Some(said(self.marked(Tag::wrong(wrong)), 0))
        })
    }

    /// The decoder before the request of this tag.
    pub(super) fn before(self, tag: u64) -> Self {
        let tag = Tag::unpack(tag);
        let at = match tag.kind {
            Kind::Mget | Kind::Del | Kind::Exists | Kind::Mset | Kind::Watch
                if !tag.has(marks::FIRST) =>
            {
                let slot = (tag.number >> LEFT_BITS) as u16;
                At::Parts { kind: tag.kind, left: tag.number as u32, slot }
            }
            Kind::Flush if tag.number > 0 => At::Flush { part: tag.number as u32 },
            Kind::Skip => At::Skip {
                words: (tag.number >> SKIP_BITS) as u32,
                bytes: (tag.number & ((1 << SKIP_BITS) - 1)) as u32,
            },
            Kind::Guard | Kind::GuardWrong => At::Guard,
            Kind::Transact => At::Transact,
            // It may be inside of a command.
            Kind::Wrong => At::Wrong(tag.what_is_wrong()),
            Kind::Ending => At::Ending,
            _ => At::Command,
        };
        Self { is_queuing: tag.has(marks::QUEUING), at, ..self }
    }

    /// The decoder for the bytes that take the place of the request of this tag.
    pub(super) fn again(self, tag: u64) -> Self {
        let tag = Tag::unpack(tag);
        let is_queuing = tag.has(marks::QUEUING) && tag.kind != Kind::Exec;
        let at = match tag.kind {
            Kind::Guard => At::Guard,
            Kind::Transact => At::Transact,
            _ => At::Command,
        };
        Self { is_queuing, at, ..self }
    }

    /// Whether it is inside of a command whose bytes so far have been taken.
    pub(super) fn is_inside(self) -> bool {
        matches!(self.at, At::Parts { .. } | At::Skip { .. })
    }

    fn command(
        &mut self,
        bytes: &[u8],
        around: &Surroundings<'_>,
    ) -> Result<Option<Request>, Wrong> {
        let Some((count, at)) = bulk::count(bytes)? else { return Ok(None) };
        let count = match u32::try_from(count) {
            Ok(count @ 1..) => count,
            _ => return Ok(Some(nothing(self.marked(Tag::new(Kind::Nothing)), at))),
        };
        let mut words = Words { bytes, at, left: count };
        let index = match table::find(&mut words)? {
            Found::Command(index) => index,
            Found::Unfinished => return Ok(None),
            Found::Unknown => return self.unknown(Kind::Unknown, bytes, count),
            Found::Subcommand => return self.unknown(Kind::Subcommand, bytes, count),
            // As Redis, this ends the connection without a word.
            Found::Http => return Ok(Some(self.end(bytes))),
        };
        let command = &table::COMMANDS[index];
        if !command.takes(count) {
            return Ok(Some(self.wrong_arity(index, words)));
        }
        if self.is_queuing && !command.is_immediate {
            let taken = count - words.left;
            return self.queue(words, taken, command.keys, around);
        }
        match command.run {
            Run::Parts(Kind::Watch) if self.is_queuing => {
                Ok(Some(self.refuse(Tag::said(Said::WatchInside), words, 0)))
            }
            Run::Parts(Kind::Mset) if count % 2 == 0 => Ok(Some(self.wrong_arity(index, words))),
            Run::Parts(kind) => {
                self.is_watching |= kind == Kind::Watch;
                let checked = match self.is_node {
                    true => self.check_slots(command.keys, words, around)?,
                    false => Checked::Plain,
                };
                let slot = match checked {
                    Checked::Plain => 0,
                    Checked::Long(slot) => slot,
                    Checked::Made(made) => return Ok(made),
                };
                self.part(kind, true, slot, words, around)
            }
            Run::Whole(run) => self.whole(index, count, run, bytes, around),
            Run::Container => unreachable!("without a subcommand its arity is wrong"),
        }
    }

    /// A command that is decoded when all of it is there.
    fn whole(
        &mut self,
        index: usize,
        count: u32,
        run: fn(&Call<'_>) -> Made,
        bytes: &[u8],
        around: &Surroundings<'_>,
    ) -> Result<Option<Request>, Wrong> {
        let Some((_, at)) = bulk::count(bytes)? else { return Ok(None) };
        let mut call = Call::new(bytes, around, self.is_node);
        call.is_watching = self.is_watching;
        let mut words = Words { bytes, at, left: count };
        if count > WORDS_MAX {
            return Ok(Some(self.refuse(Tag::said(Said::TooManyWords), words, 0)));
        }
        let most = around.limits.value_bytes as usize + BESIDE_VALUE;
        while words.left > 0 {
            let place = match words.next()? {
                None => return Ok(None),
                Some(Word::Whole(from, to)) => (from, to),
                Some(Word::Begun { from, length }) => {
                    if from as usize + length as usize <= most {
                        return Ok(None);
                    }
                    return Ok(Some(self.refuse(Tag::said(Said::ValueTooLarge), words, 0)));
                }
            };
            call.push(place);
        }
        call.end = words.at;
        if call.end > most {
            return Ok(Some(said(self.marked(Tag::said(Said::ValueTooLarge)), call.end)));
        }
        Ok(Some(self.made(index, run(&call), &call)))
    }

    /// The request that was made of a command.
    fn made(&mut self, index: usize, made: Made, call: &Call<'_>) -> Request {
        let of_index = |kind| Tag { number: index as u64, ..Tag::new(kind) };
        let (end, queuing) = (call.end, self.is_queuing);
        match made {
            Made::Request(mut request) => {
                let tag = Tag::unpack(request.tag);
                self.is_watching &= tag.kind != Kind::Unwatch;
                request.tag = self.marked(tag).pack();
                request
            }
            Made::Say(wrong) => said(self.marked(Tag::said(wrong)), end),
            Made::Arity => said(self.marked(of_index(Kind::Arity)), end),
            Made::BadExpire => said(self.marked(of_index(Kind::BadExpire)), end),
            Made::Flush => self.flush(0, call.bytes, call.around),
            Made::Multi => {
                let tag = self.marked(if queuing {
                    Tag::said(Said::Nested)
                } else {
                    Tag::new(Kind::Multi)
                });
                self.is_queuing = true;
                said(tag, end)
            }
            Made::Discard if !queuing => said(Tag::said(Said::NoMultiDiscard), end),
            Made::Exec if !queuing => said(Tag::said(Said::NoMulti), end),
            Made::Discard => self.leave(Tag::new(Kind::Discard), end),
            Made::Exec => Request { what: What::Again, ..self.leave(Tag::new(Kind::Exec), end) },
            Made::Reset => self.leave(Tag::new(Kind::Reset), end),
            Made::Quit => {
                self.at = At::Ending;
                said(self.marked(Tag::said(Said::Ok)), 0)
            }
            Made::Rewritten => unreachable!("only a command in a line is written anew"),
        }
    }

    /// A request that ends what MULTI began.
    fn leave(&mut self, tag: Tag, end: usize) -> Request {
        let tag = self.marked(tag);
        (self.is_queuing, self.is_watching) = (false, false);
        said(tag, end)
    }

    /// A command that waits for EXEC.
    fn queue(
        &mut self,
        words: Words<'_>,
        taken: u32,
        keys: (i32, i32, i32),
        around: &Surroundings<'_>,
    ) -> Result<Option<Request>, Wrong> {
        let mut all = words;
        if words.left > WORDS_MAX {
            return Ok(Some(self.refuse(Tag::said(Said::TooManyWords), words, 0)));
        }
        while all.left > 0 {
            match all.next()? {
                None => return Ok(None),
                Some(Word::Whole(..)) => {}
                Some(Word::Begun { from, length }) => {
                    if from as usize + length as usize <= replies::QUEUE_BYTES_MAX {
                        return Ok(None);
                    }
                    return Ok(Some(self.refuse(Tag::said(Said::QueueTooLarge), all, 0)));
                }
            }
        }
        if self.is_node {
            return self.held((taken, keys), words, all.at, around).map(Some);
        }
        let request = said(self.marked(Tag::new(Kind::Queue)), all.at);
        Ok(Some(Request { echo: (0, position(all.at)), ..request }))
    }

    /// A key of a command with many, and its value.
    fn part(
        &mut self,
        kind: Kind,
        is_first: bool,
        slot: SlotMark,
        mut words: Words<'_>,
        around: &Surroundings<'_>,
    ) -> Result<Option<Request>, Wrong> {
        let first = if is_first { marks::FIRST } else { 0 };
        let number = u64::from(words.left) | u64::from(slot) << LEFT_BITS;
        let tag = Tag { kind, marks: first, number };
        let refuse = |decoder: &mut Self, words, mark| {
            let tag = Tag { marks: tag.marks | marks::LAST | mark, ..tag };
            Ok(Some(decoder.refuse(tag, words, 0)))
        };
        let key_bytes_max = u32::from(around.limits.key_bytes);
        let key = match words.next()? {
            None => return Ok(None),
            Some(Word::Begun { length, .. }) if length <= key_bytes_max => return Ok(None),
            Some(Word::Begun { .. }) => return refuse(self, words, marks::KEY_TOO_LONG),
            Some(Word::Whole(from, to)) => (from, to),
        };
        let name = &words.bytes[key.0 as usize..key.1 as usize];
        let wrong = match name.len() {
            0 => Some(marks::KEY_EMPTY),
            length if length > key_bytes_max as usize => Some(marks::KEY_TOO_LONG),
            _ => None,
        };
        let wrong = wrong.or_else(|| slots::is_other(slot, name).then_some(marks::CROSS_SLOT));
        let named = around.names.of(name);
        let Some(named) = named.filter(|_| wrong.is_none()) else {
            return refuse(self, words, wrong.unwrap_or(marks::NO_KEYSPACE));
        };
        let mut value = (0, 0);
        if kind == Kind::Mset {
            let value_bytes_max = around.limits.value_bytes;
            value = match words.next()? {
                None => return Ok(None),
                Some(Word::Begun { length, .. }) if length <= value_bytes_max => return Ok(None),
                Some(Word::Begun { .. }) => return refuse(self, words, marks::VALUE_TOO_LARGE),
                Some(Word::Whole(from, to)) => (from, to),
            };
            if value.1 - value.0 > value_bytes_max {
                return refuse(self, words, marks::VALUE_TOO_LARGE);
            }
        }
        let action = match kind {
            Kind::Del => Action::Delete,
            Kind::Mset => Action::Put,
            _ => Action::Get,
        };
        let is_last = words.left == 0;
        self.at = if is_last { At::Command } else { At::Parts { kind, left: words.left, slot } };
        let last = if is_last { marks::LAST } else { 0 };
        let head = head(action, named.keyspace, around);
        let what = match kind {
            Kind::Watch => What::Alone(head, None),
            _ => What::Command(head),
        };
        let echo = if self.is_watching { key } else { (0, 0) };
        Ok(Some(Request {
            tag: Tag { marks: tag.marks | last, ..tag }.pack(),
            bytes: position(words.at),
            key: (key.0 + position(named.prefix), key.1),
            value,
            echo,
            spelling: Spelling::Plain,
            what,
        }))
    }

    /// A part of a flush: a partition of a keyspace. The command stays where it is until the last.
    fn flush(&mut self, part: u32, bytes: &[u8], around: &Surroundings<'_>) -> Request {
        let end = bulk::end_of(bytes);
        let tag = Tag { number: part.into(), ..Tag::new(Kind::Flush) };
        let Some((keyspace, partition)) = around.names.flushes().part(part) else {
            self.at = At::Command;
            if around.names.flushes().is_unknown() {
                let what = What::Refused(Status::Unavailable, flushes::UNKNOWN);
                return Request { what, ..nothing(Tag { marks: marks::LAST, ..tag }, end) };
            }
            // There is no keyspace.
            return said(Tag::said(Said::Ok), end);
        };
        let is_last = part + 1 == around.names.flushes().parts();
        self.at = if is_last { At::Command } else { At::Flush { part: part + 1 } };
        Request {
            tag: Tag { marks: if is_last { marks::LAST } else { 0 }, ..tag }.pack(),
            bytes: if is_last { position(end) } else { 0 },
            spelling: Spelling::Partition(partition),
            what: What::Command(head(Action::Flush, keyspace, around)),
            ..nothing(tag, 0)
        }
    }

    fn marked(self, tag: Tag) -> Tag {
        let queuing = if self.is_queuing { marks::QUEUING } else { 0 };
        Tag { marks: tag.marks | queuing, ..tag }
    }
}

/// Bytes that are no request.
fn nothing(tag: Tag, bytes: usize) -> Request {
    Request {
        tag: tag.pack(),
        bytes: position(bytes),
        key: (0, 0),
        value: (0, 0),
        echo: (0, 0),
        spelling: Spelling::Plain,
        what: What::Nothing,
    }
}

/// A request that the codec answers by itself.
fn said(tag: Tag, bytes: usize) -> Request {
    Request { what: What::Said, ..nothing(tag, bytes) }
}
