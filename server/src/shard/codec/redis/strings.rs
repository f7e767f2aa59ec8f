//! The commands that read and write values.

use super::bulk::WORD_BYTES_MAX;
use super::call::{Call, Made, either};
use super::lifetimes::{self, Unit};
use super::said::Said;
use super::tag::Kind;
use crate::node::modify::decimal::{self, Decimal};
use crate::node::modify::{Edit, Gives, Modify, Presence, Ttl, When};
use crate::shard::codec::Request;

/// The options of SET and GETEX.
#[derive(Debug, Default)]
struct Options {
    presence: Presence,
    gives_old: bool,
    keeps_ttl: bool,
    persists: bool,
    expire: Option<(Unit, usize)>,
}

impl Options {
    /// Reads the words from this one on.
    fn read(call: &Call<'_>, from: usize, is_set: bool) -> Option<Self> {
        let (mut options, mut word) = (Self::default(), from);
        while word < call.count() {
            let has_next = word + 1 < call.count();
            let is_free = !options.keeps_ttl && !options.persists;
            let unit = Unit::ALL.into_iter().find(|unit| call.is(word, unit.option()));
            match unit {
                Some(unit) if has_next && is_free => {
                    if options.expire.is_some_and(|(other, _)| other != unit) {
                        return None;
                    }
                    options.expire = Some((unit, word + 1));
                    word += 1;
                }
                Some(_) => return None,
                None if is_set && call.is(word, "NX") && options.presence != Presence::Present => {
                    options.presence = Presence::Absent;
                }
                None if is_set && call.is(word, "XX") && options.presence != Presence::Absent => {
                    options.presence = Presence::Present;
                }
                None if is_set && call.is(word, "GET") => options.gives_old = true,
                None if is_set && call.is(word, "KEEPTTL") && options.expire.is_none() => {
                    options.keeps_ttl = true;
                }
                None if !is_set && call.is(word, "PERSIST") && options.expire.is_none() => {
                    options.persists = true;
                }
                None => return None,
            }
            word += 1;
        }
        Some(options)
    }

    fn ttl(&self, call: &Call<'_>) -> Result<Option<Ttl>, Made> {
        let expire = self.expire.map(|(unit, word)| lifetimes::future(call, word, unit));
        expire.transpose()
    }
}

pub(super) fn get(call: &Call<'_>) -> Made {
    call.get(1, Kind::Get)
}

pub(super) fn strlen(call: &Call<'_>) -> Made {
    call.get(1, Kind::Strlen)
}

pub(super) fn set(call: &Call<'_>) -> Made {
    either(try_set(call))
}

fn try_set(call: &Call<'_>) -> Result<Made, Made> {
    let options = Options::read(call, 3, true).ok_or(Made::Say(Said::Syntax))?;
    let ttl = options.ttl(call)?;
    let is_plain = options.presence == Presence::Any && !options.gives_old && !options.keeps_ttl;
    match ttl {
        None if is_plain => return Ok(call.put(1, 2, 0)),
        Some(Ttl::For(ttl_ms @ 1..)) if is_plain => return Ok(call.put(1, 2, ttl_ms)),
        _ => {}
    }
    let keyspace = if options.keeps_ttl { Ttl::Keep } else { Ttl::Keyspace };
    let operation = Modify {
        ttl: ttl.unwrap_or(keyspace),
        when: When { presence: options.presence, ..When::ALWAYS },
        gives: if options.gives_old { Gives::Old } else { Gives::Nothing },
        ..Modify::new(Edit::Set)
    };
    let kind = if options.gives_old { Kind::Old } else { Kind::SetIf };
    Ok(call.modify(1, kind, operation, Some(2)))
}

pub(super) fn setnx(call: &Call<'_>) -> Made {
    let when = When { presence: Presence::Absent, ..When::ALWAYS };
    let operation = Modify { ttl: Ttl::Keyspace, when, ..Modify::new(Edit::Set) };
    call.modify(1, Kind::Flag, operation, Some(2))
}

pub(super) fn msetnx(call: &Call<'_>) -> Made {
    match call.count() {
        3 => setnx(call),
        count if count % 2 == 0 => Made::Arity,
        _ => Said::SeveralSet.into(),
    }
}

pub(super) fn setex(call: &Call<'_>) -> Made {
    set_for(call, Unit::Seconds)
}

pub(super) fn psetex(call: &Call<'_>) -> Made {
    set_for(call, Unit::Milliseconds)
}

fn set_for(call: &Call<'_>, unit: Unit) -> Made {
    match lifetimes::future(call, 2, unit) {
        Ok(Ttl::For(ttl_ms)) => call.put(1, 3, ttl_ms),
        Ok(_) => Made::BadExpire,
        Err(made) => made,
    }
}

pub(super) fn getset(call: &Call<'_>) -> Made {
    let (ttl, gives) = (Ttl::Keyspace, Gives::Old);
    call.modify(1, Kind::Old, Modify { ttl, gives, ..Modify::new(Edit::Set) }, Some(2))
}

pub(super) fn getdel(call: &Call<'_>) -> Made {
    let operation = Modify { gives: Gives::Old, ..Modify::new(Edit::Delete) };
    call.modify(1, Kind::Old, operation, None)
}

pub(super) fn getex(call: &Call<'_>) -> Made {
    either(try_getex(call))
}

fn try_getex(call: &Call<'_>) -> Result<Made, Made> {
    let options = Options::read(call, 2, false).ok_or(Made::Say(Said::Syntax))?;
    let ttl = match options.ttl(call)? {
        Some(ttl) => ttl,
        None if options.persists => Ttl::Never,
        None => return Ok(call.get(1, Kind::Get)),
    };
    let when = When { presence: Presence::Present, ..When::ALWAYS };
    let operation = Modify { ttl, when, gives: Gives::Old, ..Modify::new(Edit::Keep) };
    Ok(call.modify(1, Kind::Old, operation, None))
}

pub(super) fn getrange(call: &Call<'_>) -> Made {
    if let Err(made) = call.number(2).and_then(|_| call.number(3)) {
        return made;
    }
    let repeats = call.repeats(Kind::GetRange, 1, super::What::Said);
    match (call.get(1, Kind::GetRange), repeats) {
        (Made::Request(get), Made::Request(words)) => {
            Made::Request(Request { echo: words.echo, tag: words.tag, ..get })
        }
        (_, Made::Rewritten) => Made::Rewritten,
        (made, _) => made,
    }
}

pub(super) fn setrange(call: &Call<'_>) -> Made {
    let offset = match call.number(2) {
        Ok(offset) => offset,
        Err(made) => return made,
    };
    let length = call.word(3).len();
    if offset < 0 {
        return Said::BadOffset.into();
    }
    if length == 0 {
        return call.get(1, Kind::Strlen);
    }
    let end = offset.saturating_add(i64::try_from(length).unwrap_or(i64::MAX));
    let Some(offset) = u32::try_from(offset).ok().filter(|_| end <= WORD_BYTES_MAX) else {
        return Said::StringTooLong.into();
    };
    let operation = Modify { gives: Gives::Length, ..Modify::new(Edit::Overwrite(offset)) };
    call.modify(1, Kind::Length, operation, Some(3))
}

pub(super) fn append(call: &Call<'_>) -> Made {
    let operation = Modify { gives: Gives::Length, ..Modify::new(Edit::Append) };
    call.modify(1, Kind::Length, operation, Some(2))
}

pub(super) fn incr(call: &Call<'_>) -> Made {
    add(call, 1)
}

pub(super) fn decr(call: &Call<'_>) -> Made {
    add(call, -1)
}

pub(super) fn incrby(call: &Call<'_>) -> Made {
    call.number(2).map_or_else(|made| made, |by| add(call, by))
}

pub(super) fn decrby(call: &Call<'_>) -> Made {
    match call.number(2) {
        Ok(i64::MIN) => Said::DecrementOverflows.into(),
        Ok(by) => add(call, -by),
        Err(made) => made,
    }
}

fn add(call: &Call<'_>, by: i64) -> Made {
    let operation = Modify { gives: Gives::New, ..Modify::new(Edit::Add(by)) };
    call.modify(1, Kind::Integer, operation, None)
}

pub(super) fn incrbyfloat(call: &Call<'_>) -> Made {
    match decimal::parse(call.word(2)) {
        None => Said::NotFloat.into(),
        Some(Decimal::Infinite) => Said::NotFinite.into(),
        Some(Decimal::Finite(_)) => {
            let operation = Modify { gives: Gives::New, ..Modify::new(Edit::AddFloat) };
            call.modify(1, Kind::Float, operation, Some(2))
        }
    }
}
