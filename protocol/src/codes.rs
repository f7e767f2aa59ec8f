//! The named numbers of the protocol: opcodes, statuses, and the macro that defines such lists.

macro_rules! wire_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $value:literal, $text:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$doc])* $variant = $value,)+ }

        impl $name {
            /// Every value, in order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the value with this number on the wire.
            #[inline]
            #[must_use]
            pub fn from_wire(byte: u8) -> Option<Self> {
                match byte { $($value => Some(Self::$variant),)+ _ => None }
            }

            /// Returns the value with this name.
            #[must_use]
            pub fn of_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$variant),)+ _ => None }
            }

            /// The name used in documents and messages.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub(crate) use wire_enum;

impl Opcode {
    /// Whether a request with this opcode byte is about a key, and so belongs to a partition.
    #[inline]
    #[must_use]
    pub fn has_key(opcode: u8) -> bool {
        use Opcode::{Cas, Delete, Flush, Get, Invalidate, Modify, Put, Touch, Transact};
        let opcode = Self::from_wire(opcode);
        let Some(opcode) = opcode else { return false };
        matches!(opcode, Get | Put | Delete | Cas | Touch | Modify | Invalidate | Flush | Transact)
    }
}

wire_enum! {
    /// The operation that a request asks for.
    Opcode {
        /// First request of a connection: the caller's role, the shard, authentication.
        Hello = 0, "HELLO";
        /// Read a value, through the cache.
        Get = 1, "GET";
        /// Write a value, through to the origin.
        Put = 2, "PUT";
        /// Delete a row, through to the origin.
        Delete = 3, "DELETE";
        /// Write if the version is still current.
        Cas = 4, "CAS";
        /// Give a cached value a new lifetime.
        Touch = 5, "TOUCH";
        /// Drop the cached value; the origin is left alone.
        Invalidate = 6, "INVALIDATE";
        /// Deep health check of the shard and its connection to the origin.
        Ping = 7, "PING";
        /// The cluster map.
        Map = 8, "MAP";
        /// Counters of the server.
        Stats = 9, "STATS";
        /// Server → server: drop these keys, because they were written elsewhere. Value: entries of
        /// [`crate::handback::Keys`].
        Settle = 10, "SETTLE";
        /// Server → a returning member of its group: all keys of the member's partitions that were
        /// written here while it was away have been settled. Value: a
        /// [`crate::handback::Handback`].
        Handback = 11, "HANDBACK";
        /// Drop every cached value of the keyspace in the key's partition; the origin is left alone.
        Flush = 12, "FLUSH";
        /// Read, change and write a value in one step, at its owner. Value: a
        /// [`crate::modify::wire::ModifyHead`], then the operand.
        Modify = 13, "MODIFY";
        /// Some of the keys that the shard has cached. Value: a [`crate::walk::WalkHead`], then a pattern.
        Walk = 14, "WALK";
        /// The keys that the server is asked for most. Value of the reply: a [`crate::hot::HotReply`].
        Hot = 15, "HOT";
        /// Read, change and write values of several keys of one partition in one step, at its owner, if
        /// other keys are as they were seen. Value: a [`crate::transact::Transaction`]; of the reply:
        /// [`crate::transact::results`].
        Transact = 16, "TRANSACT";
    }
}

wire_enum! {
    /// The outcome of a request.
    Status {
        /// Done.
        Ok = 0, "OK";
        /// No such row.
        NotFound = 1, "NOT_FOUND";
        /// CAS: another version is current; it is in `cas_version` (0: unknown).
        VersionMismatch = 2, "VERSION_MISMATCH";
        /// A forwarded request reached a server that is not the owner. Value: a
        /// [`crate::body::NotOwner`].
        NotOwner = 3, "NOT_OWNER";
        /// Too much load; retry after `retry_after_ms`.
        Overloaded = 4, "OVERLOADED";
        /// The database can't be reached; nothing was done.
        OriginUnavailable = 5, "ORIGIN_UNAVAILABLE";
        /// The database refused the statement; the value is its message. Nothing was done.
        OriginRejected = 6, "ORIGIN_REJECTED";
        /// A write was sent to the database, and no answer came. It may or may not have happened.
        OutcomeUnknown = 7, "OUTCOME_UNKNOWN";
        /// The request's deadline passed before it was begun; nothing was done.
        DeadlineExceeded = 8, "DEADLINE_EXCEEDED";
        /// This server can't serve the partition now; try another of the group.
        Unavailable = 9, "UNAVAILABLE";
        /// No keyspace of this id is configured.
        UnknownKeyspace = 10, "UNKNOWN_KEYSPACE";
        /// No such opcode.
        UnknownOpcode = 11, "UNKNOWN_OPCODE";
        /// Key or value over the limit; the value of the reply says which limit.
        TooLarge = 12, "TOO_LARGE";
        /// The frame can't be understood; the connection is closed after this reply.
        Malformed = 13, "MALFORMED";
        /// The protocol version is not supported; the connection is closed after this reply.
        UnsupportedVersion = 14, "UNSUPPORTED_VERSION";
        /// The cluster has a secret; the value is a nonce to answer in a second HELLO.
        AuthRequired = 15, "AUTH_REQUIRED";
        /// The proof was wrong; the connection is closed after this reply.
        AuthFailed = 16, "AUTH_FAILED";
        /// The server is stopping: go to a stand-in.
        ShuttingDown = 17, "SHUTTING_DOWN";
        /// The keyspace has no statement for this operation.
        NotSupported = 18, "NOT_SUPPORTED";
        /// HELLO asked for a shard that this server does not have.
        NoSuchShard = 19, "NO_SUCH_SHARD";
        /// PUT, CAS, MODIFY: the keyspace's statement was executed and changed no row. MODIFY: a
        /// condition does not hold.
        NotStored = 20, "NOT_STORED";
        /// MODIFY: the value is not a number of the kind that the operation needs.
        NotANumber = 21, "NOT_A_NUMBER";
        /// MODIFY: the result is out of the range of its kind of number.
        OutOfRange = 22, "OUT_OF_RANGE";
        /// The user of the connection may not do this; nothing was done.
        NotPermitted = 23, "NOT_PERMITTED";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_of_one_value() {
        for status in Status::ALL {
            assert_eq!(Status::of_name(status.name()), Some(*status));
            assert_eq!(Status::from_wire(*status as u8), Some(*status));
        }
        for opcode in Opcode::ALL {
            assert_eq!(Opcode::of_name(opcode.name()), Some(*opcode));
        }
        assert_eq!(Opcode::of_name("get "), None);
    }
}
