//! A protocol of tests whose replies come in the order of the requests. A request is a key and a
//! line feed. Its reply is the first letter of the key, the value and a line feed.

use super::order::InOrder;
use super::{Request, What};
use crate::node::{Action, AnswerHead, CommandHead};

/// A caller that names itself so in its hello speaks this protocol from then on.
pub(in crate::shard) const CLIENT_ID: u64 = 0x004C_494E_4553;
/// The keyspace of all keys.
pub(in crate::shard) const KEYSPACE: u8 = 1;

/// The unanswered requests of a connection: the first letters of their keys.
#[derive(Debug, Default)]
pub(in crate::shard) struct Lines(InOrder<u8>);

/// The request at the head of `bytes`, if all of it is there.
pub(super) fn decode(bytes: &[u8]) -> Option<Request> {
    let end = u32::try_from(bytes.iter().position(|byte| *byte == b'\n')?).ok()?;
    let what = What::Command(CommandHead::new(Action::Get, KEYSPACE));
    let (key, value) = ((0, end), (end, end));
    Some(Request { tag: u64::from(bytes[0]), bytes: end + 1, key, value, what })
}

impl Lines {
    pub(super) fn admit(&mut self, first_letter: u64) -> u64 {
        self.0.arrive(u8::try_from(first_letter).expect("a letter"))
    }

    pub(super) fn answer(&mut self, tag: u64, _: &AnswerHead, value: &[u8], out: &mut Vec<u8>) {
        self.0.answer(tag, out, |letter, out| {
            out.push(letter);
            out.extend_from_slice(value);
            out.push(b'\n');
        });
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.0.waiting_bytes()
    }
}

#[cfg(test)]
mod tests {
    use standin_protocol::frame::FrameLimits;

    use crate::node::Status;
    use crate::shard::codec::{Caller, Codec};

    use super::*;

    #[test]
    fn an_early_answer_waits_for_those_before_it() {
        let mut codec = Codec::of(Caller { is_peer: false, client_id: CLIENT_ID });
        let (mut at, bytes) = (0, b"a\nb\nc\nd");
        let (mut tags, protocol) = (Vec::new(), codec.protocol());
        let limits = FrameLimits::default();
        while let Ok(Some(request)) = protocol.decode(&bytes[at..], limits, Caller::default()) {
            at += request.bytes as usize;
            tags.push(codec.admit(&request));
        }
        assert_eq!((tags.len(), at), (3, 6), "the last line has not ended");
        let head = AnswerHead::status(Status::Ok);
        let mut out = Vec::new();
        codec.answer(tags[1], &head, b"hit", &mut out);
        codec.answer(tags[2], &head, b"hit", &mut out);
        assert!(out.is_empty() && codec.waiting_bytes() > 10);
        codec.answer(tags[0], &head, b"late", &mut out);
        assert_eq!((&*out, codec.waiting_bytes()), (&b"alate\nbhit\nchit\n"[..], 0));
    }
}
