//! The codec of Standin's own protocol, `docs/PROTOCOL.md`: frames to commands and answers to
//! frames, for clients; commands to frames and frames to answers, for links to other servers.
//! Replies may come in any order: the tag of a request is its id, with its opcode.

#[cfg(test)]
mod tests;

use std::num::NonZeroU64;

use standin_protocol::frame::{
    self, FrameError, FrameLimits, HEADER_BYTES, IDENTITY_BYTES, Opcode, RequestHeader, Response,
    ResponseHeader, request_flags, response_flags,
};

use standin_protocol::item::{ITEM_HEAD_BYTES, ItemHead};
use standin_protocol::modify::wire::{self, MODIFY_HEAD_BYTES, ModifyHead};

use super::slice::Slice;
use super::{Answers, Caller, Read, Reads, Rejected, Request, Spelling, Surroundings, What};
use crate::node::answer::{self, flags};
use crate::node::{Action, AnswerHead, Command, CommandHead, Hop, Identity, Status};
use crate::shard::unreadable::unreadable;

// The marks of answers are the flags of frames, and every value fits a frame.
const _: () = assert!(
    flags::HIT == response_flags::HIT
        && flags::FILLED == response_flags::FILLED
        && flags::STAND_IN == response_flags::STAND_IN
        && flags::PROVISIONAL == response_flags::PROVISIONAL
        && flags::FORWARDED == response_flags::FORWARDED
        && flags::CACHED == response_flags::CACHED
        && answer::VALUE_BYTES_MAX <= frame::VALUE_BYTES_MAX as usize
);

/// The offset of the key in a frame.
const KEY_AT: u32 = HEADER_BYTES as u32;
/// Bytes of the identity before a value.
const IDENTITY: u32 = IDENTITY_BYTES as u32;

const ONE_HELLO: &str = "a connection has one HELLO, its first request";

/// Both halves of the codec, as far as reads are concerned. It remembers nothing.
#[derive(Debug, Clone, Copy)]
pub(in crate::shard) struct Standin;

impl Reads for Standin {
    /// A whole GET of a client without any unusual part.
    #[inline(always)]
    fn read(&mut self, bytes: &[u8], around: &Surroundings<'_>) -> Option<Read> {
        let header = RequestHeader::read(bytes)?;
        let key_end = header.key_len.checked_add(KEY_AT as u16)?;
        let is_get = header.magic == frame::REQUEST_MAGIC
            && header.version == standin_protocol::VERSION
            && header.opcode == Opcode::Get as u8
            && header.flags & !request_flags::ITEM == 0;
        let has_parts = header.value_len | u32::from(header.ttl) | u32::from(header.reserved) != 0;
        let is_plain = is_get && !has_parts && header.cas_version == 0 && !around.caller.is_peer;
        let is_whole = bytes.len() >= key_end.into();
        if !is_plain || !is_whole || header.key_len > around.limits.key_bytes {
            return None;
        }
        let wants_item = header.flags != 0;
        let (key, deadline_ms) = ((KEY_AT as u16, key_end), header.deadline_ms);
        Some(Read::of_frame(tag(&header), header.keyspace, key, deadline_ms, wants_item))
    }
}

impl Answers for Standin {
    #[inline(always)]
    fn answer_read(
        &mut self,
        read: &Read,
        _bytes: &[u8],
        head: AnswerHead,
        value: &[u8],
        out: &mut Vec<u8>,
    ) {
        answer(read.tag, &head, value, out);
    }
}

/// The request at the head of `bytes`; `Ok(None)` if it isn't all there yet.
pub(in crate::shard) fn decode(
    bytes: &[u8],
    limits: FrameLimits,
    caller: Caller,
) -> Result<Option<Request>, Rejected> {
    match frame::Request::parse(bytes, limits) {
        Ok(None) => Ok(None),
        Ok(Some(frame)) if frame.header.opcode == Opcode::Hello as u8 => {
            let (tag, text) = (tag(&frame.header), ONE_HELLO.to_owned());
            Err(Rejected { tag, status: Status::Malformed, text, bytes: None })
        }
        Ok(Some(frame)) => Ok(Some(request(&frame, caller))),
        Err(error) => Err(rejected(bytes, error)),
    }
}

fn request(frame: &frame::Request<'_>, caller: Caller) -> Request {
    let header = &frame.header;
    let key_end = KEY_AT + u32::from(header.key_len);
    let value_end = key_end + header.value_len;
    let mut value = (key_end, value_end);
    let mut refused = None;
    let mut identity = None;
    if !caller.is_peer {
        let client_id = NonZeroU64::new(caller.client_id);
        let request_id = header.request_id;
        identity = client_id.map(|client_id| Identity { client_id, request_id });
    } else if header.flags & request_flags::IDENTITY != 0 {
        match split_identity(frame.value) {
            Some(of_client) => {
                identity = of_client;
                value.0 += IDENTITY;
            }
            None => refused = Some((Status::Malformed, "no room for the identity")),
        }
    }
    let what = match (refused, action(header.opcode)) {
        (Some((status, text)), _) => What::Refused(status, text),
        (None, None) if header.opcode == Opcode::Stats as u8 => What::Stats,
        (None, None) if header.opcode == Opcode::Hot as u8 => What::Hot,
        (None, None) if header.opcode == Opcode::Walk as u8 => {
            let refused = || What::Refused(Status::Malformed, "not the value of a WALK");
            Slice::from_bytes(frame.value)
                .map_or_else(refused, |slice| What::Slice(Box::new(slice)))
        }
        (None, None) => What::Refused(Status::UnknownOpcode, ""),
        (None, Some(action)) => {
            let head = CommandHead {
                action,
                keyspace: header.keyspace,
                hop: hop(header.flags, caller.is_peer),
                is_retry: header.flags & request_flags::RETRY != 0,
                is_peer: caller.is_peer,
                wants_item: header.flags & request_flags::ITEM != 0,
                deadline_ms: u32::from(header.deadline_ms),
                item_flags: 0,
                ttl_ms: u64::from(header.ttl_s()) * 1_000,
                version: header.cas_version,
                identity,
            };
            match action {
                Action::Put | Action::Cas if head.wants_item => {
                    with_item(head, &mut value, frame.value)
                }
                Action::Modify => with_modify(head, &mut value, frame.value),
                _ => What::Command(head),
            }
        }
    };
    Request {
        tag: tag(header),
        bytes: value_end,
        key: (KEY_AT, key_end),
        value,
        echo: (0, 0),
        spelling: Spelling::Plain,
        what,
    }
}

/// Takes the flags and lifetime of an item from the head of a value of which `value` is what is
/// left.
fn with_item(head: CommandHead, value: &mut (u32, u32), whole: &[u8]) -> What {
    let rest = &whole[whole.len() - (value.1 - value.0) as usize..];
    let Some((item, _)) = ItemHead::split(rest) else {
        return What::Refused(Status::Malformed, "no room for the item's head");
    };
    value.0 += ITEM_HEAD_BYTES as u32;
    let ttl_ms = if item.ttl_ms == 0 { head.ttl_ms } else { item.ttl_ms };
    What::Command(CommandHead { item_flags: item.item_flags, ttl_ms, ..head })
}

/// Takes the operation of a MODIFY from the head of a value of which `value` is what is left.
fn with_modify(head: CommandHead, value: &mut (u32, u32), whole: &[u8]) -> What {
    let rest = &whole[whole.len() - (value.1 - value.0) as usize..];
    let Some((modify_head, _)) = ModifyHead::split(rest) else {
        return What::Refused(Status::Malformed, "no room for the operation");
    };
    value.0 += MODIFY_HEAD_BYTES as u32;
    match wire::read(&modify_head, head.version) {
        Some(modify) => {
            let head = CommandHead { item_flags: modify_head.item_flags, ..head };
            What::Modify(head, Box::new(modify))
        }
        None => What::Refused(Status::Malformed, "the operation has an unknown part"),
    }
}

/// The codec's name for a request, from which its response is made.
#[inline]
fn tag(header: &RequestHeader) -> u64 {
    let item = u64::from(header.flags & request_flags::ITEM) << 40;
    item | u64::from(header.opcode) << 32 | u64::from(header.request_id)
}

fn action(opcode: u8) -> Option<Action> {
    Some(match Opcode::from_wire(opcode)? {
        Opcode::Get => Action::Get,
        Opcode::Put => Action::Put,
        Opcode::Delete => Action::Delete,
        Opcode::Cas => Action::Cas,
        Opcode::Touch => Action::Touch,
        Opcode::Modify => Action::Modify,
        Opcode::Transact => Action::Transact,
        Opcode::Invalidate => Action::Invalidate,
        Opcode::Ping => Action::Ping,
        Opcode::Map => Action::Map,
        Opcode::Settle => Action::Settle,
        Opcode::Handback => Action::Handback,
        Opcode::Flush => Action::Flush,
        Opcode::Hello | Opcode::Stats | Opcode::Hot | Opcode::Walk => return None,
    })
}

fn opcode(action: Action) -> Opcode {
    match action {
        Action::Get => Opcode::Get,
        Action::Put => Opcode::Put,
        Action::Delete => Opcode::Delete,
        Action::Cas => Opcode::Cas,
        Action::Touch => Opcode::Touch,
        Action::Modify => Opcode::Modify,
        Action::Transact => Opcode::Transact,
        Action::Invalidate => Opcode::Invalidate,
        Action::Ping => Opcode::Ping,
        Action::Map => Opcode::Map,
        Action::Settle => Opcode::Settle,
        Action::Handback => Opcode::Handback,
        Action::Flush => Opcode::Flush,
        Action::Walk => Opcode::Walk,
    }
}

/// Only servers may ask that a request is passed on.
fn hop(flags: u8, is_peer: bool) -> Hop {
    if flags & request_flags::FORWARDED != 0 {
        Hop::Forwarded
    } else if is_peer && flags & request_flags::RELAY != 0 {
        Hop::Relay
    } else {
        Hop::None
    }
}

/// The client's name for a request, at the head of its value. A client without an id has none.
fn split_identity(value: &[u8]) -> Option<Option<Identity>> {
    let (client_id, rest) = value.split_first_chunk::<8>()?;
    let request_id = u32::from_le_bytes(*rest.first_chunk::<4>()?);
    let client_id = NonZeroU64::new(u64::from_le_bytes(*client_id));
    Some(client_id.map(|client_id| Identity { client_id, request_id }))
}

fn identity_bytes(identity: Identity) -> [u8; IDENTITY_BYTES] {
    let mut bytes = [0; IDENTITY_BYTES];
    bytes[..8].copy_from_slice(&identity.client_id.get().to_le_bytes());
    bytes[8..].copy_from_slice(&identity.request_id.to_le_bytes());
    bytes
}

fn rejected(bytes: &[u8], error: FrameError) -> Rejected {
    let (header, status) = unreadable(bytes, error);
    let text = error.to_string();
    let bytes = matches!(error, FrameError::KeyTooLarge { .. } | FrameError::ValueTooLarge { .. })
        .then(|| header.frame_bytes());
    let status = if bytes.is_some() { Status::TooLarge } else { status };
    Rejected { tag: tag(&header), status, text, bytes }
}

/// Appends the answer to the request of this tag. The value is copied once, to where it is sent
/// from.
#[inline(always)]
pub(in crate::shard) fn answer(tag: u64, head: &AnswerHead, value: &[u8], out: &mut Vec<u8>) {
    let (opcode, request_id) = ((tag >> 32) as u8, tag as u32);
    let wants_item = tag >> 40 != 0;
    let header = ResponseHeader {
        magic: frame::RESPONSE_MAGIC,
        version: standin_protocol::VERSION,
        status: head.status as u8,
        flags: head.flags | if wants_item { response_flags::ITEM } else { 0 },
        opcode,
        retry_after_ms: head.retry_after_ms,
        request_id,
        map_epoch: head.map_tag,
        ttl_s: ttl_s(head.ttl_ms),
        cas_version: head.version,
        ..ResponseHeader::default()
    };
    if !wants_item {
        return Response::write(header, value, out);
    }
    let (item_flags, marks, ttl_ms) = (head.item_flags, head.marks, head.ttl_ms);
    let item = ItemHead { item_flags, marks, ttl_ms, ..ItemHead::default() };
    Response::write_after(header, &item.to_bytes(), value, out);
}

/// The seconds that a lifetime has left, rounded up.
#[inline]
fn ttl_s(ttl_ms: u64) -> u32 {
    // Of a lifetime that has no end nothing is left over.
    u32::try_from(ttl_ms.saturating_add(999) / 1_000).unwrap_or(u32::MAX)
}

/// The deadline that a frame carries: a longer one is as long as it can be.
pub(in crate::shard) fn deadline_ms(head: &CommandHead) -> u16 {
    u16::try_from(head.deadline_ms).unwrap_or(u16::MAX)
}

/// The writing of commands to a link.
#[derive(Debug, Clone, Copy)]
pub(in crate::shard) struct Send {
    /// The request's id on the link.
    pub(in crate::shard) id: u32,
    /// [`standin_protocol::map::MapEpoch::tag`] of the sender's map; 0: not said.
    pub(in crate::shard) map_tag: u32,
}

/// The parts of a command's frame that do not depend on the connection.
pub struct Parts {
    /// The opcode.
    pub opcode: Opcode,
    /// Whether the flag ITEM is set.
    pub is_item: bool,
    /// The lifetime in the header, in seconds.
    pub ttl_s: u32,
    /// The version in the header.
    pub version: u64,
    before: Before,
}

/// The bytes before the value proper.
enum Before {
    Nothing,
    Item([u8; ITEM_HEAD_BYTES]),
    Operation([u8; MODIFY_HEAD_BYTES]),
}

impl Parts {
    /// Those of this command.
    #[must_use]
    pub fn of(command: &Command<'_>) -> Self {
        let Command { head, modify, .. } = command;
        let is_put = matches!(head.action, Action::Put | Action::Cas);
        let mut header = RequestHeader::default();
        header.set_ttl_s(ttl_s(head.ttl_ms));
        let ttl_s = header.ttl_s();
        let is_exact = u64::from(ttl_s) * 1_000 == head.ttl_ms;
        let is_item = head.wants_item || is_put && (head.item_flags != 0 || !is_exact);
        let before = match modify {
            Some(modify) => Before::Operation(wire::write(modify, head.item_flags).to_bytes()),
            None if is_put && is_item => {
                let (item_flags, ttl_ms) = (head.item_flags, head.ttl_ms);
                let item = ItemHead { item_flags, ttl_ms, ..ItemHead::default() };
                Before::Item(item.to_bytes())
            }
            None => Before::Nothing,
        };
        let version = modify.map_or(head.version, |modify| modify.when.version.unwrap_or(0));
        Self { opcode: opcode(head.action), is_item, ttl_s, version, before }
    }

    /// The bytes before the value proper.
    #[must_use]
    pub fn before(&self) -> &[u8] {
        match &self.before {
            Before::Nothing => &[],
            Before::Item(bytes) => bytes,
            Before::Operation(bytes) => bytes,
        }
    }
}

/// Appends a command to what is sent on a link.
pub(in crate::shard) fn command(command: Command<'_>, send: Send, out: &mut Vec<u8>) {
    let parts = Parts::of(&command);
    let Command { head, key, value, .. } = command;
    let mut header = RequestHeader::new(parts.opcode, head.keyspace, send.id);
    header.flags = match head.hop {
        Hop::None => 0,
        Hop::Forwarded => request_flags::FORWARDED,
        Hop::Relay => request_flags::RELAY,
    };
    if head.is_retry {
        header.flags |= request_flags::RETRY;
    }
    if parts.is_item {
        header.flags |= request_flags::ITEM;
    }
    header.set_ttl_s(parts.ttl_s);
    header.map_epoch = send.map_tag;
    header.deadline_ms = deadline_ms(&head);
    header.cas_version = parts.version;
    let identity = head.identity.map(identity_bytes);
    if identity.is_some() {
        header.flags |= request_flags::IDENTITY;
    }
    let identity = identity.as_ref().map_or(&[][..], |bytes| bytes);
    frame::Request::write_parts(header, key, [identity, parts.before(), value], out);
}

/// The answer that a frame brings.
///
/// # Panics
/// If it has the flag ITEM, and is too short for it, which no parsed response is.
#[must_use]
pub fn read_answer<'a>(response: &Response<'a>) -> (AnswerHead, &'a [u8]) {
    let header = &response.header;
    let (item, value) = match header.flags & response_flags::ITEM {
        0 => {
            let ttl_ms = match header.ttl_s {
                u32::MAX => u64::MAX,
                seconds => u64::from(seconds) * 1_000,
            };
            (ItemHead { ttl_ms, ..ItemHead::default() }, response.value)
        }
        _ => ItemHead::split(response.value).expect("a response has what it announces"),
    };
    let head = AnswerHead {
        status: response.status,
        flags: header.flags & !response_flags::ITEM,
        retry_after_ms: header.retry_after_ms,
        map_tag: header.map_epoch,
        ttl_ms: item.ttl_ms,
        version: header.cas_version,
        item_flags: item.item_flags,
        marks: item.marks,
    };
    (head, value)
}
