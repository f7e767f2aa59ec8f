//! A connection that sends commands as RESP has them, and reads replies byte for byte.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _};
use std::net::SocketAddr;

use standin_testkit::read_some;

use crate::common::Caller;

/// See the head of this file.
pub(crate) struct Speaker(BufReader<Caller>);

impl Speaker {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self(BufReader::new(Caller::connect(&address.to_string())))
    }

    /// Sends a command, and returns its reply.
    pub(crate) fn ask(&mut self, words: &[&[u8]]) -> Vec<u8> {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend(format!("${}\r\n", word.len()).into_bytes());
            bytes.extend_from_slice(word);
            bytes.extend_from_slice(b"\r\n");
        }
        self.send(&bytes);
        self.reply()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().send(bytes);
    }

    /// Sends bytes to a side that may close the connection meanwhile.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.0.get_mut().try_send(bytes);
    }

    /// Reads until what was read ends with these bytes, or the other side closes the connection.
    pub(crate) fn until(&mut self, end: &[u8]) -> Vec<u8> {
        let (mut read, mut piece) = (Vec::new(), [0; 65_536]);
        while !read.ends_with(end) {
            match read_some(&mut self.0, &mut piece) {
                Ok(0) => break,
                Ok(length) => read.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!("{error} after {}", read.escape_ascii()),
            }
        }
        read
    }

    /// Reads a whole reply.
    pub(crate) fn reply(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut left = 1_u64;
        while left > 0 {
            left -= 1;
            let from = bytes.len();
            self.0.read_until(b'\n', &mut bytes).expect("a reply");
            let line = String::from_utf8_lossy(&bytes[from..]).trim_end().to_owned();
            assert!(!line.is_empty(), "a reply has a first line: {bytes:?}");
            let number: i64 = line[1..].parse().unwrap_or(0);
            let number = u64::try_from(number).unwrap_or(0);
            match line.as_bytes()[0] {
                b'$' | b'=' if !line.ends_with("-1") => {
                    let mut text = vec![0; number as usize + 2];
                    self.0.read_exact(&mut text).expect("the rest of a string");
                    bytes.extend(text);
                }
                b'*' | b'~' => left += number,
                b'%' => left += 2 * number,
                _ => {}
            }
        }
        bytes
    }
}
