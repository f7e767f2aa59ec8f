//! What the servers of a cluster that run on this host need from it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use standin_config::{ClusterConfig, IoKind, KernelUse, OriginConfig};
use standin_server::check;

/// What one server needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerNeeds {
    /// Its name.
    pub name: String,
    /// The address that clients use.
    pub address: IpAddr,
    /// Number of shards.
    pub shards: u16,
    /// The cores of its shards; none if they are not pinned.
    pub cores: Vec<usize>,
    /// Bytes of its caches and of replies that are not read yet.
    pub memory_bytes: u64,
    /// Whether its cache is on huge pages.
    pub huge_pages: bool,
    /// The event loop that it asks for.
    pub io: IoKind,
    /// Whether the kernel is to encrypt its connections with TLS.
    pub kernel_tls: bool,
    /// Descriptors without which it does not start.
    pub descriptors_least: u64,
    /// Descriptors for all clients that it is allowed to have.
    pub descriptors: u64,
}

/// What a cluster needs from this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// For whom, as a part of a sentence.
    pub whom: String,
    /// The servers on this host; at least one.
    pub servers: Vec<ServerNeeds>,
    /// Whether the servers are those of a cluster file, and not one with the default settings.
    pub is_configured: bool,
}

impl Wanted {
    /// The needs of these servers of a cluster, which are on this host.
    ///
    /// # Panics
    /// If the list is empty, or the cluster has no such server.
    #[must_use]
    pub fn of(cluster: &ClusterConfig, servers: &[u16], file: &str) -> Self {
        assert!(!servers.is_empty(), "a host is judged for some server");
        let needs: Vec<_> = servers.iter().map(|server| needs(cluster, *server)).collect();
        let names: Vec<&str> = needs.iter().map(|server| server.name.as_str()).collect();
        Self {
            whom: format!("{} of cluster {:?} ({file})", names.join(", "), cluster.name),
            servers: needs,
            is_configured: true,
        }
    }

    /// The needs of a server with the default settings, for a host whose cluster is not known.
    #[must_use]
    pub fn defaults(why: &str) -> Self {
        let loopback = |port: u16| ([127, 0, 0, 1], port).into();
        let cluster = ClusterConfig::new("default", loopback(7_100), None::<OriginConfig>)
            .with_group("default", [("default", loopback(7_101))]);
        Self {
            whom: format!("a server with the default settings ({why})"),
            servers: vec![needs(&cluster, 0)],
            is_configured: false,
        }
    }

    /// The addresses of the servers other than loopback, or all if there are no others.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        let all = self.servers.iter().map(|server| server.address);
        if !self.is_configured {
            return Vec::new();
        }
        let (loopback, others): (Vec<_>, Vec<_>) = all.partition(IpAddr::is_loopback);
        if others.is_empty() { loopback } else { others }
    }

    /// The cores of all shards.
    pub(crate) fn cores(&self) -> BTreeSet<usize> {
        self.servers.iter().flat_map(|server| server.cores.iter().copied()).collect()
    }

    /// The number of shards of all servers.
    pub(crate) fn shards(&self) -> usize {
        self.servers.iter().map(|server| usize::from(server.shards)).sum()
    }

    /// The memory of all servers.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.servers.iter().fold(0, |sum, server| sum.saturating_add(server.memory_bytes))
    }

    /// Whether the kernel is to encrypt connections with TLS.
    pub(crate) fn kernel_tls(&self) -> bool {
        self.servers.iter().any(|server| server.kernel_tls)
    }

    /// Whether a server runs only on io_uring, and whether one may.
    pub(crate) fn uring(&self) -> (bool, bool) {
        let any = |io| self.servers.iter().any(|server| server.io == io);
        (any(IoKind::Uring), any(IoKind::Uring) || any(IoKind::Auto))
    }
}

fn needs(cluster: &ClusterConfig, server: u16) -> ServerNeeds {
    let own = &cluster.servers[usize::from(server)];
    let descriptors = check::descriptors(cluster, server);
    ServerNeeds {
        name: own.name.clone(),
        address: own.address.ip(),
        shards: own.shards,
        cores: own.cores.clone(),
        memory_bytes: check::memory_bytes(cluster, server),
        huge_pages: own.huge_pages,
        io: own.io,
        kernel_tls: cluster.tls.as_ref().is_some_and(|tls| tls.kernel == KernelUse::Auto),
        descriptors_least: descriptors.needed,
        descriptors: descriptors.wanted,
    }
}
