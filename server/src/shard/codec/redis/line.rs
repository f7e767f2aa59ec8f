//! Decoding of commands in lines.

use super::bulk::{LINE_BYTES_MAX, Wrong};
use super::call::{Call, Made};
use super::inline;
use super::said::Said;
use super::table::{self, Run};
use super::tag::{Kind, Tag};
use super::{Decoder, nothing};
use crate::shard::codec::{Request, Surroundings, What, position};

impl Decoder {
    /// A command in a line. Most are decoded where they are; the others are written anew as RESP sends
    /// them, and decoded again.
    pub(super) fn line(
        &mut self,
        bytes: &[u8],
        around: &Surroundings<'_>,
    ) -> Result<Option<Request>, Wrong> {
        let end = memchr::memchr(b'\n', bytes);
        if end.unwrap_or(bytes.len()) > LINE_BYTES_MAX {
            return Err(Said::InlineTooLong.into());
        }
        let Some(end) = end else { return Ok(None) };
        let line = &bytes[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(request) = self.plain_line(line, end + 1, bytes, around) {
            return Ok(Some(request));
        }
        let words = inline::split(line)?;
        if words.is_empty() {
            return Ok(Some(nothing(self.marked(Tag::new(Kind::Nothing)), end + 1)));
        }
        let tag = self.marked(Tag::new(Kind::Inline));
        Ok(Some(Request {
            what: What::Again,
            echo: (0, position(line.len())),
            ..nothing(tag, end + 1)
        }))
    }

    /// A command in a line if it is one of those that can be decoded where they are: its words have no
    /// quotes, it is decoded as a whole, and nothing else depends on the way in which it was sent.
    fn plain_line(
        &mut self,
        line: &[u8],
        end: usize,
        bytes: &[u8],
        around: &Surroundings<'_>,
    ) -> Option<Request> {
        if self.is_queuing {
            return None;
        }
        let mut call = Call::of_line(line, end, bytes, around, self.is_node)?;
        call.is_watching = self.is_watching;
        let index = table::named(call.word(0))?;
        let command = &table::COMMANDS[index];
        let Run::Whole(run) = command.run else { return None };
        let is_plain = !command.has_subcommands() && command.takes(call.count() as u32);
        let made = is_plain.then(|| run(&call))?;
        match made {
            Made::Rewritten | Made::Flush | Made::Arity | Made::BadExpire => None,
            made => Some(self.made(index, made, &call)),
        }
    }
}
