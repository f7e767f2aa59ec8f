//! memcached's meta commands: `mg`, `ms`, `md`.

use super::text::{is_error, lifetime};
use super::{Decoded, Malformed, Reply, block, line, number};
use crate::targets::operation::{Action, Kind, Question};

pub(super) fn encode(question: &Question<'_>, out: &mut Vec<u8>) {
    match question.action {
        Action::Get => {
            out.extend_from_slice(b"mg ");
            out.extend_from_slice(question.key);
            out.extend_from_slice(b" v");
        }
        Action::Put { value, ttl_s } => store(out, b"", question.key, value, ttl_s),
        Action::Add { value, ttl_s } => store(out, b" ME", question.key, value, ttl_s),
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
    if let Some(head) = first.strip_prefix(b"VA ") {
        if kind != Kind::Get {
            return Err(Malformed("a value answers a write".into()));
        }
        let length = head.split(|byte| *byte == b' ').next().unwrap_or_default();
        let value = block(bytes, at, length)?;
        return Ok(value.map(|(value, end)| (end, Reply::Value(value))));
    }
    let reply = match (kind, first.get(..2).unwrap_or_default()) {
        (Kind::Get | Kind::Touch, b"EN") | (Kind::Delete, b"NF") => Reply::Absent,
        (Kind::Put | Kind::Add | Kind::Touch | Kind::Delete, b"HD") => Reply::Done,
        (Kind::Add, b"NS") => Reply::Exists,
        _ if is_error(first) => Reply::Error(first),
        (Kind::Put, b"NS") => Reply::Error(first),
        _ => return Err(Malformed::line(first)),
    };
    Ok(Some((at, reply)))
}
