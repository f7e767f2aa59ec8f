//! The bytes of replies to meta commands. The words of a command say what its reply contains, in
//! their order.

use super::failure::{failure, line};
use super::numbers::unique;
use super::tokens::Tokens;
use super::{Kind, Tag, marks, numbers, wants};
use crate::node::answer::marks as item_marks;
use crate::node::{AnswerHead, Status};

/// Appends the reply to a command with these words: the key and the flags.
pub(super) fn write(tag: Tag, words: &[u8], head: &AnswerHead, value: &[u8], out: &mut Vec<u8>) {
    let words = Tokens::of(words);
    let first_flag = if tag.kind == Kind::MetaSet { 2 } else { 1 };
    let is_quiet = tag.has(marks::QUIET);
    let code = match (tag.kind, head.status) {
        (Kind::MetaDebug, Status::Ok) => return debug(&words, head, value, out),
        (Kind::MetaGet | Kind::MetaArithmetic, Status::Ok) => {
            return item(tag, &words, head, value, out);
        }
        (_, Status::Ok) if is_quiet => return,
        (_, Status::Ok) => "HD",
        (Kind::MetaGet, Status::NotFound) if is_quiet => return,
        (Kind::MetaDebug, Status::NotFound) => return line("EN", out),
        (Kind::MetaGet, Status::NotFound) => "EN",
        (Kind::MetaSet, Status::NotFound) if !compares(&words) => "NS",
        (_, Status::NotFound) => "NF",
        (_, Status::NotStored) => "NS",
        (_, Status::VersionMismatch) => "EX",
        _ => return failure(head, value, out),
    };
    out.extend_from_slice(code.as_bytes());
    for flag in words.from(first_flag) {
        match flag[0] {
            b'O' => word(flag, out),
            b'k' => key(&words, out),
            b'c' if tag.kind == Kind::MetaSet => {
                let unique = if head.status == Status::Ok { unique(head.version) } else { 0 };
                number(b'c', unique, out);
            }
            b's' if tag.kind == Kind::MetaSet && head.status == Status::Ok => {
                size(&words, value, out);
            }
            _ => {}
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// The reply to an `mg` that asks for the value and nothing else.
#[inline]
pub(super) fn value_of(tag: Tag, words: &[u8], head: &AnswerHead, value: &[u8], out: &mut Vec<u8>) {
    if head.status != Status::Ok {
        return write(tag, words, head, value, out);
    }
    out.reserve(value.len() + 32);
    out.extend_from_slice(b"VA ");
    numbers::write(value.len() as u64, out);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// A value, or what is asked about it.
fn item(tag: Tag, words: &Tokens<'_>, head: &AnswerHead, value: &[u8], out: &mut Vec<u8>) {
    let is_arithmetic = tag.kind == Kind::MetaArithmetic;
    if is_arithmetic && tag.has(marks::QUIET) {
        return;
    }
    let is_known = |flag: &[u8]| {
        flag[0] == b'C' && numbers::unsigned(&flag[1..]) == Some(unique(head.version))
    };
    let is_unknown =
        is_arithmetic || tag.number & wants::UNKNOWN == 0 || !words.from(1).any(is_known);
    let wants_value = tag.number & wants::VALUE != 0 && is_unknown;
    if wants_value {
        out.reserve(value.len() + 128);
        out.extend_from_slice(b"VA ");
        numbers::write(value.len() as u64, out);
    } else {
        out.extend_from_slice(b"HD");
    }
    for flag in words.from(1) {
        match flag[0] {
            b'O' => word(flag, out),
            b'k' => key(words, out),
            b'c' => number(b'c', unique(head.version), out),
            b't' => ttl(head, out),
            b's' if !is_arithmetic => number(b's', value.len() as u64, out),
            b'f' if !is_arithmetic => number(b'f', u64::from(head.item_flags), out),
            _ => {}
        }
    }
    let marks = [(item_marks::WON, b'Z'), (item_marks::STALE, b'X'), (item_marks::WINS, b'W')];
    for (_, letter) in marks.into_iter().filter(|(mark, _)| head.marks & mark != 0) {
        word(&[letter], out);
    }
    out.extend_from_slice(b"\r\n");
    if wants_value {
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
}

/// What is known of an item.
fn debug(words: &Tokens<'_>, head: &AnswerHead, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"ME ");
    out.extend_from_slice(words.get(0).unwrap_or_default());
    out.extend_from_slice(b" exp=");
    seconds(head, out);
    out.extend_from_slice(b" cas=");
    numbers::write(unique(head.version), out);
    out.extend_from_slice(b" size=");
    numbers::write(value.len() as u64, out);
    out.extend_from_slice(b"\r\n");
}

/// Whether an `ms` replaces a value of a version only. In the modes that add to a value, the lack of
/// one is told in another way.
fn compares(words: &Tokens<'_>) -> bool {
    let has = |letter, tokens: &[u8]| {
        words.from(2).any(|flag| {
            flag[0] == letter
                && (tokens.is_empty() || flag.get(1).is_some_and(|t| tokens.contains(t)))
        })
    };
    has(b'C', b"") && !has(b'M', b"AaPp")
}

/// The length of what an `ms` has stored: of the whole, if it was added to something.
fn size(words: &Tokens<'_>, value: &[u8], out: &mut Vec<u8>) {
    let sent = words.get(1).and_then(numbers::unsigned);
    number(b's', numbers::unsigned(value).or(sent).unwrap_or(0), out);
}

fn ttl(head: &AnswerHead, out: &mut Vec<u8>) {
    out.extend_from_slice(b" t");
    seconds(head, out);
}

fn seconds(head: &AnswerHead, out: &mut Vec<u8>) {
    match head.ttl_ms {
        u64::MAX => out.extend_from_slice(b"-1"),
        ms => numbers::write(ms.div_ceil(1_000), out),
    }
}

/// The key as it was sent.
fn key(words: &Tokens<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b" k");
    out.extend_from_slice(words.get(0).unwrap_or_default());
    if words.from(1).any(|flag| flag[0] == b'b') {
        out.extend_from_slice(b" b");
    }
}

fn number(letter: u8, number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b' ', letter]);
    numbers::write(number, out);
}

fn word(word: &[u8], out: &mut Vec<u8>) {
    out.push(b' ');
    out.extend_from_slice(word);
}
