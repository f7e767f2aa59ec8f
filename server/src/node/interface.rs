//! What a shard's logic and its shell exchange.

use standin_protocol::map::MapEpoch;
use standin_protocol::time::Micros;

use super::LateReply;
use crate::origin::Call;
use crate::store::{Located, Probe};

/// A connection, as the shell names it. The node only hands it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnId {
    /// The shard that holds the connection.
    pub shard: u16,
    /// Its name there.
    pub conn: u64,
}

/// The time of a wake-up.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Monotonic: deadlines and lifetimes.
    pub mono: Micros,
    /// Microseconds since 1970: versions only.
    pub wall_us: u64,
}

/// How long this server may act as an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lease {
    /// Until then, whoever gave it.
    pub until: Micros,
    /// Not the master gave it, but the group: nobody in it hears the master. It too ends at
    /// `until`.
    pub orphan: bool,
}

/// What came of contacting every shard of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerProbe {
    /// Some shard gave no answer in time.
    Silent,
    /// Nobody listens there.
    Refused,
    /// Every shard has answered.
    Answered {
        /// Its incarnation.
        boot_id: u64,
        /// The oldest map of its shards.
        map_epoch: MapEpoch,
    },
}

/// Where a request's key belongs; found for a whole wake-up before any is aimed.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Stable hash of keyspace and key.
    pub hash: u64,
    /// Partition.
    pub partition: u32,
    pub(super) located: Located,
}

/// A place with the first candidate of the index; aimed for a whole wake-up before any request
/// is served.
#[derive(Debug, Clone, Copy)]
pub struct Aimed {
    /// Stable hash of keyspace and key.
    pub hash: u64,
    /// Partition.
    pub partition: u32,
    pub(super) probe: Probe,
}

/// What the shell has to do.
#[derive(Debug)]
pub enum Output {
    /// Append the reply to the connection's output, if it is still there.
    Reply {
        /// To whom.
        conn: ConnId,
        /// The reply.
        reply: LateReply,
    },
    /// Submit to the origin; its [`crate::origin::Done`] comes back by [`super::Node::origin_done`].
    Origin(Call),
    /// Send to that shard of the peer; the answer comes back by [`super::Node::forward_done`].
    Forward {
        /// Server id.
        peer: u16,
        /// Shard of the peer.
        shard: u16,
        /// Names this forward; also the frame's request id.
        token: u64,
        /// A whole frame; its request id is the shell's to set.
        frame: Vec<u8>,
    },
    /// Tell the master that sending to this server failed (claim 15).
    Report {
        /// Server id.
        server: u16,
    },
    /// Everything begun under older ownerships has ended.
    Drained(MapEpoch),
    /// What came of [`super::Node::ask_probe`].
    Probed {
        /// Its nonce.
        nonce: u64,
        /// The server.
        server: u16,
        /// How it ended.
        outcome: PeerProbe,
    },
}

/// How a forward ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardFailure {
    /// Nobody listens at the peer's address: the incarnation that did is dead.
    Refused,
    /// The peer can't be connected to, closed the connection, or says nothing at all.
    Unreachable,
    /// The peer answers others, but this request took too long.
    TimedOut,
}
