//! The lines of Twitter's traces, of a bounded length.

use std::io::BufRead;

use super::input::{Input, failed};
use super::{Mistake, Position, TraceError, TraceFormat};

/// The bytes of a row, at most. Keys of memcached have 250, and those of Redis seldom more.
pub(super) const ROW_BYTES_MAX: usize = 64 << 10;

/// The lines of a file.
pub(super) struct Lines {
    input: Input,
    number: u64,
    line: Vec<u8>,
}

impl Lines {
    pub(super) fn new(input: Input) -> Self {
        Self { input, number: 0, line: Vec::new() }
    }

    /// The number of the last line, from one.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The next line that is not empty, without its end.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, TraceError> {
        loop {
            self.line.clear();
            self.number += 1;
            if !self.read_line()? {
                return Ok(None);
            }
            if self.line.last() == Some(&b'\r') {
                self.line.pop();
            }
            if !self.line.is_empty() {
                return Ok(Some(&self.line));
            }
        }
    }

    /// Whether there was one.
    fn read_line(&mut self) -> Result<bool, TraceError> {
        let mut is_any = false;
        loop {
            let bytes = self.input.fill_buf().map_err(failed)?;
            if bytes.is_empty() {
                return Ok(is_any);
            }
            is_any = true;
            let end = memchr::memchr(b'\n', bytes);
            let taken = end.unwrap_or(bytes.len());
            if self.line.len() + taken > ROW_BYTES_MAX {
                let mistake = Mistake::TooLong { max: ROW_BYTES_MAX };
                let position = Position::Line(self.number);
                let format = TraceFormat::Twitter;
                return Err(TraceError::Row { position, mistake, format });
            }
            self.line.extend_from_slice(&bytes[..taken]);
            self.input.consume(taken + usize::from(end.is_some()));
            if end.is_some() {
                return Ok(true);
            }
        }
    }
}
