//! A server as the machine sees it.

use std::collections::BTreeMap;

use standin_config::Mode;
use standin_master::ProbeFailure;
use standin_protocol::body::PingReply;
use standin_protocol::control::Datagram;
use standin_protocol::map::{MapEpoch, ServerStatus};
use standin_protocol::time::Micros;

/// How a model server behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Answers and renews.
    Up,
    /// Connections are refused; says nothing.
    Dead,
    /// Accepts and says nothing (SIGSTOP).
    Paused,
    /// Renews, but a shard does not answer.
    Gray,
    /// Answers probes, but no datagram gets to it.
    Deaf,
}

/// What each shard answers to a probe.
pub type Shards = Vec<Result<PingReply, ProbeFailure>>;

pub struct Model {
    pub health: Health,
    /// Nothing gets from it to the master or back, but for what others pass on.
    pub is_cut: bool,
    /// Its first shard has no room for a probe.
    pub is_full: bool,
    /// It can't reach the database.
    pub origin_down: bool,
    pub is_strict: bool,
    /// Something that it has begun does not end.
    pub is_busy: bool,
    /// What is wrong with its answers to probes.
    pub twist: fn(&mut Shards),
    pub boot_id: u64,
    pub epoch: MapEpoch,
    pub drained: MapEpoch,
    pub statuses: Vec<ServerStatus>,
    pub grants: Vec<Datagram>,
    /// When each renewal was sent, and the leases that came of it.
    pub(super) renewals: BTreeMap<u64, Micros>,
    pub(super) leases: Vec<Lease>,
    /// What has come while it was stopped.
    pub(super) held: Vec<Datagram>,
    pub(super) sequence: u64,
}

/// A lease as its holder sees it, in true time: its clock may be slow.
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
