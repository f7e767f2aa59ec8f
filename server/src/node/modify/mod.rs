//! What becomes of one value by a MODIFY. Pure; modifying.rs executes it in the key's queue of
//! writes.

pub(crate) mod decimal;

use bytes::Bytes;
pub use standin_protocol::modify::{
    Edit, Gives, LifetimeTest, Modify, Presence, RECACHE_ALWAYS, Ttl, Vivified, Vivify, When,
};

use self::decimal::Decimal;
use super::answer::{Status, VALUE_BYTES_MAX, marks};

/// The value that an operation finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) value: Bytes,
    pub(super) flags: u32,
    pub(super) marks: u8,
    pub(super) version: u64,
    /// The time that it has left, in milliseconds; `u64::MAX` if it has no end.
    pub(super) ttl_ms: u64,
}

/// The effect of an operation that is executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing changes.
    Nothing,
    /// The value stays under its version, and these differ.
    Header { ttl: Ttl, marks: u8 },
    /// There is a new value.
    Store { value: Bytes, flags: u32, marks: u8, ttl: Ttl },
    /// There is no value any more.
    Delete,
}

/// The result of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Applied {
    pub(super) effect: Effect,
    pub(super) status: Status,
    /// The value of the answer.
    pub(super) value: Bytes,
    /// The flags that belong to it.
    pub(super) flags: u32,
    /// Bits of [`marks`] for the caller.
    pub(super) marks: u8,
}

/// The value that comes with an operation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operand<'a> {
    pub(super) value: &'a Bytes,
    /// The client's flags.
    pub(super) flags: u32,
}

/// Applies an operation to what is there. A value of more than `most` bytes is refused.
pub(super) fn apply(
    modify: &Modify,
    found: Option<&Found>,
    operand: Operand<'_>,
    most: usize,
) -> Applied {
    let result = match found {
        Some(found) => change(modify, found, operand),
        None => create(modify, operand),
    };
    let result = result.and_then(|(effect, marks)| match &effect {
        Effect::Store { value, .. } if value.len() > most => Err(Status::TooLarge),
        _ => Ok((effect, marks)),
    });
    let (effect, marks) = match result {
        Ok(result) => result,
        Err(status) => {
            let is_told = modify.gives == Gives::Old && status == Status::NotStored;
            let found = found.filter(|_| is_told);
            return Applied {
                effect: Effect::Nothing,
                status,
                value: found.map(|found| found.value.clone()).unwrap_or_default(),
                flags: found.map_or(0, |found| found.flags),
                marks: 0,
            };
        }
    };
    let old = || found.map(|found| (found.value.clone(), found.flags));
    let new = || match &effect {
        Effect::Store { value, flags, .. } => Some((value.clone(), *flags)),
        Effect::Nothing | Effect::Header { .. } => old(),
        Effect::Delete => None,
    };
    let (given, marks) = match modify.gives {
        Gives::Nothing => (None, marks),
        Gives::Old => (old(), if found.is_none() { marks | marks::ABSENT } else { marks }),
        Gives::New => (new(), marks),
        Gives::Length => (new().map(|(value, _)| (digits(value.len() as u64), 0)), marks),
    };
    let (value, flags) = given.unwrap_or_default();
    Applied { effect, status: Status::Ok, value, flags, marks }
}

/// The effect on a value, and the marks of the answer.
fn change(modify: &Modify, found: &Found, operand: Operand<'_>) -> Result<(Effect, u8), Status> {
    let is_older = check(modify, found, operand.value)?;
    let header = |marks| Effect::Header { ttl: resolved(modify.ttl, found), marks };
    let ttl = match resolved(modify.ttl, found) {
        Ttl::Keep => kept(found),
        ttl => ttl,
    };
    let store = |value, flags, marks| Effect::Store { value, flags, marks, ttl };
    let effect = match modify.edit {
        Edit::Keep if modify.ttl == Ttl::Keep => Effect::Nothing,
        Edit::Keep => header(found.marks),
        Edit::Herd { recache_ms } => return Ok(herd(modify, found, recache_ms)),
        Edit::Delete => Effect::Delete,
        // It gets a new version, so that nobody who has seen it before can replace it by CAS.
        Edit::MarkStale => store(found.value.clone(), found.flags, marks::STALE),
        // The value is stale already: its lifetime goes on, and who was told to compute it still is.
        Edit::Set if is_older => Effect::Store {
            value: operand.value.clone(),
            flags: operand.flags,
            marks: marks::STALE | found.marks & marks::WON,
            ttl: kept(found),
        },
        Edit::Set => store(operand.value.clone(), operand.flags, 0),
        Edit::Clear => store(Bytes::new(), 0, 0),
        edit => store(edited(edit, &found.value, operand.value)?, found.flags, 0),
    };
    Ok((effect, 0))
}

/// A new lifetime that does not depend on the one before it.
fn resolved(ttl: Ttl, found: &Found) -> Ttl {
    match (ttl, found.ttl_ms) {
        (Ttl::Longer(_), u64::MAX) => Ttl::Keep,
        (Ttl::Longer(ms), left_ms) => Ttl::For(left_ms.saturating_add(ms).min(u64::MAX - 1)),
        (ttl, _) => ttl,
    }
}

/// The lifetime that a value has.
fn kept(found: &Found) -> Ttl {
    match found.ttl_ms {
        u64::MAX => Ttl::Never,
        ttl_ms => Ttl::For(ttl_ms),
    }
}

/// The effect if there is no value, and the marks of the answer.
fn create(modify: &Modify, operand: Operand<'_>) -> Result<(Effect, u8), Status> {
    let Operand { value: operand, flags } = operand;
    if let Some(Vivify { value, ttl }) = modify.vivify {
        return Ok(match value {
            Vivified::Empty => {
                let (value, marks) = (Bytes::new(), marks::WON);
                (Effect::Store { value, flags: 0, marks, ttl }, marks::WINS)
            }
            Vivified::Number(number) => {
                (Effect::Store { value: digits(number), flags: 0, marks: 0, ttl }, 0)
            }
            Vivified::Operand => {
                (Effect::Store { value: operand.clone(), flags, marks: 0, ttl }, 0)
            }
        });
    }
    let When { presence, version, older_marks_stale: _, equals_operand, lifetime } = modify.when;
    let needs_value = presence == Presence::Present
        || version.is_some()
        || equals_operand
        || lifetime != LifetimeTest::Any;
    if needs_value {
        return Err(Status::NotFound);
    }
    let value = match modify.edit {
        Edit::Set => operand.clone(),
        Edit::Append | Edit::Prepend | Edit::Overwrite(_) => edited(modify.edit, b"", operand)?,
        Edit::Add(_) | Edit::AddFloat => edited(modify.edit, b"0", operand)?,
        Edit::Keep
        | Edit::Herd { .. }
        | Edit::MarkStale
        | Edit::Clear
        | Edit::Increment(_)
        | Edit::Decrement(_)
        | Edit::Delete => return Err(Status::NotFound),
    };
    Ok((Effect::Store { value, flags, marks: 0, ttl: modify.ttl }, 0))
}

/// Checks the conditions, that on the version first: if it holds, the answer is about the value that the
/// caller knows. Returns whether the version that the caller knows is an older one.
fn check(modify: &Modify, found: &Found, operand: &Bytes) -> Result<bool, Status> {
    let When { presence, version, older_marks_stale, equals_operand, lifetime } = modify.when;
    let is_older = match version {
        Some(version) if version != found.version => {
            if !(older_marks_stale && version < found.version) {
                return Err(Status::VersionMismatch);
            }
            true
        }
        _ => false,
    };
    if presence == Presence::Absent || equals_operand && found.value != operand {
        return Err(Status::NotStored);
    }
    let is_endless = found.ttl_ms == u64::MAX;
    let new_ms = match resolved(modify.ttl, found) {
        Ttl::For(ms) | Ttl::Longer(ms) => ms,
        Ttl::Keep => found.ttl_ms,
        Ttl::Keyspace | Ttl::Never => u64::MAX,
    };
    let is_met = match lifetime {
        LifetimeTest::Any => true,
        LifetimeTest::Endless => is_endless,
        LifetimeTest::Limited => !is_endless,
        LifetimeTest::Longer => new_ms > found.ttl_ms,
        LifetimeTest::Shorter => new_ms < found.ttl_ms,
        LifetimeTest::LimitedShorter => !is_endless && new_ms < found.ttl_ms,
    };
    match is_met {
        true => Ok(is_older),
        false => Err(Status::NotStored),
    }
}

/// One of many callers reads a value that one of them has to compute again.
fn herd(modify: &Modify, found: &Found, recache_ms: u64) -> (Effect, u8) {
    let is_short = recache_ms == RECACHE_ALWAYS || found.ttl_ms < recache_ms;
    let is_due = found.marks & marks::STALE != 0 || is_short;
    let is_won = found.marks & marks::WON != 0;
    let stale = found.marks & marks::STALE;
    let (kept, told) = match (is_won, is_due) {
        (true, _) => (found.marks, stale | marks::WON),
        (false, true) => (found.marks | marks::WON, stale | marks::WINS),
        (false, false) => (found.marks, stale),
    };
    let effect = match kept == found.marks && modify.ttl == Ttl::Keep {
        true => Effect::Nothing,
        false => Effect::Header { ttl: modify.ttl, marks: kept },
    };
    (effect, told)
}

/// The value after an edit that depends on the one before it.
fn edited(edit: Edit, value: &[u8], operand: &[u8]) -> Result<Bytes, Status> {
    match edit {
        Edit::Append => Ok(Bytes::from([value, operand].concat())),
        Edit::Prepend => Ok(Bytes::from([operand, value].concat())),
        Edit::Overwrite(at) => overwritten(value, operand, at as usize),
        Edit::Increment(by) => Ok(digits(number(value)?.wrapping_add(by))),
        Edit::Decrement(by) => Ok(digits(number(value)?.saturating_sub(by))),
        Edit::Add(by) => {
            let sum = whole_number(value)?.checked_add(by).ok_or(Status::OutOfRange)?;
            Ok(Bytes::from(sum.to_string()))
        }
        Edit::AddFloat => {
            let [one, other] = [value, operand].map(decimal::parse);
            match (one.ok_or(Status::NotANumber)?, other.ok_or(Status::NotANumber)?) {
                (Decimal::Finite(one), Decimal::Finite(other)) => {
                    let sum = decimal::add(one, other).ok_or(Status::OutOfRange)?;
                    Ok(Bytes::from(sum.to_string()))
                }
                _ => Err(Status::OutOfRange),
            }
        }
        Edit::Keep
        | Edit::Set
        | Edit::Clear
        | Edit::MarkStale
        | Edit::Herd { .. }
        | Edit::Delete => unreachable!("the edit does not depend on the value"),
    }
}

fn overwritten(value: &[u8], operand: &[u8], at: usize) -> Result<Bytes, Status> {
    let end = at + operand.len();
    if end > VALUE_BYTES_MAX {
        return Err(Status::TooLarge);
    }
    if operand.is_empty() {
        return Ok(Bytes::copy_from_slice(value));
    }
    let mut bytes = value.to_vec();
    bytes.resize(bytes.len().max(end), 0);
    bytes[at..end].copy_from_slice(operand);
    Ok(bytes.into())
}

/// Reads a value as a number without a sign. memcached leaves spaces behind one that has become shorter.
fn number(value: &[u8]) -> Result<u64, Status> {
    let text = std::str::from_utf8(value).map_err(|_| Status::NotANumber)?;
    let digits = text.trim_end_matches(' ');
    let is_plain = digits.starts_with(|c: char| c.is_ascii_digit());
    digits.parse().ok().filter(|_| is_plain).ok_or(Status::NotANumber)
}

/// Reads a value as a number with a sign, in its only spelling: no plus sign, leading zeros or spaces.
fn whole_number(value: &[u8]) -> Result<i64, Status> {
    let is_plain = match value {
        [b'0'] => true,
        [b'-', first, ..] | [first, ..] => (b'1'..=b'9').contains(first),
        [] => false,
    };
    let text = std::str::from_utf8(value).ok().filter(|_| is_plain);
    text.and_then(|text| text.parse().ok()).ok_or(Status::NotANumber)
}

fn digits(number: u64) -> Bytes {
    Bytes::from(number.to_string())
}

#[cfg(test)]
mod tests;
