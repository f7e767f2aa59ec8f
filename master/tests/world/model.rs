//! A server as the machine sees it.

use std::collections::BTreeMap;

use standin_config::Mode;
use standin_master::ProbeFailure;
use standin_protocol::body::PingReply;
use standin_protocol::control::Datagram;
use standin_protocol::map::{MapEpoch, ServerStatus};
use standin_protocol::time::Micros;

/// The behaviour of a model server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It answers and renews.
    Up,
    /// It refuses connections and sends nothing.
    Dead,
    /// It accepts connections and sends nothing (SIGSTOP).
    Paused,
    /// It renews, but a shard does not answer.
    Gray,
    /// It answers probes, but no datagram reaches it.
    Deaf,
}

/// The answer of each shard to a probe.
pub type Shards = Vec<Result<PingReply, ProbeFailure>>;

pub struct Model {
    pub health: Health,
    /// Whether nothing gets from it to the master or back, except what other servers relay.
    pub is_cut: bool,
    /// Whether its first shard has no room for a probe.
    pub is_full: bool,
    /// Whether it can't reach the database.
    pub origin_down: bool,
    pub is_strict: bool,
    /// Whether something that it has begun does not end.
    pub is_busy: bool,
    /// The change that is made to its answers to probes.
    pub twist: fn(&mut Shards),
    pub boot_id: u64,
    pub epoch: MapEpoch,
    pub drained: MapEpoch,
    pub statuses: Vec<ServerStatus>,
    pub grants: Vec<Datagram>,
    /// The time at which each renewal was sent. The next field has the resulting leases.
    pub(super) renewals: BTreeMap<u64, Micros>,
    pub(super) leases: Vec<Lease>,
    /// The datagrams that arrived while it was stopped.
    pub(super) held: Vec<Datagram>,
    pub(super) sequence: u64,
}

/// A lease as its holder sees it, in true time. The holder's clock may be slow.
pub(super) struct Lease {
    pub(super) needs: MapEpoch,
    pub(super) until: Micros,
}

impl Model {
    pub fn new(mode: Mode) -> Self {
        Self {
            health: Health::Up,
            is_cut: false,
            is_full: false,
            origin_down: false,
            is_strict: mode == Mode::Strict,
            is_busy: false,
            twist: |_| {},
            boot_id: 0,
            epoch: MapEpoch::default(),
            drained: MapEpoch::default(),
            statuses: Vec::new(),
            grants: Vec::new(),
            renewals: BTreeMap::new(),
            leases: Vec::new(),
            held: Vec::new(),
            sequence: 0,
        }
    }
}
