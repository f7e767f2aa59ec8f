//! What a shard's logic keeps per request, per call and per partition.

use bytes::Bytes;
use hashbrown::HashMap;
use slotmap::new_key_type;
use standin_protocol::frame::{Opcode, RequestHeader};
use standin_protocol::time::Micros;

use super::interface::ConnId;
use super::serving::Serving;
use super::tokens::FillToken;

new_key_type! {
    pub(super) struct PendingKey;
    pub(super) struct CallKey;
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
    /// Since when the partition's owner, as this server knows it, does not accept it.
    pub(super) refused_since: Option<Micros>,
}

impl Pending {
    /// Whether it must be carried out by the partition's owner.
    pub(super) fn is_write(&self) -> bool {
        matches!(self.opcode, Opcode::Put | Opcode::Delete | Opcode::Cas | Opcode::Invalidate)
    }
}

/// What an origin call is for.
#[derive(Debug)]
pub(super) enum CallState {
    Fetch { name: Name, token: FillToken, generation: u32 },
    Write { pending: PendingKey, token: FillToken, generation: u32, outdated: bool },
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
    /// Since when it is served as it is.
    pub(super) since: Micros,
}
