//! The bytes that Standin's parties exchange, and the pure functions on which all parties must
//! agree: which partition a key belongs to, and which server owns a partition.
//!
//! No sockets and no threads. `docs/PROTOCOL.md` describes the protocol in prose, with byte
//! diagrams. `docs/vectors.json` contains its test vectors, which this crate's tests check.
//!
//! ```text
//! key.rs         spellings of one key → the form that is hashed
//! hash.rs        key → 64-bit hash → partition → shard
//! seeds.rs       keyspaces over the same rows, which are placed together
//! slots.rs       key → slot of Redis Cluster → partition, where the map says so
//! placement.rs   partition → servers in order of rank
//! map.rs         ranks + server states → owner of each partition; the map
//! wire_map.rs    the map as an archive
//! codes.rs       opcodes and statuses
//! frame.rs       TCP: 32-byte request and response headers, key, value
//! hello.rs       TCP: first exchange on a connection, authentication
//! handshake.rs   TCP: the first exchange, as the caller and the listener see it
//! body.rs        TCP: values of PING and STATS
//! hot.rs         TCP: value of HOT
//! counters.rs    the figures of a party: names, kinds, help texts
//! item.rs        TCP: flags and exact lifetime of a value
//! modify/        TCP: read-modify-writes, and their bytes
//! handback.rs    TCP: keys written elsewhere than at their owner
//! walk.rs        TCP: keys that a shard has cached
//! lease.rs       how long a lease holds, for its holder and for its grantor
//! bursts.rs      events that the log has now and then, and none of which it leaves out
//! bind.rs        binding an address that a killed process may still hold
//! mutant.rs      rules that tests can switch off
//! fault.rs       threads that tests can end
//! control.rs     UDP: notices, renewals, announcements
//! states.rs      UDP: states that come in several datagrams
//! auth.rs        keyed BLAKE3 for hello and control
//! users.rs       users: how they prove who they are, and what they may do
//! ```

pub mod auth;
pub mod bind;
pub mod body;
pub mod bursts;
pub mod codes;
pub mod control;
pub mod counters;
pub mod fault;
pub mod frame;
pub mod handback;
pub mod handshake;
pub mod hash;
pub mod hello;
pub mod hot;
pub mod item;
pub mod key;
pub mod lease;
pub mod map;
pub mod modify;
pub mod mutant;
pub mod placement;
pub mod queue;
pub mod seeds;
pub mod slots;
pub mod states;
pub mod time;
pub mod transact;
pub mod users;
pub mod walk;
pub mod wire_map;

/// Protocol version in every header. A party answers another version with
/// [`frame::Status::UnsupportedVersion`] (TCP) or drops it (UDP).
pub const VERSION: u8 = 1;
