//! The first exchange on a TCP connection.
//!
//! ```text
//! → HELLO  value = HelloBody (32 bytes)
//! ← OK     value = HelloReply (16 bytes)              …or, with a cluster secret:
//! ← AUTH_REQUIRED  value = nonce (16 bytes)
//! → HELLO  value = HelloBody ‖ mac(Hello, nonce ‖ HelloBody)
//! ← OK / AUTH_FAILED
//! ```
//! The code is made with the secret, or by a client or observer with the clients' key. A user, who is a client or
//! observer too, sends `HelloBody ‖ proof (32 bytes) ‖ name` instead ([`crate::users`]).
//! After OK the connection belongs to the shard that it asked for.

use rkyv::rancor::{Failure, Panic};
use rkyv::ser::writer::Buffer;
use rkyv::{Archive, Serialize};

use crate::auth::{ClusterKey, MAC_BYTES, Purpose};
use crate::users::{Proven, Rights, USER_NAME_BYTES_MAX, USER_PROOF_BYTES, UserKey, Users};

/// The length of a [`HelloBody`].
pub const HELLO_BYTES: usize = 32;
/// The length of a [`HelloReply`].
pub const HELLO_REPLY_BYTES: usize = 16;
/// The length of a challenge.
pub const NONCE_BYTES: usize = 16;
/// The `shard` of a caller that accepts any shard.
pub const ANY_SHARD: u16 = u16::MAX;

/// The value of the MALFORMED with which a port that takes TLS and nothing else answers a caller that begins
/// with anything else. It is not encrypted, because that caller could not read it.
pub const TLS_ONLY: &[u8] = b"this port takes TLS only; see [tls]";

/// The caller's role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// A client.
    Client = 0,
    /// A server of the cluster, which may send FORWARDED requests.
    Peer = 1,
    /// The master, probing.
    Master = 2,
    /// A caller that asks only for MAP, STATS and PING, such as `standin status`.
    Observer = 3,
}

impl Role {
    /// Every role, in order of its number.
    pub const ALL: &'static [Self] = &[Self::Client, Self::Peer, Self::Master, Self::Observer];

    /// The role with this number.
    #[must_use]
    pub fn from_wire(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Client),
            1 => Some(Self::Peer),
            2 => Some(Self::Master),
            3 => Some(Self::Observer),
            _ => None,
        }
    }
}

/// The value of a HELLO request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Archive, Serialize)]
pub struct HelloBody {
    /// The caller's identity, random per process. Together with a request id it identifies a
    /// request over all its sends.
    pub client_id: u64,
    /// The [`cluster_id`] of the cluster that the caller expects; 0: any.
    pub cluster_id: u64,
    /// The requested shard, or [`ANY_SHARD`].
    pub shard: u16,
    /// A [`Role`].
    pub role: u8,
    /// Zero.
    pub reserved: [u8; 13],
}

/// The value of the OK to a HELLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Archive, Serialize)]
pub struct HelloReply {
    /// The server's [`cluster_id`].
    pub cluster_id: u64,
    /// The server's id in the map; 0xFFFF: a master.
    pub server: u16,
    /// The server's number of shards.
    pub shards: u16,
    /// The shard that this connection belongs to now.
    pub shard: u16,
    /// Zero.
    pub reserved: u16,
}

const _: () = assert!(size_of::<ArchivedHelloBody>() == HELLO_BYTES);
const _: () = assert!(size_of::<ArchivedHelloReply>() == HELLO_REPLY_BYTES);

/// The reason why a HELLO was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// A length that neither a body has, nor one with a proof.
    #[error(
        "a HELLO's value has 32 bytes, 48 with a proof, or 65 to 128 with that of a user; this one has {0}"
    )]
    BadLength(usize),
    /// A role that this build does not know, or a reserved byte that is not zero.
    #[error("a HELLO's role must be 0 to 3 and its reserved bytes zero")]
    BadBody,
    /// The proof is missing: challenge the caller.
    #[error("this cluster has a secret and the HELLO carries no proof")]
    ProofMissing,
    /// The proof is wrong.
    #[error("the HELLO's proof is wrong: is the cluster secret the same on both sides?")]
    ProofWrong,
    /// No user of this name has made the proof.
    #[error("there is no such user, or the password is wrong")]
    UserWrong,
    /// A challenge needs a random number, and the system has none.
    #[error("there is no random number for a challenge: try again later")]
    NoChallenge,
    /// The caller expects another cluster.
    #[error("the caller expects a cluster with another name")]
    OtherCluster,
}

/// What a listener knows of callers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known<'a> {
    /// The cluster's secrets: while one takes the place of another, both count. If there is none, callers are
    /// believed without a proof.
    pub keys: &'a [ClusterKey],
    /// The cluster's users.
    pub users: Option<&'a Users>,
}

impl<'a> Known<'a> {
    /// No more than this secret, if there is one.
    #[must_use]
    pub fn of(key: Option<&'a ClusterKey>) -> Self {
        Self { keys: key.map_or(&[], std::slice::from_ref), users: None }
    }
}

/// Why a caller is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Believed {
    /// The cluster has no secret.
    Anyway,
    /// By a proof with the secret of this number, or with the clients' key that is made from it.
    ByKey(usize),
    /// As a user, who has these rights.
    AsUser(Proven, Rights),
}

/// An accepted caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// What the caller has said.
    pub body: HelloBody,
    /// The role that it has.
    pub role: Role,
    /// Why it is believed. All but users have all rights.
    pub believed: Believed,
}

/// Returns the identity of a cluster: XXH3-64 of its name.
#[must_use]
pub fn cluster_id(name: &str) -> u64 {
    crate::hash::key_hash(0, name.as_bytes())
}

impl HelloBody {
    /// The body's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        let Ok(_) = rkyv::api::serialize_using::<_, Panic>(self, &mut Buffer::from(&mut bytes));
        bytes
    }

    /// The body with the proof that answers `nonce`.
    #[must_use]
    pub fn with_proof(&self, key: &ClusterKey, nonce: &[u8]) -> Vec<u8> {
        let body = self.to_bytes();
        let mac = key.mac(Purpose::Hello, &[nonce, &body]);
        [&body[..], &mac[..]].concat()
    }

    /// The body with the proof by which a user answers `nonce`.
    #[must_use]
    pub fn with_user(&self, name: &str, key: &UserKey, nonce: &[u8]) -> Vec<u8> {
        let body = self.to_bytes();
        [&body[..], &key.proof(nonce, &body), name.as_bytes()].concat()
    }

    /// Reads a HELLO's value and checks the proof if the cluster has a key. `nonce` is the
    /// challenge of this connection, if one was sent. The cluster's identity is compared too.
    ///
    /// # Errors
    /// [`HelloError`]; `ProofMissing` asks for a challenge, the others refuse.
    pub fn accept(
        value: &[u8],
        known: Known<'_>,
        nonce: Option<&[u8; NONCE_BYTES]>,
        own_cluster_id: u64,
    ) -> Result<Accepted, HelloError> {
        let of_user = value.len().checked_sub(HELLO_BYTES + USER_PROOF_BYTES);
        let is_of_user = of_user.is_some_and(|name| (1..=USER_NAME_BYTES_MAX).contains(&name));
        let lengths = [HELLO_BYTES, HELLO_BYTES + MAC_BYTES];
        if !lengths.contains(&value.len()) && !is_of_user {
            return Err(HelloError::BadLength(value.len()));
        }
        let (body, proof) = value.split_at(HELLO_BYTES);
        let believed = match nonce {
            _ if known.keys.is_empty() => Believed::Anyway,
            Some(nonce) if is_of_user => prove_user(known, nonce, body, proof)?,
            Some(nonce) if !proof.is_empty() => prove(known, nonce, body, proof)?,
            _ => return Err(HelloError::ProofMissing),
        };
        let archived = rkyv::access::<ArchivedHelloBody, Failure>(body)
            .map_err(|_| HelloError::BadLength(body.len()))?;
        let body = Self {
            client_id: archived.client_id.to_native(),
            cluster_id: archived.cluster_id.to_native(),
            shard: archived.shard.to_native(),
            role: archived.role,
            reserved: archived.reserved,
        };
        let role = Role::from_wire(body.role).ok_or(HelloError::BadBody)?;
        if body.reserved != [0; 13] {
            return Err(HelloError::BadBody);
        }
        if body.cluster_id != 0 && body.cluster_id != own_cluster_id {
            return Err(HelloError::OtherCluster);
        }
        Ok(Accepted { body, role, believed })
    }
}

/// Checks a proof that was made with a secret, or with its clients' key, which makes nobody a member.
fn prove(
    known: Known<'_>,
    nonce: &[u8],
    body: &[u8],
    proof: &[u8],
) -> Result<Believed, HelloError> {
    let proves = |key: &ClusterKey| key.verify(Purpose::Hello, &[nonce, body], proof);
    let is_right =
        |key: &ClusterKey| proves(key) || (is_of_clients(body) && proves(&key.for_clients()));
    let found = known.keys.iter().position(is_right);
    found.map(Believed::ByKey).ok_or(HelloError::ProofWrong)
}

/// Checks the proof of a user, with the name behind it. Users are no members either.
fn prove_user(
    known: Known<'_>,
    nonce: &[u8],
    body: &[u8],
    proof: &[u8],
) -> Result<Believed, HelloError> {
    let (proof, name) = proof.split_first_chunk().ok_or(HelloError::UserWrong)?;
    let found = known.users.and_then(|users| users.with_proof(name, proof, (nonce, body)));
    // Without a password nobody proves anything.
    let found = found.filter(|(_, proven)| proven.verifier.is_some() && is_of_clients(body));
    let (user, proven) = found.ok_or(HelloError::UserWrong)?;
    Ok(Believed::AsUser(proven, user.rights))
}

/// Whether the value of a HELLO is that of a caller without a part in the cluster.
#[must_use]
pub fn is_of_clients(value: &[u8]) -> bool {
    let body = value.get(..HELLO_BYTES).unwrap_or_default();
    let role = rkyv::access::<ArchivedHelloBody, Failure>(body).ok().map(|body| body.role);
    matches!(role.and_then(Role::from_wire), Some(Role::Client | Role::Observer))
}

impl HelloReply {
    /// The reply's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HELLO_REPLY_BYTES] {
        let mut bytes = [0; HELLO_REPLY_BYTES];
        let Ok(_) = rkyv::api::serialize_using::<_, Panic>(self, &mut Buffer::from(&mut bytes));
        bytes
    }

    /// Reads the value of the OK to a HELLO; `None` if its length is wrong.
    #[must_use]
    pub fn read(value: &[u8]) -> Option<Self> {
        if value.len() != HELLO_REPLY_BYTES {
            return None;
        }
        let archived = rkyv::access::<ArchivedHelloReply, Failure>(value).ok()?;
        Some(Self {
            cluster_id: archived.cluster_id.to_native(),
            server: archived.server.to_native(),
            shards: archived.shards.to_native(),
            shard: archived.shard.to_native(),
            reserved: archived.reserved.to_native(),
        })
    }
}
