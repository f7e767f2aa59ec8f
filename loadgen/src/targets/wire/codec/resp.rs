//! Redis' protocol, versions 2 and 3: `GET`, `MGET`, `SET`, `TOUCH`, `EXPIRE`, `INCRBY`, `DEL`, and what begins a
//! connection.
//!
//! Redis' values have no versions. A compare-and-set is a script ([`COMPARE_AND_SET`]) and not WATCH, MULTI and EXEC:
//! what is watched is a state of the connection, which EXEC ends, so each change under way would need a connection of
//! its own, while all others are pipelined. A script compares and writes in one step and one round trip, on any
//! connection, and a cluster finds its node by the key.

use super::{Decoded, Login, Malformed, Protocol, Reply, block, line, number, number_of};
use crate::targets::operation::{Action, Kind, Question};

/// Writes the second argument if the value is the first one: 1 if it was, 0 if it is another, nil if there is none.
/// The third is a lifetime in seconds; 0: none.
const COMPARE_AND_SET: &[u8] = b"local v = redis.call('GET', KEYS[1]) \
    if not v then return nil end \
    if v ~= ARGV[1] then return 0 end \
    if ARGV[3] == '0' then redis.call('SET', KEYS[1], ARGV[2]) \
    else redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3]) end \
    return 1";
/// The deepest nesting of a reply that is skipped.
const DEPTH_MAX: u32 = 8;

pub(super) fn encode(question: &Question<'_>, out: &mut Vec<u8>) {
    match question.action {
        Action::Get | Action::Gets => command(out, &[b"GET", question.key]),
        Action::GetMany { others } => {
            let keys = std::iter::once(question.key).chain(others.iter().map(Vec::as_slice));
            command(out, &std::iter::once(&b"MGET"[..]).chain(keys).collect::<Vec<_>>());
        }
        Action::Increment { by } => command(out, &[b"INCRBY", question.key, &digits(by)]),
        Action::Cas { expected, value, ttl_s, .. } => {
            let words =
                [b"EVAL", COMPARE_AND_SET, b"1", question.key, expected, value, &digits(ttl_s)];
            command(out, &words);
        }
        Action::Put { value, ttl_s: 0 } => command(out, &[b"SET", question.key, value]),
        Action::Put { value, ttl_s } => {
            command(out, &[b"SET", question.key, value, b"EX", &digits(ttl_s)]);
        }
        Action::Add { value, ttl_s: 0 } => command(out, &[b"SET", question.key, value, b"NX"]),
        Action::Add { value, ttl_s } => {
            command(out, &[b"SET", question.key, value, b"NX", b"EX", &digits(ttl_s)]);
        }
        // It says whether there is a value, and changes no lifetime.
        Action::Touch { ttl_s: 0 } => command(out, &[b"TOUCH", question.key]),
        Action::Touch { ttl_s } => command(out, &[b"EXPIRE", question.key, &digits(ttl_s)]),
        Action::Delete => command(out, &[b"DEL", question.key]),
    }
}

fn digits(value: u32) -> Vec<u8> {
    let mut digits = Vec::with_capacity(10);
    number(&mut digits, value.into());
    digits
}

/// See [`Protocol::greet`].
pub(super) fn greet(
    protocol: Protocol,
    login: &Login,
    is_asking: bool,
    out: &mut Vec<u8>,
) -> usize {
    let Login { user, password, database } = login;
    let mut replies = 0;
    if let Some(password) = password {
        match user {
            Some(user) => command(out, &[b"AUTH", user.as_bytes(), password.as_bytes()]),
            None => command(out, &[b"AUTH", password.as_bytes()]),
        }
        replies += 1;
    }
    // Redis answers HELLO only to users that it knows.
    if protocol == Protocol::Resp3 {
        command(out, &[b"HELLO", b"3"]);
        replies += 1;
    }
    if *database > 0 {
        let mut name = Vec::new();
        number(&mut name, (*database).into());
        command(out, &[b"SELECT", &name]);
        replies += 1;
    }
    if is_asking && replies == 0 {
        command(out, &[b"PING"]);
        replies += 1;
    }
    replies
}

pub(super) fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
    out.push(b'*');
    number(out, words.len() as u64);
    out.extend_from_slice(b"\r\n");
    for word in words {
        out.push(b'$');
        number(out, word.len() as u64);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

pub(super) fn decode(kind: Kind, bytes: &[u8]) -> Decoded<'_> {
    // The reply is not complete yet.
    let Some((length, decoded)) = decode_any(bytes)? else { return Ok(None) };
    let reply = match (kind, decoded) {
        (_, Reply::Error(_) | Reply::Push)
        | (Kind::Get, Reply::Value(_) | Reply::Absent)
        | (Kind::Gets, Reply::Absent)
        // CLUSTER SLOTS is answered with an array.
        | (Kind::Put, Reply::Done | Reply::Array(_))
        | (Kind::Add | Kind::Delete | Kind::Touch, Reply::Done)
        | (Kind::Delete | Kind::Touch | Kind::Cas, Reply::Absent)
        | (Kind::Increment, Reply::Number(_)) => decoded,
        (Kind::Gets, Reply::Value(value)) => Reply::Versioned(value, 0),
        (Kind::GetMany, Reply::Array(array)) => Reply::Many(array),
        (Kind::Add, Reply::Absent) | (Kind::Cas, Reply::Number(0)) => Reply::Exists,
        (Kind::Delete | Kind::Touch, Reply::Number(0)) => Reply::Absent,
        (Kind::Delete | Kind::Touch | Kind::Cas, Reply::Number(_)) => Reply::Done,
        _ => return Err(Malformed("a reply to another question".into())),
    };
    Ok(Some((length, reply)))
}

/// The values of an array of this many.
pub(super) fn values(count: usize, array: &[u8]) -> Result<Vec<Option<&[u8]>>, Malformed> {
    let other = || Malformed("an array of another length or with another content".into());
    let (head, mut at) = line(array)?.ok_or_else(other)?;
    if number_of(head.strip_prefix(b"*").unwrap_or_default())? != count as u64 {
        return Err(other());
    }
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        let (length, reply) = decode_any(&array[at..])?.ok_or_else(other)?;
        at += length;
        match reply {
            Reply::Value(value) => values.push(Some(value)),
            Reply::Absent => values.push(None),
            _ => return Err(other()),
        }
    }
    Ok(values)
}

fn decode_any(bytes: &[u8]) -> Decoded<'_> {
    // The line is still to come.
    let Some((first, at)) = line(bytes)? else { return Ok(None) };
    let Some((kind, rest)) = first.split_first() else {
        return Err(Malformed("an empty line".into()));
    };
    let reply = match kind {
        b'$' if rest != b"-1" => {
            let value = block(bytes, at, rest)?;
            return Ok(value.map(|(value, end)| (end, Reply::Value(value))));
        }
        b'$' | b'_' => Reply::Absent,
        b'+' => Reply::Done,
        b'-' => Reply::Error(rest),
        // Nothing here is answered with a negative number.
        b':' => Reply::Number(number_of(rest)?),
        b'>' => return Ok(skip(bytes, 0)?.map(|end| (end, Reply::Push))),
        // HELLO is answered with a map.
        b'%' => return Ok(skip(bytes, 0)?.map(|end| (end, Reply::Done))),
        b'*' => return Ok(skip(bytes, 0)?.map(|end| (end, Reply::Array(&bytes[..end])))),
        _ => return Err(Malformed::line(first)),
    };
    Ok(Some((at, reply)))
}

/// The bytes of the first reply, whatever it is; `None` if it is not complete yet.
fn skip(bytes: &[u8], depth: u32) -> Result<Option<usize>, Malformed> {
    if depth > DEPTH_MAX {
        return Err(Malformed("a reply is nested too deeply".into()));
    }
    // The line is still to come.
    let Some((first, at)) = line(bytes)? else { return Ok(None) };
    let Some((kind, rest)) = first.split_first() else {
        return Err(Malformed("an empty line".into()));
    };
    let many = match kind {
        b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => return Ok(Some(at)),
        b'$' | b'!' | b'=' if rest == b"-1" => return Ok(Some(at)),
        b'$' | b'!' | b'=' => return Ok(block(bytes, at, rest)?.map(|(_, end)| end)),
        b'*' | b'~' | b'>' => 1,
        b'%' | b'|' => 2,
        _ => return Err(Malformed("a reply of an unknown type".into())),
    };
    let count: i64 = std::str::from_utf8(rest)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(Malformed("the length of an array is not a number".into()))?;
    let mut at = at;
    for _ in 0..count.max(0).saturating_mul(many) {
        // The element is not complete yet.
        let Some(length) = skip(&bytes[at..], depth + 1)? else { return Ok(None) };
        at += length;
    }
    Ok(Some(at))
}

/// Appends the question for the slots of a cluster.
pub(in crate::targets::wire) fn ask_slots(out: &mut Vec<u8>) {
    command(out, &[b"CLUSTER", b"SLOTS"]);
}

/// Appends what allows the next request to a slot that is being moved.
pub(in crate::targets::wire) fn asking(out: &mut Vec<u8>) {
    command(out, &[b"ASKING"]);
}

/// A range of slots: the first, the last, and the host and port of its master.
pub(in crate::targets::wire) type SlotRange = (u16, u16, String, u16);

/// Reads the answer to `CLUSTER SLOTS`; `None`: it is not one.
pub(in crate::targets::wire) fn slots(array: &[u8]) -> Option<Vec<SlotRange>> {
    let mut reader = Reader(array);
    let ranges = reader.array()?;
    let mut all = Vec::new();
    for _ in 0..ranges {
        let parts = reader.array().filter(|parts| *parts >= 3)?;
        let (first, last) = (reader.number()?, reader.number()?);
        if first > last || last > 16_383 {
            return None;
        }
        let master = reader.array().filter(|parts| *parts >= 2)?;
        let host = reader.text()?;
        let port = u16::try_from(reader.number()?).ok()?;
        for _ in 2..master {
            reader.skip()?;
        }
        // The replicas.
        for _ in 3..parts {
            reader.skip()?;
        }
        all.push((u16::try_from(first).ok()?, u16::try_from(last).ok()?, host, port));
    }
    Some(all)
}

/// The values of a whole reply, one after the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next line, if its type is one of these.
    fn line(&mut self, kinds: &[u8]) -> Option<&'a [u8]> {
        let (first, at) = line(self.0).ok()??;
        let (kind, rest) = first.split_first().filter(|(kind, _)| kinds.contains(kind))?;
        if *kind == b'$' && rest != b"-1" {
            let (value, end) = block(self.0, at, rest).ok()??;
            self.0 = &self.0[end..];
            return Some(value);
        }
        self.0 = &self.0[at..];
        Some(if rest == b"-1" || *kind == b'_' { b"" } else { rest })
    }

    fn array(&mut self) -> Option<u64> {
        std::str::from_utf8(self.line(b"*")?).ok()?.parse().ok()
    }

    fn number(&mut self) -> Option<u64> {
        std::str::from_utf8(self.line(b":")?).ok()?.parse().ok()
    }

    fn text(&mut self) -> Option<String> {
        Some(String::from_utf8_lossy(self.line(b"$+_")?).into_owned())
    }

    fn skip(&mut self) -> Option<()> {
        let end = skip(self.0, 0).ok()??;
        self.0 = &self.0[end..];
        Some(())
    }
}
