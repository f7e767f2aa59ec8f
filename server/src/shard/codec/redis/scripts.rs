//! The scripts that are known by their text: those by which Laravel takes and releases its locks. Each
//! is one read-modify-write here. No other script is run.

use super::call::{Call, Made};
use super::lifetimes::{self, Unit};
use super::said::Said;
use super::tag::Kind;
use crate::node::modify::{Edit, Modify, Presence, When};

/// Deletes a value if it is still the caller's.
const RELEASE: &str = "if redis.call(\"get\",KEYS[1]) == ARGV[1] then \
                       return redis.call(\"del\",KEYS[1]) else return 0 end";
/// Stores a value for a number of seconds if there is none.
const ADD: &str = "return redis.call('exists',KEYS[1])<1 and \
                   redis.call('setex',KEYS[1],ARGV[2],ARGV[1])";

pub(super) fn eval(call: &Call<'_>) -> Made {
    let keys = match call.number(2) {
        Ok(keys) => keys,
        Err(made) => return made,
    };
    match usize::try_from(keys) {
        Err(_) => return Said::NegativeKeys.into(),
        Ok(keys) if keys > call.count() - 3 => return Said::TooFewKeys.into(),
        Ok(_) => {}
    }
    let words = (keys, call.count());
    if is(call.word(1), RELEASE) && words == (1, 5) {
        let when = When { equals_operand: true, ..When::ALWAYS };
        return call.modify(3, Kind::Flag, Modify { when, ..Modify::new(Edit::Delete) }, Some(4));
    }
    if is(call.word(1), ADD) && words == (1, 6) {
        return match lifetimes::future(call, 5, Unit::Seconds) {
            Ok(ttl) => {
                let when = When { presence: Presence::Absent, ..When::ALWAYS };
                let operation = Modify { ttl, when, ..Modify::new(Edit::Set) };
                call.modify(3, Kind::SetIf, operation, Some(4))
            }
            Err(Made::BadExpire) => Said::ScriptExpire.into(),
            Err(made) => made,
        };
    }
    Said::OtherScript.into()
}

pub(super) fn evalsha(_: &Call<'_>) -> Made {
    Said::NoScript.into()
}

/// Whether a script is this one, but for its spaces and line ends.
fn is(script: &[u8], wanted: &str) -> bool {
    let words = |script| {
        let words = <[u8]>::split(script, |byte: &u8| byte.is_ascii_whitespace());
        words.filter(|word: &&[u8]| !word.is_empty())
    };
    words(script).eq(words(wanted.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_known_by_its_words() {
        let script = "\nif redis.call(\"get\",KEYS[1]) == ARGV[1] then\n    return \
                      redis.call(\"del\",KEYS[1])\nelse\n    return 0\nend\n";
        assert!(is(script.as_bytes(), RELEASE));
        assert!(is(ADD.as_bytes(), ADD));
        for other in ["", "return 0", &script.replace("== ARGV[1]", "== ARGV[2]")] {
            assert!(!is(other.as_bytes(), RELEASE), "{other}");
        }
    }
}
