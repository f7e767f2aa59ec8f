//! Values of the replies to PING and STATS: rkyv archives.

use rkyv::rancor::Failure;
use rkyv::{Archive, Deserialize, Serialize};

/// Value of the OK to a PING: how the shard is that answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Archive, Serialize, Deserialize)]
pub struct PingReply {
    /// The server's incarnation.
    pub boot_id: u64,
    /// [`crate::map::MapEpoch::to_u64`] of the map that the shard has applied; 0: none yet.
    pub map_epoch: u64,
    /// The same of the newest map under which nothing of what was begun before is left; 0: none.
    pub drained_epoch: u64,
    /// What the shard usually fetches from the origin in a second; 0: it has not measured yet.
    pub usual_fetches_per_s: u64,
    /// Longest turn of the shard's loop in the last second, in microseconds.
    pub loop_lag_us: u32,
    /// Requests that wait for the origin or a peer.
    pub in_flight: u32,
    /// The server's id.
    pub server: u16,
    /// The shard.
    pub shard: u16,
    /// 1: the origin answers. 0: it does not.
    pub origin_up: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// Value of the OK to a STATS.
#[derive(Debug, Clone, PartialEq, Eq, Default, Archive, Serialize, Deserialize)]
pub struct StatsReply {
    /// Name of the server.
    pub server: String,
    /// The server's incarnation.
    pub boot_id: u64,
    /// Milliseconds since its start.
    pub uptime_ms: u64,
    /// [`crate::map::MapEpoch::to_u64`] of the map that it has applied.
    pub map_epoch: u64,
    /// Counters, summed over the shards, by name.
    pub counters: Vec<Counter>,
}

/// A named number.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Counter {
    /// Name with its unit last, as in `origin_reads` or `items_bytes`.
    pub name: String,
    /// Value.
    pub value: u64,
}

/// The bytes are no such archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the reply's value can't be read: do both sides run the same version of Standin?")]
pub struct BodyError;

/// A value that is an rkyv archive: its bytes, and back.
macro_rules! body {
    ($name:ident) => {
        impl $name {
            /// The archive's bytes.
            #[must_use]
            pub fn to_bytes(&self) -> Vec<u8> {
                let Ok(bytes) = rkyv::to_bytes::<Failure>(self) else {
                    // Serialising owned values into memory has no way to fail.
                    unreachable!("a body is always serialisable")
                };
                bytes.into_vec()
            }

            /// Reads a validated archive.
            ///
            /// # Errors
            /// [`BodyError`].
            pub fn from_bytes(bytes: &[u8]) -> Result<Self, BodyError> {
                rkyv::from_bytes::<Self, Failure>(bytes).map_err(|_| BodyError)
            }
        }
    };
}

pub(crate) use body;

body!(PingReply);
body!(StatsReply);

impl StatsReply {
    /// The counter of that name; zero if there is none.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        self.counters.iter().find(|c| c.name == name).map_or(0, |c| c.value)
    }
}
