//! Commands that are answered by an error before all of them has come. The rest is ignored as it comes. And the end of a
//! connection.

use super::bulk::{self, Word, Words, Wrong};
use super::table;
use super::tag::{Kind, Tag};
use super::{At, Decoder, SHOWN_BYTES, SKIP_BITS, nothing, said};
use crate::shard::codec::{Request, What, position};

impl Decoder {
    /// Answers a command that is unknown, by as many of its words as the reply repeats.
    pub(super) fn unknown(
        &mut self,
        kind: Kind,
        bytes: &[u8],
        count: u32,
    ) -> Result<Option<Request>, Wrong> {
        let Some((_, at)) = bulk::count(bytes)? else { return Ok(None) };
        let mut words = Words { bytes, at, left: count };
        // The name, and then the words that fit.
        let (mut shown, mut number) = (0, 0);
        while words.left > 0 && shown < SHOWN_BYTES && number < 2 + SHOWN_BYTES {
            let left = SHOWN_BYTES - if number == 0 { 0 } else { shown };
            match words.next()? {
                None => return Ok(None),
                // A word that is cut off is the last one that is repeated.
                Some(Word::Whole(from, to)) if (to - from) as usize > left => break,
                Some(Word::Whole(from, to)) => {
                    shown += if number == 0 { 0 } else { (to - from) as usize + 3 };
                }
                Some(Word::Begun { from, length }) => {
                    let needed = from as usize + left.min(length as usize);
                    if bytes.len() < needed {
                        return Ok(None);
                    }
                    if left >= length as usize {
                        // Only the end of its line is missing.
                        return Ok(None);
                    }
                    let tag = Tag { number: count.into(), ..Tag::new(kind) };
                    let request = self.refuse(tag, words, needed);
                    return Ok(Some(Request { echo: (0, position(needed)), ..request }));
                }
            }
            number += 1;
        }
        let tag = Tag { number: count.into(), ..Tag::new(kind) };
        let request = self.refuse(tag, words, 0);
        Ok(Some(Request { echo: (0, position(words.at)), ..request }))
    }

    /// Ends the connection, behind the replies to what came before.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Request {
        self.at = At::Ended;
        Request { what: What::Last, ..nothing(Tag::new(Kind::Ending), bytes.len()) }
    }

    /// Answers a command with a wrong number of words. An EXEC ends its transaction even then.
    pub(super) fn wrong_arity(&mut self, index: usize, words: Words<'_>) -> Request {
        let tag = Tag { number: index as u64, ..Tag::new(Kind::Arity) };
        let request = self.refuse(tag, words, 0);
        if table::ends_transaction(tag) {
            (self.is_queuing, self.is_watching) = (false, false);
        }
        request
    }

    /// Answers a command of which these words are left, and ignores them. If one has begun, its
    /// bytes up to `to` are done with.
    pub(super) fn refuse(&mut self, tag: Tag, words: Words<'_>, to: usize) -> Request {
        let tag = self.marked(tag);
        let (left, mut bytes, mut end) = (words.left, 0, words.at);
        let mut left = left;
        if to > words.at
            && let Ok(Some((length, from))) = bulk::length(words.bytes, words.at)
        {
            bytes = position(from + length as usize + 2 - to);
            left -= 1;
            end = to;
        }
        self.at = match (left, bytes) {
            (0, 0) => At::Command,
            (words, bytes) => At::Skip { words, bytes },
        };
        said(tag, end)
    }

    /// Takes words that are ignored.
    pub(super) fn skip(
        &mut self,
        words: u32,
        left: u32,
        bytes: &[u8],
    ) -> Result<Option<Request>, Wrong> {
        let number = u64::from(words) << SKIP_BITS | u64::from(left);
        let tag = self.marked(Tag { number, ..Tag::new(Kind::Skip) });
        let (mut words, mut left, mut at) = (words, left, 0);
        loop {
            let taken = (left as usize).min(bytes.len() - at);
            at += taken;
            left -= position(taken);
            if left > 0 || words == 0 {
                break;
            }
            match bulk::length(bytes, at) {
                Ok(Some((length, from))) => {
                    (words, left, at) = (words - 1, length + 2, from);
                }
                Err(wrong) if at == 0 => return Err(wrong),
                Ok(None) | Err(_) => break,
            }
        }
        if at == 0 {
            return Ok(None);
        }
        self.at = match (words, left) {
            (0, 0) => At::Command,
            (words, bytes) => At::Skip { words, bytes },
        };
        Ok(Some(nothing(tag, at)))
    }
}
