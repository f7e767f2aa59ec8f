//! The map as sent: an rkyv archive of [`WireMap`], and its conversion from and to [`ClusterMap`].

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use rkyv::rancor::Failure;
use rkyv::{Archive, Deserialize, Serialize};

use crate::key::KeyForms;
use crate::map::{
    ClusterMap, MapEpoch, MapError, Ownership, ServerInfo, ServerState, ServerStatus, Topology,
    fingerprint,
};
use crate::seeds::HashSeeds;
use crate::slots::{KeyHash, Prefixes};

impl ClusterMap {
    /// Returns the map as sent: an rkyv archive of [`WireMap`].
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let wire = WireMap::from(self);
        let Ok(bytes) = rkyv::to_bytes::<Failure>(&wire) else {
            // Serialising owned vectors into memory can't fail.
            unreachable!("a map is always serialisable")
        };
        bytes.into_vec()
    }

    /// Reads a map as sent, and derives its ranks and owners.
    ///
    /// # Errors [`MapError`] if the archive is damaged, its numbers are out of range, its topology
    /// id does not match its servers, or its owners do not follow from its states.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MapError> {
        let wire = rkyv::from_bytes::<WireMap, Failure>(bytes).map_err(|_| MapError::Archive)?;
        let utf8 = |bytes: Vec<u8>| {
            String::from_utf8(bytes).map_err(|_| MapError::Unsound("a name is not UTF-8"))
        };
        let mut servers = Vec::with_capacity(wire.servers.len());
        let mut statuses = Vec::with_capacity(wire.servers.len());
        for server in wire.servers {
            servers.push(ServerInfo {
                name: utf8(server.name)?,
                group: server.group,
                weight: server.weight,
                shards: server.shards,
                address: address_from_wire(server.ip, server.port),
            });
            statuses.push(server.status.read()?);
        }
        let master = address_from_wire(wire.master_ip, wire.master_port);
        let name = utf8(wire.name)?;
        // Both checks come before the ranks are computed, so that a damaged map costs no more than
        // its bytes.
        if wire.owners.len() != wire.partitions as usize {
            return Err(MapError::Unsound("there must be one owner entry per partition"));
        }
        let bound: Vec<(u8, u8)> = wire.bound.iter().map(|b| (b.keyspace, b.hash_seed)).collect();
        let hash_seeds = HashSeeds::of_list(&bound)
            .ok_or(MapError::Unsound("a bound keyspace has the seed of one of a lower id"))?;
        let formed: Vec<(u8, u8)> = wire.formed.iter().map(|f| (f.keyspace, f.form)).collect();
        let key_forms = KeyForms::of_list(&formed)
            .ok_or(MapError::Unsound("a keyspace's key form must be 1 to 3"))?;
        let named: Vec<(u8, &[u8])> =
            wire.named.iter().map(|named| (named.keyspace, &*named.prefix)).collect();
        let slot_prefixes = match KeyHash::from_wire(wire.hash) {
            Some(KeyHash::Xxh3) if named.is_empty() => None,
            Some(KeyHash::Crc16) => Some(
                Prefixes::of_list(&named)
                    .ok_or(MapError::Unsound("a keyspace's prefix must be 1 to 128 characters"))?,
            ),
            _ => return Err(MapError::Unsound("the hash must be 0, or 1 with prefixes")),
        };
        let keys = (&hash_seeds, &key_forms, slot_prefixes.as_ref());
        let id = fingerprint(&name, master, &servers, wire.partitions, keys);
        if wire.topology_id != id {
            return Err(MapError::Unsound("the topology id is not that of the servers listed"));
        }
        let topology = Topology::new(name, master, servers, wire.partitions)?;
        let mut topology = topology.with_hash_seeds(hash_seeds).with_key_forms(key_forms);
        if let Some(prefixes) = slot_prefixes {
            topology = topology.with_slots(prefixes)?;
        }
        let map = Self::new(Arc::new(topology), MapEpoch::from_u64(wire.epoch), statuses);
        let same = map.owners.iter().zip(&wire.owners).all(|(a, b)| WirePartition::from(a) == *b);
        if !same {
            return Err(MapError::Unsound("the owners do not follow from the states"));
        }
        Ok(map)
    }
}

/// The map as sent.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct WireMap {
    /// [`MapEpoch::to_u64`].
    pub epoch: u64,
    /// [`Topology::id`].
    pub topology_id: u64,
    /// Number of partitions.
    pub partitions: u32,
    /// Servers, by id.
    pub servers: Vec<WireServer>,
    /// Owners, by partition.
    pub owners: Vec<WirePartition>,
    /// Name of the cluster, UTF-8.
    pub name: Vec<u8>,
    /// The IPv6 address of the master (IPv4 is mapped).
    pub master_ip: [u8; 16],
    /// The UDP and TCP port of the master.
    pub master_port: u16,
    /// [`HashSeeds::bound`].
    pub bound: Vec<WireBound>,
    /// [`KeyForms::formed`].
    pub formed: Vec<WireFormed>,
    /// A [`KeyHash`].
    pub hash: u8,
    /// [`Prefixes::named`]; with XXH3 there are none.
    pub named: Vec<WireNamed>,
}

/// A keyspace whose keys have a prefix in their names, within [`WireMap`].
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct WireNamed {
    /// The keyspace.
    pub keyspace: u8,
    /// The prefix, ASCII.
    pub prefix: Vec<u8>,
}

/// A keyspace whose keys have a form, within [`WireMap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct WireFormed {
    /// The keyspace.
    pub keyspace: u8,
    /// A [`crate::key::KeyForm`].
    pub form: u8,
}

/// A keyspace that shares the placement of one with a lower id, within [`WireMap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct WireBound {
    /// The keyspace.
    pub keyspace: u8,
    /// The seed with which its keys are hashed.
    pub hash_seed: u8,
}

/// A server within [`WireMap`].
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct WireServer {
    /// Name, UTF-8.
    pub name: Vec<u8>,
    /// IPv6 address (IPv4 mapped).
    pub ip: [u8; 16],
    /// Port.
    pub port: u16,
    /// Failover group.
    pub group: u16,
    /// Weight.
    pub weight: u16,
    /// Shards.
    pub shards: u16,
    /// State.
    pub status: WireStatus,
}

/// [`ServerStatus`] as sent in maps and announcements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct WireStatus {
    /// [`MapEpoch::to_u64`] of `since`.
    pub since: u64,
    /// Incarnation.
    pub boot_id: u64,
    /// A [`ServerState`].
    pub state: u8,
}

/// [`Ownership`] as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct WirePartition {
    /// [`MapEpoch::to_u64`].
    pub epoch: u64,
    /// Home.
    pub home: u16,
    /// Owner, or [`crate::map::NO_SERVER`].
    pub owner: u16,
    /// Stand-in, or [`crate::map::NO_SERVER`].
    pub stand_in: u16,
    /// Zero.
    pub reserved: u16,
}

impl WireStatus {
    pub(crate) fn read(self) -> Result<ServerStatus, MapError> {
        let state = ServerState::from_wire(self.state)
            .ok_or(MapError::Unsound("a server's state must be 0 to 3"))?;
        Ok(ServerStatus { state, since: MapEpoch::from_u64(self.since), boot_id: self.boot_id })
    }
}

impl From<&ServerStatus> for WireStatus {
    fn from(status: &ServerStatus) -> Self {
        Self { since: status.since.to_u64(), boot_id: status.boot_id, state: status.state as u8 }
    }
}

impl From<&Ownership> for WirePartition {
    fn from(o: &Ownership) -> Self {
        let (home, owner, stand_in) = (o.home, o.owner, o.stand_in);
        Self { epoch: o.epoch.to_u64(), home, owner, stand_in, reserved: 0 }
    }
}

impl From<&ClusterMap> for WireMap {
    fn from(map: &ClusterMap) -> Self {
        let topology = &map.topology;
        let servers =
            topology.servers.iter().zip(map.statuses()).map(|(info, status)| WireServer {
                name: info.name.clone().into_bytes(),
                ip: ip_to_wire(info.address.ip()),
                port: info.address.port(),
                group: info.group,
                weight: info.weight,
                shards: info.shards,
                status: status.into(),
            });
        Self {
            epoch: map.epoch.to_u64(),
            topology_id: topology.id,
            partitions: topology.partitions,
            servers: servers.collect(),
            owners: map.owners.iter().map(WirePartition::from).collect(),
            name: topology.name.clone().into_bytes(),
            master_ip: ip_to_wire(topology.master.ip()),
            master_port: topology.master.port(),
            bound: topology
                .hash_seeds
                .bound()
                .map(|(keyspace, hash_seed)| WireBound { keyspace, hash_seed })
                .collect(),
            formed: topology
                .key_forms
                .formed()
                .map(|(keyspace, form)| WireFormed { keyspace, form: form as u8 })
                .collect(),
            hash: topology.key_hash() as u8,
            named: topology
                .slot_prefixes
                .iter()
                .flat_map(Prefixes::named)
                .map(|(keyspace, prefix)| WireNamed { keyspace, prefix: prefix.into() })
                .collect(),
        }
    }
}

fn ip_to_wire(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn address_from_wire(ip: [u8; 16], port: u16) -> SocketAddr {
    SocketAddr::new(Ipv6Addr::from(ip).to_canonical(), port)
}
