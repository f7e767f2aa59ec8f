//! The key of a plain read, as nearly all of them are: there as a whole, and shorter than 1,000 bytes.

use super::Tag;
use crate::shard::codec::read::Places;
use crate::shard::codec::{Read, Surroundings};

/// The read whose key is the word at this position, and its last.
#[inline]
pub(super) fn read(tag: Tag, at: usize, bytes: &[u8], around: &Surroundings<'_>) -> Option<Read> {
    let (length, digits) = length(&bytes[at..])?;
    // Behind `$`, the digits, and the end of the line.
    let from = at + digits + 3;
    let to = from + length;
    // As Redis, this does not look at the two bytes behind a word.
    let key = bytes.get(from..to + 2)?.get(..length)?;
    let named = around.names.of(key).filter(|_| length <= around.limits.key_bytes.into())?;
    let places = Places { end: to + 2, key: (from + named.prefix, to), echo: (0, 0) };
    Read::new(tag.pack(), named.keyspace, places, around)
}

/// The length that a word announces, and the number of its digits; `None` if it is anything unusual.
#[inline]
fn length(bytes: &[u8]) -> Option<(usize, usize)> {
    let digit = |byte: u8| usize::from(byte - b'0');
    // The byte behind the carriage return is there if a word is.
    match *bytes {
        [b'$', a @ b'1'..=b'9', b'\r', ..] => Some((digit(a), 1)),
        [b'$', a @ b'1'..=b'9', b @ b'0'..=b'9', b'\r', ..] => Some((digit(a) * 10 + digit(b), 2)),
        [b'$', a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b'\r', ..] => {
            Some((digit(a) * 100 + digit(b) * 10 + digit(c), 3))
        }
        _ => None,
    }
}
