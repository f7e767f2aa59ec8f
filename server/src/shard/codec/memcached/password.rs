//! ASCII authentication: the first request is a `set` of any key, whose value is the user's name, a
//! space and the password.

use super::numbers::unsigned_32;
use super::said::Said;
use crate::shard::codec::{Admit, Asked};

/// The reply to a caller for whom there is no place.
pub(in crate::shard) const NO_PLACE: &[u8] = b"ERROR Too many open connections\r\n";

/// The longest line, in bytes.
const LINE_BYTES_MAX: usize = 2_048;
/// The longest name with a password, in bytes.
const VALUE_BYTES_MAX: u32 = 4_096;

/// Looks at the bytes so far; the reply goes to `out`.
pub(in crate::shard) fn ask(admit: Admit<'_>, input: &[u8], out: &mut Vec<u8>) -> Asked {
    if input.first() == Some(&0x80) {
        say(out, Said::Binary.text());
        return Asked::Ended;
    }
    let Some(end) = memchr::memchr(b'\n', input) else {
        return if input.len() > LINE_BYTES_MAX { Asked::Ended } else { Asked::Waits };
    };
    let used = end + 1;
    let line = input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]);
    let tokens: Vec<&[u8]> = line.split(|byte| *byte == b' ').filter(|t| !t.is_empty()).collect();
    if tokens.first() == Some(&&b"quit"[..]) {
        return Asked::Ended;
    }
    let length = tokens.get(4).filter(|_| tokens[0] == b"set").and_then(|text| unsigned_32(text));
    let Some(length) = length else {
        say(out, "CLIENT_ERROR unauthenticated");
        return Asked::Refused { used };
    };
    if length > VALUE_BYTES_MAX {
        // What follows is not read: it might be anything.
        say(out, "CLIENT_ERROR auth token too long");
        return Asked::Ended;
    }
    let used = used + length as usize;
    let (Some(value), Some(line_end)) = (input.get(end + 1..used), input.get(used..used + 2))
    else {
        return Asked::Waits;
    };
    let used = used + 2;
    if line_end != b"\r\n" {
        say(out, "CLIENT_ERROR bad command line termination");
        return Asked::Refused { used };
    }
    let Some(space) = memchr::memchr(b' ', value) else {
        say(out, "CLIENT_ERROR bad authentication token format");
        return Asked::Refused { used };
    };
    let Some(grant) = admit(&value[..space], &value[space + 1..]) else {
        say(out, "CLIENT_ERROR authentication failure");
        return Asked::Refused { used };
    };
    say(out, "STORED");
    Asked::Known { used, grant }
}

fn say(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}
