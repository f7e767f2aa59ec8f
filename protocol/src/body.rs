//! Values of the replies to PING and STATS, and of NOT_OWNER: rkyv archives.

use rkyv::rancor::Failure;
use rkyv::{Archive, Deserialize, Serialize};

/// The value of the OK to a PING: the state of the shard that answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Archive, Serialize, Deserialize)]
pub struct PingReply {
    /// The server's incarnation.
    pub boot_id: u64,
    /// The epoch ([`crate::map::MapEpoch::to_u64`]) of the map that the shard has applied; 0: none
    /// yet.
    pub map_epoch: u64,
    /// The epoch of the newest map for which everything that began before it has ended; 0: none.
    pub drained_epoch: u64,
    /// The shard's usual number of fetches from the origin per second; 0: not measured yet.
    pub usual_fetches_per_s: u64,
    /// The longest turn of the shard's loop in the last second, in microseconds.
    pub loop_lag_us: u32,
    /// The number of requests that wait for the origin or a peer.
    pub in_flight: u32,
    /// The server's id.
    pub server: u16,
    /// The shard.
    pub shard: u16,
    /// 1 if the origin answers, otherwise 0.
    pub origin_up: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// The value of a NOT_OWNER.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Archive, Serialize, Deserialize)]
pub struct NotOwner {
    /// [`crate::map::MapEpoch::to_u64`] of the server's map; 0: none yet.
    pub map_epoch: u64,
}

/// The value of the OK to a STATS.
#[derive(Debug, Clone, PartialEq, Eq, Default, Archive, Serialize, Deserialize)]
pub struct StatsReply {
    /// The server's name.
    pub server: String,
    /// The server's incarnation.
    pub boot_id: u64,
    /// The time since its start, in milliseconds.
    pub uptime_ms: u64,
    /// The epoch ([`crate::map::MapEpoch::to_u64`]) of the map that it has applied.
    pub map_epoch: u64,
    /// The figures by name, combined over the shards.
    pub counters: Vec<Counter>,
}

/// A named number.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct Counter {
    /// The name, with the unit last, as in `origin_reads` or `items_bytes`.
    pub name: String,
    /// Value.
    pub value: u64,
}

/// The error of bytes that are not a valid archive of the type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the reply's value can't be read: do both sides run the same version of Standin?")]
pub struct BodyError;

/// Implements the conversion of a value to the bytes of an rkyv archive, and back.
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
body!(NotOwner);
body!(StatsReply);

impl StatsReply {
    /// Returns the counter of that name, or zero if there is none.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        self.counters.iter().find(|c| c.name == name).map_or(0, |c| c.value)
    }
}
