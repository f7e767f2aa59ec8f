//! What the agent and the thread around it say to each other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use standin_config::{ClusterConfig, Mode};
use standin_protocol::control::Datagram;
use standin_protocol::map::{ClusterMap, MapEpoch, ServerState};

use crate::node::{Lease, PeerProbe, Word};

/// What the agent needs to know.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// This server's id.
    pub server: u16,
    /// Its shards: all of them have to have drained before a map is acknowledged.
    pub shards: u16,
    /// This incarnation.
    pub boot_id: u64,
    /// Whether the group may go on without the master.
    pub mode: Mode,
    /// Between two renewals, and two rounds of gossip.
    pub renew_interval: Duration,
    /// Length of a lease: half of it without a word from the master, and it counts as lost;
    /// what a member of the group says of that holds as long as a lease would.
    pub lease: Duration,
    /// Before a report or leave without an answer is sent again.
    pub resend: Duration,
    /// First value of the nonces: random.
    pub nonce: u64,
}

impl AgentConfig {
    /// The agent's share of a cluster file.
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

/// What happens to the agent.
#[derive(Debug)]
pub enum Input {
    /// A datagram whose code is right; who sent it, and to whom, it says itself.
    Datagram {
        /// Where it came from.
        from: SocketAddr,
        /// It.
        datagram: Datagram,
    },
    /// A shard could not reach a server (claim 15).
    Report(u16),
    /// A shard has applied this map and finished what was begun before it.
    Drained {
        /// The shard.
        shard: u16,
        /// The map.
        epoch: MapEpoch,
    },
    /// What came of an [`Output::AskProbe`].
    Probed {
        /// Its nonce.
        nonce: u64,
        /// Its server.
        server: u16,
        /// How it ended.
        outcome: PeerProbe,
    },
    /// Whether the way to the origin is dead; said when it changes, or again.
    OriginDown(bool),
    /// The server is asked to stop.
    Leave,
    /// Time has passed.
    Tick,
}

/// What the thread has to do.
#[derive(Debug)]
pub enum Output {
    /// Send a datagram.
    Send {
        /// Whose control address it goes to, [`standin_protocol::control::SENDER_MASTER`] or a
        /// server id. Not always its recipient: members of a group pass on what is for
        /// another.
        to: u16,
        /// As it is to be sent: what is passed on keeps its sender.
        datagram: Datagram,
    },
    /// Give all shards a newer map.
    Map(Arc<ClusterMap>),
    /// Tell all shards how long this server may act as an owner; under the map given last.
    Lease(Lease),
    /// Tell all shards that a member of the group is about to be told, by the next
    /// [`Output::Send`], that this server has lost the master.
    Word(Word),
    /// Tell all shards what the master holds of a server that one of them reported.
    Verdict {
        /// Server id.
        server: u16,
        /// Its state.
        state: ServerState,
    },
    /// Have shard 0 contact every shard of a member of the group.
    AskProbe {
        /// Names the probe.
        nonce: u64,
        /// Server id.
        server: u16,
    },
    /// A datagram is dropped that does not come from where its sender is, or names an epoch that
    /// can't be: somebody should know, now and then.
    Distrust {
        /// Where it came from.
        from: SocketAddr,
        /// Whom it names as its sender.
        sender: u16,
        /// Its epoch.
        epoch: MapEpoch,
    },
    /// The master has taken this server out, and every shard has let go.
    Left,
}
