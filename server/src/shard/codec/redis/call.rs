//! A command with its words, and what is made of it.

use super::bulk::number;
use super::inline;
use super::nothing;
use super::said::Said;
use super::tag::{Kind, Tag};
use crate::node::modify::Modify;
use crate::node::{Action, CommandHead};
use crate::shard::codec::{Request, Surroundings, What, head, modify, position};

/// The number of words whose places are kept. Commands with more repeat their words.
const PLACES: usize = 16;

/// A whole command.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) bytes: &'a [u8],
    places: [(u32, u32); PLACES],
    count: usize,
    /// The position behind it.
    pub(super) end: usize,
    pub(super) around: &'a Surroundings<'a>,
    /// It came to the port of a node.
    pub(super) is_node: bool,
    /// The answer to a read needs the name of its key.
    pub(super) is_watching: bool,
    /// Its words are those of a line.
    is_line: bool,
}

/// What is made of a command.
pub(super) enum Made {
    Request(Request),
    /// A fixed reply.
    Say(Said),
    /// The number of words is wrong.
    Arity,
    /// The lifetime is wrong.
    BadExpire,
    Flush,
    Multi,
    Discard,
    Exec,
    Reset,
    Quit,
    /// The command has to be written anew as RESP sends it.
    Rewritten,
}

impl From<Said> for Made {
    fn from(said: Said) -> Self {
        Self::Say(said)
    }
}

impl<'a> Call<'a> {
    pub(super) fn new(bytes: &'a [u8], around: &'a Surroundings<'a>, is_node: bool) -> Self {
        let places = [(0, 0); PLACES];
        let (is_watching, is_line) = (false, false);
        Self { bytes, places, count: 0, end: 0, around, is_node, is_watching, is_line }
    }

    /// The command in a line that ends with the byte before `end`; `None` if it has quotes, no words, or
    /// too many.
    pub(super) fn of_line(
        line: &[u8],
        end: usize,
        bytes: &'a [u8],
        around: &'a Surroundings<'a>,
        is_node: bool,
    ) -> Option<Self> {
        let mut call = Self { end, is_line: true, ..Self::new(bytes, around, is_node) };
        let mut from = None;
        for (at, byte) in line.iter().enumerate() {
            match (byte, from) {
                (b'"' | b'\'', _) => return None,
                (byte, Some(begun)) if inline::is_space(*byte) => {
                    call.push((begun, position(at)));
                    from = None;
                }
                (byte, None) if !inline::is_space(*byte) => from = Some(position(at)),
                _ => {}
            }
        }
        if let Some(begun) = from {
            call.push((begun, position(line.len())));
        }
        (1..=PLACES).contains(&call.count).then_some(call)
    }

    pub(super) fn push(&mut self, place: (u32, u32)) {
        if let Some(free) = self.places.get_mut(self.count) {
            *free = place;
        }
        self.count += 1;
    }

    /// The number of words, with the name.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The place of a word; an empty one for a word that there is not.
    pub(super) fn place(&self, word: usize) -> (u32, u32) {
        if word < self.count { self.places.get(word).copied().unwrap_or_default() } else { (0, 0) }
    }

    pub(super) fn word(&self, word: usize) -> &'a [u8] {
        let (from, to) = self.place(word);
        &self.bytes[from as usize..to as usize]
    }

    /// Whether a word is this one in capitals.
    pub(super) fn is(&self, word: usize, wanted: &str) -> bool {
        self.word(word).eq_ignore_ascii_case(wanted.as_bytes())
    }

    pub(super) fn number(&self, word: usize) -> Result<i64, Made> {
        number(self.word(word)).ok_or(Made::Say(Said::NotInteger))
    }

    /// A request without a key that is answered by the codec.
    pub(super) fn says(&self, kind: Kind) -> Made {
        self.of(kind, What::Said)
    }

    /// A request without a key that is answered by the codec, by this tag.
    pub(super) fn tagged(&self, tag: Tag) -> Made {
        Made::Request(Request { what: What::Said, ..nothing(tag, self.end) })
    }

    /// A request without a key.
    pub(super) fn of(&self, kind: Kind, what: What) -> Made {
        Made::Request(Request { what, ..nothing(Tag::new(kind), self.end) })
    }

    /// A request whose reply repeats words, or is written by them: those from this one on.
    pub(super) fn repeats(&self, kind: Kind, from: usize, what: What) -> Made {
        if self.is_line {
            return Made::Rewritten;
        }
        let (from_at, left) = match self.count.saturating_sub(from) {
            0 => (self.end, 0),
            // Behind the word before it.
            left => (self.place(from - 1).1 as usize + 2, left),
        };
        let tag = Tag { number: left as u64, ..Tag::new(kind) };
        let echo = (position(from_at), position(self.end));
        Made::Request(Request { what, echo, ..nothing(tag, self.end) })
    }

    /// A request for a key; `what` makes it from the head of a command.
    pub(super) fn keyed(
        &self,
        word: usize,
        kind: Kind,
        what: impl FnOnce(CommandHead) -> What,
    ) -> Result<Request, Made> {
        let key = self.word(word);
        if key.is_empty() {
            return Err(Said::KeyEmpty.into());
        }
        if key.len() > usize::from(self.around.limits.key_bytes) {
            return Err(Said::KeyTooLong.into());
        }
        let named = self.around.names.of(key).ok_or(Made::Say(Said::NoKeyspace))?;
        let place = self.place(word);
        Ok(Request {
            key: (place.0 + position(named.prefix), place.1),
            what: what(head(Action::Get, named.keyspace, self.around)),
            ..nothing(Tag::new(kind), self.end)
        })
    }

    /// A read of a key.
    pub(super) fn get(&self, word: usize, kind: Kind) -> Made {
        match self.keyed(word, kind, What::Command) {
            Ok(request) => {
                let echo = if self.is_watching { self.place(word) } else { request.echo };
                Made::Request(Request { echo, ..request })
            }
            Err(made) => made,
        }
    }

    /// A read-modify-write of a key, with this word as the operand.
    pub(super) fn modify(
        &self,
        word: usize,
        kind: Kind,
        operation: Modify,
        operand: Option<usize>,
    ) -> Made {
        let value = operand.map_or((0, 0), |word| self.place(word));
        if value.1 - value.0 > self.around.limits.value_bytes {
            return Said::ValueTooLarge.into();
        }
        match self.keyed(word, kind, |head| modify(operation, head)) {
            Ok(request) => Made::Request(Request { value, ..request }),
            Err(made) => made,
        }
    }

    /// A plain write of a key, with a lifetime in milliseconds; 0: that of the keyspace.
    pub(super) fn put(&self, word: usize, operand: usize, ttl_ms: u64) -> Made {
        let value = self.place(operand);
        if value.1 - value.0 > self.around.limits.value_bytes {
            return Said::ValueTooLarge.into();
        }
        let put = |head| What::Command(CommandHead { action: Action::Put, ttl_ms, ..head });
        match self.keyed(word, Kind::Set, put) {
            Ok(request) => Made::Request(Request { value, ..request }),
            Err(made) => made,
        }
    }
}

/// What was made, or why nothing else could be.
pub(super) fn either(made: Result<Made, Made>) -> Made {
    made.unwrap_or_else(|made| made)
}
