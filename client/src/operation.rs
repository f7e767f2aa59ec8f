//! Operations, questions, and their results.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use standin_protocol::body::{PingReply, StatsReply};
use standin_protocol::frame::{Opcode, ResponseHeader, Status, response_flags};
use standin_protocol::hot::HotReply;
use standin_protocol::key::KeyForms;
use standin_protocol::map::ClusterMap;
use standin_protocol::modify::Modify;
use standin_protocol::modify::wire::{self, MODIFY_HEAD_BYTES};
use standin_protocol::mutant::{self, Mutant};
use standin_protocol::walk::{WALK_HEAD_BYTES, WalkHead};
use standin_tls::Failure;

/// A request to the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The keyspace id.
    pub keyspace: u8,
    /// The key, up to 65,535 bytes.
    pub key: Vec<u8>,
    /// The action.
    pub action: Action,
}

/// The action for a key. A lifetime of zero seconds means that of the keyspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read the value, through the cache.
    Get,
    /// Write the value, through to the origin.
    Put {
        /// The new value, up to 16 MiB.
        value: Vec<u8>,
        /// The lifetime in the cache, in seconds.
        ttl_s: u32,
    },
    /// Delete the row, through to the origin.
    Delete,
    /// Write the value if `version` is still current.
    Cas {
        /// A version from [`Value::version`] or [`Outcome::Written`].
        version: u64,
        /// The new value, up to 16 MiB.
        value: Vec<u8>,
        /// The lifetime in the cache, in seconds.
        ttl_s: u32,
    },
    /// Read, change and write the value in one step. A send that may have been executed is not
    /// repeated: the operation ends with [`ClientError::OutcomeUnknown`].
    Modify(Modification),
    /// Give the cached value a new lifetime.
    Touch {
        /// The lifetime in the cache, in seconds.
        ttl_s: u32,
    },
    /// Drop the cached value, without a statement to the origin.
    Invalidate,
    /// Drop all cached values of the keyspace in the key's partition, without a statement to the
    /// origin.
    Flush,
    /// A request that the caller has encoded, and whose reply it reads: see [`Encoded`].
    Encoded(Encoded),
}

/// A request as it is sent, for a caller that has read it in another protocol, such as a proxy. It is
/// routed, repeated and given up like the others, but its reply is returned as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The opcode of a request with a key.
    pub opcode: Opcode,
    /// Whether the value begins with an [`ItemHead`](standin_protocol::item::ItemHead) if this is a
    /// PUT or CAS, and the reply's value does.
    pub is_item: bool,
    /// The lifetime in the cache, in seconds; 0 for that of the keyspace.
    pub ttl_s: u32,
    /// The version that must be current; 0 if there is none.
    pub version: u64,
    /// The number of bytes of [`Self::value`] before the value proper.
    pub head_bytes: usize,
    /// The value with what comes before it.
    pub value: Vec<u8>,
}

/// The reply to an [`Encoded`] request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedReply {
    /// The header. Its lengths and request id say nothing to the caller.
    pub header: ResponseHeader,
    /// The status in it.
    pub status: Status,
    /// The value.
    pub value: Vec<u8>,
}

/// A read-modify-write with its operand, as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Modification {
    version: u64,
    /// The operation, then the operand.
    bytes: Vec<u8>,
}

impl Modification {
    /// Creates it from an operation, its operand, and the flags that a value gets to which the
    /// operand becomes.
    #[must_use]
    pub fn new(modify: &Modify, operand: &[u8], item_flags: u32) -> Self {
        let head = wire::write(modify, item_flags).to_bytes();
        Self { version: modify.when.version.unwrap_or(0), bytes: [&head[..], operand].concat() }
    }
}

/// The party to which a [`Question`] is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// The server with this id.
    Server(u16),
    /// The master.
    Master,
    /// Any server that answers.
    Any,
}

/// A question to one party, outside of routing and failover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// A question for a shard's state.
    Ping {
        /// The shard that is asked. The master has only shard 0.
        shard: u16,
    },
    /// A question for the counters.
    Stats,
    /// A question for the keys that a server is asked for most.
    Hot,
    /// A question for the cluster map.
    Map,
    /// A question for some of the keys that a shard has cached, without a pattern.
    Walk {
        /// The shard that is asked.
        shard: u16,
        /// The parts of its cache to look at, and the keys that are wanted.
        walk: WalkHead,
    },
}

/// A value with its version and lifetime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The value.
    pub bytes: Vec<u8>,
    /// The version of the value, for a later [`Action::Cas`]; 0 if it has none at the moment.
    pub version: u64,
    /// The time for which the value may still be cached, in seconds, rounded up; 0 if it is not
    /// cached.
    pub ttl_s: u32,
}

/// The result of a successful operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// GET: the value.
    Value(Value),
    /// GET, DELETE, CAS, MODIFY, TOUCH: there is no such row. A DELETE that had to be repeated may return
    /// this because its first send deleted the row.
    NotFound,
    /// PUT, CAS: the value was written.
    Written {
        /// The new version.
        version: u64,
    },
    /// MODIFY: it was executed. The value is the one that the operation gives.
    Modified(Value),
    /// MODIFY: a condition does not hold, and nothing was changed. The value is the one that is
    /// there, if the operation gives the old one.
    Unmet(Value),
    /// DELETE: the row was deleted.
    Deleted,
    /// CAS, MODIFY: the value was not written, because another version is current.
    Mismatch {
        /// The current version; 0 if it is unknown.
        version: u64,
    },
    /// TOUCH: the value has a new lifetime.
    Touched {
        /// The new lifetime in seconds.
        ttl_s: u32,
    },
    /// The reply to an [`Encoded`] request, whatever its status.
    Encoded(EncodedReply),
    /// INVALIDATE: the cached value was dropped.
    Invalidated,
    /// FLUSH: the cached values were dropped.
    Flushed,
    /// The state of the shard.
    Ping(PingReply),
    /// The counters of the party that was asked.
    Stats(StatsReply),
    /// The keys that the server is asked for most.
    Hot(HotReply),
    /// The map of the party that was asked.
    Map(Arc<ClusterMap>),
    /// Some of the keys that the shard has cached, as the value of the reply has them
    /// ([`standin_protocol::walk::WalkedHead`]).
    Walked {
        /// The value.
        value: Vec<u8>,
        /// The tag of the server's map.
        map_tag: u32,
    },
}

/// An [`Outcome`] and its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The result.
    pub outcome: Outcome,
    /// The id of the server that answered, or 0xFFFF for the master.
    pub served_by: u16,
    /// Bits of [`response_flags`].
    pub flags: u8,
    /// The number of times that the request was sent, to all servers together.
    pub sends: u32,
}

impl Answer {
    /// Whether it came from the cache.
    #[must_use]
    pub fn is_hit(&self) -> bool {
        self.flags & response_flags::HIT != 0
    }

    /// Whether a server other than the key's home answered.
    #[must_use]
    pub fn is_stand_in(&self) -> bool {
        self.flags & response_flags::STAND_IN != 0
    }
}

/// The reason why an operation failed. The message says what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Too much work is under way, in this client or at the server. Nothing was done.
    #[error("overloaded: nothing was done; send less, or try again after {retry_after:?}")]
    Overloaded {
        /// The time after which another attempt makes sense.
        retry_after: Duration,
    },
    /// The database can't be reached, or can't execute the statement now. Nothing was done.
    #[error("the database can't do this now ({0}) and nothing was done; try again when it can")]
    OriginUnavailable(String),
    /// The database refused the statement. Nothing was done.
    #[error("the database refused: {0}; correct the request or the keyspace's statement")]
    OriginRejected(String),
    /// The statement `put` of the keyspace changed no row. Nothing was written.
    #[error(
        "nothing was stored: the statement `put` of keyspace {keyspace} changed no row; insert the row first, or make the statement an upsert"
    )]
    NotStored {
        /// The name of the keyspace.
        keyspace: String,
    },
    /// MODIFY: the value is not a number, or the result would be out of its range. Nothing was done.
    #[error("the value can't be changed like that: it is not such a number, or would be too large")]
    NotANumber,
    /// A write may or may not have happened.
    #[error("the write may or may not have happened; read the key before writing it again")]
    OutcomeUnknown,
    /// The operation timeout has passed, for a read or for a write that had not begun.
    #[error(
        "no answer within the operation timeout, and nothing was written; try again, or raise operation_timeout"
    )]
    DeadlineExceeded,
    /// No server that may serve the key could be reached, or those that answer may not serve it
    /// now. Nothing was done.
    #[error("{}", unavailable(silent, unready))]
    Unavailable {
        /// The names and addresses of the servers that were tried and do not answer.
        silent: Vec<String>,
        /// The names and addresses of the servers that answered that they can't serve the key now.
        unready: Vec<String>,
    },
    /// The cluster is not known yet, and no server at the given addresses answers.
    #[error("no server answers at the addresses given; is the cluster running there?")]
    NoMap,
    /// The key, the value or the lifetime exceeds the limit. Nothing was done.
    #[error("too large: {0}")]
    TooLarge(String),
    /// There is no keyspace with this id. Nothing was done.
    #[error("keyspace {0} is not in the servers' cluster file; use the same file everywhere")]
    UnknownKeyspace(String),
    /// The keyspace has no statement for this operation. Nothing was done.
    #[error("keyspace {keyspace} has no statement for {opcode}; add one to the cluster file")]
    NotSupported {
        /// The name of the keyspace.
        keyspace: String,
        /// The opcode of the request.
        opcode: Opcode,
    },
    /// TLS can't be set up with a server or the master, and another try would end in the same way.
    #[error(
        "TLS with {addr} failed: {failure}; see [tls] in the file of this client and of the servers"
    )]
    Tls {
        /// The address of the server or the master.
        addr: SocketAddr,
        /// The reason.
        failure: Failure,
    },
    /// The user that this client is may not do this. Nothing was done.
    #[error("this user may not do {opcode} in {place}; change the rights in `users_file`")]
    NotPermitted {
        /// The opcode of the request.
        opcode: Opcode,
        /// The keyspaces where it needs a right, in words.
        place: String,
    },
    /// The cluster has a secret, and this client has a different one or none, or is none of its users.
    #[error(
        "the cluster refused this client; give it the cluster's secret, or a file of \
             `standin client-config`"
    )]
    AuthFailed,
    /// The party that was asked does not answer.
    #[error("{0} running, and reachable from here?")]
    NoAnswer(String),
    /// The party that was asked answers, but can't serve the question yet.
    #[error("{0}")]
    NotReady(String),
    /// There is no such server or shard.
    #[error("the cluster has no {0}; see `standin status`")]
    NoSuchTarget(String),
    /// The other side does not follow the protocol of this build.
    #[error("{0}; do both sides run the same version of Standin, on the same cluster file?")]
    Protocol(String),
}

/// The message of [`ClientError::Unavailable`].
fn unavailable(silent: &[String], unready: &[String]) -> String {
    let names = |servers: &[String]| servers.join(", ");
    match (silent, unready) {
        (silent, []) => {
            let tried = if silent.is_empty() { "none".to_owned() } else { names(silent) };
            format!(
                "none of the key's servers answers (tried: {tried}); are they running, and \
                 reachable from here?"
            )
        }
        ([], unready) => format!(
            "the key's servers answer, but may not serve the key now ({}); see `standin status`: \
             they may have lost the master, or wait for another server",
            names(unready)
        ),
        (silent, unready) => format!(
            "some of the key's servers do not answer ({}), and the others may not serve the key \
             now ({}); see `standin status`",
            names(silent),
            names(unready)
        ),
    }
}

impl Operation {
    /// Returns the bytes that are hashed to find the partition. The key of a FLUSH names the
    /// partition itself.
    pub(crate) fn hashed(&self, forms: &KeyForms) -> Cow<'_, [u8]> {
        match self.action {
            Action::Flush | Action::Encoded(Encoded { opcode: Opcode::Flush, .. }) => {
                Cow::Borrowed(&self.key)
            }
            _ => forms.hashed(self.keyspace, &self.key),
        }
    }
}

impl Action {
    pub(crate) fn opcode(&self) -> Opcode {
        match self {
            Self::Get => Opcode::Get,
            Self::Put { .. } => Opcode::Put,
            Self::Delete => Opcode::Delete,
            Self::Cas { .. } => Opcode::Cas,
            Self::Modify(_) => Opcode::Modify,
            Self::Touch { .. } => Opcode::Touch,
            Self::Invalidate => Opcode::Invalidate,
            Self::Flush => Opcode::Flush,
            Self::Encoded(encoded) => encoded.opcode,
        }
    }

    /// Whether the reply is to bring the flags and the exact lifetime of the value.
    pub(crate) fn is_item(&self) -> bool {
        matches!(self, Self::Encoded(Encoded { is_item: true, .. }))
    }

    pub(crate) fn value(&self) -> &[u8] {
        match self {
            Self::Put { value, .. } | Self::Cas { value, .. } => value,
            Self::Modify(modification) => &modification.bytes,
            Self::Encoded(encoded) => &encoded.value,
            Self::Get | Self::Delete | Self::Touch { .. } | Self::Invalidate | Self::Flush => &[],
        }
    }

    pub(crate) fn ttl_s(&self) -> u32 {
        match self {
            Self::Put { ttl_s, .. } | Self::Cas { ttl_s, .. } | Self::Touch { ttl_s } => *ttl_s,
            Self::Encoded(encoded) => encoded.ttl_s,
            Self::Get | Self::Delete | Self::Modify(_) | Self::Invalidate | Self::Flush => 0,
        }
    }

    /// Returns the version that must be current; 0 if there is none.
    pub(crate) fn version(&self) -> u64 {
        match self {
            Self::Cas { version, .. }
            | Self::Modify(Modification { version, .. })
            | Self::Encoded(Encoded { version, .. }) => *version,
            _ => 0,
        }
    }

    /// Returns the number of bytes of the value that is written.
    pub(crate) fn value_bytes(&self) -> usize {
        match self {
            Self::Modify(modification) => modification.bytes.len() - MODIFY_HEAD_BYTES,
            Self::Encoded(encoded) => encoded.value.len() - encoded.head_bytes,
            other => other.value().len(),
        }
    }

    /// Whether the action changes values.
    pub(crate) fn is_write(&self) -> bool {
        use Opcode::{Cas, Delete, Modify, Put, Transact};
        matches!(self.opcode(), Put | Delete | Cas | Modify | Transact)
    }

    /// Whether it may be sent again although it may have been executed.
    pub(crate) fn is_repeatable(&self) -> bool {
        let is_relative = matches!(self.opcode(), Opcode::Modify | Opcode::Transact);
        !is_relative || mutant::is(Mutant::ModifySentAgain)
    }
}

impl Question {
    /// Returns the value of the request.
    pub(crate) fn value(self) -> ([u8; WALK_HEAD_BYTES], usize) {
        match self {
            Self::Ping { .. } | Self::Stats | Self::Hot | Self::Map => ([0; WALK_HEAD_BYTES], 0),
            Self::Walk { walk, .. } => (walk.to_bytes(), WALK_HEAD_BYTES),
        }
    }

    pub(crate) fn opcode(self) -> Opcode {
        match self {
            Self::Ping { .. } => Opcode::Ping,
            Self::Stats => Opcode::Stats,
            Self::Hot => Opcode::Hot,
            Self::Map => Opcode::Map,
            Self::Walk { .. } => Opcode::Walk,
        }
    }
}
