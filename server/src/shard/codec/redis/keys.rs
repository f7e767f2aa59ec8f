//! The commands about the keys that are cached, and their replies: SCAN, KEYS, RANDOMKEY, DBSIZE, and those
//! of CLUSTER about the keys of a slot. At the port of a node they are about its shard, otherwise about the
//! whole cluster.

use standin_protocol::slots::SLOTS;
use standin_protocol::walk::PATTERN_BYTES_MAX;

use super::bulk::number;
use super::call::{Call, Made, either};
use super::resp::{self, Version};
use super::said::Said;
use super::tag::Kind;
use crate::node::Status;
use crate::shard::codec::walk::{Found, Walk};
use crate::shard::codec::{What, digits};

/// The number of keys that SCAN looks at if it is not told.
const COUNT: u32 = 10;

/// A pattern; `None` if it matches every name.
fn pattern<'a>(call: &Call<'a>, word: usize) -> Result<Option<&'a [u8]>, Made> {
    match call.word(word) {
        b"*" => Ok(None),
        pattern if pattern.len() > PATTERN_BYTES_MAX => Err(Said::PatternTooLong.into()),
        pattern => Ok(Some(pattern)),
    }
}

fn walks(call: &Call<'_>, kind: Kind, walk: Walk) -> Made {
    call.of(kind, What::Walk(Box::new(walk.of_one_shard(call.is_node))))
}

pub(super) fn scan(call: &Call<'_>) -> Made {
    either(try_scan(call))
}

/// Reads a cursor, of which Redis accepts a negative one.
fn cursor(word: &[u8]) -> Option<u64> {
    let (is_negative, digits) = match word.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, word),
    };
    let is_number = digits.iter().all(u8::is_ascii_digit);
    let number: u64 = std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()?;
    Some(if is_negative { number.wrapping_neg() } else { number })
}

fn try_scan(call: &Call<'_>) -> Result<Made, Made> {
    let cursor = cursor(call.word(1)).ok_or(Made::Say(Said::BadCursor))?;
    let (mut wanted, mut count, mut is_of_type) = (None, COUNT, true);
    for word in (2..call.count()).step_by(2) {
        if word + 1 == call.count() {
            return Err(Said::Syntax.into());
        } else if call.is(word, "COUNT") {
            count = match number(call.word(word + 1)) {
                None => return Err(Said::NotInteger.into()),
                Some(..=0) => return Err(Said::Syntax.into()),
                Some(count) => u32::try_from(count).unwrap_or(u32::MAX),
            };
        } else if call.is(word, "MATCH") {
            wanted = pattern(call, word + 1)?;
        } else if call.is(word, "TYPE") {
            is_of_type = call.is(word + 1, "string");
        } else {
            return Err(Said::Syntax.into());
        }
    }
    if !is_of_type {
        return Ok(call.says(Kind::ScanNothing));
    }
    Ok(walks(call, Kind::Scan, Walk::some(cursor, count, wanted)))
}

pub(super) fn keys(call: &Call<'_>) -> Made {
    match pattern(call, 1) {
        Ok(pattern) => walks(call, Kind::Keys, Walk::all(pattern)),
        Err(made) => made,
    }
}

pub(super) fn randomkey(call: &Call<'_>) -> Made {
    walks(call, Kind::RandomKey, Walk::any())
}

pub(super) fn dbsize(call: &Call<'_>) -> Made {
    walks(call, Kind::KeyCount, Walk::number())
}

/// Reads the slot in a command, if there are slots.
fn slot(number: i64) -> Option<u16> {
    u16::try_from(number).ok().filter(|slot| u32::from(*slot) < SLOTS)
}

pub(super) fn count_keys_in_slot(call: &Call<'_>) -> Made {
    if !call.around.names.is_slotted() {
        return Said::NoCluster.into();
    }
    match call.number(2).map(slot) {
        Ok(Some(slot)) => walks(call, Kind::KeyCount, Walk::number().of_slot(slot)),
        Ok(None) => Said::BadSlot.into(),
        Err(made) => made,
    }
}

pub(super) fn get_keys_in_slot(call: &Call<'_>) -> Made {
    if !call.around.names.is_slotted() {
        return Said::NoCluster.into();
    }
    let numbers = call.number(2).and_then(|slot| Ok((slot, call.number(3)?)));
    match numbers.map(|(number, count)| (slot(number), count)) {
        Ok((Some(slot), count @ 0..)) => {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            walks(call, Kind::Keys, Walk::first(count).of_slot(slot))
        }
        Ok(_) => Said::BadSlotOrCount.into(),
        Err(made) => made,
    }
}

/// Appends the reply to one of them.
pub(super) fn write(
    kind: Kind,
    status: Status,
    answer: &[u8],
    version: Version,
    out: &mut Vec<u8>,
) {
    if status != Status::Ok {
        return resp::line(Said::NotAllAnswer.text(), out);
    }
    let nothing = [0; 16];
    let answer = if kind == Kind::ScanNothing { &nothing } else { answer };
    let Some(found) = Found::read(answer) else {
        return resp::line("-ERR the names can't be read", out);
    };
    match (kind, found.names().next()) {
        (Kind::KeyCount, _) => {
            return resp::number(i64::try_from(found.number).unwrap_or(i64::MAX), out);
        }
        (Kind::RandomKey, Some(name)) => return resp::bulk(name, out),
        (Kind::RandomKey, None) => return resp::null(version, out),
        _ => {}
    }
    if kind != Kind::Keys {
        let mut cursor = Vec::new();
        digits::write(found.cursor, &mut cursor);
        resp::array(2, out);
        resp::bulk(&cursor, out);
    }
    resp::array(found.number, out);
    found.names().for_each(|name| resp::bulk(name, out));
}
