//! The server's descriptors (`ulimit -n`), divided before it starts, so that clients can't take
//! those that the database's files, links to peers, and the master's probes need. Pure except for
//! raising the limit.

use standin_config::{ClusterConfig, HTTP_DESCRIPTORS, OriginKind};

use crate::shard::admission::{CLOSING, Places, peers_shards};

/// The number of descriptors for standard streams, listener, UDP, signals, logs, and a few that are
/// open briefly.
const BASE: u64 = 18;
/// The number of descriptors of a shard: its ring and eventfd.
const PER_SHARD: u64 = 2;
/// The number of descriptors of a service or of a node of Redis Cluster: its listener, twice.
const PER_SERVICE: u64 = 2;
/// The smallest number of client connections with which a server can work.
const CLIENTS_MIN: u32 = 8;
/// The smallest number of handshakes at once.
const HANDSHAKES_MIN: u32 = 8;

/// There are too few descriptors to start with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this process may open {limit} files and sockets, but this server needs at least {needed}: \
     {reserved} for the database, the other servers and the master, the rest for clients. Raise \
     the limit (`ulimit -Hn {wanted}`, or LimitNOFILE= of its systemd unit), or lower [origin] \
     concurrency or connections"
)]
pub struct TooFewDescriptors {
    /// The number that the system allows.
    pub limit: u64,
    /// The smallest number that is needed.
    pub needed: u64,
    /// The part of it that is not for clients.
    pub reserved: u64,
    /// The number that the cluster file asks for.
    pub wanted: u64,
}

/// Divides the limit into places: as many as the cluster file asks for, or fewer for clients and
/// handshakes.
///
/// # Errors
/// [`TooFewDescriptors`].
pub(crate) fn divide(
    cluster: &ClusterConfig,
    server: u16,
    limit: u64,
) -> Result<Places, TooFewDescriptors> {
    let wanted = Places::wanted(cluster, server);
    let shards = u64::from(cluster.servers[usize::from(server)].shards);
    let links = shards * u64::from(peers_shards(cluster, server));
    let origin = cluster.origin.as_ref().map_or(0, |origin| match &origin.kind {
        // Each reader, and the writer, has the file and its log open. All share the index.
        OriginKind::Sqlite { .. } => (u64::from(origin.concurrency) + 1) * 2 + 3,
        // The same number again for writes, one for health checks, and some that are being
        // reopened.
        OriginKind::Postgres { connections, .. } => u64::from(*connections) * 2 + 9,
    });
    // One link in ten is closing while another takes its place.
    let links_out = links + links / 10 + 1;
    let callers = u64::from(wanted.peers) + u64::from(wanted.masters + wanted.observers);
    let nodes = (0..cluster.servers[usize::from(server)].shards)
        .filter(|shard| cluster.node_address(server, *shard).is_some());
    let services = cluster.servers[usize::from(server)].services.len() + nodes.count();
    let services = services as u64 * PER_SERVICE;
    let metrics = cluster.servers[usize::from(server)].metrics.as_ref();
    let metrics = metrics.map_or(0, |_| HTTP_DESCRIPTORS);
    let own = BASE + shards * PER_SHARD + services + metrics;
    let reserved = own + origin + links_out + callers + u64::from(CLOSING);
    let rest = limit.saturating_sub(reserved);
    let least = u64::from(wanted.clients.min(CLIENTS_MIN) + wanted.handshakes.min(HANDSHAKES_MIN));
    if rest < least {
        let all = u64::from(wanted.clients) + u64::from(wanted.handshakes);
        let (needed, wanted) = (reserved + least, reserved + all);
        return Err(TooFewDescriptors { limit, needed, reserved, wanted });
    }
    let rest = u32::try_from(rest).unwrap_or(u32::MAX);
    let handshakes = wanted.handshakes.min((rest / 4).max(HANDSHAKES_MIN));
    let clients = wanted.clients.min(rest - handshakes);
    Ok(Places { clients, handshakes, ..wanted })
}

/// Raises the limit to the hard limit, and returns it.
pub(crate) fn raise_limit() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let before = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: before.maximum, ..before };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        Err(error) => {
            tracing::warn!(%error, "the limit of descriptors could not be raised (ulimit -n)");
            before.current
        }
    };
    limit.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use standin_config::OriginConfig;

    use super::*;

    fn cluster(servers: usize, shards: u16) -> ClusterConfig {
        let address = |port: usize| ([127, 0, 0, 1], u16::try_from(port).unwrap()).into();
        let names: Vec<String> = (0..servers).map(|number| format!("s{number}")).collect();
        let group = names.iter().enumerate().map(|(at, name)| (name.as_str(), address(7_101 + at)));
        let origin = OriginConfig::sqlite("/nowhere");
        let mut cluster = ClusterConfig::new("c", address(7_100), origin).with_group("g", group);
        cluster.servers.iter_mut().for_each(|server| server.shards = shards);
        cluster
    }

    /// Returns the number of descriptors that may be open at once.
    fn total(places: Places, cluster: &ClusterConfig) -> u64 {
        let Places { clients, peers, masters, observers, handshakes } = places;
        let shards = u64::from(cluster.servers[0].shards);
        let links = shards * u64::from(peers_shards(cluster, 0));
        let readers = u64::from(cluster.origin.as_ref().unwrap().concurrency) + 1;
        let own = 13 + 2 * shards + 2 * readers + 1 + links;
        own + u64::from(clients + peers + masters + observers + handshakes + CLOSING)
    }

    #[test]
    fn a_generous_limit_gives_what_the_file_wants() {
        let cluster = cluster(2, 1);
        assert_eq!(divide(&cluster, 0, 1 << 20), Ok(Places::wanted(&cluster, 0)));
        assert_eq!(divide(&cluster, 0, u64::MAX), Ok(Places::wanted(&cluster, 0)));
    }

    #[test]
    fn whatever_the_limit_nothing_can_exceed_it() {
        for (servers, shards) in [(2, 1), (2, 4), (32, 2), (5, 16)] {
            let cluster = cluster(servers, shards);
            let mut least = None;
            for limit in 1..20_000 {
                match divide(&cluster, 0, limit) {
                    Ok(places) => {
                        assert!(total(places, &cluster) <= limit, "{places:?} of {limit}");
                        assert!(places.clients >= CLIENTS_MIN);
                        assert!(places.handshakes >= HANDSHAKES_MIN);
                        least.get_or_insert(limit);
                    }
                    Err(error) => {
                        assert!(least.is_none(), "more descriptors are never worse");
                        assert!(error.needed > limit && error.wanted > error.needed);
                    }
                }
            }
            let needed = divide(&cluster, 0, 1).unwrap_err().needed;
            assert_eq!(least, Some(needed), "the message says what is enough");
        }
    }

    #[test]
    fn a_hundred_are_enough_for_a_pair_and_sixty_four_are_not() {
        let cluster = cluster(2, 1);
        assert!(divide(&cluster, 0, 100).is_ok());
        let refused = divide(&cluster, 0, 64).unwrap_err().to_string();
        assert!(refused.contains("may open 64") && refused.contains("ulimit -Hn"), "{refused}");
    }
}
