//! The commands of a shard's logic, without the bytes in which they arrive. Codecs (`shard/codec/`)
//! read commands from the bytes of a connection and write them to links.

use std::num::NonZeroU64;

use bytes::Bytes;

/// The action of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Read a value, through the cache.
    Get,
    /// Write a value, through to the origin.
    Put,
    /// Delete a row, through to the origin.
    Delete,
    /// Write a value if the version is still current.
    Cas,
    /// Give a cached value a new lifetime.
    Touch,
    /// Drop a cached value, without a statement to the origin.
    Invalidate,
    /// Drop all cached values of the keyspace in the key's partition, without a statement to the
    /// origin.
    Flush,
    /// Report the health of the shard and of its way to the origin.
    Ping,
    /// Give the cluster map.
    Map,
    /// Server to server: drop keys that were written elsewhere.
    Settle,
    /// Server to server: the sender has told of all keys that it wrote.
    Handback,
}

impl Action {
    /// Whether the command is about a key, and so belongs to the key's partition.
    #[inline]
    #[must_use]
    pub fn has_key(self) -> bool {
        !matches!(self, Self::Ping | Self::Map | Self::Settle | Self::Handback)
    }

    /// Whether the owner of the partition must carry the command out.
    #[must_use]
    pub fn is_write(self) -> bool {
        use Action::{Cas, Delete, Flush, Invalidate, Put, Settle};
        matches!(self, Put | Delete | Cas | Invalidate | Flush | Settle)
    }
}

/// The way by which a command reached this server: directly, forwarded or relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hop {
    /// It has not been forwarded.
    None,
    /// It was forwarded to the owner, and is not forwarded again.
    Forwarded,
    /// It was sent to a server that may be able to reach the owner, and that server is to forward
    /// it.
    Relay,
}

/// A client's name for a request. It stays the same each time the client sends the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The client.
    pub client_id: NonZeroU64,
    /// The client's number for the request.
    pub request_id: u32,
}

/// A command without its key and value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandHead {
    /// The action.
    pub action: Action,
    /// Keyspace id.
    pub keyspace: u8,
    /// The way by which it arrived.
    pub hop: Hop,
    /// The client has sent it before and has received no answer.
    pub is_retry: bool,
    /// The sender is another server of the cluster.
    pub is_peer: bool,
    /// The time for which the sender will wait, in milliseconds; 0 if it has no deadline.
    pub deadline_ms: u32,
    /// The lifetime in the cache, in seconds; 0 for that of the keyspace.
    pub ttl_s: u32,
    /// For CAS, the version that must be current.
    pub version: u64,
    /// The client's name for the request, if the client gave it one.
    pub identity: Option<Identity>,
}

impl CommandHead {
    /// Creates a client's command without a deadline, lifetime or identity.
    #[must_use]
    pub fn new(action: Action, keyspace: u8) -> Self {
        Self {
            action,
            keyspace,
            hop: Hop::None,
            is_retry: false,
            is_peer: false,
            deadline_ms: 0,
            ttl_s: 0,
            version: 0,
            identity: None,
        }
    }
}

/// A command whose key and value lie in a receive buffer.
#[derive(Debug, Clone, Copy)]
pub struct Command<'a> {
    /// The command without its key and value.
    pub head: CommandHead,
    /// The key; empty for actions that have none.
    pub key: &'a [u8],
    /// The value to write, or the body of a message between servers.
    pub value: &'a [u8],
}

impl Command<'_> {
    /// Copies the key and value, and returns the owned command.
    #[must_use]
    pub fn into_owned(self) -> OwnedCommand {
        let value = Bytes::copy_from_slice(self.value);
        OwnedCommand { head: self.head, key: self.key.into(), value }
    }
}

/// A command on its way to another shard or server.
#[derive(Debug, Clone)]
pub struct OwnedCommand {
    /// The command without its key and value.
    pub head: CommandHead,
    /// The key.
    pub key: Box<[u8]>,
    /// The value.
    pub value: Bytes,
}

impl OwnedCommand {
    /// Returns the command, borrowed.
    #[must_use]
    pub fn as_command(&self) -> Command<'_> {
        Command { head: self.head, key: &self.key, value: &self.value }
    }

    /// Returns the number of bytes of memory that the command takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.key.len() + self.value.len()
    }
}

/// The shell's name for a connection. The node only gives it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnId {
    /// The shard that holds the connection.
    pub shard: u16,
    /// The name of the connection within that shard.
    pub conn: u64,
}

/// The destination of a command's answer. The node only passes it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyTo {
    /// The connection.
    pub conn: ConnId,
    /// The name that the connection's codec has given the request.
    pub tag: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_takes_the_memory_of_its_key_and_its_value() {
        let command = |key, value| {
            Command { head: CommandHead::new(Action::Put, 1), key, value }.into_owned().bytes()
        };
        let empty = command(b"", b"");
        assert!(empty > 0);
        assert_eq!(command(b"key", b"value"), empty + 8);
        assert_eq!(command(b"key", b""), empty + 3);
    }
}
