//! The bytes of replies.

use standin_protocol::transact::results;

use super::about;
use super::bulk::{Word, Words, Wrong, number, words};
use super::cluster;
use super::failure::{append_shown, failure};
use super::guard::Verdict;
use super::resp;
use super::said::Said;
use super::session::{Group, Placed, Session};
use super::tag::{Kind, Tag, marks};
use super::watch::{Exec, Part, Transacted};
use super::{SHOWN_BYTES, info, keys, table};
use crate::node::answer::marks::ABSENT;
use crate::node::{AnswerHead, Status};
use crate::shard::codec::Again;

/// The bytes of a reply to a command with many keys that are kept until all of it is known.
const KEPT_BYTES: usize = 16 << 10;
/// The longest string that Redis keeps in one piece with its header.
const EMBEDDED_BYTES_MAX: usize = 44;

/// Appends the reply to a request, in the order of requests.
#[inline]
pub(super) fn write(
    tag: Tag,
    echo: &[u8],
    head: &AnswerHead,
    value: &[u8],
    session: &mut Session,
    out: &mut Vec<u8>,
) {
    if !echo.is_empty() {
        look(tag.kind, echo, head, session);
    }
    match (tag.kind, head.status) {
        (Kind::Get, Status::Ok) => resp::bulk(value, out),
        (Kind::Set, Status::Ok) => out.extend_from_slice(b"+OK\r\n"),
        (Kind::Get, Status::NotFound) => resp::null(session.version, out),
        _ if is_part(tag.kind) => part(tag, echo, head, value, session, out),
        _ => other(tag, echo, head, value, session, out),
    }
    if session.placed.is_some() {
        place(tag, session, out);
    }
}

/// Looks at the answer to a read of a key that may be watched.
fn look(kind: Kind, echo: &[u8], head: &AnswerHead, session: &mut Session) {
    use Kind::{
        Encoding, Exists, ExpireTime, Get, GetRange, Mget, PexpireTime, Pttl, Strlen, Ttl, Type,
    };
    match kind {
        Get | Mget | Exists | Strlen | Type | Encoding | Ttl | Pttl | ExpireTime | PexpireTime => {
            session.watched.look(echo, head);
        }
        GetRange => {
            let name = words(echo, 1).first().copied().unwrap_or_default();
            session.watched.look(name, head);
        }
        _ => {}
    }
}

/// Whether it is one of the requests of which a command consists.
#[inline]
fn is_part(kind: Kind) -> bool {
    use Kind::{Del, Exists, Flush, Mget, Mset, Watch};
    matches!(kind, Mget | Del | Exists | Mset | Flush | Watch)
}

/// Behind the reply to a command of a transaction, writes those that are known already.
#[cold]
fn place(tag: Tag, session: &mut Session, out: &mut Vec<u8>) {
    // These only begin the reply to EXEC.
    let is_whole = !matches!(tag.kind, Kind::Guard | Kind::Transact)
        && (!is_part(tag.kind) || tag.has(marks::LAST));
    if is_whole && !session.placed.as_mut().is_some_and(|placed| placed.pass(out)) {
        session.placed = None;
    }
}

fn other(
    tag: Tag,
    echo: &[u8],
    head: &AnswerHead,
    value: &[u8],
    session: &mut Session,
    out: &mut Vec<u8>,
) {
    let version = session.version;
    match (tag.kind, head.status) {
        (Kind::Said, _) => resp::line(Said::of(tag.number as u8).text(), out),
        (Kind::Wrong, _) => wrong(tag, session, out),
        (Kind::ExecNull, _) => resp::null_array(version, out),
        (Kind::ExecHead, _) => resp::array(tag.number, out),
        (Kind::Discard | Kind::Unwatch, _) => resp::line("+OK", out),
        (Kind::Transact, _) => transacted(head, value, session, out),
        (Kind::Guard, _) => guard(tag, head, value, session, out),
        (Kind::GuardWrong, _) => wrong_guard(session, out),
        (Kind::Arity | Kind::BadExpire, _) => of_command(tag, out),
        (Kind::Unknown | Kind::Subcommand, _) => unknown(tag, echo, out),
        (Kind::BadOption, _) => repeated("Unsupported option ", "", echo, out),
        (Kind::HelloOption, _) => repeated("Syntax error in HELLO option '", "'", echo, out),
        (Kind::ClientAttribute, _) => repeated("Unrecognized option '", "'", echo, out),
        (Kind::Auth | Kind::Hello, Status::AuthFailed) => {
            resp::line(Said::WrongPassword.text(), out);
        }
        (Kind::Auth, Status::Ok) => {
            session.user = String::from_utf8_lossy(value).into_owned();
            about::write(tag, echo, session, out);
        }
        (Kind::Hello, Status::Ok) => {
            if !value.is_empty() {
                session.user = String::from_utf8_lossy(value).into_owned();
            }
            about::write(tag, echo, session, out);
        }
        (Kind::Auth | Kind::Hello, Status::NotSupported) => {
            let words = words(echo, tag.number);
            match about::without_passwords(tag.kind, &words) {
                Ok(()) => about::write(tag, echo, session, out),
                Err(said) => resp::line(said.text(), out),
            }
        }
        (Kind::Strlen, Status::Ok) => resp::number(value.len() as i64, out),
        (Kind::Strlen, Status::NotFound) => resp::number(0, out),
        (Kind::GetRange, Status::Ok) => range(echo, value, out),
        (Kind::GetRange, Status::NotFound) => resp::bulk(b"", out),
        (Kind::Ttl | Kind::Pttl | Kind::ExpireTime | Kind::PexpireTime, Status::Ok) => {
            resp::number(lifetime(tag, head.ttl_ms), out);
        }
        (Kind::Ttl | Kind::Pttl | Kind::ExpireTime | Kind::PexpireTime, Status::NotFound) => {
            resp::number(-2, out);
        }
        (Kind::Type, Status::Ok) => resp::line("+string", out),
        (Kind::Type, Status::NotFound) => resp::line("+none", out),
        (Kind::Encoding, Status::Ok) => resp::bulk(encoding(value).as_bytes(), out),
        (Kind::Frequency, Status::Ok) => resp::line(Said::NoFrequency.text(), out),
        (Kind::IdleTime, Status::Ok) => resp::line(Said::NoIdleTime.text(), out),
        (Kind::References, Status::Ok) => resp::number(1, out),
        (
            Kind::Encoding | Kind::Frequency | Kind::IdleTime | Kind::References,
            Status::NotFound,
        ) => resp::null(version, out),
        (Kind::SetIf, Status::Ok) => resp::line("+OK", out),
        (Kind::SetIf, Status::NotStored | Status::NotFound) => resp::null(version, out),
        (Kind::Old, Status::Ok) if head.marks & ABSENT != 0 => resp::null(version, out),
        (Kind::Old, Status::Ok | Status::NotStored) => resp::bulk(value, out),
        (Kind::Old, Status::NotFound) => resp::null(version, out),
        (Kind::Flag, Status::Ok) => resp::number(1, out),
        (Kind::Flag, Status::NotStored | Status::NotFound) => resp::number(0, out),
        (Kind::Integer | Kind::Length, Status::Ok) => {
            out.push(b':');
            out.extend_from_slice(value);
            resp::end(out);
        }
        (Kind::Float, Status::Ok) => resp::bulk(value, out),
        (Kind::Float, Status::NotANumber) => resp::line(Said::NotFloat.text(), out),
        (Kind::Float, Status::OutOfRange) => resp::line(Said::NotFinite.text(), out),
        (Kind::Info, Status::Ok) => info::write(value, &words(echo, tag.number), session, out),
        (
            Kind::Scan | Kind::ScanNothing | Kind::Keys | Kind::RandomKey | Kind::KeyCount,
            Status::Ok | Status::Unavailable,
        ) => keys::write(tag.kind, head.status, value, version, out),
        (Kind::Number, _) => resp::number(tag.number.cast_signed(), out),
        (Kind::Cluster, Status::Ok) => cluster::write(tag, value, session, out),
        (_, Status::Ok) => about::write(tag, echo, session, out),
        _ => failed(head, value, session, out),
    }
}

/// The reply to a request that could not be carried out, or is another node's.
pub(super) fn failed(head: &AnswerHead, value: &[u8], session: &Session, out: &mut Vec<u8>) {
    match head.status {
        Status::NotOwner => cluster::moved(value, session, out),
        _ => failure(head, value, out),
    }
}

/// Writes the answer to EXEC, or goes on to the next guard.
fn guard(tag: Tag, head: &AnswerHead, value: &[u8], session: &mut Session, out: &mut Vec<u8>) {
    session.is_alone = false;
    let mut exec = session.exec.take().expect("a guard belongs to a transaction");
    match Verdict::of(exec.seen, head.status) {
        Verdict::Changed => resp::null_array(session.version, out),
        Verdict::Failed => failed(head, value, session, out),
        Verdict::Same => match exec.next_guard() {
            Some(bytes) => {
                session.again = Some(Again { bytes, tag: Tag::new(Kind::Guard).pack() });
                session.exec = Some(exec);
            }
            None => carry_out(tag, head, value, *exec, session, out),
        },
    }
}

/// Begins the answer to EXEC; the other commands are decoded.
fn carry_out(
    tag: Tag,
    head: &AnswerHead,
    value: &[u8],
    exec: Exec,
    session: &mut Session,
    out: &mut Vec<u8>,
) {
    resp::array(exec.rest.ends.len() as u64, out);
    let mut placed = Vec::new();
    if let Some(number) = exec.written {
        let marks = tag.marks & (marks::FIRST | marks::LAST);
        let mut own = Vec::new();
        write(Tag { marks, ..Tag::new(tag.kind_of_guard()) }, &[], head, value, session, &mut own);
        placed.push((number, own));
    }
    if let Some(number) =
        exec.expires.filter(|_| tag.has(marks::FOLDED) && head.status == Status::Ok)
    {
        placed.push((number, b":1\r\n".to_vec()));
    }
    let done: Vec<usize> = placed.iter().map(|(number, _)| *number).collect();
    let bytes = exec.rest.others(&done);
    session.placed = Placed::new(placed, out);
    if !bytes.is_empty() {
        session.again = Some(Again { bytes, tag: Tag::new(Kind::Exec).pack() });
    }
}

/// Writes the answer to EXEC, as far as it follows from that of the owner; the commands without keys are decoded.
fn transacted(head: &AnswerHead, value: &[u8], session: &mut Session, out: &mut Vec<u8>) {
    session.is_alone = false;
    let transacted = session.transacted.take().expect("the request belongs to a transaction");
    match head.status {
        Status::VersionMismatch => return resp::null_array(session.version, out),
        Status::TooLarge => return resp::line(Said::TransactionTooLarge.text(), out),
        Status::Ok => {}
        _ => return failed(head, value, session, out),
    }
    let Transacted { rest, parts } = *transacted;
    let Some(results) = results(value).filter(|results| results.len() == parts.len()) else {
        return resp::line("-ERR the results of the transaction can't be read", out);
    };
    resp::array(rest.ends.len() as u64, out);
    let mut placed: Vec<(usize, Vec<u8>)> = Vec::new();
    for (Part { command, tag, echo }, result) in parts.into_iter().zip(results) {
        if placed.last().is_none_or(|(number, _)| *number != command) {
            placed.push((command, Vec::new()));
        }
        let (_, own) = placed.last_mut().expect("one was pushed");
        let head = AnswerHead {
            version: result.version,
            ttl_ms: result.ttl_ms,
            item_flags: result.item_flags,
            marks: result.marks,
            ..AnswerHead::status(result.status)
        };
        write(tag, &echo, &head, result.value, session, own);
    }
    let done: Vec<usize> = placed.iter().map(|(number, _)| *number).collect();
    let bytes = rest.others(&done);
    session.placed = Placed::new(placed, out);
    if !bytes.is_empty() {
        session.again = Some(Again { bytes, tag: Tag::new(Kind::Exec).pack() });
    }
}

/// Writes the answer to EXEC if its guard is no command that can be carried out.
fn wrong_guard(session: &mut Session, out: &mut Vec<u8>) {
    session.exec = None;
    resp::line(Said::ExecAbort.text(), out);
}

/// A key of a command with many.
fn part(
    tag: Tag,
    echo: &[u8],
    head: &AnswerHead,
    value: &[u8],
    session: &mut Session,
    out: &mut Vec<u8>,
) {
    let version = session.version;
    if tag.kind == Kind::Watch {
        session.is_alone = false;
        // As in Redis, what is refused is not watched.
        if tag.wrong_part().is_none() && head.status != Status::NotPermitted {
            session.watched.see(echo, head, value);
        }
    }
    let mut group = std::mem::take(&mut session.group);
    let is_found = head.status == Status::Ok;
    let is_told = is_found || head.status == Status::NotFound;
    let reply = |out: &mut Vec<u8>| match tag.wrong_part() {
        Some(said) => resp::line(said.text(), out),
        None if tag.kind == Kind::Mget && is_found => resp::bulk(value, out),
        None if tag.kind == Kind::Mget && is_told => resp::null(version, out),
        None => failed(head, value, session, out),
    };
    if tag.kind == Kind::Mget && tag.has(marks::FIRST) {
        resp::array(tag.left(), &mut group.kept);
    }
    let has_failed = tag.wrong_part().is_some() || !is_told;
    match (tag.kind, has_failed) {
        // Too much has been written for an error in its place: the key has an error in the array.
        (Kind::Mget, _) if group.is_begun => reply(out),
        (Kind::Mget, false) => {
            reply(&mut group.kept);
            if group.kept.len() > KEPT_BYTES && group.failed.is_none() {
                out.append(&mut group.kept);
                group.is_begun = true;
            }
        }
        (_, true) if group.failed.is_none() => {
            let mut text = Vec::new();
            reply(&mut text);
            group.failed = Some(text);
        }
        (_, true) => {}
        (_, false) => group.count += i64::from(is_found),
    }
    if group.kept.len() > KEPT_BYTES {
        group.kept = Vec::new();
    }
    if !tag.has(marks::LAST) {
        session.group = group;
        return;
    }
    let Group { failed, count, kept, is_begun } = group;
    match failed {
        // The rest of the keys has not been read.
        _ if is_begun => missing(tag, out),
        Some(text) => out.extend_from_slice(&text),
        None => match tag.kind {
            Kind::Mget => out.extend_from_slice(&kept),
            Kind::Mset | Kind::Flush | Kind::Watch => resp::line("+OK", out),
            _ => resp::number(count, out),
        },
    }
}

/// The rest of an array whose last keys can't be read, because one of them is wrong.
fn missing(tag: Tag, out: &mut Vec<u8>) {
    let Some(said) = tag.wrong_part() else { return };
    for _ in 1..tag.left() {
        resp::line(said.text(), out);
    }
}

/// Bytes that are no command. They end a command whose keys were being answered.
#[cold]
fn wrong(tag: Tag, session: &mut Session, out: &mut Vec<u8>) {
    session.group = Group::default();
    let Wrong { said, byte } = tag.what_is_wrong();
    let text = said.text().as_bytes();
    match memchr::memchr(b'%', text) {
        Some(at) => {
            out.extend_from_slice(&text[..at]);
            append_shown(&[byte], out);
            out.extend_from_slice(&text[at + 1..]);
        }
        None => out.extend_from_slice(text),
    }
    resp::end(out);
}

/// An error that names the command.
fn of_command(tag: Tag, out: &mut Vec<u8>) {
    let name = table::COMMANDS[tag.number as usize].name;
    let text = match tag.kind {
        Kind::Arity if table::ends_transaction(tag) => {
            format!(
                "-EXECABORT Transaction discarded because of: wrong number of arguments for '{name}' command"
            )
        }
        Kind::Arity => format!("-ERR wrong number of arguments for '{name}' command"),
        _ => format!("-ERR invalid expire time in '{name}' command"),
    };
    resp::line(&text, out);
}

/// An error that repeats the first word.
fn repeated(before: &str, behind: &str, echo: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"-ERR ");
    out.extend_from_slice(before.as_bytes());
    let shown = words(echo, 1).first().copied().unwrap_or_default();
    append_shown(&shown[..shown.len().min(SHOWN_BYTES)], out);
    out.extend_from_slice(behind.as_bytes());
    resp::end(out);
}

/// An unknown command or subcommand. The last of its words may be there in part.
#[cold]
fn unknown(tag: Tag, echo: &[u8], out: &mut Vec<u8>) {
    let at = super::bulk::count(echo).ok().flatten().map_or(0, |(_, at)| at);
    let mut rest = Words { bytes: echo, at, left: tag.number as u32 };
    let mut next = || -> Option<&[u8]> {
        if rest.left == 0 || rest.at >= echo.len() {
            return None;
        }
        match rest.next() {
            Ok(Some(Word::Whole(from, to))) => Some(&echo[from as usize..to as usize]),
            Ok(Some(Word::Begun { from, .. })) => {
                rest.left = 0;
                echo.get(from as usize..)
            }
            _ => None,
        }
    };
    let cut = |word: &[u8], most: usize| {
        let end = memchr::memchr(0, word).unwrap_or(word.len());
        word[..end.min(most)].to_vec()
    };
    let name = next().unwrap_or_default();
    if tag.kind == Kind::Subcommand {
        let shown = cut(next().unwrap_or_default(), SHOWN_BYTES);
        out.extend_from_slice(b"-ERR unknown subcommand '");
        append_shown(&shown, out);
        out.extend_from_slice(b"'. Try ");
        append_shown(&name.to_ascii_uppercase(), out);
        out.extend_from_slice(b" HELP.");
        return resp::end(out);
    }
    out.extend_from_slice(b"-ERR unknown command '");
    append_shown(&cut(name, SHOWN_BYTES), out);
    out.extend_from_slice(b"', with args beginning with: ");
    let from = out.len();
    while out.len() - from < SHOWN_BYTES {
        let Some(word) = next() else { break };
        let shown = cut(word, SHOWN_BYTES - (out.len() - from));
        out.push(b'\'');
        append_shown(&shown, out);
        out.extend_from_slice(b"' ");
    }
    resp::end(out);
}

/// A part of a value. Negative positions count from its end.
fn range(echo: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let words = words(echo, 3);
    let [start, end] = [1, 2].map(|at| words.get(at).and_then(|word| number(word)).unwrap_or(0));
    let length = value.len() as i64;
    if start < 0 && end < 0 && start > end {
        return resp::bulk(b"", out);
    }
    let from_end = |at: i64| if at < 0 { at.saturating_add(length).max(0) } else { at };
    let (start, end) = (from_end(start), from_end(end).min(length - 1));
    match (usize::try_from(start), usize::try_from(end)) {
        (Ok(start), Ok(end)) if start <= end => resp::bulk(&value[start..=end], out),
        _ => resp::bulk(b"", out),
    }
}

/// What is left of a lifetime, or when it ends.
fn lifetime(tag: Tag, ttl_ms: u64) -> i64 {
    if ttl_ms == u64::MAX {
        return -1;
    }
    let end_ms = tag.number.saturating_add(ttl_ms);
    let answer = match tag.kind {
        Kind::Ttl => ttl_ms.saturating_add(500) / 1_000,
        Kind::Pttl => ttl_ms,
        Kind::ExpireTime => end_ms.saturating_add(500) / 1_000,
        _ => end_ms,
    };
    i64::try_from(answer).unwrap_or(i64::MAX)
}

/// The way in which Redis would keep a value.
fn encoding(value: &[u8]) -> &'static str {
    match value {
        value if number(value).is_some() => "int",
        value if value.len() <= EMBEDDED_BYTES_MAX => "embstr",
        _ => "raw",
    }
}
