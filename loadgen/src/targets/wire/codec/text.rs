//! memcached's classic commands: `get`, `gets`, `set`, `add`, `cas`, `touch`, `incr`, `delete`.

use super::many::Block;
use super::{Decoded, Login, Malformed, Reply, block, line, number, number_of};
use crate::targets::operation::{Action, Kind, Question};

const END: &[u8] = b"END\r\n";
/// The longest lifetime of memcached, 30 days. It takes a larger number for a Unix time, which would long be over.
const LIFETIME_MAX_S: u32 = 30 * 24 * 60 * 60;

/// Logs in as memcached's ASCII authentication has it: user and password are the value of the first `set`. Its key
/// means nothing.
pub(super) fn greet(login: &Login, is_asking: bool, out: &mut Vec<u8>) -> usize {
    if let (Some(user), Some(password)) = (&login.user, &login.password) {
        let words = format!("{user} {password}");
        store(out, b"set ", b"login", words.as_bytes(), 0, None);
        out.extend_from_slice(b"\r\n");
        1
    } else if is_asking {
        out.extend_from_slice(b"version\r\n");
        1
    } else {
        0
    }
}

/// Any line that is no error will do.
pub(super) fn decode_greeting(bytes: &[u8]) -> Decoded<'_> {
    // The line is still to come.
    let Some((first, at)) = line(bytes)? else { return Ok(None) };
    Ok(Some((at, if is_error(first) { Reply::Error(first) } else { Reply::Done })))
}

pub(super) fn encode(question: &Question<'_>, out: &mut Vec<u8>) {
    match question.action {
        Action::Get => {
            out.extend_from_slice(b"get ");
            out.extend_from_slice(question.key);
        }
        Action::GetMany { others } => {
            out.extend_from_slice(b"get ");
            out.extend_from_slice(question.key);
            for key in others {
                out.push(b' ');
                out.extend_from_slice(key);
            }
        }
        Action::Gets => {
            out.extend_from_slice(b"gets ");
            out.extend_from_slice(question.key);
        }
        Action::Put { value, ttl_s } => store(out, b"set ", question.key, value, ttl_s, None),
        Action::Add { value, ttl_s } => store(out, b"add ", question.key, value, ttl_s, None),
        Action::Cas { version, value, ttl_s, .. } => {
            store(out, b"cas ", question.key, value, ttl_s, Some(version));
        }
        Action::Increment { by } => {
            out.extend_from_slice(b"incr ");
            out.extend_from_slice(question.key);
            out.push(b' ');
            number(out, by.into());
        }
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

fn store(
    out: &mut Vec<u8>,
    command: &[u8],
    key: &[u8],
    value: &[u8],
    ttl_s: u32,
    version: Option<u64>,
) {
    out.extend_from_slice(command);
    out.extend_from_slice(key);
    out.extend_from_slice(b" 0 ");
    lifetime(out, ttl_s);
    out.push(b' ');
    number(out, value.len() as u64);
    if let Some(version) = version {
        out.push(b' ');
        number(out, version);
    }
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
    if kind == Kind::GetMany && !is_error(first) {
        return decode_many(bytes);
    }
    if let Some(head) = first.strip_prefix(b"VALUE ") {
        if !kind.is_read() {
            return Err(Malformed("a value answers a write".into()));
        }
        // The key, its flags, the length, with `gets` the version.
        let mut words = head.split(|byte| *byte == b' ').skip(2);
        let length = words.next().unwrap_or_default();
        let Some((value, end)) = block(bytes, at, length)? else { return Ok(None) };
        let reply = match kind {
            Kind::Gets => Reply::Versioned(value, number_of(words.next().unwrap_or_default())?),
            _ => Reply::Value(value),
        };
        return match bytes.get(end..end + END.len()) {
            Some(END) => Ok(Some((end + END.len(), reply))),
            Some(_) => Err(Malformed("something else than END follows a value".into())),
            None => Ok(None),
        };
    }
    let reply = match (kind, first) {
        (Kind::Get | Kind::Gets, b"END")
        | (Kind::Delete | Kind::Touch | Kind::Increment | Kind::Cas, b"NOT_FOUND") => Reply::Absent,
        (Kind::Put | Kind::Add | Kind::Cas, b"STORED") => Reply::Done,
        (Kind::Delete, b"DELETED") | (Kind::Touch, b"TOUCHED") => Reply::Done,
        (Kind::Add, b"NOT_STORED") | (Kind::Cas, b"EXISTS") => Reply::Exists,
        (Kind::Increment, digits) if digits.first().is_some_and(u8::is_ascii_digit) => {
            Reply::Number(number_of(digits)?)
        }
        _ if is_error(first) => Reply::Error(first),
        _ => return Err(Malformed::line(first)),
    };
    Ok(Some((at, reply)))
}

/// Values up to END.
fn decode_many(bytes: &[u8]) -> Decoded<'_> {
    let mut at = 0;
    loop {
        // The rest is still to come.
        let Some((first, after)) = line(&bytes[at..])? else { return Ok(None) };
        if first == b"END" {
            return Ok(Some((at + after, Reply::Many(&bytes[..at]))));
        }
        if is_error(first) {
            return Ok(Some((at + after, Reply::Error(first))));
        }
        let Some((_, end)) = one_of_many(bytes, at)? else { return Ok(None) };
        at = end;
    }
}

/// The key and value of the block that begins at `at`, and its end.
fn one_of_many(bytes: &[u8], at: usize) -> Result<Option<(Block<'_>, usize)>, Malformed> {
    // The line is still to come.
    let Some((first, after)) = line(&bytes[at..])? else { return Ok(None) };
    let head = first.strip_prefix(b"VALUE ").ok_or_else(|| Malformed::line(first))?;
    let mut words = head.split(|byte| *byte == b' ');
    let key = words.next().unwrap_or_default();
    let value = block(bytes, at + after, words.nth(1).unwrap_or_default())?;
    Ok(value.map(|(value, end)| ((key, value), end)))
}

/// The values of a [`Reply::Many`].
pub(super) fn blocks(bytes: &[u8]) -> impl Iterator<Item = Result<Block<'_>, Malformed>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (block, end) = one_of_many(bytes, at).transpose()?.ok()?;
        at = end;
        Some(Ok(block))
    })
}

/// Whether this line reports an error, in either kind of command. Text may follow, as in
/// `ERROR Too many open connections`.
pub(super) fn is_error(line: &[u8]) -> bool {
    [&b"ERROR"[..], b"CLIENT_ERROR", b"SERVER_ERROR"].iter().any(|error| line.starts_with(error))
}
