//! Commands as a person types them: a line of words, some of them in quotes. Those that can't be decoded where
//! they are (line.rs) are written anew as RESP sends them, and decoded again.

use super::said::Said;
use crate::shard::codec::digits;

/// The words of a line without its end.
///
/// # Errors
/// A quote that does not end, or ends inside of a word.
pub(super) fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, Said> {
    let (mut words, mut at) = (Vec::new(), 0);
    loop {
        at += line[at..].iter().take_while(|byte| is_space(**byte)).count();
        if at == line.len() {
            return Ok(words);
        }
        let mut word = Vec::new();
        while at < line.len() && !is_space(line[at]) {
            at = match line[at] {
                quote @ (b'"' | b'\'') => quoted(line, at + 1, quote, &mut word)?,
                byte => {
                    word.push(byte);
                    at + 1
                }
            };
        }
        words.push(word);
    }
}

/// Takes what is in quotes from this position on; the position behind it, where the word must end.
fn quoted(line: &[u8], from: usize, quote: u8, word: &mut Vec<u8>) -> Result<usize, Said> {
    let mut at = from;
    loop {
        match (line.get(at..).unwrap_or_default(), quote) {
            ([b'\\', b'x', high, low, ..], b'"')
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(digit(*high) << 4 | digit(*low));
                at += 4;
            }
            ([b'\\', escaped, ..], b'"') => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                at += 2;
            }
            ([b'\\', b'\'', ..], b'\'') => {
                word.push(b'\'');
                at += 2;
            }
            ([byte, rest @ ..], _) if *byte == quote => {
                return match rest.first() {
                    Some(next) if !is_space(*next) => Err(Said::BadQuotes),
                    _ => Ok(at + 1),
                };
            }
            ([byte, ..], _) => {
                word.push(*byte);
                at += 1;
            }
            ([], _) => return Err(Said::BadQuotes),
        }
    }
}

/// A command of these words as RESP sends it.
pub(super) fn join(words: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![b'*'];
    digits::write(words.len() as u64, &mut bytes);
    bytes.extend_from_slice(b"\r\n");
    for word in words {
        bytes.push(b'$');
        digits::write(word.len() as u64, &mut bytes);
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

pub(super) fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b || byte == 0
}

fn digit(byte: u8) -> u8 {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Vec<Vec<u8>>, Said> {
        split(line.as_bytes())
    }

    #[test]
    fn a_line_is_split_as_by_redis() {
        let of = |words: &[&[u8]]| Ok(words.iter().map(|word| word.to_vec()).collect());
        assert_eq!(words("  get   a "), of(&[b"get", b"a"]));
        assert_eq!(words(""), of(&[]));
        assert_eq!(words(r#"set a "x y\n\x41\"\q""#), of(&[b"set", b"a", b"x y\nA\"q"]));
        assert_eq!(words(r"set a 'x \'y\n'"), of(&[b"set", b"a", br"x 'y\n"]));
        assert_eq!(words(r#"a"b c""#), of(&[b"ab c"]));
        assert_eq!(words(r#"set "" x"#), of(&[b"set", b"", b"x"]));
        for wrong in [r#"get "a"#, "get 'a", r#"get "a"b"#, r#"get "a\"#] {
            assert_eq!(words(wrong), Err(Said::BadQuotes), "{wrong}");
        }
        assert_eq!(join(&words("get a").unwrap()), b"*2\r\n$3\r\nget\r\n$1\r\na\r\n");
    }
}
