//! What a frame may carry.

use standin_config::Limits;
use standin_protocol::frame::FrameLimits;

/// Bytes of an archive beside its keys or numbers, and more.
const ARCHIVE_BYTES: u32 = 128;
/// Of a partition's number in a HANDBACK.
const PARTITION_BYTES: u32 = 4;

/// Limits by who sends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frames {
    clients: FrameLimits,
    peers: FrameLimits,
}

impl Frames {
    /// Peers may send values as large as clients may, but also any key in a SETTLE and all
    /// partitions in a HANDBACK, however small values are: what can't be told would hold up
    /// the return of a server for ever.
    pub(super) fn new(limits: &Limits, partitions: u32) -> Self {
        let (key_bytes, value_bytes) = (limits.key_bytes, limits.value_bytes);
        let told = u32::from(key_bytes).max(PARTITION_BYTES * partitions) + ARCHIVE_BYTES;
        Self {
            clients: FrameLimits { key_bytes, value_bytes },
            peers: FrameLimits { key_bytes, value_bytes: value_bytes.max(told) },
        }
    }

    /// Those of a peer, or of a client.
    pub(super) fn of(&self, is_peer: bool) -> FrameLimits {
        if is_peer { self.peers } else { self.clients }
    }
}

#[cfg(test)]
mod tests {
    use standin_protocol::handback::{Handback, Keys, WrittenKey, marks};
    use standin_protocol::map::PARTITIONS_MAX;

    use super::*;

    #[test]
    fn whatever_a_peer_has_to_tell_fits_however_small_values_are() {
        let limits = Limits { value_bytes: 1, ..Limits::default() };
        for partitions in [1, 1_024, PARTITIONS_MAX] {
            let frames = Frames::new(&limits, partitions);
            let room = frames.of(true).value_bytes as usize;
            let overflowed = (0..partitions).collect();
            let handback = Handback {
                epoch: 1,
                complete_since: 1,
                boot_id: 1,
                server: 1,
                shard: 1,
                overflowed,
            };
            assert!(handback.to_bytes().len() <= room, "{partitions} partitions");
            let key = vec![1; usize::from(limits.key_bytes)];
            let keys = Keys {
                keys: vec![WrittenKey { keyspace: 1, marks: marks::OPEN, key }],
                handover: 1,
            };
            assert!(keys.to_bytes().len() <= room);
            assert_eq!(frames.of(false).value_bytes, 1);
        }
        let large = Limits::default();
        assert_eq!(Frames::new(&large, 1).of(true), Frames::new(&large, 1).of(false));
    }
}
