//! The inputs and outputs of the agent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use standin_config::{ClusterConfig, Mode};
use standin_protocol::control::Datagram;
use standin_protocol::map::{ClusterMap, MapEpoch, ServerState};
use standin_protocol::time::Micros;

use crate::node::{Lease, PeerProbe, Word};

/// The agent's configuration.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// This server's id.
    pub server: u16,
    /// The number of its shards. All of them must have drained before a map is acknowledged.
    pub shards: u16,
    /// This incarnation.
    pub boot_id: u64,
    /// Whether the group may go on without the master.
    pub mode: Mode,
    /// The interval between two renewals, and between two rounds of gossip.
    pub renew_interval: Duration,
    /// The length of a lease. The master counts as lost after half of it without a word. A member's
    /// word that it has lost the master is valid as long as a lease would be.
    pub lease: Duration,
    /// The time after which an unanswered report or LEAVING is sent again.
    pub resend: Duration,
    /// The first value of the nonces, which is random.
    pub nonce: u64,
}

impl AgentConfig {
    /// Takes the agent's settings from a cluster file.
    #[must_use]
    pub fn new(cluster: &ClusterConfig, server: u16, boot_id: u64, nonce: u64) -> Self {
        let timings = &cluster.timings;
        Self {
            server,
            shards: cluster.servers[usize::from(server)].shards,
            boot_id,
            mode: cluster.mode,
            renew_interval: timings.renew_interval,
            lease: timings.lease,
            resend: timings.announce_resend,
            nonce,
        }
    }
}

/// An event for the agent.
#[derive(Debug)]
pub enum Input {
    /// A datagram whose code is right. It names its sender and recipient.
    Datagram {
        /// The address that it came from.
        from: SocketAddr,
        /// The datagram.
        datagram: Datagram,
    },
    /// A shard could not reach a server (claim 15).
    Report(u16),
    /// A shard has applied this map, and everything that it began before has ended.
    Drained {
        /// The shard.
        shard: u16,
        /// The map.
        epoch: MapEpoch,
    },
    /// The outcome of an [`Output::AskProbe`].
    Probed {
        /// Its nonce.
        nonce: u64,
        /// Its server.
        server: u16,
        /// Its result.
        outcome: PeerProbe,
    },
    /// Whether the origin is unreachable. Sent when it changes, and possibly again.
    OriginDown(bool),
    /// The server has been asked to stop.
    Leave,
    /// Time has passed.
    Tick,
}

/// An action for the thread.
#[derive(Debug)]
pub enum Output {
    /// Send a datagram.
    Send {
        /// The party to whose control address it is sent:
        /// [`standin_protocol::control::SENDER_MASTER`] or a server id. Not always its recipient,
        /// because members of a group relay datagrams.
        to: u16,
        /// The datagram, unchanged: a relayed one keeps its sender.
        datagram: Datagram,
    },
    /// Give all shards a newer map.
    Map(Arc<ClusterMap>),
    /// Tell all shards how long this server may act as an owner under the map given last.
    Lease(Lease),
    /// Tell all shards that the next [`Output::Send`] will tell a member of the group that this
    /// server has lost the master.
    Word(Word),
    /// Tell all shards the master's state of a server that one of them reported.
    Verdict {
        /// Server id.
        server: u16,
        /// Its state.
        state: ServerState,
    },
    /// Have shard 0 contact every shard of a member of the group.
    AskProbe {
        /// Identifies the probe.
        nonce: u64,
        /// Server id.
        server: u16,
    },
    /// Log, now and then, that a datagram was dropped because it came from another address than its
    /// sender's, or names an implausible epoch.
    Distrust {
        /// The address that it came from.
        from: SocketAddr,
        /// The sender that it names.
        sender: u16,
        /// Its epoch.
        epoch: MapEpoch,
    },
    /// The master has marked this server offline, and every shard has drained.
    Left,
}

/// Times of which the metrics publish how long ago they are; that of the start if there was none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    /// The time at which the master last granted a lease.
    pub granted: Micros,
    /// The time at which the map was taken over.
    pub map: Micros,
}
