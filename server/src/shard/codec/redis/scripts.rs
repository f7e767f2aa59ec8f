//! The scripts that are known by their text: those by which widely used libraries take, extend and release
//! locks. Each is one read-modify-write here. No other script is run.
//!
//! ```text
//! EVAL text ────────────────► known by its text ─┐
//! SCRIPT LOAD text ─► its hash                    ├─► Modify
//! EVALSHA hash ─────────────► known by its hash ─┘
//! ```

use super::call::{Call, Made};
use super::lifetimes::{self, Unit};
use super::said::Said;
use super::tag::{Kind, Tag};
use crate::node::modify::{Edit, LifetimeTest, Modify, Presence, Ttl, When};

/// What a script does to the key of a lock. Its first argument is the owner's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lock {
    /// Stores the name for a number of seconds if there is no value. The reply is that of SETEX.
    Add,
    /// Stores the name for a number of milliseconds if there is no value: 1 or 0.
    Acquire,
    /// Gives the value a lifetime in milliseconds if it is the owner's: 1 or 0.
    Renew,
    /// Gives the value more time to live if it is the owner's and its time is limited, or, if the last
    /// argument is not 0, this lifetime: 1 or 0.
    Extend,
    /// Deletes the value if it is the owner's: 1 or 0.
    Release,
}

/// A script that is known.
struct Script {
    lock: Lock,
    /// The number of its arguments.
    arguments: usize,
    /// Its text, as the library sends it, unless it is known by its hash only.
    text: Option<&'static str>,
    /// The SHA-1 of the text.
    sha: &'static str,
}

/// Those of Laravel; that of Redis' documentation, which many libraries have; those of redis-py's Lock; and
/// those of node-redlock 5, which sends their hashes first. The last are for any number of keys, and known
/// with one.
const SCRIPTS: &[Script] = &[
    Script {
        lock: Lock::Add,
        arguments: 2,
        text: Some(
            r#"return redis.call('exists',KEYS[1])<1 and redis.call('setex',KEYS[1],ARGV[2],ARGV[1])"#,
        ),
        sha: "a08c9c69b7c07ae2485190873b90d128a23e502d",
    },
    Script {
        lock: Lock::Release,
        arguments: 1,
        text: Some(
            r#"if redis.call("get",KEYS[1]) == ARGV[1] then
    return redis.call("del",KEYS[1])
else
    return 0
end"#,
        ),
        sha: "647c65a442733a1aa440f99908d249d13b4d6c4a",
    },
    Script {
        lock: Lock::Release,
        arguments: 1,
        text: Some(
            r#"
        local token = redis.call('get', KEYS[1])
        if not token or token ~= ARGV[1] then
            return 0
        end
        redis.call('del', KEYS[1])
        return 1
    "#,
        ),
        sha: "c3f8721cbb97f72bc19e972846bd7aaf91901658",
    },
    Script {
        lock: Lock::Extend,
        arguments: 3,
        text: Some(
            r#"
        local token = redis.call('get', KEYS[1])
        if not token or token ~= ARGV[1] then
            return 0
        end
        local expiration = redis.call('pttl', KEYS[1])
        if not expiration then
            expiration = 0
        end
        if expiration < 0 then
            return 0
        end

        local newttl = ARGV[2]
        if ARGV[3] == "0" then
            newttl = ARGV[2] + expiration
        end
        redis.call('pexpire', KEYS[1], newttl)
        return 1
    "#,
        ),
        sha: "a4e8783852e6b949f9ef3a97212805108459a890",
    },
    Script {
        lock: Lock::Renew,
        arguments: 2,
        text: Some(
            r#"
        local token = redis.call('get', KEYS[1])
        if not token or token ~= ARGV[1] then
            return 0
        end
        redis.call('pexpire', KEYS[1], ARGV[2])
        return 1
    "#,
        ),
        sha: "1cac51482acf5858da00f6d685d68f886cd6b6b2",
    },
    Script {
        lock: Lock::Renew,
        arguments: 2,
        text: Some(
            r#"if redis.call("get",KEYS[1]) == ARGV[1] then
    return redis.call("pexpire",KEYS[1],ARGV[2])
else
    return 0
end"#,
        ),
        sha: "1bfbb99810d66d9ea59b16336fdf07c12b8be9fc",
    },
    Script {
        lock: Lock::Acquire,
        arguments: 2,
        text: None,
        sha: "96da70f7716f27d278a5218544df37fd8b0a5e4c",
    },
    Script {
        lock: Lock::Renew,
        arguments: 2,
        text: None,
        sha: "aed6f382e410db8ba7926d4e5e9aab410bf2a78a",
    },
    Script {
        lock: Lock::Release,
        arguments: 1,
        text: None,
        sha: "e4612211c9f8f51c257e26e056b0a654b3187242",
    },
];

/// The length of a hash.
const SHA_BYTES: usize = 40;

/// The number of a known script by which a tag names it.
pub(super) fn sha(number: u64) -> &'static str {
    SCRIPTS[number as usize].sha
}

pub(super) fn eval(call: &Call<'_>) -> Made {
    run(call, find(call.word(1)), Said::OtherScript)
}

pub(super) fn evalsha(call: &Call<'_>) -> Made {
    if call.word(1).len() != SHA_BYTES {
        return Said::NoScript.into();
    }
    run(call, by_sha(call.word(1)).map(|number| &SCRIPTS[number]), Said::NoScript)
}

pub(super) fn script_load(call: &Call<'_>) -> Made {
    let known = find(call.word(2)).map(|script| script.sha.as_bytes());
    match known.and_then(by_sha) {
        Some(number) => call.tagged(Tag { number: number as u64, ..Tag::new(Kind::ScriptSha) }),
        None => Said::OtherScript.into(),
    }
}

pub(super) fn script_exists(call: &Call<'_>) -> Made {
    call.repeats(Kind::ScriptExists, 2, super::What::Said)
}

/// Known scripts stay known.
pub(super) fn script_flush(call: &Call<'_>) -> Made {
    match call.count() {
        2 => Said::Ok.into(),
        3 if call.is(2, "async") || call.is(2, "sync") => Said::Ok.into(),
        _ => Said::FlushMode.into(),
    }
}

fn run(call: &Call<'_>, script: Option<&Script>, unknown: Said) -> Made {
    let keys = match call.number(2) {
        Ok(keys) => keys,
        Err(made) => return made,
    };
    match usize::try_from(keys) {
        Err(_) => return Said::NegativeKeys.into(),
        Ok(keys) if keys > call.count() - 3 => return Said::TooFewKeys.into(),
        Ok(_) => {}
    }
    let Some(script) = script else { return unknown.into() };
    if (keys, call.count()) != (1, 4 + script.arguments) {
        return Said::OtherScript.into();
    }
    lock(call, script.lock).unwrap_or_else(|made| made)
}

/// Makes the read-modify-write of a lock: its key is word 3, the name of the owner word 4.
fn lock(call: &Call<'_>, lock: Lock) -> Result<Made, Made> {
    let absent = When { presence: Presence::Absent, ..When::ALWAYS };
    let mine = When { equals_operand: true, ..When::ALWAYS };
    let milliseconds = || match lifetimes::any(call, 5, Unit::Milliseconds) {
        Err(Made::BadExpire) => Err(Said::ScriptExpire.into()),
        ttl => ttl,
    };
    let modify = |kind, operation| call.modify(3, kind, operation, Some(4));
    Ok(match lock {
        Lock::Add => {
            let ttl = match lifetimes::future(call, 5, Unit::Seconds) {
                Err(Made::BadExpire) => return Err(Said::ScriptExpire.into()),
                ttl => ttl?,
            };
            modify(Kind::SetIf, Modify { ttl, when: absent, ..Modify::new(Edit::Set) })
        }
        Lock::Acquire => {
            let ttl = match lifetimes::future(call, 5, Unit::Milliseconds) {
                Err(Made::BadExpire) => return Err(Said::ScriptExpire.into()),
                ttl => ttl?,
            };
            modify(Kind::Flag, Modify { ttl, when: absent, ..Modify::new(Edit::Set) })
        }
        Lock::Renew => modify(
            Kind::Flag,
            Modify { ttl: milliseconds()?, when: mine, ..Modify::new(Edit::Keep) },
        ),
        Lock::Extend => {
            let ttl = match (milliseconds()?, call.word(6)) {
                (Ttl::For(ms), b"0") => Ttl::Longer(ms),
                (ttl, _) => ttl,
            };
            let when = When { lifetime: LifetimeTest::Limited, ..mine };
            modify(Kind::Flag, Modify { ttl, when, ..Modify::new(Edit::Keep) })
        }
        Lock::Release => modify(Kind::Flag, Modify { when: mine, ..Modify::new(Edit::Delete) }),
    })
}

fn by_sha(sha: &[u8]) -> Option<usize> {
    SCRIPTS.iter().position(|script| sha.eq_ignore_ascii_case(script.sha.as_bytes()))
}

/// Whether a script with this hash is known.
pub(super) fn is_known(sha: &[u8]) -> bool {
    by_sha(sha).is_some()
}

fn find(text: &[u8]) -> Option<&'static Script> {
    let is_this = |known: &str| words(text).eq(words(known.as_bytes()));
    SCRIPTS.iter().find(|script| script.text.is_some_and(is_this))
}

/// The bytes of a script that matter: without spaces, line ends and comments, and with one kind of quotes.
fn words(text: &[u8]) -> impl Iterator<Item = u8> {
    let lines = <[u8]>::split(text, |byte| *byte == b'\n');
    let code = lines.map(|line| {
        let end = memchr::memmem::find(line, b"--").unwrap_or(line.len());
        &line[..end]
    });
    let plain = |byte: &u8| if *byte == b'\'' { b'"' } else { *byte };
    code.flatten().filter(|byte| !byte.is_ascii_whitespace()).map(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_known_by_its_words() {
        let script = "\nif redis.call('get', KEYS[1]) == ARGV[1] then -- mine\n    return \
                      redis.call(\"del\",KEYS[1])\nelse\n    return 0\nend\n";
        assert_eq!(find(script.as_bytes()).map(|script| script.lock), Some(Lock::Release));
        for other in ["", "return 0", &script.replace("== ARGV[1]", "== ARGV[2]")] {
            assert!(find(other.as_bytes()).is_none(), "{other}");
        }
        for (number, script) in SCRIPTS.iter().enumerate() {
            let found = script.text.map(|text| find(text.as_bytes()).map(|found| found.lock));
            assert!(found.is_none_or(|lock| lock == Some(script.lock)));
            assert_eq!(by_sha(script.sha.to_uppercase().as_bytes()), Some(number));
        }
        assert!(!is_known(b"") && !is_known(&[b'0'; 40]));
    }
}
