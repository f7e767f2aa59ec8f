//! memcached's classic commands: `get`, `set`, `add`, `touch`, `delete`.

use super::{Decoded, Malformed, Reply, block, line, number};
use crate::targets::operation::{Action, Kind, Question};

const END: &[u8] = b"END\r\n";
/// The longest lifetime of memcached, 30 days. It takes a larger number for a Unix time, which would long be over.
const LIFETIME_MAX_S: u32 = 30 * 24 * 60 * 60;

pub(super) fn encode(question: &Question<'_>, out: &mut Vec<u8>) {
    match question.action {
        Action::Get => {
            out.extend_from_slice(b"get ");
            out.extend_from_slice(question.key);
        }
        Action::Put { value, ttl_s } => store(out, b"set ", question.key, value, ttl_s),
        Action::Add { value, ttl_s } => store(out, b"add ", question.key, value, ttl_s),
        Action::Touch { ttl_s } => {
            out.extend_from_slice(b"touch ");
            out.extend_from_slice(question.key);
            out.push(b' ');
            lifetime(out, ttl_s);
        }
        Action::Delete => {
            out.extend_from_slice(b"delete ");
            out.extend_from_slice(question.key);
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn store(out: &mut Vec<u8>, command: &[u8], key: &[u8], value: &[u8], ttl_s: u32) {
    out.extend_from_slice(command);
    out.extend_from_slice(key);
    out.extend_from_slice(b" 0 ");
    lifetime(out, ttl_s);
    out.push(b' ');
    number(out, value.len() as u64);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(value);
}

/// Appends a lifetime in seconds, or the longest one.
pub(super) fn lifetime(out: &mut Vec<u8>, ttl_s: u32) {
    number(out, ttl_s.min(LIFETIME_MAX_S).into());
}

pub(super) fn decode(kind: Kind, bytes: &[u8]) -> Decoded<'_> {
    // The line is still to come.
    let Some((first, at)) = line(bytes)? else { return Ok(None) };
    if let Some(head) = first.strip_prefix(b"VALUE ") {
        if kind != Kind::Get {
            return Err(Malformed("a value answers a write".into()));
        }
        // The key, its flags, the length.
        let length = head.split(|byte| *byte == b' ').nth(2).unwrap_or_default();
        let Some((value, end)) = block(bytes, at, length)? else { return Ok(None) };
        return match bytes.get(end..end + END.len()) {
            Some(END) => Ok(Some((end + END.len(), Reply::Value(value)))),
            Some(_) => Err(Malformed("something else than END follows a value".into())),
            None => Ok(None),
        };
    }
    let reply = match (kind, first) {
        (Kind::Get, b"END") | (Kind::Delete | Kind::Touch, b"NOT_FOUND") => Reply::Absent,
        (Kind::Put | Kind::Add, b"STORED") => Reply::Done,
        (Kind::Delete, b"DELETED") | (Kind::Touch, b"TOUCHED") => Reply::Done,
        (Kind::Add, b"NOT_STORED") => Reply::Exists,
        _ if is_error(first) => Reply::Error(first),
        _ => return Err(Malformed::line(first)),
    };
    Ok(Some((at, reply)))
}

/// Whether this line reports an error, in either kind of command. Text may follow, as in
/// `ERROR Too many open connections`.
pub(super) fn is_error(line: &[u8]) -> bool {
    [&b"ERROR"[..], b"CLIENT_ERROR", b"SERVER_ERROR"].iter().any(|error| line.starts_with(error))
}
