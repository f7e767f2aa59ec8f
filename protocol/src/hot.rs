//! The value of the reply to HOT: the keys that a server is asked for most. An rkyv archive.

use rkyv::rancor::Failure;
use rkyv::{Archive, Deserialize, Serialize};

use crate::body::{BodyError, body};

/// The largest number of keys in a reply.
pub const KEYS_MAX: usize = 256;
/// The largest number of bytes of a key that a reply has. The rest is left out.
pub const KEY_BYTES_MAX: usize = 128;

/// The value of the OK to a HOT.
#[derive(Debug, Clone, PartialEq, Eq, Default, Archive, Serialize, Deserialize)]
pub struct HotReply {
    /// The requests for keys that this server carries out per second, estimated.
    pub requests_per_s: u64,
    /// Those that it is asked for most, the hottest first.
    pub keys: Vec<HotKey>,
}

/// A key that a shard is asked for often.
#[derive(Debug, Clone, PartialEq, Eq, Default, Archive, Serialize, Deserialize)]
pub struct HotKey {
    /// Its first bytes, at most [`KEY_BYTES_MAX`].
    pub key: Vec<u8>,
    /// [`crate::hash::key_hash`] of the whole key, with the keyspace as the seed.
    pub hash: u64,
    /// The requests for it per second, estimated.
    pub requests_per_s: u64,
    /// The part of these that may be another key's.
    pub doubtful_per_s: u64,
    /// The number of bytes of the whole key.
    pub key_bytes: u16,
    /// The shard.
    pub shard: u16,
    /// Keyspace id.
    pub keyspace: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

body!(HotReply);
