//! The commands of the classic text protocol that are one line, or a line and a data block.

use std::ops::RangeInclusive;

use super::numbers::{exptime, ttl, ttl_ms, unsigned, unsigned_32, version};
use super::said::Said;
use super::tokens::{Tokens, trimmed};
use super::{
    BINARY, Decoder, KEY_BYTES_MAX, Kind, LINE_BYTES_MAX, Tag, head, marks, modify, nothing,
    position, said,
};
use crate::node::modify::{Edit, Gives, Modify, Presence, Ttl, When};
use crate::node::{Action, CommandHead};
use crate::shard::codec::names::Named;
use crate::shard::codec::{Request, Spelling, Surroundings, What};

/// The largest length of a data block that is understood. Anything larger ends the connection.
pub(super) const BLOCK_BYTES_MAX: u32 = i32::MAX as u32 - 2;

/// A line, and the bytes from its beginning on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'a> {
    /// Everything that has come.
    pub(super) bytes: &'a [u8],
    /// The length of the line with its end.
    pub(super) end: usize,
    /// The decoder's surroundings.
    pub(super) around: &'a Surroundings<'a>,
}

impl Decoder {
    /// A line that does not read the values of keys.
    pub(super) fn line(&mut self, bytes: &[u8], around: &Surroundings<'_>) -> Option<Request> {
        if bytes[0] == BINARY {
            *self = Self::Ending;
            return Some(said(Tag::said(Said::Binary), 0));
        }
        let Some(at) = memchr::memchr(b'\n', &bytes[..bytes.len().min(LINE_BYTES_MAX)]) else {
            if bytes.len() < LINE_BYTES_MAX {
                return None;
            }
            *self = Self::Ended;
            return Some(last(bytes.len()));
        };
        let line = Line { bytes, end: at + 1, around };
        let tokens = Tokens::of(trimmed(&bytes[..=at]));
        let request = match tokens.get(0) {
            Some(name) if !words_of(name).contains(&tokens.len()) => line.say(Said::Error),
            Some(b"set") => return self.store(line, &tokens, Edit::Set, Presence::Any),
            Some(b"add") => return self.store(line, &tokens, Edit::Set, Presence::Absent),
            Some(b"replace") => return self.store(line, &tokens, Edit::Set, Presence::Present),
            Some(b"append") => return self.store(line, &tokens, Edit::Append, Presence::Present),
            Some(b"prepend") => {
                return self.store(line, &tokens, Edit::Prepend, Presence::Present);
            }
            Some(b"cas") => return self.store(line, &tokens, Edit::Set, Presence::Any),
            Some(b"ms") => return self.meta_set(line, &tokens),
            Some(b"mg") => line.meta_get(&tokens),
            Some(b"md") => line.meta_delete(&tokens),
            Some(b"ma") => line.meta_arithmetic(&tokens),
            Some(b"me") => line.meta_debug(&tokens),
            Some(b"mn") => line.say(Said::Nop),
            Some(b"delete") => line.delete(&tokens),
            Some(b"incr") => line.arithmetic(&tokens, Edit::Increment),
            Some(b"decr") => line.arithmetic(&tokens, Edit::Decrement),
            Some(b"touch") => line.touch(&tokens),
            Some(b"flush_all") => return Some(self.flush_all(line, &tokens)),
            Some(b"stats") => line.stats(&tokens),
            Some(b"version") => line.say(Said::Version),
            Some(b"verbosity") => line.verbosity(&tokens),
            Some(b"shutdown") => line.say(Said::NoShutdown),
            Some(b"quit") => {
                *self = Self::Ended;
                last(line.end)
            }
            // Its keys are read without the spaces before it.
            Some(b"get" | b"gets" | b"gat" | b"gats") if bytes[0] == b' ' => nothing(
                Tag::said(Said::Error),
                tokens.place(0).map_or(at, |(from, _)| from as usize),
            ),
            // Somebody takes this for a web server.
            _ if tokens.last().is_some_and(|word| word.starts_with(b"HTTP/")) => {
                *self = Self::Ended;
                last(bytes.len())
            }
            _ => line.say(Said::Error),
        };
        Some(request)
    }

    /// `set`, `add`, `replace`, `append`, `prepend` and `cas`.
    fn store(
        &mut self,
        line: Line<'_>,
        tokens: &Tokens<'_>,
        edit: Edit,
        presence: Presence,
    ) -> Option<Request> {
        let is_cas = tokens.get(0) == Some(b"cas");
        let tag = Tag::new(if is_cas { Kind::Cas } else { Kind::Store });
        let tag = tag.with(marks::QUIET, tokens.last() == Some(b"noreply"));
        let length = tokens.get(4).and_then(unsigned_32);
        let Some(length) = length.filter(|length| *length <= BLOCK_BYTES_MAX) else {
            return Some(said(tag_of(Said::BadFormat, tag), line.end));
        };
        let version = tokens.get(5).filter(|_| is_cas).and_then(unsigned).map(version);
        let named = line.named(tokens.get(1).unwrap_or_default());
        let flags = tokens.get(2).and_then(unsigned_32);
        let exptime = tokens.get(3).and_then(exptime);
        let (Ok(named), Some(item_flags), Some(exptime)) = (named, flags, exptime) else {
            return Some(self.swallow(line, tag, named.err().unwrap_or(Said::BadFormat), length));
        };
        if is_cas && version.is_none() {
            return Some(self.swallow(line, tag, Said::BadFormat, length));
        }
        let key = tokens.place(1).unwrap_or_default();
        if length > line.around.limits.value_bytes {
            let is_set = presence == Presence::Any && edit == Edit::Set && !is_cas;
            return Some(match is_set {
                true => self.too_large(line, tag, key, named, Spelling::Plain, length),
                // The old value is still the right one.
                false => self.swallow(line, tag, Said::TooLarge, length),
            });
        }
        let value = line.block(length)?;
        let Ok(value) = value else {
            return Some(said(tag_of(Said::BadChunk, tag), line.end + length as usize + 2));
        };
        let wall_ms = line.around.wall_ms;
        let put = head(Action::Put, named.keyspace, line.around);
        let lifetime = ttl_ms(exptime, wall_ms);
        let what = match (presence, edit, version, lifetime) {
            (Presence::Any, Edit::Set, None, Some(ttl_ms)) => {
                What::Command(CommandHead { item_flags, ttl_ms, ..put })
            }
            (_, _, Some(version), Some(ttl_ms)) if version != 0 => {
                let cas = CommandHead { item_flags, ttl_ms, version, ..put };
                What::Command(CommandHead { action: Action::Cas, ..cas })
            }
            _ => {
                let presence = if is_cas { Presence::Present } else { presence };
                let ttl = match edit {
                    Edit::Append | Edit::Prepend => Ttl::Keep,
                    _ => ttl(exptime, wall_ms),
                };
                let when = When { presence, version, ..When::default() };
                let put = CommandHead { item_flags, ..put };
                modify(Modify { when, ttl, ..Modify::new(edit) }, put)
            }
        };
        let request = line.request(tag, key, named, what);
        let bytes = position(line.end + length as usize + 2);
        Some(Request { bytes, value, ..request })
    }

    /// Answers a line whose data block is ignored.
    pub(super) fn swallow(
        &mut self,
        line: Line<'_>,
        tag: Tag,
        wrong: Said,
        length: u32,
    ) -> Request {
        *self = Self::Data(length + 2);
        said(tag_of(wrong, tag), line.end)
    }

    /// Answers a line whose data block is too large, and drops what is there: the client believes
    /// that it is not there any more.
    pub(super) fn too_large(
        &mut self,
        line: Line<'_>,
        tag: Tag,
        key: (u32, u32),
        named: Named,
        spelling: Spelling,
        length: u32,
    ) -> Request {
        *self = Self::Data(length + 2);
        let tag = Tag { kind: Kind::TooLarge, ..tag };
        let what = What::Command(head(Action::Invalidate, named.keyspace, line.around));
        Request { spelling, ..line.request(tag, key, named, what) }
    }

    fn flush_all(&mut self, line: Line<'_>, tokens: &Tokens<'_>) -> Request {
        let is_quiet = tokens.last() == Some(b"noreply");
        let delay = tokens.get(1).filter(|_| tokens.len() > 1 + usize::from(is_quiet));
        let quiet = |wrong| said(Tag::said(wrong).with(marks::QUIET, is_quiet), line.end);
        match delay.map(exptime) {
            Some(None) => quiet(Said::InvalidExptime),
            Some(Some(delay @ 1..)) => match ttl(delay, line.around.wall_ms) {
                Ttl::For(0) => self.flush(0, line.bytes, line.around),
                _ => quiet(Said::NoDelay),
            },
            _ => self.flush(0, line.bytes, line.around),
        }
    }
}

impl Line<'_> {
    /// A fixed reply to the line.
    pub(super) fn say(&self, said: Said) -> Request {
        super::said(Tag::said(said), self.end)
    }

    /// The keyspace of a key.
    pub(super) fn named(&self, key: &[u8]) -> Result<Named, Said> {
        let most = KEY_BYTES_MAX.min(usize::from(self.around.limits.key_bytes));
        if key.is_empty() || key.len() > most {
            return Err(Said::BadFormat);
        }
        self.around.names.of(key).ok_or(Said::NoKeyspace)
    }

    /// A request for the key at this place.
    pub(super) fn request(&self, tag: Tag, key: (u32, u32), named: Named, what: What) -> Request {
        Request {
            tag: tag.pack(),
            bytes: position(self.end),
            key: (key.0 + position(named.prefix), key.1),
            value: (0, 0),
            echo: (0, 0),
            spelling: Spelling::Plain,
            what,
        }
    }

    /// The place of a data block of this length; `None` if it has not come yet.
    ///
    /// # Errors
    /// It does not end as it should.
    pub(super) fn block(&self, length: u32) -> Option<Result<(u32, u32), ()>> {
        let (from, to) = (self.end, self.end + length as usize);
        let end = self.bytes.get(to..to + 2)?;
        Some(if end == b"\r\n" { Ok((position(from), position(to))) } else { Err(()) })
    }

    fn delete(&self, tokens: &Tokens<'_>) -> Request {
        // Once, a time could follow the key.
        if !matches!(
            (tokens.get(2), tokens.get(3)),
            (None | Some(b"0" | b"noreply"), None) | (Some(b"0"), Some(b"noreply"))
        ) {
            return said(tag_of(Said::DeleteUsage, Self::tag(tokens, Kind::Delete)), self.end);
        }
        self.of_key(tokens, Kind::Delete, |delete| Ok(What::Command(delete(Action::Delete))))
    }

    fn touch(&self, tokens: &Tokens<'_>) -> Request {
        self.of_key(tokens, Kind::Touch, |touch| {
            let exptime = tokens.get(2).and_then(exptime).ok_or(Said::InvalidExptime)?;
            Ok(match ttl_ms(exptime, self.around.wall_ms) {
                Some(ttl_ms) => What::Command(CommandHead { ttl_ms, ..touch(Action::Touch) }),
                None => {
                    let ttl = ttl(exptime, self.around.wall_ms);
                    let when = When { presence: Presence::Present, ..When::default() };
                    modify(Modify { ttl, when, ..Modify::new(Edit::Keep) }, touch(Action::Modify))
                }
            })
        })
    }

    fn arithmetic(&self, tokens: &Tokens<'_>, edit: fn(u64) -> Edit) -> Request {
        self.of_key(tokens, Kind::Arithmetic, |head| {
            let delta = tokens.get(2).and_then(unsigned).ok_or(Said::InvalidDelta)?;
            let edit = Modify { gives: Gives::New, ..Modify::new(edit(delta)) };
            Ok(modify(edit, head(Action::Modify)))
        })
    }

    /// The tag of a command with a key. A key may be named `noreply`.
    fn tag(tokens: &Tokens<'_>, kind: Kind) -> Tag {
        let is_quiet = tokens.len() > 2 && tokens.last() == Some(b"noreply");
        Tag::new(kind).with(marks::QUIET, is_quiet)
    }

    /// A command with a key. `what` makes it from an action.
    fn of_key(
        &self,
        tokens: &Tokens<'_>,
        kind: Kind,
        what: impl FnOnce(&dyn Fn(Action) -> CommandHead) -> Result<What, Said>,
    ) -> Request {
        let tag = Self::tag(tokens, kind);
        let named = self.named(tokens.get(1).unwrap_or_default());
        let made = named.and_then(|named| {
            let of = |action| head(action, named.keyspace, self.around);
            Ok((named, what(&of)?))
        });
        match made {
            Ok((named, what)) => {
                self.request(tag, tokens.place(1).unwrap_or_default(), named, what)
            }
            Err(wrong) => said(tag_of(wrong, tag), self.end),
        }
    }

    fn verbosity(&self, tokens: &Tokens<'_>) -> Request {
        let level = tokens.get(1).and_then(unsigned_32);
        let wrong = if level.is_some() { Said::Verbosity } else { Said::BadFormat };
        let is_quiet = tokens.last() == Some(b"noreply");
        said(Tag::said(wrong).with(marks::QUIET, is_quiet), self.end)
    }

    fn stats(&self, tokens: &Tokens<'_>) -> Request {
        let settings = || {
            let number = self.around.limits.value_bytes;
            said(Tag { number, ..Tag::new(Kind::Settings) }, self.end)
        };
        match tokens.get(1) {
            None => Request { what: What::Stats, ..said(Tag::new(Kind::Stats), self.end) },
            Some(b"settings") => settings(),
            Some(b"items" | b"slabs" | b"sizes" | b"conns") => self.say(Said::End),
            Some(b"reset") => self.say(Said::Reset),
            Some(b"detail") => self.say(Said::StatsDetail),
            Some(b"cachedump") => self.say(Said::NoDump),
            Some(_) => self.say(Said::Error),
        }
    }
}

/// The numbers of words that a command may have. With another number it is no command: the reply is that to an
/// unknown one, and a data block is taken for lines, because its length can't be told.
fn words_of(name: &[u8]) -> RangeInclusive<usize> {
    match name {
        b"set" | b"add" | b"replace" | b"append" | b"prepend" => 5..=6,
        b"cas" => 6..=7,
        b"incr" | b"decr" | b"touch" => 3..=4,
        b"delete" => 2..=4,
        b"flush_all" => 1..=3,
        b"verbosity" => 2..=3,
        b"get" | b"gets" | b"gat" | b"gats" | b"mg" | b"ms" | b"md" | b"ma" => 2..=usize::MAX,
        _ => 1..=usize::MAX,
    }
}

/// A fixed reply in place of another.
pub(super) fn tag_of(said: Said, tag: Tag) -> Tag {
    Tag::said(said).with(marks::QUIET, tag.has(marks::QUIET))
}

/// The end of a connection.
fn last(bytes: usize) -> Request {
    Request { what: What::Last, ..said(Tag::said(Said::Error), bytes) }
}
