//! UDP control datagrams: notices, renewals, announcements.
//!
//! ```text
//! 56-byte header │ body (ANNOUNCE, VERDICT, GOSSIP: states of all servers) │ 16-byte code
//! ```
//! The code is keyed BLAKE3 over everything before it, under the cluster's secret
//! (without one, under a key that everybody knows: it then only tells garbage apart).
//! Every message is full state: losing one costs time, not truth. States that don't fit into
//! [`DATAGRAM_BYTES_SENT_MAX`] are sent in parts, which [`crate::states::Assembly`] puts together.

use rkyv::rancor::{Failure, Panic};
use rkyv::ser::writer::Buffer;
use rkyv::{Archive, Deserialize, Serialize};

use crate::VERSION;
use crate::auth::{ClusterKey, MAC_BYTES, Purpose};
use crate::codes::wire_enum;
use crate::map::{MapEpoch, SERVERS_MAX, ServerStatus};
use crate::wire_map::WireStatus;

pub use crate::map::{SENDER_CLIENT, SENDER_MASTER};

/// First byte of a datagram: `D`.
pub const DATAGRAM_MAGIC: u8 = 0x44;
/// Bytes of the header.
pub const DATAGRAM_HEADER_BYTES: usize = 56;
/// Largest datagram that is read.
pub const DATAGRAM_BYTES_MAX: usize = 32 * 1_024;
/// Largest datagram that is sent. With the headers of IP and UDP it is smaller than the 576
/// bytes that every IPv4 network carries, so it is never fragmented: a network that drops
/// fragments would drop it each time it is sent again.
pub const DATAGRAM_BYTES_SENT_MAX: usize = 512;
/// The states that fit into one datagram; more are sent in several.
pub const STATES_PER_DATAGRAM: usize =
    (DATAGRAM_BYTES_SENT_MAX - DATAGRAM_HEADER_BYTES - MAC_BYTES - 8) / 17;

wire_enum! {
    /// What a datagram says.
    Kind {
        /// Client or server → master: sending to `subject` failed (claims 10, 15). `arg`: attempts.
        ReportFailed = 1, "REPORT_FAILED";
        /// Client → master: sending to `subject` succeeded again (claim 14).
        ReportOk = 2, "REPORT_OK";
        /// Master → reporter: what it holds of `subject` now. `arg`: its state. Body: all states,
        /// or none if they don't fit.
        Verdict = 3, "VERDICT";
        /// Server → master: alive. `epoch`: the map it has applied. `arg`: bits of
        /// [`renew_flags`]. `nonce`: names this renewal.
        Renew = 4, "RENEW";
        /// Master → server: the renewal `nonce` was heard. `arg`: lease in milliseconds, counted
        /// from when that renewal was sent; 0: none. `epoch`: the newest map, without which
        /// the lease is not to be used.
        Grant = 5, "GRANT";
        /// Master → server: states of all servers; `subject` has changed to state `arg`
        /// (claims 16, 17, 19, 21).
        Announce = 6, "ANNOUNCE";
        /// Server → master: the map `epoch` is applied and everything begun under an older
        /// ownership has ended.
        Ack = 7, "ACK";
        /// Server → master: stopping; take it offline without verification.
        Leaving = 8, "LEAVING";
        /// Server → member of its group: the map that it holds. `arg`: bits of
        /// [`gossip_flags`]. Body: all states; if they don't fit only where the receiver may lack
        /// them. Answered by the same if the receiver's map is newer, or if it is older and
        /// there were no states. `nonce`: incarnation plus sequence number of the newest gossip that the
        /// sender has heard from the receiver, 0: none; it tells how fresh the word is.
        Gossip = 9, "GOSSIP";
        /// Master → server: contact every shard of `subject` (of the same group) for me.
        /// `nonce`: names the probe.
        AskProbe = 10, "ASK_PROBE";
        /// Server → master: what came of it. `arg`: a [`ProbeOutcome`]. Body: one status, of
        /// `subject` as it answered: its incarnation, and the oldest map of its shards as `since`.
        ProbeResult = 11, "PROBE_RESULT";
    }
}

/// Bits of `arg` of a [`Kind::Gossip`].
pub mod gossip_flags {
    /// The sender has heard nothing from the master for half a lease.
    pub const MASTER_LOST: u32 = 0x01;
}

/// Bits of `arg` of a [`Kind::Renew`].
pub mod renew_flags {
    /// The sender's way to the origin is dead.
    pub const ORIGIN_DOWN: u32 = 0x01;
    /// The sender runs in mode `strict`.
    pub const STRICT: u32 = 0x02;
}

wire_enum! {
    /// `arg` of a [`Kind::ProbeResult`].
    ProbeOutcome {
        /// Some shard gave no answer in time.
        Silent = 0, "silent";
        /// Every shard has answered.
        Answered = 1, "answered";
        /// Nobody listens there: that incarnation is dead.
        Refused = 2, "refused";
        /// It has no room for another connection: it lives, and is busy.
        Busy = 3, "busy";
    }
}

/// Header of a datagram, as it lies on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Archive, Serialize)]
struct DatagramHeader {
    magic: u8,
    version: u8,
    kind: u8,
    reserved: u8,
    sender: u16,
    subject: u16,
    topology_id: u64,
    boot_id: u64,
    sequence: u64,
    epoch: u64,
    nonce: u64,
    arg: u32,
    recipient: u16,
    first: u16,
}

const _: () = assert!(size_of::<ArchivedDatagramHeader>() == DATAGRAM_HEADER_BYTES);

/// Body of ANNOUNCE, VERDICT, GOSSIP and PROBE_RESULT, an rkyv archive.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
struct WireStates {
    statuses: Vec<WireStatus>,
}

/// A control datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// What it says.
    pub kind: Kind,
    /// Server id, [`SENDER_MASTER`] or [`SENDER_CLIENT`].
    pub sender: u16,
    /// Server id, [`SENDER_MASTER`] or [`SENDER_CLIENT`]: whom it is for. A server that gets
    /// what is for the master, or for a member of its group, passes the bytes on, once.
    pub recipient: u16,
    /// The server in question; zero where none is.
    pub subject: u16,
    /// [`crate::map::Topology::id`] of the sender.
    pub topology_id: u64,
    /// The sender's incarnation: random per start (clients: their id). The master's is its term.
    pub boot_id: u64,
    /// Rises with every datagram of this incarnation.
    pub sequence: u64,
    /// The sender's map epoch; see [`Kind`].
    pub epoch: MapEpoch,
    /// Chosen by who asks, repeated by who answers.
    pub nonce: u64,
    /// See [`Kind`].
    pub arg: u32,
    /// The server that the first of `statuses` is of; 0 but in later parts of an ANNOUNCE or
    /// GOSSIP.
    pub first: u16,
    /// ANNOUNCE and GOSSIP: states of all servers, by id, or a part of them. VERDICT: all, or
    /// none if they don't fit. PROBE_RESULT: one. Otherwise empty.
    pub statuses: Vec<ServerStatus>,
}

/// Why a datagram is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DatagramError {
    /// Too short, too long, wrong magic or reserved bytes.
    #[error("not a Standin datagram")]
    NotOurs,
    /// A version that this build does not speak.
    #[error("datagram version {0} is not supported (this is version {VERSION})")]
    Version(u8),
    /// The code does not fit the bytes.
    #[error("the code is wrong: is the cluster secret the same everywhere?")]
    Code,
    /// A kind that this build does not know, or a body that does not fit it.
    #[error("a datagram of kind {0} has a body that can't be read")]
    Body(u8),
    /// The sender's cluster file differs.
    #[error("the sender's cluster file differs from this one: use the same file everywhere")]
    Topology,
}

impl Datagram {
    /// A datagram for the master, with everything but its kind and sender zero.
    #[must_use]
    pub fn new(kind: Kind, sender: u16, topology_id: u64, boot_id: u64) -> Self {
        Self {
            kind,
            sender,
            recipient: SENDER_MASTER,
            subject: 0,
            topology_id,
            boot_id,
            sequence: 0,
            epoch: MapEpoch::default(),
            nonce: 0,
            arg: 0,
            first: 0,
            statuses: Vec::new(),
        }
    }

    /// The datagrams that say this, each small enough to be sent: copies of this one, with a
    /// part of the states each. Their sequence numbers remain to be set.
    #[must_use]
    pub fn parts(mut self) -> Vec<Self> {
        if self.statuses.len() <= STATES_PER_DATAGRAM {
            return vec![self];
        }
        let statuses = std::mem::take(&mut self.statuses);
        let chunks =
            (0u16..).step_by(STATES_PER_DATAGRAM).zip(statuses.chunks(STATES_PER_DATAGRAM));
        chunks
            .map(|(first, chunk)| Self { first, statuses: chunk.to_vec(), ..self.clone() })
            .collect()
    }

    /// The datagram's bytes, code included.
    #[must_use]
    pub fn to_bytes(&self, key: Option<&ClusterKey>) -> Vec<u8> {
        let header = DatagramHeader {
            magic: DATAGRAM_MAGIC,
            version: VERSION,
            kind: self.kind as u8,
            reserved: 0,
            sender: self.sender,
            subject: self.subject,
            topology_id: self.topology_id,
            boot_id: self.boot_id,
            sequence: self.sequence,
            epoch: self.epoch.to_u64(),
            nonce: self.nonce,
            arg: self.arg,
            recipient: self.recipient,
            first: self.first,
        };
        let mut bytes = Vec::with_capacity(DATAGRAM_BYTES_SENT_MAX);
        bytes.resize(DATAGRAM_HEADER_BYTES, 0);
        let Ok(_) =
            rkyv::api::serialize_using::<_, Panic>(&header, &mut Buffer::from(&mut bytes[..]));
        if has_body(self.kind) {
            let statuses = self.statuses.iter().map(WireStatus::from).collect();
            let Ok(body) = rkyv::to_bytes::<Failure>(&WireStates { statuses }) else {
                // Serialising an owned vector into memory has no way to fail.
                unreachable!("states are always serialisable")
            };
            bytes.extend_from_slice(&body);
        }
        let mac = mac_key(key).mac(Purpose::Datagram, &[&bytes]);
        bytes.extend_from_slice(&mac);
        bytes
    }

    /// Reads and verifies a datagram. `topology_id` is the receiver's; `None` accepts any.
    ///
    /// # Errors
    /// [`DatagramError`]: drop it, count it.
    pub fn parse(
        bytes: &[u8],
        key: Option<&ClusterKey>,
        topology_id: Option<u64>,
    ) -> Result<Self, DatagramError> {
        let framed = DATAGRAM_HEADER_BYTES + MAC_BYTES..=DATAGRAM_BYTES_MAX;
        if !framed.contains(&bytes.len()) || bytes[0] != DATAGRAM_MAGIC {
            return Err(DatagramError::NotOurs);
        }
        if bytes[1] != VERSION {
            return Err(DatagramError::Version(bytes[1]));
        }
        let (signed, mac) = bytes.split_at(bytes.len() - MAC_BYTES);
        if !mac_key(key).verify(Purpose::Datagram, &[signed], mac) {
            return Err(DatagramError::Code);
        }
        let (header, body) = signed.split_at(DATAGRAM_HEADER_BYTES);
        let h = rkyv::access::<ArchivedDatagramHeader, Failure>(header)
            .map_err(|_| DatagramError::NotOurs)?;
        let (kind, first) = (Kind::from_wire(h.kind), h.first.to_native());
        if h.reserved != 0 || (first != 0 && !kind.is_some_and(comes_in_parts)) {
            return Err(DatagramError::NotOurs);
        }
        let kind = kind.ok_or(DatagramError::Body(h.kind))?;
        if topology_id.is_some_and(|own| own != h.topology_id.to_native()) {
            return Err(DatagramError::Topology);
        }
        let statuses = match has_body(kind) {
            true => read_statuses(body, first).ok_or(DatagramError::Body(h.kind))?,
            false if body.is_empty() => Vec::new(),
            false => return Err(DatagramError::Body(h.kind)),
        };
        Ok(Self {
            kind,
            sender: h.sender.to_native(),
            recipient: h.recipient.to_native(),
            subject: h.subject.to_native(),
            topology_id: h.topology_id.to_native(),
            boot_id: h.boot_id.to_native(),
            sequence: h.sequence.to_native(),
            epoch: MapEpoch::from_u64(h.epoch.to_native()),
            nonce: h.nonce.to_native(),
            arg: h.arg.to_native(),
            first,
            statuses,
        })
    }
}

fn has_body(kind: Kind) -> bool {
    matches!(kind, Kind::Announce | Kind::Verdict | Kind::Gossip | Kind::ProbeResult)
}

fn comes_in_parts(kind: Kind) -> bool {
    matches!(kind, Kind::Announce | Kind::Gossip)
}

fn read_statuses(body: &[u8], first: u16) -> Option<Vec<ServerStatus>> {
    let wire = rkyv::from_bytes::<WireStates, Failure>(body).ok()?;
    if usize::from(first) + wire.statuses.len() > SERVERS_MAX {
        return None;
    }
    wire.statuses.into_iter().map(|status| status.read().ok()).collect()
}

fn mac_key(key: Option<&ClusterKey>) -> ClusterKey {
    key.cloned().unwrap_or_else(|| ClusterKey::new(*b"standin cluster without a secret"))
}

/// Drops datagrams that were seen before: a window of 64 behind the highest sequence
/// number of one incarnation of one sender (scenario 12).
#[derive(Debug, Clone, Copy, Default)]
pub struct ReplayWindow {
    highest: u64,
    seen: u64,
}

impl ReplayWindow {
    /// Whether this sequence number is new; remembers it.
    pub fn accept(&mut self, sequence: u64) -> bool {
        if sequence > self.highest {
            let ahead = sequence - self.highest;
            self.seen = if ahead < 64 { self.seen << ahead } else { 0 } | 1;
            self.highest = sequence;
            return true;
        }
        let behind = self.highest - sequence;
        if sequence == 0 || behind >= 64 || self.seen & (1 << behind) != 0 {
            return false;
        }
        self.seen |= 1 << behind;
        true
    }
}
