//! The cluster file and the topology of a setup, and keys with known homes.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use standin_config::{ClusterConfig, KeyCase, KeyspaceConfig, OriginConfig};
use standin_protocol::map::Topology;
use standin_protocol::slots::KeyHash;

use crate::clock::Time;
use crate::plan::{Host, Mode, Setup};

/// The keyspace. Of two over the same rows, it is the one whose id determines the placement of
/// both.
pub(crate) const KEYSPACE: u8 = 1;
/// The other keyspace.
const OTHER: u8 = 2;
/// The number of partitions, which is small so that keys share them.
const PARTITIONS: u32 = 12;
/// The smallest size of a store.
const ARENA_BYTES: u64 = 64 << 10;

/// The configuration of all parties.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) config: Arc<ClusterConfig>,
    pub(crate) topology: Arc<Topology>,
    /// An outdated cluster file, with the servers in another order, so that each has the id of
    /// another.
    pub(crate) outdated: Arc<Topology>,
    /// The names of the keys.
    pub(crate) keys: Vec<Vec<u8>>,
}

impl Cluster {
    pub(crate) fn new(setup: &Setup) -> Self {
        let mut config =
            ClusterConfig::new("sim", address(Host::Master(0)), OriginConfig::sqlite("none"));
        let mut id = 0;
        for (group, size) in setup.groups.iter().enumerate() {
            let names: Vec<String> = (id..id + size).map(|id| format!("s{id}")).collect();
            let servers = names.iter().enumerate();
            let servers = servers.map(|(i, name)| (&**name, address(Host::Server(id + i))));
            config = config.with_group(&format!("g{group}"), servers);
            id += size;
        }
        config.mode = match setup.mode {
            Mode::Available => standin_config::Mode::Available,
            Mode::Strict => standin_config::Mode::Strict,
        };
        config.partitions = PARTITIONS;
        if setup.hashes_slots {
            config.hash = KeyHash::Crc16;
        }
        for server in &mut config.servers {
            server.shards = setup.shards;
            server.memory_bytes = ARENA_BYTES * u64::from(setup.shards);
            server.huge_pages = false;
        }
        config.limits.key_bytes = 32;
        // A transaction writes two values, and has heads.
        let value_bytes = match setup.has_pairs {
            true => 2 * setup.value_bytes + 512,
            false => setup.value_bytes.max(64),
        };
        config.limits.value_bytes = u32::try_from(value_bytes).unwrap_or(64);
        config.limits.in_flight_per_shard = setup.in_flight_max;
        let lease = Duration::from_micros(setup.lease);
        config.timings.renew_interval = lease / 4;
        config.timings.failover_hold = lease;
        config.timings.drain_timeout = lease / 2;
        config.timings.lease = lease;
        let origin = config.origin.as_mut().expect("its keyspaces have rows");
        origin.timeout = Duration::from_secs(1);
        origin.reads_per_second = setup.reads_per_second;
        let ttl = Some(Duration::from_secs(setup.ttl_s));
        let keyspace = |id, name, also_invalidates| KeyspaceConfig {
            put: Some(String::new()),
            delete: Some(String::new()),
            also_invalidates,
            ttl,
            negative_ttl: Duration::from_secs(1),
            key_case: KeyCase::Ascii,
            ..KeyspaceConfig::new(id, name, "")
        };
        config.keyspaces = match setup.shares_rows {
            _ if setup.without_database => {
                let cache = KeyspaceConfig::cache(KEYSPACE, "keys");
                vec![KeyspaceConfig { ttl, key_case: KeyCase::Ascii, ..cache }]
            }
            true => vec![
                keyspace(KEYSPACE, "keys", vec![OTHER]),
                keyspace(OTHER, "others", vec![KEYSPACE]),
            ],
            false => vec![keyspace(KEYSPACE, "keys", Vec::new())],
        };
        if setup.without_database {
            config.origin = None;
        }
        let topology = config.topology().expect("every setup is a sound cluster");
        let topology = Arc::new(topology);
        config.servers.rotate_left(1);
        let outdated = Arc::new(config.topology().expect("as sound in another order"));
        config.servers.rotate_right(1);
        let keys = keys(&topology, setup);
        Self { config: Arc::new(config), topology, outdated, keys }
    }
}

impl Cluster {
    /// Returns the longest pause after which a server continues with the requests that it has.
    pub(crate) fn pause_max(&self) -> Time {
        u64::try_from(self.config.timings.pause_max().as_micros()).unwrap_or(0)
    }

    /// Returns the keyspace that a client uses.
    pub(crate) fn keyspace_of(&self, client: usize) -> u8 {
        if self.config.keyspaces.len() > 1 && client % 2 == 1 { OTHER } else { KEYSPACE }
    }

    /// Returns the key as a client spells it. Every other client uses capitals, which is the same
    /// row.
    pub(crate) fn spelled(client: usize, name: &[u8]) -> Vec<u8> {
        if client % 2 == 1 { name.to_ascii_uppercase() } else { name.to_vec() }
    }

    /// Returns the key that a flush of this key's partition names: another key of it.
    pub(crate) fn flush_key(&self, name: &[u8]) -> Vec<u8> {
        let partition = self.topology.partition(KEYSPACE, name);
        let keys = self.topology.keys_of_partitions(KEYSPACE);
        keys[partition as usize].clone()
    }
}

/// Key k's home is server k modulo servers.
fn keys(topology: &Topology, setup: &Setup) -> Vec<Vec<u8>> {
    let servers = setup.servers();
    let partition = |name: &[u8]| topology.partition(KEYSPACE, name);
    let mut keys: Vec<Vec<u8>> = Vec::new();
    for index in 0..setup.keys {
        let names = (0u32..10_000).map(|n| format!("k{index}.{n}").into_bytes());
        let other = keys.get(index % servers).filter(|_| setup.has_pairs);
        let fits = |name: &Vec<u8>| match other {
            Some(other) => partition(name) == partition(other),
            None => usize::from(topology.home(partition(name))) == index % servers,
        };
        // A server without partitions has no keys. The key's index then does not tell its home.
        let key = names.into_iter().find(fits).unwrap_or_else(|| format!("k{index}").into_bytes());
        keys.push(key);
    }
    keys
}

/// Returns the address of a host. Both masters claim the same address.
pub(crate) fn address(host: Host) -> SocketAddr {
    let (net, id, port) = match host {
        Host::Server(id) => (0, id + 1, 7_000),
        Host::Master(_) => (1, 1, 7_100),
        Host::Client(id) => (2, id + 1, 9_000),
    };
    let last = u8::try_from(id).unwrap_or(u8::MAX);
    SocketAddr::new(Ipv4Addr::new(10, 0, net, last).into(), port)
}

/// Returns the host with this address.
pub(crate) fn host_at(address: SocketAddr) -> Option<Host> {
    let SocketAddr::V4(v4) = address else { return None };
    let [10, 0, net, last] = v4.ip().octets() else { return None };
    let id = usize::from(last).checked_sub(1)?;
    match net {
        0 => Some(Host::Server(id)),
        1 => Some(Host::Master(id)),
        2 => Some(Host::Client(id)),
        _ => None,
    }
}
