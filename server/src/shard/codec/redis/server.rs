//! The commands about the connection, the server and transactions.

use super::bulk::number;
use super::call::{Call, Made};
use super::said::Said;
use super::tag::{Kind, Tag};
use crate::shard::codec::{Request, What};

pub(super) fn ping(call: &Call<'_>) -> Made {
    match call.count() {
        1 => Said::Pong.into(),
        2 => call.repeats(Kind::Echo, 1, What::Said),
        _ => Made::Arity,
    }
}

pub(super) fn echo(call: &Call<'_>) -> Made {
    call.repeats(Kind::Echo, 1, What::Said)
}

pub(super) fn quit(_: &Call<'_>) -> Made {
    Made::Quit
}

pub(super) fn reset(_: &Call<'_>) -> Made {
    Made::Reset
}

pub(super) fn multi(_: &Call<'_>) -> Made {
    Made::Multi
}

pub(super) fn exec(_: &Call<'_>) -> Made {
    Made::Exec
}

pub(super) fn discard(_: &Call<'_>) -> Made {
    Made::Discard
}

pub(super) fn unwatch(call: &Call<'_>) -> Made {
    call.says(Kind::Unwatch)
}

pub(super) fn select(call: &Call<'_>) -> Made {
    match call.number(1) {
        Ok(0) => Said::Ok.into(),
        Ok(index) if i32::try_from(index).is_ok() => Said::DbIndex.into(),
        Ok(_) => Said::NotInteger.into(),
        Err(made) => made,
    }
}

pub(super) fn wait(call: &Call<'_>) -> Made {
    match call.number(1).and_then(|_| call.number(2)) {
        Ok(..0) => Said::NegativeTimeout.into(),
        // There are no replicas.
        Ok(_) => Said::Zero.into(),
        Err(Made::Say(Said::NotInteger)) if call.number(1).is_ok() => Said::BadTimeout.into(),
        Err(made) => made,
    }
}

pub(super) fn time(call: &Call<'_>) -> Made {
    call.tagged(Tag { number: call.around.wall_ms, ..Tag::new(Kind::Time) })
}

pub(super) fn auth(call: &Call<'_>) -> Made {
    match call.count() {
        2 => with_password(call, Kind::Auth, None, 1),
        3 => with_password(call, Kind::Auth, Some(1), 2),
        _ => Said::Syntax.into(),
    }
}

/// A request that gives a password; without a user, that of the user `default`.
fn with_password(call: &Call<'_>, kind: Kind, user: Option<usize>, password: usize) -> Made {
    let key = user.map_or((0, 0), |user| call.place(user));
    match call.repeats(kind, 1, What::Auth) {
        Made::Request(request) => {
            Made::Request(Request { key, value: call.place(password), ..request })
        }
        made => made,
    }
}

/// The options of HELLO.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hello<'a> {
    /// 2 or 3; `None`: as before.
    pub(super) version: Option<u8>,
    /// The numbers of the words of the user and of the password.
    pub(super) auth: Option<(usize, usize)>,
    pub(super) name: Option<&'a [u8]>,
}

/// Reads the words behind HELLO. The error is a reply, or the option that is wrong.
pub(super) fn hello_options<'a>(words: &[&'a [u8]]) -> Result<Hello<'a>, Result<Said, usize>> {
    let mut hello = Hello::default();
    if let Some(version) = words.first() {
        hello.version = match number(version) {
            None => return Err(Ok(Said::NotProtocol)),
            Some(2) => Some(2),
            Some(3) => Some(3),
            Some(_) => return Err(Ok(Said::NoProtocol)),
        };
    }
    let mut at = 1;
    while at < words.len() {
        let left = words.len() - 1 - at;
        if words[at].eq_ignore_ascii_case(b"auth") && left >= 2 {
            hello.auth = Some((at + 1, at + 2));
            at += 3;
        } else if words[at].eq_ignore_ascii_case(b"setname") && left >= 1 {
            hello.name = Some(name(words[at + 1]).map_err(Ok)?);
            at += 2;
        } else {
            return Err(Err(at));
        }
    }
    Ok(hello)
}

pub(super) fn hello(call: &Call<'_>) -> Made {
    let words: Vec<&[u8]> = (1..call.count()).map(|word| call.word(word)).collect();
    match hello_options(&words) {
        Err(Ok(said)) => said.into(),
        Err(Err(option)) => call.repeats(Kind::HelloOption, option + 1, What::Said),
        Ok(Hello { auth: Some((user, password)), .. }) => {
            with_password(call, Kind::Hello, Some(user + 1), password + 1)
        }
        Ok(_) => call.repeats(Kind::Hello, 1, What::Said),
    }
}

/// The longest name of a connection, in bytes: each keeps its own.
const CLIENT_NAME_BYTES_MAX: usize = 1_024;

fn is_printable(word: &[u8]) -> bool {
    word.iter().all(u8::is_ascii_graphic)
}

/// Returns the name if a connection may have it.
fn name(name: &[u8]) -> Result<&[u8], Said> {
    if name.len() > CLIENT_NAME_BYTES_MAX {
        return Err(Said::ClientNameTooLong);
    }
    if is_printable(name) { Ok(name) } else { Err(Said::ClientName) }
}

pub(super) fn client_setname(call: &Call<'_>) -> Made {
    match name(call.word(2)) {
        Ok(_) => call.repeats(Kind::SetName, 2, What::Said),
        Err(wrong) => wrong.into(),
    }
}

pub(super) fn client_getname(call: &Call<'_>) -> Made {
    call.says(Kind::GetName)
}

pub(super) fn client_setinfo(call: &Call<'_>) -> Made {
    if call.is(2, "lib-name") || call.is(2, "lib-ver") {
        let is_plain = is_printable(call.word(3));
        return if is_plain { Said::Ok.into() } else { Said::ClientInfo.into() };
    }
    call.repeats(Kind::ClientAttribute, 2, What::Said)
}

pub(super) fn acl_whoami(call: &Call<'_>) -> Made {
    call.says(Kind::WhoAmI)
}

pub(super) fn client_id(call: &Call<'_>) -> Made {
    call.says(Kind::ClientId)
}

pub(super) fn client_info(call: &Call<'_>) -> Made {
    call.says(Kind::ClientInfo)
}

pub(super) fn client_list(call: &Call<'_>) -> Made {
    call.says(Kind::ClientList)
}

pub(super) fn client_switch(call: &Call<'_>) -> Made {
    if call.is(2, "on") || call.is(2, "off") { Said::Ok.into() } else { Said::Syntax.into() }
}

pub(super) fn command_count(call: &Call<'_>) -> Made {
    call.says(Kind::CommandCount)
}

pub(super) fn command_docs(call: &Call<'_>) -> Made {
    call.repeats(Kind::CommandDocs, 2, What::Said)
}

pub(super) fn command_info(call: &Call<'_>) -> Made {
    call.repeats(Kind::CommandInfo, 2, What::Said)
}

pub(super) fn command_getkeys(call: &Call<'_>) -> Made {
    call.repeats(Kind::GetKeys, 2, What::Said)
}

pub(super) fn commands(call: &Call<'_>) -> Made {
    call.says(Kind::Commands)
}

pub(super) fn config_get(call: &Call<'_>) -> Made {
    call.repeats(Kind::ConfigGet, 2, What::Said)
}

pub(super) fn config_set(_: &Call<'_>) -> Made {
    Said::NoConfigSet.into()
}

pub(super) fn info(call: &Call<'_>) -> Made {
    call.repeats(Kind::Info, 1, What::Stats)
}

pub(super) fn flush(call: &Call<'_>) -> Made {
    match call.count() {
        1 => Made::Flush,
        2 if call.is(1, "async") || call.is(1, "sync") => Made::Flush,
        _ => Said::Syntax.into(),
    }
}

pub(super) fn type_of(call: &Call<'_>) -> Made {
    call.get(1, Kind::Type)
}

pub(super) fn object_encoding(call: &Call<'_>) -> Made {
    call.get(2, Kind::Encoding)
}

pub(super) fn object_idletime(call: &Call<'_>) -> Made {
    call.get(2, Kind::IdleTime)
}

pub(super) fn object_refcount(call: &Call<'_>) -> Made {
    call.get(2, Kind::References)
}

pub(super) fn object_freq(call: &Call<'_>) -> Made {
    call.get(2, Kind::Frequency)
}
