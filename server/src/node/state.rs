//! What a shard's logic keeps per request, per call and per partition.

use bytes::Bytes;
use hashbrown::HashMap;
use slotmap::new_key_type;
use standin_protocol::time::Micros;

use super::ack::Begun;
use super::command::{CommandHead, Hop, OwnedCommand, ReplyTo};
use super::flush::Generation;
use super::gate::Reserved;
use super::interface::Now;
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
    pub(super) to: ReplyTo,
    pub(super) head: CommandHead,
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

impl Pending {
    /// Whether it must be carried out by the partition's owner.
    pub(super) fn is_write(&self) -> bool {
        self.head.action.is_write()
    }

    /// Whether a server has sent it on to this one: it is not sent on again, and not processed
    /// here in the owner's place.
    pub(super) fn is_sent_on(&self) -> bool {
        self.head.hop != Hop::None
    }

    /// The command that sends it on.
    pub(super) fn command(&self, now: Now, hop: Hop) -> OwnedCommand {
        let mut head = CommandHead { hop, is_peer: true, ..self.head };
        if head.deadline_ms != 0 {
            // The time that the request has already spent here is gone.
            let left_ms = self.deadline.since(now.mono).as_millis().max(1);
            head.deadline_ms = u32::try_from(left_ms).unwrap_or(u32::MAX);
        }
        head.identity = head.identity.filter(|_| self.is_write());
        OwnedCommand { head, key: self.key.clone(), value: self.value.clone() }
    }
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
