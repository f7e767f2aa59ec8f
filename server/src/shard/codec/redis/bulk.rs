//! The words of a command as RESP sends them: `*2\r\n$3\r\nGET\r\n$5\r\nalice\r\n`.
//!
//! ```text
//! count ─► number of words, position of the first ─► Words ─► Word::Whole, Word::Begun, …
//! ```
//! What is announced takes no memory: a word is read when its bytes are there.

use super::said::Said;

/// The largest number of words of a command.
pub(super) const WORDS_MAX: i64 = 1 << 20;
/// The largest length of a word, in bytes.
pub(super) const WORD_BYTES_MAX: i64 = 512 << 20;
/// The longest line, in bytes.
pub(super) const LINE_BYTES_MAX: usize = 64 << 10;

/// The reason why bytes are no command. Nothing behind them can be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) said: Said,
    /// The byte that is wrong, if the reply names it.
    pub(super) byte: u8,
}

impl From<Said> for Wrong {
    fn from(said: Said) -> Self {
        Self { said, byte: 0 }
    }
}

/// A word of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// The place of the whole word.
    Whole(u32, u32),
    /// Its length is known, and not all of it is there.
    Begun {
        /// The position of its first byte.
        from: u32,
        length: u32,
    },
}

/// The words of a command that are left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words<'a> {
    pub(super) bytes: &'a [u8],
    /// The position behind those that were taken.
    pub(super) at: usize,
    /// The number of those that are left.
    pub(super) left: u32,
}

impl Words<'_> {
    /// Takes the next word; `Ok(None)` if its length has not come. There must be one left. A word
    /// that has begun is not taken.
    pub(super) fn next(&mut self) -> Result<Option<Word>, Wrong> {
        let Some((length, from)) = length(self.bytes, self.at)? else { return Ok(None) };
        let to = from + length as usize;
        if self.bytes.len() < to + 2 {
            return Ok(Some(Word::Begun { from: position(from), length }));
        }
        self.at = to + 2;
        self.left -= 1;
        Ok(Some(Word::Whole(position(from), position(to))))
    }
}

/// The number of words of the command at the head of `bytes`, which begin with `*`, and the position
/// of the first. `Ok(None)` if its line has not come.
pub(super) fn count(bytes: &[u8]) -> Result<Option<(i64, usize)>, Wrong> {
    let Some((text, end)) = line(bytes, 1, Said::CountTooLong)? else { return Ok(None) };
    match number(text).filter(|count| *count <= WORDS_MAX) {
        Some(count) => Ok(Some((count, end))),
        None => Err(Said::BadCount.into()),
    }
}

/// The length of the word at this position, and the position of its first byte.
pub(super) fn length(bytes: &[u8], at: usize) -> Result<Option<(u32, usize)>, Wrong> {
    let Some((text, end)) = line(bytes, at, Said::LengthTooLong)? else { return Ok(None) };
    let Some((b'$', digits)) = text.split_first() else {
        let byte = text.first().copied().unwrap_or(b'\r');
        return Err(Wrong { said: Said::NoDollar, byte });
    };
    let length = number(digits).filter(|length| (0..=WORD_BYTES_MAX).contains(length));
    match length.and_then(|length| u32::try_from(length).ok()) {
        Some(length) => Ok(Some((length, end))),
        None => Err(Said::BadLength.into()),
    }
}

/// The line at this position without its end, and the position behind it. As Redis, this does not
/// look at the byte after the carriage return.
fn line(bytes: &[u8], at: usize, too_long: Said) -> Result<Option<(&[u8], usize)>, Wrong> {
    let rest = bytes.get(at..).unwrap_or_default();
    let shown = &rest[..rest.len().min(LINE_BYTES_MAX)];
    match memchr::memchr(b'\r', shown) {
        Some(end) if end + 2 <= rest.len() => Ok(Some((&rest[..end], at + end + 2))),
        Some(_) => Ok(None),
        None if rest.len() > LINE_BYTES_MAX => Err(too_long.into()),
        None => Ok(None),
    }
}

/// The end of a command that is there as a whole.
pub(super) fn end_of(bytes: &[u8]) -> usize {
    let Ok(Some((count, at))) = count(bytes) else { return bytes.len() };
    let mut words = Words { bytes, at, left: u32::try_from(count).unwrap_or(0) };
    while words.left > 0 {
        match words.next() {
            Ok(Some(Word::Whole(..))) => {}
            _ => return bytes.len(),
        }
    }
    words.at
}

/// Parses a whole number in its only spelling: no plus sign, no leading zeros, no spaces.
pub(super) fn number(text: &[u8]) -> Option<i64> {
    match text {
        [b'0'] => return Some(0),
        [b'-', b'1'..=b'9', ..] | [b'1'..=b'9', ..] => {}
        _ => return None,
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The words in the bytes that a reply is written by.
pub(super) fn words(echo: &[u8], count: u64) -> Vec<&[u8]> {
    let mut rest = Words { bytes: echo, at: 0, left: u32::try_from(count).unwrap_or(u32::MAX) };
    let mut words = Vec::new();
    while rest.left > 0 {
        match rest.next() {
            Ok(Some(Word::Whole(from, to))) => words.push(&echo[from as usize..to as usize]),
            _ => break,
        }
    }
    words
}

/// A position in a command, which is shorter than 4 GiB.
fn position(at: usize) -> u32 {
    u32::try_from(at).expect("a request is shorter than 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_spelling() {
        for (text, wanted) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("01", None),
            ("+1", None),
            ("-0", None),
            ("-", None),
            ("", None),
            (" 1", None),
            ("1 ", None),
            ("1x", None),
        ] {
            assert_eq!(number(text.as_bytes()), wanted, "{text:?}");
        }
    }

    #[test]
    fn words_are_found_when_they_are_there() {
        let bytes = b"*2\r\n$3\r\nGET\r\n$5\r\nalice\r\n";
        for end in 0..=bytes.len() {
            let here = &bytes[..end];
            let Some((count, at)) = count(here).unwrap() else {
                assert!(end < 4);
                continue;
            };
            assert_eq!((count, at), (2, 4));
            let mut words = Words { bytes: here, at, left: 2 };
            let first = words.next().unwrap();
            match first {
                None => assert!(end < 8),
                Some(Word::Begun { from, length }) => {
                    assert_eq!((from, length, end < 13), (8, 3, true))
                }
                Some(Word::Whole(from, to)) => assert_eq!((from, to), (8, 11)),
            }
            if end == bytes.len() {
                assert_eq!(words.next().unwrap(), Some(Word::Whole(17, 22)));
                assert_eq!((words.at, words.left), (end, 0));
            }
        }
    }

    #[test]
    fn what_is_no_command_is_told_apart() {
        let long = vec![b'1'; LINE_BYTES_MAX + 1];
        for (bytes, said) in [
            (&b"*x\r\n"[..], Said::BadCount),
            (b"*1048577\r\n", Said::BadCount),
            (b"*99999999999999999999\r\n", Said::BadCount),
            (&[b"*", &long[..]].concat(), Said::CountTooLong),
        ] {
            assert_eq!(count(bytes).unwrap_err().said, said);
        }
        for (bytes, said, byte) in [
            (&b"GET\r\n"[..], Said::NoDollar, b'G'),
            (b"\r\n", Said::NoDollar, b'\r'),
            (b"$-1\r\n", Said::BadLength, 0),
            (b"$536870913\r\n", Said::BadLength, 0),
            (b"$03\r\n", Said::BadLength, 0),
            (&[b"$", &long[..]].concat(), Said::LengthTooLong, 0),
        ] {
            assert_eq!(length(bytes, 0).unwrap_err(), Wrong { said, byte });
        }
        assert_eq!(length(b"$536870912\r\n", 0).unwrap(), Some((512 << 20, 12)));
    }
}
