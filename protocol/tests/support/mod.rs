//! The cluster that most tests here talk about, and small helpers.

use std::net::SocketAddr;
use std::sync::Arc;

use standin_protocol::map::{
    ClusterMap, MapEpoch, ServerInfo, ServerState, ServerStatus, Topology,
};

/// A server on loopback.
pub(crate) fn server(name: &str, group: u16, weight: u16, shards: u16, port: u16) -> ServerInfo {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    ServerInfo { name: name.to_owned(), group, weight, shards, address }
}

/// Five servers in two groups, with weights and shard counts that differ.
pub(crate) fn five_servers() -> Vec<ServerInfo> {
    let mut servers = vec![
        server("a1", 0, 1, 2, 7411),
        server("a2", 0, 2, 2, 7412),
        server("a3", 0, 1, 1, 7413),
        server("b1", 1, 4, 4, 7421),
        server("b2", 1, 3, 2, 7422),
    ];
    // One server on IPv6, so that both kinds of address are looked at.
    servers[4].address = SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, 0x22], 7422));
    servers
}

/// The topology of [`five_servers`].
pub(crate) fn topology(partitions: u32) -> Arc<Topology> {
    let master = SocketAddr::from(([127, 0, 0, 1], 7400));
    let topology = Topology::new("example".to_owned(), master, five_servers(), partitions);
    Arc::new(topology.expect("the example is sound"))
}

/// `3.7` for term 3, counter 7.
pub(crate) fn epoch(term: u32, counter: u32) -> MapEpoch {
    MapEpoch { term, counter }
}

/// A status that began at this epoch.
pub(crate) fn status(state: ServerState, since: MapEpoch, boot_id: u64) -> ServerStatus {
    ServerStatus { state, since, boot_id }
}

/// [`topology`] with a1 offline, b1 returning and b2 never heard of.
pub(crate) fn map_with_trouble(partitions: u32) -> ClusterMap {
    let statuses = vec![
        status(ServerState::Offline, epoch(3, 7), 0x1111),
        status(ServerState::Online, epoch(3, 1), 0x2222),
        status(ServerState::Online, epoch(2, 9), 0x3333),
        status(ServerState::Returning, epoch(3, 8), 0x4444),
        ServerStatus::default(),
    ];
    ClusterMap::new(topology(partitions), epoch(3, 8), statuses)
}

/// [`topology`] with a1 waiting and b2 leaving.
pub(crate) fn map_with_waiting(partitions: u32) -> ClusterMap {
    let statuses = vec![
        status(ServerState::Waiting, epoch(3, 9), 0x1111),
        status(ServerState::Online, epoch(3, 1), 0x2222),
        status(ServerState::Online, epoch(2, 9), 0x3333),
        status(ServerState::Online, epoch(1, 0), 0x4444),
        status(ServerState::Leaving, epoch(3, 10), 0x5555),
    ];
    ClusterMap::new(topology(partitions), epoch(3, 10), statuses)
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Bytes that a key or value of this length has in tests: `byte i = (31·i + 7) mod 256`.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((31 * i + 7) % 256).expect("below 256")).collect()
}
