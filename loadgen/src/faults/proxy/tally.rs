//! Counts the rows that a client asks PostgreSQL for, from the bytes it sends.
//!
//! Only as much of the protocol as that takes: `Parse` gives a statement its text, each
//! `Bind` executes it once, `Query` carries its text along. Everything else is skipped.

use std::collections::HashMap;

/// The number of bytes of a message's body that are kept: names and the beginning of the text.
const KEPT_BYTES_MAX: usize = 4_096;
/// Statements that a connection may have prepared; more are not told apart from others.
const STATEMENTS_MAX: usize = 1_024;
/// Requests that come before the startup message, and are answered with one byte.
const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;

/// One connection's reader; see the head of the file.
#[derive(Debug, Default)]
pub(super) struct Tally {
    is_started: bool,
    /// Whether each statement reads.
    statements: HashMap<Vec<u8>, bool>,
    head: Vec<u8>,
    body: Vec<u8>,
    /// Bytes of the body that are still to come; `None`: the head is not complete.
    missing: Option<usize>,
}

impl Tally {
    /// Takes the bytes that were sent, in pieces of any size, and returns how many reads they complete.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> u64 {
        let mut reads = 0;
        while !bytes.is_empty() || self.missing == Some(0) {
            match self.missing {
                None => {
                    let head_bytes = if self.is_started { 5 } else { 4 };
                    let wanted = head_bytes - self.head.len();
                    let (now, rest) = bytes.split_at(wanted.min(bytes.len()));
                    self.head.extend_from_slice(now);
                    bytes = rest;
                    if self.head.len() == head_bytes {
                        let length = self.head[head_bytes - 4..].try_into().map(u32::from_be_bytes);
                        // The length counts itself.
                        let length = length.unwrap_or(4) as usize;
                        self.missing = Some(length.saturating_sub(4));
                    }
                }
                Some(missing) => {
                    let (now, rest) = bytes.split_at(missing.min(bytes.len()));
                    let room = KEPT_BYTES_MAX.saturating_sub(self.body.len());
                    self.body.extend_from_slice(&now[..room.min(now.len())]);
                    bytes = rest;
                    self.missing = Some(missing - now.len());
                    if missing == now.len() {
                        reads += u64::from(self.end_message().unwrap_or(false));
                    }
                }
            }
        }
        reads
    }

    /// Whether the message asks for rows.
    fn end_message(&mut self) -> Option<bool> {
        let (head, body) = (std::mem::take(&mut self.head), std::mem::take(&mut self.body));
        self.missing = None;
        if !self.is_started {
            let code = body.first_chunk().copied().map(u32::from_be_bytes);
            self.is_started = !matches!(code, Some(SSL_REQUEST | GSS_REQUEST));
            return None;
        }
        let mut words = body.split(|byte| *byte == 0);
        match head.first()? {
            b'P' => {
                let (name, text) = (words.next()?, words.next()?);
                if self.statements.len() < STATEMENTS_MAX || self.statements.contains_key(name) {
                    self.statements.insert(name.to_vec(), is_read(text));
                }
                None
            }
            // The first word is the portal's name.
            b'B' => self.statements.get(words.nth(1)?).copied(),
            b'Q' => Some(is_read(words.next()?)),
            _ => None,
        }
    }
}

/// Whether this is a `SELECT` from a table that is not the database's own.
fn is_read(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    let is_select = text.split_whitespace().next() == Some("select");
    is_select && text.contains(" from ") && !text.contains("pg_catalog")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[kind][..], &length, body].concat()
    }

    fn conversation() -> Vec<u8> {
        let untyped = |code: u32, more: &[u8]| {
            let length = u32::try_from(8 + more.len()).unwrap().to_be_bytes();
            [&length[..], &code.to_be_bytes(), more].concat()
        };
        let large = [&b"\0s2\0"[..], &[7; 100_000]].concat();
        [
            untyped(SSL_REQUEST, b""),
            untyped(196_608, b"user\0x\0\0"),
            message(b'P', b"s1\0SELECT value FROM t WHERE id = $1\0\0\0"),
            message(b'P', b"s2\0insert INTO t VALUES ($1, $2)\0\0\0"),
            message(b'P', b"s3\0SELECT 1\0\0\0"),
            message(b'S', b""),
            message(b'B', b"\0s1\0\0\0"),
            message(b'E', b"\0\0\0\0\0"),
            message(b'B', &large),
            message(b'B', b"\0s3\0\0\0"),
            message(b'B', b"\0never\0\0\0"),
            message(b'Q', b"DELETE FROM t\0"),
            message(b'Q', b"BEGIN\0"),
            message(b'B', b"\0s1\0\0\0"),
        ]
        .concat()
    }

    #[test]
    fn each_read_counts_once_however_the_bytes_come() {
        for size in [1, 3, 7, 1_000, 1_000_000] {
            let mut tally = Tally::default();
            let sent = conversation();
            let reads: u64 = sent.chunks(size).map(|part| tally.take(part)).sum();
            assert_eq!(reads, 2, "in pieces of {size}");
        }
    }

    #[test]
    fn nonsense_is_endured() {
        let mut tally = Tally::default();
        assert_eq!(tally.take(&[0; 64]), 0);
        assert_eq!(tally.take(&[0xFF; 64]), 0);
        assert_eq!(tally.take(&[b'B'; 4_000]), 0);
    }
}
