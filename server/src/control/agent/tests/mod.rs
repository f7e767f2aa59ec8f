//! One agent by hand, and groups of agents with a master in a network that loses things.
//!
//! ```text
//! world.rs    agents, a master, virtual time, cuts
//! alone.rs    renewals, reports, acknowledgements, leaving
//! leases.rs   what a grant is worth       group.rs    gossip, orphans
//! gossip.rs   one datagram of a member                   believed.rs whose word counts
//! ways.rs     detours, relaying, probes for the master
//! ```

mod alone;
mod believed;
mod gossip;
mod group;
mod leases;
mod ways;
mod world;

use std::sync::Arc;
use std::time::Duration;

use standin_config::Mode;
use standin_protocol::control::{Datagram, DatagramKind, SENDER_MASTER};
use standin_protocol::map::{MapEpoch, ServerInfo, ServerState, ServerStatus, Topology};
use standin_protocol::time::Micros;

use super::{Agent, AgentConfig, Input, Output};

const MS: u64 = 1_000;
const LEASE: Duration = Duration::from_secs(2);

fn at(ms: u64) -> Micros {
    Micros(ms * MS)
}

/// `members` servers of one group, and one of another.
fn topology(members: u16) -> Arc<Topology> {
    let server = |id: u16| ServerInfo {
        name: format!("s{id}"),
        group: u16::from(id == members),
        weight: 1,
        shards: 2,
        address: ([127, 0, 0, 1], id + 1).into(),
    };
    let master = ([127, 0, 0, 1], 99).into();
    let servers = (0..=members).map(server).collect();
    Arc::new(Topology::new("t".to_owned(), master, servers, 16).unwrap())
}

fn config(server: u16, mode: Mode) -> AgentConfig {
    AgentConfig {
        server,
        shards: 2,
        boot_id: 70 + u64::from(server),
        mode,
        renew_interval: LEASE / 4,
        lease: LEASE,
        resend: Duration::from_millis(50),
        nonce: 100,
    }
}

/// Server 0 of a group of two.
fn agent() -> Agent {
    Agent::new(config(0, Mode::Available), topology(2), Micros(0))
}

fn outputs(agent: &mut Agent) -> Vec<Output> {
    std::iter::from_fn(|| agent.poll()).collect()
}

/// Returns the datagrams sent to the master, and the party to which each was sent.
fn sent(agent: &mut Agent) -> Vec<(u16, Datagram)> {
    let sends = outputs(agent).into_iter().filter_map(|output| match output {
        Output::Send { to, datagram } if datagram.kind != DatagramKind::Gossip => {
            Some((to, datagram))
        }
        _ => None,
    });
    sends.collect()
}

/// Returns the kind, direct receiver and nonce of the datagrams sent to the master.
fn told(agent: &mut Agent) -> Vec<(DatagramKind, u16, u64)> {
    sent(agent).into_iter().map(|(_, d)| (d.kind, d.subject, d.nonce)).collect()
}

fn epoch(counter: u32) -> MapEpoch {
    MapEpoch { term: 1, counter }
}

/// Creates a datagram of the master, with this sequence number, to server 0 of a group of two.
fn from_master(
    kind: DatagramKind,
    sequence: u64,
    counter: u32,
    states: [ServerState; 2],
) -> Datagram {
    let status =
        |id: usize, state| ServerStatus { state, since: epoch(counter), boot_id: 70 + id as u64 };
    let [a, b] = states;
    let statuses = vec![status(0, a), status(1, b), status(2, ServerState::Online)];
    Datagram {
        recipient: 0,
        sequence,
        epoch: epoch(counter),
        statuses,
        ..Datagram::new(kind, SENDER_MASTER, topology(2).id, 1)
    }
}

fn hear(agent: &mut Agent, now: Micros, datagram: Datagram) {
    let from = address(&topology(2), datagram.sender);
    agent.handle(now, Input::Datagram { from, datagram });
}

/// Returns the address from which a party sends.
fn address(topology: &Topology, id: u16) -> std::net::SocketAddr {
    let server = topology.servers.get(usize::from(id)).map(|server| server.address);
    server.unwrap_or(topology.master)
}
