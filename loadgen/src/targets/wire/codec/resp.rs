//! Redis' protocol, versions 2 and 3: `GET`, `SET`, `TOUCH`, `EXPIRE`, `DEL`, and what begins a connection.

use super::{Decoded, Login, Malformed, Protocol, Reply, block, line, number};
use crate::targets::operation::{Action, Kind, Question};

/// The deepest nesting of a reply that is skipped.
const DEPTH_MAX: u32 = 8;

pub(super) fn encode(question: &Question<'_>, out: &mut Vec<u8>) {
    match question.action {
        Action::Get => command(out, &[b"GET", question.key]),
        Action::Put { value, ttl_s: 0 } => command(out, &[b"SET", question.key, value]),
        Action::Put { value, ttl_s } => {
            command(out, &[b"SET", question.key, value, b"EX", &seconds(ttl_s)]);
        }
        Action::Add { value, ttl_s: 0 } => command(out, &[b"SET", question.key, value, b"NX"]),
        Action::Add { value, ttl_s } => {
            command(out, &[b"SET", question.key, value, b"NX", b"EX", &seconds(ttl_s)]);
        }
        // It says whether there is a value, and changes no lifetime.
        Action::Touch { ttl_s: 0 } => command(out, &[b"TOUCH", question.key]),
        Action::Touch { ttl_s } => command(out, &[b"EXPIRE", question.key, &seconds(ttl_s)]),
        Action::Delete => command(out, &[b"DEL", question.key]),
    }
}

fn seconds(ttl_s: u32) -> Vec<u8> {
    let mut digits = Vec::with_capacity(10);
    number(&mut digits, ttl_s.into());
    digits
}

/// Appends what a connection begins with, and returns the number of replies to it. Each of them must be no
/// error.
pub(in crate::targets::wire) fn greet(
    protocol: Protocol,
    login: &Login,
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
    let decoded = decode_any(bytes)?;
    match (kind, decoded) {
        (Kind::Get, Some((_, Reply::Done | Reply::Array(_))))
        | (Kind::Put, Some((_, Reply::Value(_) | Reply::Absent)))
        | (Kind::Add, Some((_, Reply::Value(_) | Reply::Array(_))))
        | (Kind::Delete | Kind::Touch, Some((_, Reply::Value(_) | Reply::Array(_)))) => {
            Err(Malformed("a reply to another question".into()))
        }
        (Kind::Add, Some((length, Reply::Absent))) => Ok(Some((length, Reply::Exists))),
        _ => Ok(decoded),
    }
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
        b':' if rest == b"0" => Reply::Absent,
        b':' => Reply::Done,
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
