//! `get`, `gets`, `gat` and `gats`: a line with any number of keys, each of which is a request.

use super::numbers::{exptime, ttl};
use super::said::Said;
use super::tokens::trimmed;
use super::{
    Decoder, KEY_BYTES_MAX, Kind, Retrieval, Tag, head, marks, modify, nothing, position, said,
};
use crate::node::Action;
use crate::node::modify::{Edit, Gives, Modify, Presence, When};
use crate::shard::codec::read::Places;
use crate::shard::codec::{Read, Request, Spelling, Surroundings, What};

/// The longest expiration time, in bytes.
const EXPTIME_BYTES_MAX: usize = 20;
/// The number of spaces before a key from which on they are taken without it.
const SPACES_MAX: usize = 64;

impl Retrieval {
    /// `get` or `gets`, before its first key.
    #[inline]
    pub(super) fn plain(kind: Kind) -> Self {
        Self { kind, exptime: 0, has_key: false }
    }

    /// The command that a line begins with, and where its keys begin. `None` if it is another
    /// command, or can't be told yet.
    pub(super) fn begin(bytes: &[u8]) -> Option<Result<(Self, usize), Said>> {
        let plain = |kind, at| Some(Ok((Self::plain(kind), at)));
        match bytes {
            [b'g', b'e', b't', b' ', ..] => plain(Kind::Get, 4),
            [b'g', b'e', b't', b's', b' ', ..] => plain(Kind::Gets, 5),
            [b'g', b'a', b't', b' ', ..] => Self::begin_touching(Kind::Gat, 4, bytes),
            [b'g', b'a', b't', b's', b' ', ..] => Self::begin_touching(Kind::Gats, 5, bytes),
            _ => None,
        }
    }

    fn begin_touching(kind: Kind, at: usize, bytes: &[u8]) -> Option<Result<(Self, usize), Said>> {
        let spaces = bytes[at..].iter().take_while(|byte| **byte == b' ').count();
        let from = at + spaces;
        let rest = &bytes[from..];
        match memchr::memchr2(b' ', b'\n', rest) {
            Some(end) => match exptime(trimmed(&rest[..end])) {
                _ if trimmed(&rest[..=end]).is_empty() => Some(Err(Said::Error)),
                None => Some(Err(Said::InvalidExptime)),
                // Without a key.
                Some(_) if rest[end] == b'\n' => Some(Err(Said::End)),
                Some(exptime) => Some(Ok((Self { kind, exptime, has_key: false }, from + end))),
            },
            None if rest.len() > EXPTIME_BYTES_MAX => Some(Err(Said::InvalidExptime)),
            // As any line whose end has not come.
            None => None,
        }
    }

    /// That of a request.
    pub(super) fn of(tag: Tag) -> Self {
        let has_key = tag.has(marks::HAS_KEY);
        Self { kind: tag.kind, exptime: tag.number.cast_signed(), has_key }
    }

    fn tag(self, is_continued: bool) -> Tag {
        let tag = Tag { number: self.exptime.cast_unsigned(), ..Tag::new(self.kind) };
        tag.with(marks::CONTINUED, is_continued).with(marks::HAS_KEY, self.has_key)
    }

    /// The request for a key in this keyspace.
    fn what(self, keyspace: u8, around: &Surroundings<'_>) -> What {
        let get = head(Action::Get, keyspace, around);
        match self.kind {
            Kind::Gat | Kind::Gats => {
                let touch = Modify {
                    ttl: ttl(self.exptime, around.wall_ms),
                    when: When { presence: Presence::Present, ..When::default() },
                    gives: Gives::New,
                    ..Modify::new(Edit::Keep)
                };
                modify(touch, get)
            }
            _ => What::Command(get),
        }
    }
}

impl Decoder {
    /// The next key of a line, which begins at `at`, if it is followed by one space, or by the end of
    /// the line.
    #[inline]
    pub(super) fn plain_key(
        &mut self,
        retrieval: Retrieval,
        at: usize,
        bytes: &[u8],
        around: &Surroundings<'_>,
    ) -> Option<Read> {
        let length = memchr::memchr2(b' ', b'\n', &bytes[at..])?;
        let end = at + length;
        let (key_end, line_end) = match (bytes[end], bytes.get(end + 1)?) {
            (b' ', b' ' | b'\r' | b'\n') => return None,
            (b' ', _) => (end, None),
            _ if bytes[end - 1] == b'\r' => (end - 1, Some(end + 1)),
            _ => (end, Some(end + 1)),
        };
        let key = bytes.get(at..key_end).filter(|key| !key.is_empty())?;
        let most = KEY_BYTES_MAX.min(usize::from(around.limits.key_bytes));
        let named = around.names.of(key).filter(|_| key.len() <= most)?;
        let tag = retrieval.tag(*self != Self::Line).with(marks::LAST, line_end.is_some());
        let end = line_end.unwrap_or(end);
        let places = Places { end, key: (at + named.prefix, key_end), echo: (at, key_end) };
        let read = Read::new(tag.pack(), named.keyspace, places, around)?;
        *self = match line_end {
            Some(_) => Self::Line,
            None => Self::Keys(Retrieval { has_key: true, ..retrieval }),
        };
        Some(read)
    }

    /// The next key of a line; `at` is where it may begin.
    pub(super) fn keys(
        &mut self,
        retrieval: Retrieval,
        at: usize,
        bytes: &[u8],
        around: &Surroundings<'_>,
    ) -> Option<Request> {
        let tag = retrieval.tag(*self != Self::Line);
        let spaces = bytes[at..].iter().take_while(|byte| **byte == b' ').count();
        let from = at + spaces;
        let Some(length) = memchr::memchr2(b' ', b'\n', &bytes[from..]) else {
            return self.unended(retrieval, tag, spaces, &bytes[..from], bytes.len() - from);
        };
        let end = from + length;
        let is_last_word = bytes[end] == b'\n';
        let key = &bytes[from..end];
        let key = if is_last_word { key.strip_suffix(b"\r").unwrap_or(key) } else { key };
        if key.is_empty() {
            return Some(self.end_of_keys(retrieval, tag, end + 1));
        }
        let most = KEY_BYTES_MAX.min(usize::from(around.limits.key_bytes));
        let named = if key.len() > most { None } else { around.names.of(key) };
        let Some(named) = named else {
            let wrong = if key.len() > most { marks::BAD_KEY } else { marks::NO_KEYSPACE };
            let taken = if is_last_word { end + 1 } else { end };
            *self = if is_last_word { Self::Line } else { Self::Rest };
            return Some(said(tag.with(wrong, true), taken));
        };
        // The end of the line belongs to the last key, if it is there.
        let line_end = match &bytes[end..] {
            [b'\n', ..] | [b' ', b'\n', ..] | [b' ', b'\r', b'\n', ..] => {
                memchr::memchr(b'\n', &bytes[end..]).map(|at| end + at + 1)
            }
            _ => None,
        };
        *self = match line_end {
            Some(_) => Self::Line,
            None => Self::Keys(Retrieval { has_key: true, ..retrieval }),
        };
        let key_end = position(from + key.len());
        Some(Request {
            tag: tag.with(marks::LAST, line_end.is_some()).pack(),
            bytes: position(line_end.unwrap_or(end)),
            key: (position(from + named.prefix), key_end),
            value: (0, 0),
            echo: (position(from), key_end),
            spelling: Spelling::Plain,
            what: retrieval.what(named.keyspace, around),
        })
    }

    /// The end of the next key has not come. Spaces before it are taken when they are many.
    #[cold]
    fn unended(
        &mut self,
        retrieval: Retrieval,
        tag: Tag,
        spaces: usize,
        before: &[u8],
        key_bytes: usize,
    ) -> Option<Request> {
        // With the first half of the line's end.
        if key_bytes > KEY_BYTES_MAX + 1 {
            *self = Self::Rest;
            return Some(said(tag.with(marks::BAD_KEY, true), before.len() + key_bytes));
        }
        if spaces > SPACES_MAX {
            *self = Self::Keys(retrieval);
            return Some(nothing(tag, before.len()));
        }
        None
    }

    /// The line ends behind a space.
    #[cold]
    fn end_of_keys(&mut self, retrieval: Retrieval, tag: Tag, taken: usize) -> Request {
        *self = Self::Line;
        match retrieval.kind {
            Kind::Get | Kind::Gets if !retrieval.has_key => said(Tag::said(Said::Error), taken),
            _ => said(tag.with(marks::NO_KEY, true), taken),
        }
    }

    /// The line has no keys that can be read.
    #[cold]
    pub(super) fn refuse_keys(&mut self, wrong: Said, bytes: &[u8]) -> Option<Request> {
        let end = memchr::memchr(b'\n', bytes);
        *self = if end.is_some() { Self::Line } else { Self::Rest };
        let taken = end.map_or(bytes.len(), |end| end + 1);
        Some(said(Tag::said(wrong), taken))
    }
}
