//! The bytes of questions and replies, for protocols whose replies come in the order of the requests.

mod many;
mod meta;
pub(super) mod resp;
#[cfg(test)]
mod tests;
mod text;

use std::borrow::Cow;
use std::fmt;

use crate::targets::operation::{Kind, Question};

/// The protocol of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// memcached's classic commands.
    MemcachedText,
    /// memcached's meta commands.
    MemcachedMeta,
    /// Redis' protocol, version 2.
    Resp2,
    /// Redis' protocol, version 3.
    Resp3,
}

impl Protocol {
    /// Whether it is one of memcached's; otherwise it is Redis'.
    #[must_use]
    pub fn is_memcached(self) -> bool {
        matches!(self, Self::MemcachedText | Self::MemcachedMeta)
    }
}

/// What a server is told at the beginning of a connection.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// The user; `None`: Redis' default user. memcached needs one with a password.
    pub user: Option<String>,
    /// The password; `None`: no authentication.
    pub password: Option<String>,
    /// The database of Redis.
    pub database: u32,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The password is nobody's business.
        write!(f, "Login {{ user: {:?}, database: {} }}", self.user, self.database)
    }
}

/// A reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply<'a> {
    /// The value.
    Value(&'a [u8]),
    /// Nothing has this key.
    Absent,
    /// Done.
    Done,
    /// Not added, because there is a value; or not written, because it is another one.
    Exists,
    /// The value and its version.
    Versioned(&'a [u8], u64),
    /// The values of several keys, as they came.
    Many(&'a [u8]),
    /// A sum.
    Number(u64),
    /// An array, with its head.
    Array(&'a [u8]),
    /// An error, in the server's words.
    Error(&'a [u8]),
    /// A message that answers no request.
    Push,
}

/// The bytes are not of the protocol, or answer another request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub Cow<'static, str>);

impl Malformed {
    /// A line that no reply begins with.
    fn line(line: &[u8]) -> Self {
        Self(format!("an unexpected line: {}", quoted(line)).into())
    }
}

/// The bytes of the first reply and its meaning; `None` if it is not complete yet.
pub type Decoded<'a> = Result<Option<(usize, Reply<'a>)>, Malformed>;

/// The longest text of a server that is quoted.
const QUOTED_MAX: usize = 120;
/// The largest value that is accepted in a reply.
pub(super) const VALUE_BYTES_MAX: usize = 512 << 20;

impl Protocol {
    /// Appends the bytes of a question.
    pub fn encode(self, question: &Question<'_>, out: &mut Vec<u8>) {
        match self {
            Self::MemcachedText => text::encode(question, out),
            Self::MemcachedMeta => meta::encode(question, out),
            Self::Resp2 | Self::Resp3 => resp::encode(question, out),
        }
    }

    /// Reads the first reply in these bytes, to a question of this kind.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(self, kind: Kind, bytes: &[u8]) -> Decoded<'_> {
        match self {
            Self::MemcachedText => text::decode(kind, bytes),
            Self::MemcachedMeta => meta::decode(kind, bytes),
            Self::Resp2 | Self::Resp3 => resp::decode(kind, bytes),
        }
    }

    /// Appends what a connection begins with, and returns the number of replies to it. Each of them must be no error.
    /// With `is_asking`, there is at least one: a server that refuses a certificate says so only when it is asked.
    pub fn greet(self, login: &Login, is_asking: bool, out: &mut Vec<u8>) -> usize {
        match self {
            Self::MemcachedText | Self::MemcachedMeta => text::greet(login, is_asking, out),
            Self::Resp2 | Self::Resp3 => resp::greet(self, login, is_asking, out),
        }
    }

    /// Reads the first reply in these bytes, to a part of a greeting.
    ///
    /// # Errors
    /// [`Malformed`].
    pub(super) fn decode_greeting(self, bytes: &[u8]) -> Decoded<'_> {
        match self {
            Self::MemcachedText | Self::MemcachedMeta => text::decode_greeting(bytes),
            Self::Resp2 | Self::Resp3 => resp::decode(Kind::Put, bytes),
        }
    }

    /// The value of each of the keys that were asked for, in a [`Reply::Many`].
    ///
    /// # Errors
    /// The reply has another key, or another number of them.
    pub(super) fn values<'a>(
        self,
        keys: &[Vec<u8>],
        bytes: &'a [u8],
    ) -> Result<Vec<Option<&'a [u8]>>, Malformed> {
        match self {
            Self::MemcachedText => many::of_blocks(keys, text::blocks(bytes)),
            Self::MemcachedMeta => many::of_blocks(keys, meta::blocks(bytes)),
            Self::Resp2 | Self::Resp3 => resp::values(keys.len(), bytes),
        }
    }

    /// As reports have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MemcachedText => "memcached (text)",
            Self::MemcachedMeta => "memcached (meta)",
            Self::Resp2 => "Redis (RESP2)",
            Self::Resp3 => "Redis (RESP3)",
        }
    }
}

/// The beginning of a server's text, as messages have it.
pub(super) fn quoted(text: &[u8]) -> String {
    text[..text.len().min(QUOTED_MAX)].escape_ascii().to_string()
}

/// The longest line of a reply.
const LINE_BYTES_MAX: usize = 64 << 10;

/// The first line without its end, and the bytes including it.
pub(super) fn line(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, Malformed> {
    match memchr::memchr(b'\n', bytes) {
        Some(end) => match bytes[..end].strip_suffix(b"\r") {
            Some(line) => Ok(Some((line, end + 1))),
            None => Err(Malformed("a line does not end with CR LF".into())),
        },
        None if bytes.len() > LINE_BYTES_MAX => Err(Malformed("a line has no end".into())),
        None => Ok(None),
    }
}

/// The data block of this length that begins at `at`, and the bytes up to its end.
pub(super) fn block<'a>(
    bytes: &'a [u8],
    at: usize,
    length: &[u8],
) -> Result<Option<(&'a [u8], usize)>, Malformed> {
    let length: Option<usize> = std::str::from_utf8(length).ok().and_then(|text| text.parse().ok());
    let Some(length) = length.filter(|length| *length <= VALUE_BYTES_MAX) else {
        return Err(Malformed("the length of a value is not a number, or too large".into()));
    };
    let end = at + length;
    // The end is still to come.
    let Some(after) = bytes.get(end..end + 2) else { return Ok(None) };
    if after != b"\r\n" {
        return Err(Malformed("a value does not end where its length says".into()));
    }
    Ok(Some((&bytes[at..end], end + 2)))
}

/// The number that these digits are.
pub(super) fn number_of(digits: &[u8]) -> Result<u64, Malformed> {
    let number = std::str::from_utf8(digits).ok().and_then(|text| text.trim_end().parse().ok());
    number.ok_or(Malformed("a number is not one, or too large".into()))
}

/// Appends a number in decimal.
pub(super) fn number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
