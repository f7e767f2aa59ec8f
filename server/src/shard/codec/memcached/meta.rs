//! The meta commands: `mg`, `ms`, `md`, `ma`, `me`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::numbers::{exptime, ttl, ttl_ms, unsigned, unsigned_32, version};
use super::said::Said;
use super::text::{BLOCK_BYTES_MAX, Line, tag_of};
use super::tokens::Tokens;
use super::{Decoder, KEY_BYTES_MAX, Kind, Tag, head, marks, modify, position, said, wants};
use crate::node::modify::{
    Edit, Gives, Modify, Presence, RECACHE_ALWAYS, Ttl, Vivified, Vivify, When,
};
use crate::node::{Action, Command, CommandHead, OwnedCommand};
use crate::shard::codec::names::{Named, Names};
use crate::shard::codec::read::Places;
use crate::shard::codec::{Read, Request, Spelling, Surroundings, What};

/// The most words of a line.
const WORDS_MAX: usize = 19;
/// The longest opaque token with its flag, in bytes.
const OPAQUE_BYTES_MAX: usize = 32;

/// The flags of a command.
#[derive(Debug, Default)]
struct Flags {
    base64: bool,
    value: bool,
    quiet: bool,
    invalidate: bool,
    remove_value: bool,
    cas: Option<u64>,
    vivify: Option<i32>,
    ttl: Option<i32>,
    recache: Option<i32>,
    /// The flag T came before R, which then looks at the new lifetime.
    ttl_is_first: bool,
    client_flags: u32,
    mode: Option<u8>,
    initial: u64,
    delta: Option<u64>,
}

impl Flags {
    fn read<'a>(words: impl Iterator<Item = &'a [u8]>) -> Result<Self, Said> {
        let mut flags = Self::default();
        let mut seen = [false; 127];
        for word in words {
            let (flag, token) = (word[0], &word[1..]);
            // Memcached says this also of what is no flag.
            let seen = seen.get_mut(usize::from(flag)).ok_or(Said::DuplicateFlag)?;
            if std::mem::replace(seen, true) {
                return Err(Said::DuplicateFlag);
            }
            let time = || exptime(token).ok_or(Said::BadToken);
            match flag {
                b'b' => flags.base64 = true,
                b'v' => flags.value = true,
                b'q' => flags.quiet = true,
                b'I' => flags.invalidate = true,
                b'x' => flags.remove_value = true,
                b'N' => flags.vivify = Some(time()?),
                b'T' => flags.ttl = Some(time()?),
                b'R' => {
                    flags.recache = Some(time()?);
                    flags.ttl_is_first = flags.ttl.is_some();
                }
                b'C' => flags.cas = Some(version(unsigned(token).ok_or(Said::BadToken)?)),
                b'F' => flags.client_flags = unsigned_32(token).ok_or(Said::BadFormat)?,
                b'M' => match token {
                    [mode] => flags.mode = Some(*mode),
                    _ => return Err(Said::BadModeLength),
                },
                b'J' => flags.initial = unsigned(token).ok_or(Said::BadInitial)?,
                b'D' => flags.delta = Some(unsigned(token).ok_or(Said::BadDelta)?),
                b'O' if word.len() > OPAQUE_BYTES_MAX => return Err(Said::OpaqueTooLong),
                // The reply is written by these. P and L are for proxies; nobody bumps anything (u).
                b'O' | b'c' | b'f' | b'k' | b's' | b't' | b'u' | b'P' | b'L' => {}
                b'E' | b'h' | b'l' => return Err(Said::UnsupportedFlag),
                _ => return Err(Said::InvalidFlag),
            }
        }
        Ok(flags)
    }

    /// The new lifetime of a value that has one.
    fn ttl(&self, wall_ms: u64) -> Ttl {
        self.ttl.map_or(Ttl::Keep, |exptime| ttl(exptime, wall_ms))
    }

    /// The time to live, in milliseconds, below which an `mg` asks for a value to be computed again.
    fn recache_ms(&self, wall_ms: u64) -> u64 {
        let Some(Ttl::For(recache_ms)) = self.recache.map(|recache| ttl(recache, wall_ms)) else {
            return 0;
        };
        match self.ttl(wall_ms) {
            Ttl::For(new_ms) if self.ttl_is_first && new_ms < recache_ms => RECACHE_ALWAYS,
            _ if self.ttl_is_first => 0,
            _ => recache_ms,
        }
    }

    fn vivify(&self, value: Vivified, wall_ms: u64) -> Option<Vivify> {
        self.vivify.map(|exptime| Vivify { value, ttl: ttl(exptime, wall_ms) })
    }

    fn when(&self, presence: Presence) -> When {
        let version = self.cas;
        When { presence, version, older_marks_stale: self.invalidate, ..When::default() }
    }
}

/// The most frequent of all: `mg`, a key and `v`. `None` if the bytes are anything else.
#[inline]
pub(super) fn read(bytes: &[u8], around: &Surroundings<'_>) -> Option<Read> {
    const FROM: usize = "mg ".len();
    const REST: &[u8] = b" v\r\n";
    let length = memchr::memchr2(b' ', b'\n', &bytes[FROM..])?;
    let end = FROM + length;
    let most = KEY_BYTES_MAX.min(usize::from(around.limits.key_bytes));
    if length == 0 || length > most || !bytes[end..].starts_with(REST) {
        return None;
    }
    let named = around.names.of(&bytes[FROM..end])?;
    let tag = Tag { number: wants::VALUE | wants::VALUE_ONLY, ..Tag::new(Kind::MetaGet) };
    let (key, echo) = ((FROM + named.prefix, end), (FROM, end + 2));
    let places = Places { end: end + REST.len(), key, echo };
    Read::new(tag.pack(), named.keyspace, places, around)
}

/// A command whose key and flags are right.
struct Meta {
    flags: Flags,
    named: Named,
    spelling: Spelling,
    tag: Tag,
}

impl Decoder {
    /// `ms`.
    pub(super) fn meta_set(&mut self, line: Line<'_>, tokens: &Tokens<'_>) -> Option<Request> {
        let length = tokens.get(2).and_then(unsigned_32);
        let Some(length) = length.filter(|length| *length <= BLOCK_BYTES_MAX) else {
            return Some(line.say(Said::BadFormat));
        };
        let meta = match line.meta(tokens, Kind::MetaSet, 3) {
            Ok(meta) => meta,
            Err(wrong) => {
                return Some(self.swallow(line, Tag::new(Kind::MetaSet), wrong, length));
            }
        };
        let Some((edit, presence)) = mode_of_set(meta.flags.mode) else {
            return Some(self.swallow(line, Tag::new(Kind::MetaSet), Said::BadMode, length));
        };
        let key = tokens.place(1).unwrap_or_default();
        if length > line.around.limits.value_bytes {
            // Errors are told also to those who want no replies.
            let tag = Tag::new(Kind::MetaSet);
            return Some(self.too_large(line, tag, key, meta.named, meta.spelling, length));
        }
        let end = line.end + length as usize + 2;
        let value = match line.block(length)? {
            Ok(value) => value,
            Err(()) => return Some(said(Tag::said(Said::BadChunk), end)),
        };
        let (flags, wall_ms) = (&meta.flags, line.around.wall_ms);
        let put = head(Action::Put, meta.named.keyspace, line.around);
        let put = CommandHead { item_flags: flags.client_flags, ..put };
        let exptime = flags.ttl.unwrap_or(0);
        let is_plain = edit == Edit::Set && presence == Presence::Any && flags.cas.is_none();
        let what = match ttl_ms(exptime, wall_ms) {
            Some(ttl_ms) if is_plain => What::Command(CommandHead { ttl_ms, ..put }),
            _ => {
                let appends = edit != Edit::Set;
                let is_cas = flags.cas.is_some() && presence == Presence::Any;
                let presence = if is_cas { Presence::Present } else { presence };
                let vivify = flags.vivify(Vivified::Operand, wall_ms).filter(|_| appends);
                let presence = if vivify.is_some() { Presence::Any } else { presence };
                let operation = Modify {
                    when: flags.when(presence),
                    ttl: if appends { Ttl::Keep } else { ttl(exptime, wall_ms) },
                    gives: if appends { Gives::Length } else { Gives::Nothing },
                    vivify,
                    ..Modify::new(edit)
                };
                modify(operation, put)
            }
        };
        let request = line.meta_request(&meta, tokens, what);
        Some(Request { bytes: position(end), value, ..request })
    }
}

/// The read-modify-write for a stale value by an `mg` with these words: the key and the flags.
pub(super) fn recaching(words: &[u8], names: &Names, deadline_ms: u32) -> Option<OwnedCommand> {
    let words = Tokens::of(words);
    let sent = words.get(0)?;
    let decoded = words.from(1).any(|flag| flag[0] == b'b').then(|| BASE64.decode(sent));
    let decoded = decoded.transpose().ok()?;
    let key = decoded.as_deref().unwrap_or(sent);
    let named = names.of(key)?;
    let head = CommandHead {
        wants_item: true,
        deadline_ms,
        ..CommandHead::new(Action::Modify, named.keyspace)
    };
    let when = When { presence: Presence::Present, ..When::default() };
    let herd = Edit::Herd { recache_ms: 0 };
    let modify = Modify { when, gives: Gives::New, ..Modify::new(herd) };
    let (key, value) = (&key[named.prefix..], &[][..]);
    Some(Command { head, key, value, modify: Some(&modify) }.into_owned())
}

/// The operation of an `ms` in this mode.
fn mode_of_set(mode: Option<u8>) -> Option<(Edit, Presence)> {
    match mode {
        None | Some(b'S' | b's') => Some((Edit::Set, Presence::Any)),
        Some(b'E' | b'e') => Some((Edit::Set, Presence::Absent)),
        Some(b'R' | b'r') => Some((Edit::Set, Presence::Present)),
        Some(b'A' | b'a') => Some((Edit::Append, Presence::Present)),
        Some(b'P' | b'p') => Some((Edit::Prepend, Presence::Present)),
        Some(_) => None,
    }
}

impl Line<'_> {
    /// `mg`.
    pub(super) fn meta_get(&self, tokens: &Tokens<'_>) -> Request {
        self.meta_of(tokens, Kind::MetaGet, |flags, keyspace| {
            let (get, wall_ms) = (head(Action::Get, keyspace, self.around), self.around.wall_ms);
            let recache_ms = flags.recache_ms(wall_ms);
            let is_of_herd = flags.vivify.is_some() || flags.recache.is_some();
            if !is_of_herd && flags.ttl.is_none() {
                return Ok(What::Command(get));
            }
            // A new item, too, gets the lifetime of T, if there is one.
            let ttl_of_new = flags.ttl.or(flags.vivify).map(|exptime| ttl(exptime, wall_ms));
            let vivify = flags.vivify(Vivified::Empty, wall_ms);
            let vivify = vivify.zip(ttl_of_new).map(|(vivify, ttl)| Vivify { ttl, ..vivify });
            let presence = if vivify.is_some() { Presence::Any } else { Presence::Present };
            let operation = Modify {
                when: When { presence, ..When::default() },
                ttl: flags.ttl(wall_ms),
                gives: Gives::New,
                vivify,
                ..Modify::new(Edit::Herd { recache_ms })
            };
            Ok(modify(operation, get))
        })
    }

    /// `md`.
    pub(super) fn meta_delete(&self, tokens: &Tokens<'_>) -> Request {
        self.meta_of(tokens, Kind::MetaDelete, |flags, keyspace| {
            let delete = head(Action::Delete, keyspace, self.around);
            let edit = match (flags.invalidate, flags.remove_value) {
                (false, false) if flags.cas.is_none() => return Ok(What::Command(delete)),
                (false, false) => Edit::Delete,
                (false, true) => Edit::Clear,
                (true, false) => Edit::MarkStale,
                (true, true) => return Err(Said::UnsupportedFlag),
            };
            let (presence, version) = (Presence::Present, flags.cas);
            let when = When { presence, version, ..When::default() };
            let ttl = flags.ttl(self.around.wall_ms);
            Ok(modify(Modify { when, ttl, ..Modify::new(edit) }, delete))
        })
    }

    /// `ma`.
    pub(super) fn meta_arithmetic(&self, tokens: &Tokens<'_>) -> Request {
        self.meta_of(tokens, Kind::MetaArithmetic, |flags, keyspace| {
            let (wall_ms, delta) = (self.around.wall_ms, flags.delta.unwrap_or(1));
            let edit = match flags.mode {
                None | Some(b'I' | b'i' | b'+') => Edit::Increment(delta),
                Some(b'D' | b'd' | b'-') => Edit::Decrement(delta),
                Some(_) => return Err(Said::BadArithmeticMode),
            };
            let operation = Modify {
                when: When { version: flags.cas, ..When::default() },
                ttl: flags.ttl(wall_ms),
                gives: Gives::New,
                vivify: flags.vivify(Vivified::Number(flags.initial), wall_ms),
                ..Modify::new(edit)
            };
            Ok(modify(operation, head(Action::Modify, keyspace, self.around)))
        })
    }

    /// `me`.
    pub(super) fn meta_debug(&self, tokens: &Tokens<'_>) -> Request {
        // As in memcached, no word but a `b` behind the key says anything.
        let is_base64 = tokens.get(2) == Some(b"b");
        let key = tokens.get(1).filter(|key| key.len() <= KEY_BYTES_MAX).ok_or(Said::BadFormat);
        match key.and_then(|key| self.spelt(key, is_base64)) {
            Ok((named, spelling)) => {
                let meta = Meta {
                    flags: Flags::default(),
                    named,
                    spelling,
                    tag: Tag::new(Kind::MetaDebug),
                };
                let get = head(Action::Get, named.keyspace, self.around);
                self.meta_request(&meta, tokens, What::Command(get))
            }
            Err(Said::BadKey) => self.say(Said::BadFormat),
            Err(wrong) => self.say(wrong),
        }
    }

    /// A command with a key and flags.
    fn meta_of(
        &self,
        tokens: &Tokens<'_>,
        kind: Kind,
        what: impl FnOnce(&Flags, u8) -> Result<What, Said>,
    ) -> Request {
        let made = self.meta(tokens, kind, 2).and_then(|meta| {
            let what = what(&meta.flags, meta.named.keyspace)?;
            Ok((meta, what))
        });
        match made {
            Ok((meta, what)) => self.meta_request(&meta, tokens, what),
            Err(wrong) => said(tag_of(wrong, Tag::new(kind)), self.end),
        }
    }

    /// The key and the flags, of which this word is the first.
    fn meta(&self, tokens: &Tokens<'_>, kind: Kind, first: usize) -> Result<Meta, Said> {
        let key = tokens.get(1).ok_or(Said::BadFormat)?;
        if key.len() > KEY_BYTES_MAX {
            return Err(Said::BadFormat);
        }
        if tokens.len() > WORDS_MAX {
            let is_read = kind == Kind::MetaGet;
            return Err(if is_read { Said::TooManyFlagsToRead } else { Said::TooManyFlags });
        }
        // Memcached says no more of the flags of these two.
        let says_little = matches!(kind, Kind::MetaDelete | Kind::MetaArithmetic);
        let told = |wrong| match wrong {
            Said::UnsupportedFlag | Said::OpaqueTooLong => wrong,
            _ if says_little => Said::BadFlags,
            _ => wrong,
        };
        let flags = Flags::read(tokens.from(first)).map_err(told)?;
        let value = if flags.value { wants::VALUE } else { 0 };
        let unknown = if flags.cas.is_some() { wants::UNKNOWN } else { 0 };
        let is_only_value = flags.value && tokens.len() == first + 1 && kind == Kind::MetaGet;
        let only = if is_only_value { wants::VALUE_ONLY } else { 0 };
        let tag = Tag { number: value | unknown | only, ..Tag::new(kind) };
        let tag = tag.with(marks::QUIET, flags.quiet);
        let (named, spelling) = self.spelt(key, flags.base64).map_err(told)?;
        Ok(Meta { flags, named, spelling, tag })
    }

    /// The keyspace of a key, and the way in which the key was sent.
    fn spelt(&self, key: &[u8], is_base64: bool) -> Result<(Named, Spelling), Said> {
        if !is_base64 {
            return Ok((self.named(key)?, Spelling::Plain));
        }
        let mut decoded = [0; KEY_BYTES_MAX + 2];
        let length = BASE64.decode_slice(key, &mut decoded).map_err(|_| Said::BadKey)?;
        let named = self.named(&decoded[..length])?;
        let prefix = u8::try_from(named.prefix).map_err(|_| Said::BadKey)?;
        Ok((Named { prefix: 0, ..named }, Spelling::Base64 { prefix }))
    }

    /// The request of a command. Its reply is written by all words behind the first.
    fn meta_request(&self, meta: &Meta, tokens: &Tokens<'_>, what: What) -> Request {
        let key = tokens.place(1).unwrap_or_default();
        let end = tokens.place(tokens.len() - 1).map_or(key.1, |(_, end)| end);
        let request = self.request(meta.tag, key, meta.named, what);
        Request { echo: (key.0, end), spelling: meta.spelling, ..request }
    }
}
