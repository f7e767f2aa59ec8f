//! The bytes of replies.

use super::failure::{failure, line};
use super::said::Said;
use super::{Kind, Tag, marks, meta_reply, numbers, stats, wants};
use crate::node::{AnswerHead, Status};

/// What the requests of a line that come together have in common while their replies are written.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// One of them has failed.
    pub(super) has_failed: bool,
    /// One of those of a flush is forbidden.
    is_forbidden: bool,
}

/// Appends the reply to a request.
#[inline]
pub(super) fn write(
    tag: Tag,
    echo: &[u8],
    head: &AnswerHead,
    value: &[u8],
    group: &mut Group,
    out: &mut Vec<u8>,
) {
    match tag.kind {
        Kind::Get | Kind::Gat => key(tag, false, echo, head, value, group, out),
        Kind::Gets | Kind::Gats => key(tag, true, echo, head, value, group, out),
        Kind::MetaGet if tag.number & wants::VALUE_ONLY != 0 && head.marks == 0 => {
            meta_reply::value_of(tag, echo, head, value, out);
        }
        _ => other(tag, echo, head, value, group, out),
    }
}

/// The reply to a key of a line of keys.
#[inline]
fn key(
    tag: Tag,
    has_version: bool,
    echo: &[u8],
    head: &AnswerHead,
    value: &[u8],
    group: &mut Group,
    out: &mut Vec<u8>,
) {
    if head.status != Status::Ok || tag.marks & marks::NONE != 0 || group.has_failed {
        return no_value(tag, head, value, group, out);
    }
    out.reserve(value.len() + echo.len() + 64);
    out.extend_from_slice(b"VALUE ");
    out.extend_from_slice(echo);
    if head.item_flags == 0 {
        out.extend_from_slice(b" 0 ");
    } else {
        out.push(b' ');
        numbers::write(u64::from(head.item_flags), out);
        out.push(b' ');
    }
    numbers::write(value.len() as u64, out);
    if has_version {
        out.push(b' ');
        numbers::write(numbers::unique(head.version), out);
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(value);
    out.extend_from_slice(if tag.has(marks::LAST) { b"\r\nEND\r\n" } else { b"\r\n" });
}

/// Nothing for a miss. A failure ends the reply to the whole line: a client that saw a miss would
/// believe that there is no such value.
#[cold]
fn no_value(tag: Tag, head: &AnswerHead, value: &[u8], group: &mut Group, out: &mut Vec<u8>) {
    let is_bad = tag.has(marks::BAD_KEY) || tag.has(marks::NO_KEYSPACE);
    if group.has_failed {
        // Nothing more of this line is told.
    } else if is_bad {
        let wrong = if tag.has(marks::BAD_KEY) { Said::BadFormat } else { Said::NoKeyspace };
        line(wrong.text(), out);
        group.has_failed = true;
    } else if !tag.has(marks::NO_KEY) && head.status != Status::NotFound {
        failure(head, value, out);
        group.has_failed = true;
    }
    // What is no key is the last of its line.
    let is_last = tag.marks & (marks::LAST | marks::NONE) != 0;
    if is_last && !std::mem::take(&mut group.has_failed) {
        out.extend_from_slice(b"END\r\n");
    }
}

fn other(
    tag: Tag,
    echo: &[u8],
    head: &AnswerHead,
    value: &[u8],
    group: &mut Group,
    out: &mut Vec<u8>,
) {
    if tag.kind as u8 >= Kind::MetaGet as u8 {
        return meta_reply::write(tag, echo, head, value, out);
    }
    if tag.kind == Kind::Flush {
        group.has_failed |= head.status != Status::Ok;
        group.is_forbidden |= head.status == Status::NotPermitted;
        if !tag.has(marks::LAST) {
            return;
        }
    }
    let Group { has_failed, is_forbidden } =
        if tag.kind == Kind::Flush { std::mem::take(group) } else { Group::default() };
    if tag.has(marks::QUIET) {
        return;
    }
    let text = match (tag.kind, head.status) {
        (Kind::Said, _) => Said::of(tag.number).text(),
        (Kind::TooLarge, _) => Said::TooLarge.text(),
        (Kind::Flush, _) if is_forbidden => "CLIENT_ERROR permission denied",
        (Kind::Flush, _) if has_failed => "SERVER_ERROR not all is flushed; try again",
        (Kind::Flush, _) => "OK",
        (Kind::Settings, _) => return stats::settings(tag.number, out),
        (Kind::Stats, Status::Ok) => return stats::write(value, out),
        (Kind::Store | Kind::Cas, Status::Ok) => "STORED",
        (Kind::Store, Status::NotStored | Status::NotFound) => "NOT_STORED",
        (Kind::Cas, Status::NotFound) => "NOT_FOUND",
        (Kind::Cas, Status::NotStored | Status::VersionMismatch) => "EXISTS",
        (Kind::Delete, Status::Ok) => "DELETED",
        (Kind::Touch, Status::Ok) => "TOUCHED",
        (Kind::Delete | Kind::Touch | Kind::Arithmetic, Status::NotFound) => "NOT_FOUND",
        (Kind::Arithmetic, Status::Ok) => {
            out.extend_from_slice(value);
            return out.extend_from_slice(b"\r\n");
        }
        _ => return failure(head, value, out),
    };
    line(text, out);
}
