//! UDP control datagrams: notices, renewals, announcements.
//!
//! ```text
//! 56-byte header │ body (ANNOUNCE, VERDICT, GOSSIP: states; PROBE_RESULT: answer) │ 16-byte code
//! ```
//! The code is keyed BLAKE3 over everything before it, with the cluster's secret as its key, or with the
//! clients' key if a client sends or gets the datagram.
//! Without a secret the key is public, and the code only detects garbage. Every message carries
//! full state: a lost one delays others but makes none of them wrong. States that don't fit into
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

/// The first byte of a datagram: `D`.
pub const DATAGRAM_MAGIC: u8 = 0x44;
/// The length of the header.
pub const DATAGRAM_HEADER_BYTES: usize = 56;
/// The size of the largest datagram that is read.
pub const DATAGRAM_BYTES_MAX: usize = 32 * 1_024;
/// The size of the largest datagram that is sent. With the headers of IP and UDP it is smaller than
/// the 576 bytes that every IPv4 network carries, so it is never fragmented. A network that drops
/// fragments would drop a larger one each time it is sent again.
pub const DATAGRAM_BYTES_SENT_MAX: usize = 512;
/// The number of states that fit into one datagram. More are sent in several datagrams.
pub const STATES_PER_DATAGRAM: usize =
    (DATAGRAM_BYTES_SENT_MAX - DATAGRAM_HEADER_BYTES - MAC_BYTES - 8) / 17;

wire_enum! {
    /// The kind of a datagram.
    DatagramKind {
        /// Client or server → master: sending to `subject` failed (claims 10, 15). `arg`: attempts.
        ReportFailed = 1, "REPORT_FAILED";
        /// Client → master: sending to `subject` succeeded again (claim 14).
        ReportOk = 2, "REPORT_OK";
        /// Master → reporter: the state of `subject` in the master's map. `arg`: the state. Body:
        /// all states, or none if they don't fit.
        Verdict = 3, "VERDICT";
        /// Server → master: the sender is alive. `epoch`: the map it has applied. `arg`: bits of
        /// [`renew_flags`]. `nonce`: identifies this renewal.
        Renew = 4, "RENEW";
        /// Master → server: the answer to the renewal `nonce`. `arg`: the lease in milliseconds,
        /// counted from when that renewal was sent; 0: none. `epoch`: the newest map. The server
        /// must not use the lease before it has that map.
        Grant = 5, "GRANT";
        /// Master → server: the states of all servers; `subject` has changed to state `arg` (claims
        /// 16, 17, 19, 21).
        Announce = 6, "ANNOUNCE";
        /// Server → master: the map `epoch` is applied, and everything that began under an older
        /// ownership has ended.
        Ack = 7, "ACK";
        /// Server → master: the sender is stopping; mark it offline without verification.
        Leaving = 8, "LEAVING";
        /// Server → member of its group: the sender's map. `arg`: bits of [`gossip_flags`]. Body: all
        /// states; if they don't fit, only if the receiver may lack them. The receiver answers with
        /// gossip if its map is newer, or if its map is older and there were no states. `nonce`:
        /// incarnation plus sequence number of the newest gossip that the sender has heard from the
        /// receiver, 0: none. It tells the receiver how recent the information is.
        Gossip = 9, "GOSSIP";
        /// Master → server: contact every shard of `subject` (of the same group) for the master.
        /// `nonce`: identifies the probe.
        AskProbe = 10, "ASK_PROBE";
        /// Server → master: the outcome of a probe. `arg`: a [`ProbeOutcome`]. Body: what `subject`
        /// has answered, if it has.
        ProbeResult = 11, "PROBE_RESULT";
    }
}

/// Bits of `arg` of a [`DatagramKind::Gossip`].
pub mod gossip_flags {
    /// The sender has heard nothing from the master for half a lease.
    pub const MASTER_LOST: u32 = 0x01;
}

/// Bits of `arg` of a [`DatagramKind::Renew`].
pub mod renew_flags {
    /// The sender can't reach the origin.
    pub const ORIGIN_DOWN: u32 = 0x01;
    /// The sender runs in mode `strict`.
    pub const STRICT: u32 = 0x02;
}

wire_enum! {
    /// The `arg` of a [`DatagramKind::ProbeResult`].
    ProbeOutcome {
        /// At least one shard did not answer in time.
        Silent = 0, "silent";
        /// Every shard has answered.
        Answered = 1, "answered";
        /// The connection was refused: that incarnation is dead.
        Refused = 2, "refused";
        /// The server has no room for another connection: it is alive and busy.
        Busy = 3, "busy";
    }
}

/// The header of a datagram, as sent.
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

/// The body of a PROBE_RESULT whose subject has answered, an rkyv archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
struct WireProbed {
    boot_id: u64,
    map_epoch: u64,
}

/// The body of ANNOUNCE, VERDICT and GOSSIP, an rkyv archive.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
struct WireStates {
    statuses: Vec<WireStatus>,
}

/// The answer of a server to the member of its group that contacted it for the master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probed {
    /// The server's incarnation.
    pub boot_id: u64,
    /// The oldest map that one of its shards has applied.
    pub map_epoch: MapEpoch,
}

/// A control datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// The kind.
    pub kind: DatagramKind,
    /// The sender: a server id, [`SENDER_MASTER`] or [`SENDER_CLIENT`].
    pub sender: u16,
    /// The recipient: a server id, [`SENDER_MASTER`] or [`SENDER_CLIENT`]. A server that receives a
    /// datagram for the master, or for a member of its group, relays the bytes, once.
    pub recipient: u16,
    /// The server that the datagram is about; zero if there is none.
    pub subject: u16,
    /// The sender's [`crate::map::Topology::id`].
    pub topology_id: u64,
    /// The sender's incarnation: random per start. Of a client, its id; of the master, its term.
    pub boot_id: u64,
    /// The sequence number, which rises with every datagram of this incarnation.
    pub sequence: u64,
    /// The sender's map epoch; see [`DatagramKind`].
    pub epoch: MapEpoch,
    /// A number that the asking party chooses and the answer repeats.
    pub nonce: u64,
    /// See [`DatagramKind`].
    pub arg: u32,
    /// The id of the server that the first of `statuses` belongs to. Not 0 only in later parts of
    /// an ANNOUNCE or GOSSIP.
    pub first: u16,
    /// The states of servers, by id. ANNOUNCE and GOSSIP: all of them, or a part. VERDICT: all, or
    /// none if they don't fit. Otherwise empty.
    pub statuses: Vec<ServerStatus>,
    /// PROBE_RESULT: what `subject` has answered, if it has. Otherwise `None`.
    pub probed: Option<Probed>,
}

/// The reason why a datagram is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DatagramError {
    /// Too short, too long, wrong magic or reserved bytes.
    #[error("not a Standin datagram")]
    NotOurs,
    /// A version that this build does not speak.
    #[error("datagram version {0} is not supported (this is version {VERSION})")]
    Version(u8),
    /// The code does not match the bytes.
    #[error("the code is wrong: is the cluster secret the same everywhere?")]
    Code,
    /// A kind that this build does not know, or a body that does not match the kind.
    #[error("a datagram of kind {0} has a body that can't be read")]
    Body(u8),
    /// The sender's cluster file differs.
    #[error("the sender's cluster file differs from this one: use the same file everywhere")]
    Topology,
}

impl Datagram {
    /// Creates a datagram for the master. All fields except its kind and sender are zero.
    #[must_use]
    pub fn new(kind: DatagramKind, sender: u16, topology_id: u64, boot_id: u64) -> Self {
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
            probed: None,
        }
    }

    /// Splits this datagram into ones that are small enough to be sent: copies, each with a part of
    /// the states. The caller has to set their sequence numbers.
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

    /// Returns the datagram's bytes, including the code.
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
        if let (DatagramKind::ProbeResult, Some(Probed { boot_id, map_epoch })) =
            (self.kind, self.probed)
        {
            let wire = WireProbed { boot_id, map_epoch: map_epoch.to_u64() };
            let Ok(body) = rkyv::to_bytes::<Failure>(&wire) else {
                // Two numbers have a fixed size.
                unreachable!("an answer is always serialisable")
            };
            bytes.extend_from_slice(&body);
        }
        if has_states(self.kind) {
            let statuses = self.statuses.iter().map(WireStatus::from).collect();
            let Ok(body) = rkyv::to_bytes::<Failure>(&WireStates { statuses }) else {
                // Serialising an owned vector into memory can't fail.
                unreachable!("states are always serialisable")
            };
            bytes.extend_from_slice(&body);
        }
        let mac = mac_key(key, self.sender, self.recipient).mac(Purpose::Datagram, &[&bytes]);
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
        Self::parse_by_any(bytes, key.map_or(&[], std::slice::from_ref), topology_id)
    }

    /// Reads a datagram, and verifies it by each of these keys: while one secret takes the place of another,
    /// both count. Without keys the cluster has no secret.
    ///
    /// # Errors
    /// [`DatagramError`]: drop it, count it.
    pub fn parse_by_any(
        bytes: &[u8],
        keys: &[ClusterKey],
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
        let (header, body) = signed.split_at(DATAGRAM_HEADER_BYTES);
        let h = rkyv::access::<ArchivedDatagramHeader, Failure>(header)
            .map_err(|_| DatagramError::NotOurs)?;
        let (sender, recipient) = (h.sender.to_native(), h.recipient.to_native());
        let is_right = |key: Option<&ClusterKey>| {
            mac_key(key, sender, recipient).verify(Purpose::Datagram, &[signed], mac)
        };
        let is_right = match keys {
            [] => is_right(None),
            keys => keys.iter().any(|key| is_right(Some(key))),
        };
        if !is_right {
            return Err(DatagramError::Code);
        }
        let (kind, first) = (DatagramKind::from_wire(h.kind), h.first.to_native());
        if h.reserved != 0 || (first != 0 && !kind.is_some_and(comes_in_parts)) {
            return Err(DatagramError::NotOurs);
        }
        let kind = kind.ok_or(DatagramError::Body(h.kind))?;
        if topology_id.is_some_and(|own| own != h.topology_id.to_native()) {
            return Err(DatagramError::Topology);
        }
        let (mut statuses, mut probed) = (Vec::new(), None);
        match kind {
            _ if has_states(kind) => {
                statuses = read_statuses(body, first).ok_or(DatagramError::Body(h.kind))?;
            }
            _ if body.is_empty() => {}
            DatagramKind::ProbeResult => {
                probed = Some(read_probed(body).ok_or(DatagramError::Body(h.kind))?);
            }
            _ => return Err(DatagramError::Body(h.kind)),
        }
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
            probed,
        })
    }
}

fn has_states(kind: DatagramKind) -> bool {
    matches!(kind, DatagramKind::Announce | DatagramKind::Verdict | DatagramKind::Gossip)
}

fn comes_in_parts(kind: DatagramKind) -> bool {
    matches!(kind, DatagramKind::Announce | DatagramKind::Gossip)
}

fn read_statuses(body: &[u8], first: u16) -> Option<Vec<ServerStatus>> {
    let wire = rkyv::from_bytes::<WireStates, Failure>(body).ok()?;
    if usize::from(first) + wire.statuses.len() > SERVERS_MAX {
        return None;
    }
    wire.statuses.into_iter().map(|status| status.read().ok()).collect()
}

fn read_probed(body: &[u8]) -> Option<Probed> {
    if body.len() != size_of::<ArchivedWireProbed>() {
        return None;
    }
    let WireProbed { boot_id, map_epoch } = rkyv::from_bytes::<WireProbed, Failure>(body).ok()?;
    Some(Probed { boot_id, map_epoch: MapEpoch::from_u64(map_epoch) })
}

/// The key of a datagram's code: the clients', if a client sends or gets it.
fn mac_key(key: Option<&ClusterKey>, sender: u16, recipient: u16) -> ClusterKey {
    match key {
        Some(key) if [sender, recipient].contains(&SENDER_CLIENT) => key.for_clients(),
        Some(key) => key.clone(),
        None => ClusterKey::new(*b"standin cluster without a secret"),
    }
}

/// A replay window: the 64 sequence numbers up to the highest seen from one incarnation of one
/// sender. Datagrams seen before, or older than the window, are dropped (scenario 12).
#[derive(Debug, Clone, Copy, Default)]
pub struct ReplayWindow {
    highest: u64,
    seen: u64,
}

impl ReplayWindow {
    /// Returns whether this sequence number is new, and remembers it.
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
