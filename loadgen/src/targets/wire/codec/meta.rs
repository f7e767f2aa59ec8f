//! memcached's meta commands: `mg`, `ms`, `md`, `ma`, and `mn` behind the `mg` of several keys.

use super::many::Block;
use super::text::{is_error, lifetime};
use super::{Decoded, Malformed, Reply, block, line, number, number_of};
use crate::targets::operation::{Action, Kind, Question};

pub(super) fn encode(question: &Question<'_>, out: &mut Vec<u8>) {
    match question.action {
        Action::Get => {
            out.extend_from_slice(b"mg ");
            out.extend_from_slice(question.key);
            out.extend_from_slice(b" v");
        }
        // Keys that are not there are not answered (q), so each value comes with its key (k).
        Action::GetMany { others } => {
            for key in std::iter::once(question.key).chain(others.iter().map(Vec::as_slice)) {
                out.extend_from_slice(b"mg ");
                out.extend_from_slice(key);
                out.extend_from_slice(b" k q v\r\n");
            }
            out.extend_from_slice(b"mn");
        }
        Action::Gets => {
            out.extend_from_slice(b"mg ");
            out.extend_from_slice(question.key);
            out.extend_from_slice(b" c v");
        }
        Action::Put { value, ttl_s } => store(out, b"", question.key, value, ttl_s),
        Action::Add { value, ttl_s } => store(out, b" ME", question.key, value, ttl_s),
        Action::Cas { version, value, ttl_s, .. } => {
            let mut mode = b" C".to_vec();
            number(&mut mode, version);
            store(out, &mode, question.key, value, ttl_s);
        }
        Action::Increment { by } => {
            out.extend_from_slice(b"ma ");
            out.extend_from_slice(question.key);
            out.extend_from_slice(b" D");
            number(out, by.into());
            out.extend_from_slice(b" v");
        }
        Action::Touch { ttl_s } => {
            out.extend_from_slice(b"mg ");
            out.extend_from_slice(question.key);
            out.extend_from_slice(b" T");
            lifetime(out, ttl_s);
        }
        Action::Delete => {
            out.extend_from_slice(b"md ");
            out.extend_from_slice(question.key);
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn store(out: &mut Vec<u8>, mode: &[u8], key: &[u8], value: &[u8], ttl_s: u32) {
    out.extend_from_slice(b"ms ");
    out.extend_from_slice(key);
    out.push(b' ');
    number(out, value.len() as u64);
    out.extend_from_slice(mode);
    if ttl_s > 0 {
        out.extend_from_slice(b" T");
        lifetime(out, ttl_s);
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(value);
}

pub(super) fn decode(kind: Kind, bytes: &[u8]) -> Decoded<'_> {
    // The line is still to come.
    let Some((first, at)) = line(bytes)? else { return Ok(None) };
    if kind == Kind::GetMany && !is_error(first) {
        return decode_many(bytes);
    }
    if let Some(head) = first.strip_prefix(b"VA ") {
        if !kind.is_read() && kind != Kind::Increment {
            return Err(Malformed("a value answers a write".into()));
        }
        let mut words = head.split(|byte| *byte == b' ');
        let Some((value, end)) = block(bytes, at, words.next().unwrap_or_default())? else {
            return Ok(None);
        };
        let reply = match kind {
            Kind::Increment => Reply::Number(number_of(value)?),
            Kind::Gets => {
                let version = words.find_map(|word| word.strip_prefix(b"c"));
                Reply::Versioned(value, number_of(version.unwrap_or_default())?)
            }
            _ => Reply::Value(value),
        };
        return Ok(Some((end, reply)));
    }
    let reply = match (kind, first.get(..2).unwrap_or_default()) {
        (Kind::Get | Kind::Gets | Kind::Touch, b"EN")
        | (Kind::Delete | Kind::Increment | Kind::Cas, b"NF") => Reply::Absent,
        (Kind::Put | Kind::Add | Kind::Touch | Kind::Delete | Kind::Cas, b"HD") => Reply::Done,
        (Kind::Add, b"NS") | (Kind::Cas, b"EX") => Reply::Exists,
        _ if is_error(first) => Reply::Error(first),
        (Kind::Put, b"NS") => Reply::Error(first),
        _ => return Err(Malformed::line(first)),
    };
    Ok(Some((at, reply)))
}

/// Values up to MN.
fn decode_many(bytes: &[u8]) -> Decoded<'_> {
    let mut at = 0;
    loop {
        // The rest is still to come.
        let Some((first, after)) = line(&bytes[at..])? else { return Ok(None) };
        if first == b"MN" {
            return Ok(Some((at + after, Reply::Many(&bytes[..at]))));
        }
        if is_error(first) {
            return skip_to_end(bytes, at + after, first);
        }
        let Some((_, end)) = one_of_many(bytes, at)? else { return Ok(None) };
        at = end;
    }
}

/// A key was answered with an error. The answers to those behind it follow, and the end.
fn skip_to_end<'a>(bytes: &'a [u8], from: usize, error: &'a [u8]) -> Decoded<'a> {
    let mut at = from;
    loop {
        // The rest is still to come.
        let Some((first, after)) = line(&bytes[at..])? else { return Ok(None) };
        if first == b"MN" {
            return Ok(Some((at + after, Reply::Error(error))));
        }
        if is_error(first) {
            at += after;
            continue;
        }
        let Some((_, end)) = one_of_many(bytes, at)? else { return Ok(None) };
        at = end;
    }
}

/// The key and value of the block that begins at `at`, and its end.
fn one_of_many(bytes: &[u8], at: usize) -> Result<Option<(Block<'_>, usize)>, Malformed> {
    // The line is still to come.
    let Some((first, after)) = line(&bytes[at..])? else { return Ok(None) };
    let head = first.strip_prefix(b"VA ").ok_or_else(|| Malformed::line(first))?;
    let mut words = head.split(|byte| *byte == b' ');
    let length = words.next().unwrap_or_default();
    let key = words.find_map(|word| word.strip_prefix(b"k"));
    let key = key.ok_or(Malformed("a value of several has no key".into()))?;
    let value = block(bytes, at + after, length)?;
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
