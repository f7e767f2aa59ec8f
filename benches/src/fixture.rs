//! A Standin server without a cluster: one server, one shard, and instead of a master a few lines that
//! tell it that it is online, so that it caches. Its origin is SQLite, which computes each value from
//! the key, so that filling needs no table.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use standin_config::{
    AfterPut, ClusterConfig, ColumnType, IoKind, KeyCase, KeyspaceConfig, KeyspaceKind, Limits,
    MasterConfig, Mode, Naming, OriginConfig, Security, ServerConfig, ServiceConfig,
    ServiceProtocol, Timings,
};
use standin_protocol::control::{DATAGRAM_BYTES_MAX, Datagram, DatagramKind, SENDER_MASTER};
use standin_protocol::map::{MapEpoch, ServerState, ServerStatus};
use standin_server::Server;
use standin_testkit::free_ports;

use crate::exchange::{CACHE, KEYSPACE, VALUE_SQL};

/// The line that says that the server caches from now on; its address follows.
pub const READY: &str = "ready ";

/// The lease that every renewal is granted, in milliseconds.
const LEASE_MS: u32 = 20_000;
const NAME: &str = "bench";
const HOUR: Duration = Duration::from_secs(3_600);

/// A cluster of one server of one shard.
#[must_use]
pub fn cluster(directory: &Path, io: IoKind, memory_bytes: u64, core: usize) -> ClusterConfig {
    let ports = free_ports(4);
    let address = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let service =
        |protocol, port| ServiceConfig { protocol, address: address(port), passwords: None };
    ClusterConfig {
        name: NAME.to_owned(),
        partitions: 1_024,
        hash: standin_protocol::slots::KeyHash::Xxh3,
        mode: Mode::default(),
        master: MasterConfig {
            address: address(ports[0]),
            state_file: directory.join("master.state"),
            offline_servers_max: None,
            metrics: None,
            dashboard: None,
        },
        servers: vec![ServerConfig {
            name: NAME.to_owned(),
            group: 0,
            address: address(ports[1]),
            shards: 1,
            cores: vec![core],
            weight: 1,
            memory_bytes,
            huge_pages: true,
            io,
            redis_node_port: None,
            metrics: None,
            services: vec![
                service(ServiceProtocol::Memcached, ports[2]),
                service(ServiceProtocol::Redis, ports[3]),
            ],
        }],
        groups: vec![NAME.to_owned()],
        origin: Some(OriginConfig {
            concurrency: 4,
            queue: 65_536,
            timeout: Duration::from_secs(30),
            ..OriginConfig::sqlite(directory.join("origin.sqlite"))
        }),
        naming: Naming { default_keyspace: Some(CACHE), ..Naming::default() },
        keyspaces: vec![
            KeyspaceConfig {
                id: KEYSPACE,
                name: NAME.to_owned(),
                kind: KeyspaceKind::Database,
                get: VALUE_SQL.to_owned(),
                put: None,
                delete: None,
                after_put: AfterPut::Keep,
                also_invalidates: Vec::new(),
                key_type: ColumnType::Text,
                key_case: KeyCase::Exact,
                value_type: ColumnType::Bytes,
                ttl: Some(24 * HOUR),
                negative_ttl: Duration::ZERO,
                ttl_jitter_percent: 0,
                log_slower_than: Some(Duration::from_secs(1)),
            },
            KeyspaceConfig::cache(CACHE, "cache"),
        ],
        // On a machine that others use too, a thread may stand still for long. There is no other server
        // that could have answered in the meantime.
        timings: Timings {
            attempt_timeout: Duration::from_secs(5),
            lease: Duration::from_millis(LEASE_MS.into()),
            ..Timings::default()
        },
        limits: Limits::default(),
        security: Security::default(),
        tls: None,
        tls_calls: None,
        log_level: Default::default(),
        for_clients: false,
    }
}

/// The port that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// That of Standin's own protocol.
    Own,
    /// That of another protocol.
    Of(ServiceProtocol),
    /// That of Standin's own protocol, and that of another.
    OwnAnd(ServiceProtocol),
}

/// Runs the server until the process ends.
///
/// # Errors
/// The server can't start, or a shard has ended.
pub fn serve(
    directory: &Path,
    io: IoKind,
    memory_bytes: u64,
    core: usize,
    port: Port,
) -> Result<(), Box<dyn std::error::Error>> {
    serve_cluster(cluster(directory, io, memory_bytes, core), port)
}

/// Runs the server of a cluster that [`cluster`] has made until the process ends.
///
/// # Errors
/// As [`serve`].
pub fn serve_cluster(cluster: ClusterConfig, port: Port) -> Result<(), Box<dyn std::error::Error>> {
    let cluster = Arc::new(cluster);
    let master = UdpSocket::bind(cluster.master.address)?;
    master.set_read_timeout(Some(Duration::from_secs(1)))?;
    let topology_id = cluster.topology()?.id;
    let services = cluster.servers[0].services.clone();
    let server = Server::start(cluster, NAME)?;
    let service = |protocol| {
        let service = services.iter().find(|service| service.protocol == protocol);
        service.expect("the fixture has a service of each protocol").address
    };
    let address = match port {
        Port::Own => server.address().to_string(),
        Port::Of(protocol) => service(protocol).to_string(),
        Port::OwnAnd(protocol) => format!("{} {}", server.address(), service(protocol)),
    };
    let epoch = MapEpoch { term: 1, counter: 1 };
    let mut is_ready = false;
    let mut sequence = 1;
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    while server.failed_thread().is_none() {
        let (length, from) = match master.recv_from(&mut buffer) {
            Ok(received) => received,
            // Work that the kernel does for a ring on this thread interrupts the call.
            Err(error) if is_passing(&error) => continue,
            Err(error) => return Err(error.into()),
        };
        let heard = Datagram::parse(&buffer[..length], None, Some(topology_id))?;
        if heard.kind == DatagramKind::Renew {
            sequence += 1;
            let grant = Datagram {
                recipient: 0,
                sequence,
                epoch,
                nonce: heard.nonce,
                arg: LEASE_MS,
                ..Datagram::new(DatagramKind::Grant, SENDER_MASTER, topology_id, 1)
            };
            master.send_to(&grant.to_bytes(None), from)?;
        }
        match heard.kind {
            DatagramKind::Renew if heard.epoch < epoch => {
                let status = ServerStatus {
                    state: ServerState::Online,
                    since: epoch,
                    boot_id: heard.boot_id,
                };
                let announcement = Datagram {
                    recipient: 0,
                    sequence: 1,
                    epoch,
                    arg: ServerState::Online as u32,
                    statuses: vec![status],
                    ..Datagram::new(DatagramKind::Announce, SENDER_MASTER, topology_id, 1)
                };
                master.send_to(&announcement.to_bytes(None), from)?;
            }
            DatagramKind::Ack if !is_ready => {
                is_ready = true;
                println!("{READY}{address}");
            }
            _ => {}
        }
    }
    Err("the shard has ended".into())
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
