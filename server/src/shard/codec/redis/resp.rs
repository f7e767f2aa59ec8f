//! The types of RESP, as they are written.

use crate::shard::codec::digits;

/// The version of the protocol that a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Version {
    /// All clients understand it.
    #[default]
    Resp2,
    /// It has maps, sets and a null of its own.
    Resp3,
}

/// Appends the end of a line.
#[inline]
pub(super) fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Appends a line.
pub(super) fn line(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(text.as_bytes());
    end(out);
}

/// Appends a string of any bytes.
#[inline]
pub(super) fn bulk(value: &[u8], out: &mut Vec<u8>) {
    out.reserve(value.len() + 16);
    head(b'$', value.len() as u64, out);
    out.extend_from_slice(value);
    end(out);
}

/// Appends the lack of a value.
#[inline]
pub(super) fn null(version: Version, out: &mut Vec<u8>) {
    out.extend_from_slice(match version {
        Version::Resp2 => b"$-1\r\n",
        Version::Resp3 => b"_\r\n",
    });
}

/// Appends the lack of an array.
pub(super) fn null_array(version: Version, out: &mut Vec<u8>) {
    match version {
        Version::Resp2 => line("*-1", out),
        Version::Resp3 => null(version, out),
    }
}

/// Appends a whole number.
pub(super) fn number(number: i64, out: &mut Vec<u8>) {
    out.push(b':');
    if number < 0 {
        out.push(b'-');
    }
    digits::write(number.unsigned_abs(), out);
    end(out);
}

/// Appends the beginning of an array of this length.
pub(super) fn array(length: u64, out: &mut Vec<u8>) {
    head(b'*', length, out);
}

/// Appends the beginning of a set of this length.
pub(super) fn set(length: u64, version: Version, out: &mut Vec<u8>) {
    match version {
        Version::Resp2 => head(b'*', length, out),
        Version::Resp3 => head(b'~', length, out),
    }
}

/// Appends the beginning of a map with this number of pairs.
pub(super) fn map(pairs: u64, version: Version, out: &mut Vec<u8>) {
    match version {
        Version::Resp2 => head(b'*', 2 * pairs, out),
        Version::Resp3 => head(b'%', pairs, out),
    }
}

/// Appends a text of several lines.
pub(super) fn text(value: &str, version: Version, out: &mut Vec<u8>) {
    match version {
        Version::Resp2 => bulk(value.as_bytes(), out),
        Version::Resp3 => {
            head(b'=', value.len() as u64 + 4, out);
            out.extend_from_slice(b"txt:");
            line(value, out);
        }
    }
}

#[inline]
fn head(kind: u8, number: u64, out: &mut Vec<u8>) {
    out.push(kind);
    digits::write(number, out);
    end(out);
}
