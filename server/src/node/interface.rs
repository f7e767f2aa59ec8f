//! What a shard's logic and its shell exchange.

use standin_protocol::map::MapEpoch;
use standin_protocol::time::Micros;

use super::answer::Answer;
use super::command::{ConnId, OwnedCommand, ReplyTo};
use crate::origin::Call;
use crate::store::{IndexHint, Located};

/// A connection whose other side sends no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Which one.
    pub conn: ConnId,
    /// It is closed: nobody hears an answer. Otherwise answers may still be waited for.
    pub is_gone: bool,
}

/// The time of a wake-up.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Monotonic: deadlines and lifetimes.
    pub mono: Micros,
    /// Microseconds since 1970: versions only.
    pub wall_us: u64,
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
    pub(super) hint: IndexHint,
}

/// Whether this server may act as the owner of what the map says is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Until when, whatever else happens.
    pub until: Micros,
    /// Nobody in the group hears the master: it goes on without, where the mode allows it, and
    /// also until then: the others' word of it is good for as long as a lease would be.
    pub orphan: bool,
}

/// Word that this server gives a member of its group: that it has lost the master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// The map under which it is given: members believe it under the same.
    pub epoch: MapEpoch,
    /// The time after which no member relies on it.
    pub until: Micros,
}

/// The outcome of pinging every shard of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerProbe {
    /// Some shard gave no answer in time, or they are not of one incarnation.
    Silent,
    /// Some shard has no room for another connection: the server lives.
    Busy,
    /// Nobody listens there.
    Refused,
    /// All shards have answered.
    Answered {
        /// The server's incarnation.
        boot_id: u64,
        /// The oldest map that one of them has applied.
        map_epoch: MapEpoch,
    },
}

/// What the shell has to do.
#[derive(Debug)]
pub enum Output {
    /// Give the answer to the connection, if it is still there.
    Reply {
        /// To whom.
        to: ReplyTo,
        /// The answer.
        answer: Answer,
    },
    /// Submit to the origin; its [`crate::origin::Done`] comes back by [`super::Node::origin_done`].
    Origin(Call),
    /// Send to that shard of the peer; the answer comes back by [`super::Node::forward_done`].
    Forward {
        /// Server id.
        peer: u16,
        /// Shard of the peer.
        shard: u16,
        /// Names this forward.
        token: u64,
        /// [`MapEpoch::tag`] of the map by which it is sent there; 0: by none.
        map_tag: u32,
        /// The command.
        command: OwnedCommand,
    },
    /// Tell the master that sending to this server failed (claim 15).
    Report {
        /// Server id.
        server: u16,
    },
    /// Everything begun under older ownerships has ended, and servers that return have been
    /// told what was written here.
    Drained(MapEpoch),
    /// The answer to [`super::Node::ask_probe`].
    Probed {
        /// Names the probe.
        nonce: u64,
        /// Server id.
        server: u16,
        /// The outcome.
        outcome: PeerProbe,
    },
}
