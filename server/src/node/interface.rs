//! The types that a shard's logic and its shell exchange.

use bytes::Bytes;
use standin_protocol::map::MapEpoch;
use standin_protocol::time::Micros;

use super::answer::{Answer, Status};
use super::command::{ConnId, OwnedCommand, ReplyTo};
use super::slow::Slow;
use crate::origin::Call;
use crate::store::{IndexHint, Located};

/// A connection whose other side sends no more requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// The connection.
    pub conn: ConnId,
    /// Whether it is closed, so that nobody receives an answer. Otherwise its client may still wait
    /// for answers.
    pub is_gone: bool,
}

/// The time of a wake-up.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// The monotonic clock, for deadlines and lifetimes.
    pub mono: Micros,
    /// Microseconds since 1970, for versions and for times in the words of clients.
    pub wall_us: u64,
}

impl Now {
    /// Milliseconds since 1970. They begin with those of the monotonic clock: so a lifetime until some time, which
    /// is kept by that clock, is told again as one until exactly that time, unless the clock of the host was set.
    #[must_use]
    pub fn wall_ms(self) -> u64 {
        self.mono.as_millis() + self.wall_us.saturating_sub(self.mono.0) / 1_000
    }
}

/// The place of a request's key. It is found for all requests of a wake-up before any of them is
/// aimed.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The stable hash of keyspace and key.
    pub hash: u64,
    /// The partition.
    pub partition: u32,
    pub(super) located: Located,
}

/// A place with the first candidate of the index. It is found for all requests of a wake-up before
/// any of them is served.
#[derive(Debug, Clone, Copy)]
pub struct Aimed {
    /// The stable hash of keyspace and key.
    pub hash: u64,
    /// The partition.
    pub partition: u32,
    pub(super) hint: IndexHint,
}

/// Whether this server may act as the owner of what the map says is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The time at which the lease ends, whatever else happens.
    pub until: Micros,
    /// Whether nobody in the group hears the master. The server then goes on without the master if
    /// the mode allows it, also only until `until`: the word of the other members is valid for as
    /// long as a lease would be.
    pub orphan: bool,
}

/// A server's word to a member of its group that it has lost the master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// The epoch of the map under which the word is given. Members believe it under the same map
    /// only.
    pub epoch: MapEpoch,
    /// The time after which no member relies on it.
    pub until: Micros,
}

/// The outcome of pinging every shard of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerProbe {
    /// Some shard gave no answer in time, or the shards are not of one incarnation.
    Silent,
    /// Some shard has no room for another connection, so the server is alive.
    Busy,
    /// The port refused the connection.
    Refused,
    /// All shards have answered.
    Answered {
        /// The server's incarnation.
        boot_id: u64,
        /// The oldest map that a shard of the server has applied.
        map_epoch: MapEpoch,
    },
}

/// The end of a request for a slice of a walk through cached keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Walked {
    /// The value of the answer.
    Answer(Bytes),
    /// The server is not online by the map, so it owns nothing.
    NotOnline,
    /// It was not answered. The status says why.
    Refused(Status),
}

/// An action that the shell has to carry out.
#[derive(Debug)]
pub enum Output {
    /// Give the answer to the connection, if it is still there.
    Reply {
        /// The destination.
        to: ReplyTo,
        /// The answer.
        answer: Answer,
    },
    /// Have a line written about a request that took long.
    Slow(Box<Slow>),
    /// Submit the call to the origin. Its [`crate::origin::Done`] is passed to
    /// [`super::Node::origin_done`].
    Origin(Call),
    /// Send the command to that shard of the peer. The answer is passed to
    /// [`super::Node::forward_done`].
    Forward {
        /// Server id.
        peer: u16,
        /// Shard of the peer.
        shard: u16,
        /// The name of this forward.
        token: u64,
        /// The [`MapEpoch::tag`] of the map under which the command is sent; 0 if there is none.
        map_tag: u32,
        /// The command.
        command: OwnedCommand,
    },
    /// Tell the master that sending to this server failed (claim 15).
    Report {
        /// Server id.
        server: u16,
    },
    /// Report that everything that began under older ownerships has ended, and that returning
    /// servers have been told what was written here.
    Drained(MapEpoch),
    /// Report the answer to [`super::Node::ask_probe`].
    Probed {
        /// The name of the probe.
        nonce: u64,
        /// Server id.
        server: u16,
        /// The outcome.
        outcome: PeerProbe,
    },
    /// Go on with the walk for which [`super::Node::ask_walk`] was called.
    Walked {
        /// The shell's name for the walk.
        walk: u64,
        /// What came of it.
        walked: Walked,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_at_which_a_lifetime_ends_is_told_as_it_was_asked_for() {
        for since_boot in [0, 1, 999, 86_400_000_000] {
            for phase in 0..1_000 {
                let boot = 1_800_000_000_000_123;
                let at = |us| Now { mono: Micros(us), wall_us: boot + us };
                let (asked, told) = (at(since_boot + phase), at(since_boot + 7_919 * phase));
                let ends = 1_900_000_000_000;
                let ends_mono = asked.mono.as_millis() + (ends - asked.wall_ms());
                assert_eq!(told.wall_ms() + (ends_mono - told.mono.as_millis()), ends);
                assert!(asked.wall_us / 1_000 - asked.wall_ms() <= 1);
            }
        }
        let unset = Now { mono: Micros(5_000), wall_us: 0 };
        assert_eq!(unset.wall_ms(), 5);
    }
}
