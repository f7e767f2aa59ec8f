//! The values of SETTLE and HANDBACK, with which a server tells another which keys were written
//! elsewhere than at their owner. They are rkyv archives.
//!
//! Only keys are sent, not values: the receiver drops what it has cached for them.

use rkyv::rancor::Failure;
use rkyv::{Archive, Deserialize, Serialize};

use crate::body::{BodyError, body};

/// The largest number of keys in one SETTLE. More go into further frames.
pub const KEYS_MAX: usize = 4_096;

/// The `complete_since` of a sender that has forgotten keys, because it took the receiver for a new
/// process, which has nothing that it could keep.
pub const FORGOTTEN: u64 = u64::MAX;

/// The value of a SETTLE.
#[derive(Debug, Clone, PartialEq, Eq, Default, Archive, Serialize, Deserialize)]
pub struct Keys {
    /// The keys, [`KEYS_MAX`] at most.
    pub keys: Vec<WrittenKey>,
    /// [`crate::map::MapEpoch::to_u64`] of the receiver's return, if the keys are handed over for
    /// it; 0: the receiver is told as their owner.
    pub handover: u64,
}

/// A key that was written elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Archive, Serialize, Deserialize)]
pub struct WrittenKey {
    /// Its keyspace.
    pub keyspace: u8,
    /// Bits of [`marks`].
    pub marks: u8,
    /// The key.
    pub key: Vec<u8>,
}

/// Bits of [`WrittenKey::marks`].
pub mod marks {
    /// The write's outcome is unknown: it may still take effect.
    pub const OPEN: u8 = 0x01;
    /// The whole keyspace in the key's partition was flushed, not only the key.
    pub const FLUSH: u8 = 0x02;
}

/// The value of a HANDBACK, the last message of a handover: what the sender knows of the receiver's
/// partitions.
#[derive(Debug, Clone, PartialEq, Eq, Default, Archive, Serialize, Deserialize)]
pub struct Handback {
    /// The epoch ([`crate::map::MapEpoch::to_u64`]) at which the receiver became *returning*. It
    /// identifies the return that this belongs to.
    pub epoch: u64,
    /// The epoch of the first map of the sender's incarnation. The sender does not know what its
    /// server wrote under older maps. [`FORGOTTEN`] if it has forgotten keys that were written later.
    pub complete_since: u64,
    /// The incarnation of the sending server.
    pub boot_id: u64,
    /// The id of the sending server.
    pub server: u16,
    /// The sending shard of that server.
    pub shard: u16,
    /// The partitions in which more keys were written than could be logged.
    pub overflowed: Vec<u32>,
}

body!(Keys);
body!(Handback);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_survive_the_wire_and_garbage_does_not() {
        let key = WrittenKey { keyspace: 1, marks: marks::OPEN, key: b"k".to_vec() };
        let keys = Keys { keys: vec![key; 3], handover: 9 };
        assert_eq!(Keys::from_bytes(&keys.to_bytes()), Ok(keys));
        let (server, shard, overflowed) = (2, 1, vec![1, 63]);
        let handback =
            Handback { epoch: 7, complete_since: 3, boot_id: 5, server, shard, overflowed };
        assert_eq!(Handback::from_bytes(&handback.to_bytes()), Ok(handback));
        assert_eq!(Handback::from_bytes(b"no archive"), Err(BodyError));
        assert_eq!(Keys::from_bytes(&[]), Err(BodyError));
    }
}
