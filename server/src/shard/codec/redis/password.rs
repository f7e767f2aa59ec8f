//! Authentication: before AUTH, or HELLO with AUTH, has succeeded, nothing else is carried out. The
//! command that succeeds is left to the decoder, which answers it.

use standin_protocol::users::DEFAULT_USER;

use super::bulk::{self, Word, Words};
use super::inline;
use super::said::Said;
use super::server::{Hello, hello_options};
use crate::shard::codec::{Admit, Asked};

/// The reply to a caller for whom there is no place.
pub(in crate::shard) const NO_PLACE: &[u8] = b"-ERR max number of clients reached\r\n";

/// The largest number of words of a command, and bytes of it, before authentication.
const WORDS_MAX: i64 = 10;
const BYTES_MAX: usize = 7 << 10;

/// Looks at the bytes so far; the reply goes to `out`.
pub(in crate::shard) fn ask(admit: Admit<'_>, input: &[u8], out: &mut Vec<u8>) -> Asked {
    let (words, used) = match command(input) {
        Ok(Some(command)) => command,
        Ok(None) if input.len() > BYTES_MAX => {
            say(Said::EarlyLength.text(), out);
            return Asked::Ended;
        }
        Ok(None) => return Asked::Waits,
        Err(said) => {
            say(&said.text().replace('%', "?"), out);
            return Asked::Ended;
        }
    };
    let words: Vec<&[u8]> = words.iter().map(|word| &**word).collect();
    let Some((name, rest)) = words.split_first() else { return Asked::Refused { used } };
    // The command that succeeds is left where it is.
    let known = |user: &[u8], password: &[u8]| {
        admit(user, password).map(|grant| Asked::Known { used: 0, grant })
    };
    let text = match (&*name.to_ascii_lowercase(), rest) {
        (b"auth", [password]) => match known(DEFAULT_USER.as_bytes(), password) {
            Some(known) => return known,
            None => Said::WrongPassword.text(),
        },
        (b"auth", [user, password]) => match known(user, password) {
            Some(known) => return known,
            None => Said::WrongPassword.text(),
        },
        (b"auth", []) => "-ERR wrong number of arguments for 'auth' command",
        (b"auth", _) => Said::Syntax.text(),
        (b"hello", rest) => match hello_options(rest) {
            Err(Ok(said)) => said.text(),
            Err(Err(_)) => "-ERR Syntax error in HELLO option",
            Ok(Hello { auth: Some((user, password)), .. }) => {
                match known(rest[user], rest[password]) {
                    Some(known) => return known,
                    None => Said::WrongPassword.text(),
                }
            }
            Ok(_) => Said::NoAuthHello.text(),
        },
        (b"quit", _) => {
            say(Said::Ok.text(), out);
            return Asked::Ended;
        }
        (b"post" | b"host:", _) => return Asked::Ended,
        (b"reset", []) => Said::Reset.text(),
        _ => Said::NoAuth.text(),
    };
    say(text, out);
    Asked::Refused { used }
}

/// The words of a command, and the bytes that it takes up.
type Command = (Vec<Vec<u8>>, usize);

/// The first command, if it is there.
fn command(input: &[u8]) -> Result<Option<Command>, Said> {
    match input {
        [] => Ok(None),
        [b'*', ..] => {
            let Some((count, at)) = bulk::count(input).map_err(|wrong| wrong.said)? else {
                return Ok(None);
            };
            if count > WORDS_MAX {
                return Err(Said::EarlyCount);
            }
            let mut rest = Words { bytes: input, at, left: u32::try_from(count).unwrap_or(0) };
            let mut words = Vec::new();
            while rest.left > 0 {
                match rest.next().map_err(|wrong| wrong.said)? {
                    Some(Word::Whole(from, to)) => {
                        words.push(input[from as usize..to as usize].to_vec());
                    }
                    Some(Word::Begun { length, .. }) if length as usize > BYTES_MAX => {
                        return Err(Said::EarlyLength);
                    }
                    _ => return Ok(None),
                }
            }
            Ok(Some((words, rest.at)))
        }
        _ => {
            let Some(end) = memchr::memchr(b'\n', input) else { return Ok(None) };
            let line = &input[..end];
            let words = inline::split(line.strip_suffix(b"\r").unwrap_or(line))?;
            Ok(Some((words, end + 1)))
        }
    }
}

fn say(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::access::Grant;

    fn asked(input: &[u8]) -> (Asked, String) {
        let admit = |user: &[u8], password: &[u8]| {
            let is_right = [(&b"default"[..], &b"secret"[..]), (b"ann", b"hers")];
            is_right.contains(&(user, password)).then_some(Grant::ALL)
        };
        let mut out = Vec::new();
        let asked = ask(&admit, input, &mut out);
        (asked, String::from_utf8(out).unwrap())
    }

    #[test]
    fn nothing_is_carried_out_before_the_right_password() {
        let known = || (Asked::Known { used: 0, grant: Grant::ALL }, String::new());
        for right in [
            "AUTH secret",
            "auth ann hers",
            "HELLO 3 AUTH default secret",
            "HELLO 2 SETNAME x AUTH ann hers",
        ] {
            assert_eq!(asked(format!("{right}\r\n").as_bytes()), known(), "{right}");
            let command = inline::join(&inline::split(right.as_bytes()).unwrap());
            assert_eq!(asked(&command), known(), "{right}");
            for end in 0..command.len() {
                assert_eq!(asked(&command[..end]), (Asked::Waits, String::new()));
            }
        }
        for (wrong, part) in [
            ("AUTH hers", "-WRONGPASS "),
            ("AUTH ann secret", "-WRONGPASS "),
            ("HELLO 3 AUTH ann secret", "-WRONGPASS "),
            ("HELLO 3", "-NOAUTH HELLO must be called"),
            ("HELLO 4", "-NOPROTO "),
            ("GET a", "-NOAUTH Authentication required."),
            ("bogus", "-NOAUTH "),
            ("AUTH", "-ERR wrong number of arguments for 'auth' command"),
            ("AUTH a b c", "-ERR syntax error"),
        ] {
            let line = format!("{wrong}\r\n");
            let (asked, said) = asked(line.as_bytes());
            assert_eq!(asked, Asked::Refused { used: line.len() }, "{wrong}");
            assert!(said.starts_with(part) && said.ends_with("\r\n"), "{wrong}: {said}");
        }
        for (ended, part) in [
            (&b"*11\r\n"[..], "unauthenticated multibulk length"),
            (b"*1\r\n$16385\r\n", "unauthenticated bulk length"),
            (&[b'x'; 8_000], "unauthenticated bulk length"),
            (b"QUIT\r\n", "+OK"),
            (b"POST / HTTP/1.1\r\n", ""),
            (b"host: localhost\r\nAUTH secret\r\n", ""),
        ] {
            let (asked, said) = asked(ended);
            assert!(asked == Asked::Ended && said.contains(part), "{said}");
        }
    }
}
