//! Maps: damaged archives, and sound ones made from the input.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

use standin_protocol::key::{KeyForm, KeyForms};
use standin_protocol::map::{
    ClusterMap, MapEpoch, NO_SERVER, ServerInfo, ServerState, ServerStatus, Topology,
};
use standin_protocol::seeds::HashSeeds;

/// A map that can be read is valid and can be sent again. A map made from any numbers is read back,
/// and damage to it has no bad effect.
pub fn map(data: &[u8]) {
    if let Ok(read) = ClusterMap::from_bytes(data) {
        sound(&read);
    }
    let mut bytes = Bytes(data);
    let Some(made) = made(&mut bytes) else { return };
    sound(&made);
    let mut archive = made.to_bytes();
    for _ in 0..4 {
        let at = usize::from(bytes.u16()) % archive.len();
        archive[at] ^= bytes.u8();
    }
    if let Ok(read) = ClusterMap::from_bytes(&archive) {
        assert_eq!(read.topology, made.topology, "what the id covers can't change unnoticed");
        sound(&read);
    }
}

fn sound(map: &ClusterMap) {
    assert_eq!(ClusterMap::from_bytes(&map.to_bytes()).as_ref(), Ok(map));
    for partition in 0..map.topology.partitions {
        let rank = map.topology.rank(partition);
        let o = map.ownership(partition);
        assert_eq!(o.home, rank[0]);
        assert!(o.owner == NO_SERVER || map.state(o.owner) == ServerState::Online);
        assert!(o.stand_in == NO_SERVER || map.state(o.stand_in) != ServerState::Offline);
        assert!(o.owner == NO_SERVER || o.owner != o.stand_in);
        let mut asked: Vec<u16> = map.candidates(partition).collect();
        assert!(o.owner == NO_SERVER || asked[0] == o.owner);
        let mut members = rank.to_vec();
        asked.sort_unstable();
        members.sort_unstable();
        assert_eq!(asked, members, "everybody of the rank is asked once");
        let group = map.topology.servers[usize::from(rank[0])].group;
        assert!(rank.iter().all(|id| map.topology.servers[usize::from(*id)].group == group));
    }
}

/// Numbers from the input; zero when it has run out.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn u8(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes([self.u8(), self.u8(), self.u8(), self.u8()])
    }

    fn address(&mut self) -> SocketAddr {
        let ip = Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(|_| self.u8()));
        // Half of them as IPv4 addresses.
        let ip =
            if self.u8() & 1 == 0 { ip } else { std::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped() };
        SocketAddr::new(ip.into(), self.u16())
    }
}

fn made(bytes: &mut Bytes<'_>) -> Option<ClusterMap> {
    let partitions = u32::from(bytes.u8() % 40);
    let count = bytes.u8() % 9;
    let master = bytes.address();
    let mut servers = Vec::new();
    let mut statuses = Vec::new();
    for _ in 0..count {
        let name_bytes = bytes.u8() % 20;
        let name: Vec<u8> = (0..name_bytes).map(|_| bytes.u8()).collect();
        servers.push(ServerInfo {
            name: String::from_utf8_lossy(&name).into_owned(),
            group: u16::from(bytes.u8() % 3),
            weight: u16::from(bytes.u8() % 66),
            shards: u16::from(bytes.u8()),
            address: bytes.address(),
        });
        statuses.push(ServerStatus {
            state: ServerState::from_wire(bytes.u8() % 3)?,
            since: MapEpoch { term: bytes.u32(), counter: bytes.u32() },
            boot_id: u64::from(bytes.u32()),
        });
    }
    let topology = Topology::new("fuzz".to_owned(), master, servers, partitions).ok()?;
    let bonds: Vec<(u8, u8)> = (0..bytes.u8() % 4).map(|_| (bytes.u8(), bytes.u8())).collect();
    let forms: KeyForms = (0..bytes.u8() % 4)
        .filter_map(|_| Some((bytes.u8(), KeyForm::from_wire(bytes.u8() % 4)?)))
        .collect();
    let topology = topology.with_hash_seeds(HashSeeds::of_bonds(bonds)).with_key_forms(forms);
    let epoch = MapEpoch { term: bytes.u32(), counter: bytes.u32() };
    Some(ClusterMap::new(Arc::new(topology), epoch, statuses))
}
