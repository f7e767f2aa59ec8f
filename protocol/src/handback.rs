//! Values of SETTLE and HANDBACK: what a server tells another of the keys that were written
//! elsewhere than at their owner. rkyv archives.
//!
//! Only keys travel, not values: the receiver drops what it has of them.

use rkyv::rancor::Failure;
use rkyv::{Archive, Deserialize, Serialize};

use crate::body::{BodyError, body};

/// Keys of one SETTLE at most; more go into further frames.
pub const KEYS_MAX: usize = 4_096;

/// Value of a SETTLE.
#[derive(Debug, Clone, PartialEq, Eq, Default, Archive, Serialize, Deserialize)]
pub struct Keys {
    /// The keys, [`KEYS_MAX`] at most.
    pub keys: Vec<WrittenKey>,
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
    /// The write's outcome is not known, it may still land.
    pub const OPEN: u8 = 0x01;
    /// Not the key alone: all of its keyspace in its partition was flushed.
    pub const FLUSH: u8 = 0x02;
}

/// Value of a HANDBACK: the sender's last word on the partitions of the receiver.
#[derive(Debug, Clone, PartialEq, Eq, Default, Archive, Serialize, Deserialize)]
pub struct Handback {
    /// [`crate::map::MapEpoch::to_u64`] at which the receiver became *returning*: the return
    /// that this belongs to.
    pub epoch: u64,
    /// The same, of the first map of the sender's incarnation: what it may have written under
    /// older maps, it does not know any more.
    pub complete_since: u64,
    /// Partitions in which more keys were written than could be remembered.
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
        let keys = Keys { keys: vec![key; 3] };
        assert_eq!(Keys::from_bytes(&keys.to_bytes()), Ok(keys));
        let handback = Handback { epoch: 7, complete_since: 3, overflowed: vec![1, 63] };
        assert_eq!(Handback::from_bytes(&handback.to_bytes()), Ok(handback));
        assert_eq!(Handback::from_bytes(b"no archive"), Err(BodyError));
        assert_eq!(Keys::from_bytes(&[]), Err(BodyError));
    }
}
