//! What a shard's logic keeps per request, per call and per partition.

use bytes::Bytes;
use hashbrown::HashMap;
use slotmap::new_key_type;
use standin_protocol::frame::{IDENTITY_BYTES, Opcode, Request, RequestHeader, request_flags};
use standin_protocol::time::Micros;

use super::ack::Begun;
use super::flush::Generation;
use super::gate::Reserved;
use super::interface::{ConnId, Now};
use super::serving::Serving;
use super::tokens::FillToken;

new_key_type! {
    pub(super) struct PendingKey;
    pub(super) struct CallKey;
    pub(super) struct ForwardKey;
}

/// A request that waits for the origin or a peer.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) conn: ConnId,
    pub(super) header: RequestHeader,
    pub(super) opcode: Opcode,
    pub(super) hash: u64,
    pub(super) partition: u32,
    pub(super) key: Box<[u8]>,
    pub(super) value: Bytes,
    pub(super) deadline: Micros,
    /// It is processed here, whoever owns its partition: sending it on has failed, or it
    /// has waited long enough for an owner.
    pub(super) here: bool,
    /// Since when it has waited for an owner that accepts it.
    pub(super) waits_since: Option<Micros>,
    /// Whether anybody hears its answer.
    pub(super) caller: Presence,
    /// Members of the group that were asked in vain to pass it on.
    pub(super) relays_tried: usize,
    /// A write that has begun here: its end is worth remembering.
    pub(super) is_begun: bool,
    /// The client's name for it.
    pub(super) identity: Option<Identity>,
}

/// What is known of the connection that a request came on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Presence {
    /// Nothing contradicts that it is there.
    There,
    /// Its other side has ended: it may be gone, or only have sent all that it wanted.
    Ended,
    /// It is closed.
    Gone,
}

/// A client's name for a request: the same for each time that it sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub(super) client_id: u64,
    pub(super) request_id: u32,
}

impl Identity {
    pub(super) fn to_bytes(self) -> [u8; IDENTITY_BYTES] {
        let mut bytes = [0; IDENTITY_BYTES];
        bytes[..8].copy_from_slice(&self.client_id.to_le_bytes());
        bytes[8..].copy_from_slice(&self.request_id.to_le_bytes());
        bytes
    }

    /// Takes the identity off the head of a value.
    pub(super) fn split(value: &[u8]) -> Option<(Self, &[u8])> {
        let (client_id, rest) = value.split_first_chunk::<8>()?;
        let (request_id, rest) = rest.split_first_chunk::<4>()?;
        let client_id = u64::from_le_bytes(*client_id);
        Some((Self { client_id, request_id: u32::from_le_bytes(*request_id) }, rest))
    }
}

impl Pending {
    /// Whether it must be carried out by the partition's owner.
    pub(super) fn is_write(&self) -> bool {
        is_write(self.opcode)
    }

    /// Whether a server has sent it on to this one: it is not sent on again, and not processed
    /// here in the owner's place.
    pub(super) fn is_sent_on(&self) -> bool {
        self.header.flags & (request_flags::FORWARDED | request_flags::RELAY) != 0
    }

    /// The frame that sends it on, marked with `flag`.
    pub(super) fn frame(
        &self,
        now: Now,
        flag: u8,
        map_tag: u32,
        value_bytes_max: usize,
    ) -> Vec<u8> {
        let mut header = self.header;
        let marks = request_flags::FORWARDED | request_flags::RELAY | request_flags::IDENTITY;
        header.flags = header.flags & !marks | flag;
        header.map_epoch = map_tag;
        if header.deadline_ms != 0 {
            // The time that the request has already spent here is gone.
            let left_ms = self.deadline.since(now.mono).as_millis().max(1);
            header.deadline_ms = u16::try_from(left_ms).unwrap_or(u16::MAX);
        }
        let mut frame = Vec::new();
        let has_room = self.value.len() + IDENTITY_BYTES <= value_bytes_max;
        match self.identity.filter(|_| has_room && self.is_write()) {
            Some(identity) => {
                header.flags |= request_flags::IDENTITY;
                let value = [&identity.to_bytes(), &*self.value].concat();
                Request::write(header, &self.key, &value, &mut frame);
            }
            None => Request::write(header, &self.key, &self.value, &mut frame),
        }
        frame
    }
}

/// Whether a request must be carried out by the partition's owner.
pub(super) fn is_write(opcode: Opcode) -> bool {
    use Opcode::{Cas, Delete, Flush, Invalidate, Put, Settle};
    matches!(opcode, Put | Delete | Cas | Invalidate | Flush | Settle)
}

/// How things stood when a fetch was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct FetchStart {
    pub(super) token: FillToken,
    pub(super) generation: Generation,
    pub(super) at: Micros,
}

/// What an origin call is for.
#[derive(Debug)]
pub(super) enum CallState {
    Fetch {
        name: Name,
        started: FetchStart,
        reserved: Reserved,
    },
    Write {
        pending: PendingKey,
        token: FillToken,
        generation: Generation,
        begun: Begun,
        outdated: bool,
    },
}

/// Keyspace and key in one: the name under which fetches and writes are found.
pub(super) type Name = Box<[u8]>;
pub(super) type Names<V> = HashMap<Name, V, ahash::RandomState>;

/// What the shard keeps per partition; a request reads one of these.
#[derive(Debug, Clone, Copy)]
pub(super) struct PartitionState {
    pub(super) serving: Serving,
    /// `STAND_IN` and `PROVISIONAL` of replies.
    pub(super) flags: u8,
    /// Rises when cached values of the partition were dropped.
    pub(super) generation: u32,
    /// Values of a lower version are not there any more.
    pub(super) version_floor: u64,
    /// Values of a lower version were kept before this server owned the partition. They are good
    /// for reads until they end, and for nothing else: no CAS nor TOUCH goes by them.
    pub(super) owned_floor: u64,
    /// Some keyspace was flushed here: it has a floor of its own (flush.rs).
    pub(super) is_flushed: bool,
    /// Since when it is served as it is.
    pub(super) since: Micros,
}

impl PartitionState {
    /// The version that a caller may name in a CAS; 0: none.
    #[inline]
    pub(super) fn told_version(&self, version: u64) -> u64 {
        if version < self.owned_floor { 0 } else { version }
    }
}
