//! Three memcached servers, behind twemproxy or with the keys spread by the client. Both use the client
//! of the `memcache` crate.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use memcache::Client;
use standin_loadgen::faults::Process;
use standin_loadgen::faults::kinds::memcached::Pool;
use standin_loadgen::faults::kinds::{self, Ground};
use standin_loadgen::rng::Random;

use super::aside::{Aside, Cache};
use super::database::Database;
use super::{CLIENT_TIMEOUT, Cluster, Failure, NODES, Servers, Subject};

const UP_WITHIN: Duration = Duration::from_secs(10);
/// Keys that a node is asked for at once.
const BATCH_KEYS: usize = 200;

/// Running nodes, and the proxy if there is one.
pub struct Nodes {
    processes: Vec<Process>,
    nodes: Vec<SocketAddr>,
    /// Kept while it is used.
    _proxy: Option<Process>,
    proxy: Option<SocketAddr>,
}

impl Nodes {
    /// Starts the nodes and, with `ejects`, twemproxy before them.
    ///
    /// # Errors
    /// One of them does not start.
    pub fn start(ejects: Option<bool>, folder: &Path) -> Result<Self, Failure> {
        let mut random = Random::new(std::process::id().into());
        let mut ground = Ground { folder, random: &mut random, interrupt: None };
        let addresses = ground.addresses(NODES + 2)?;
        let (nodes, own) = addresses.split_at(NODES);
        let start = |node: &SocketAddr| {
            let name = format!("memcached-{}", node.port());
            kinds::memcached::start(&ground, &name, None, &[], *node, UP_WITHIN)
        };
        let processes = nodes.iter().map(start).collect::<Result<Vec<_>, _>>()?;
        let mut all = Self { processes, nodes: nodes.to_vec(), _proxy: None, proxy: None };
        if let Some(ejects) = ejects {
            let pool = Pool { servers: nodes, ejects, timeout: CLIENT_TIMEOUT };
            let own = [own[0], own[1]];
            let proxy = kinds::memcached::start_nutcracker(
                &ground,
                "nutcracker",
                None,
                &[],
                pool,
                own,
                UP_WITHIN,
            )?;
            all._proxy = Some(proxy);
            all.proxy = Some(own[0]);
        }
        Ok(all)
    }

    /// The addresses that clients are given: the proxy's, or those of all nodes.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let addresses = self.proxy.map_or_else(|| self.nodes.clone(), |proxy| vec![proxy]);
        addresses.iter().map(SocketAddr::to_string).collect()
    }
}

impl Servers for Nodes {
    fn held_by_victim(&self, keys: &[Vec<u8>]) -> Result<BTreeSet<u32>, Failure> {
        let MemcacheCache(node) = MemcacheCache::connect(&[self.nodes[0].to_string()])?;
        let mut held = BTreeSet::new();
        let names: Vec<&str> =
            keys.iter().filter_map(|key| std::str::from_utf8(key).ok()).collect();
        for (batch, first) in names.chunks(BATCH_KEYS).zip((0u32..).step_by(BATCH_KEYS)) {
            let found = node.gets::<Vec<u8>>(batch)?;
            let indices = (first..).zip(batch).filter(|(_, key)| found.contains_key(**key));
            held.extend(indices.map(|(index, _)| index));
        }
        Ok(held)
    }

    fn victim(&mut self) -> &mut Process {
        &mut self.processes[0]
    }
}

/// Running nodes and the database.
pub struct Memcacheds<'d> {
    database: &'d Database,
    nodes: Nodes,
}

impl<'d> Memcacheds<'d> {
    /// Starts them, as [`Nodes::start`] does.
    ///
    /// # Errors
    /// As there.
    pub fn start(
        ejects: Option<bool>,
        folder: &Path,
        database: &'d Database,
    ) -> Result<Self, Failure> {
        Ok(Self { database, nodes: Nodes::start(ejects, folder)? })
    }
}

impl Cluster for Memcacheds<'_> {
    fn client(&self) -> Result<Box<dyn Subject>, Failure> {
        let cache = MemcacheCache::connect(&self.nodes.addresses())?;
        Ok(Box::new(Aside::new(cache, self.database.connect()?)))
    }

    fn servers(&mut self) -> &mut dyn Servers {
        &mut self.nodes
    }
}

struct MemcacheCache(Client);

impl MemcacheCache {
    fn connect(addresses: &[String]) -> Result<Self, Failure> {
        let seconds = CLIENT_TIMEOUT.as_secs_f64();
        let url =
            |address: &String| format!("memcache://{address}?protocol=ascii&timeout={seconds}");
        let urls: Vec<String> = addresses.iter().map(url).collect();
        // The first connection takes its timeouts from here, later ones from the URL.
        let client = Client::builder()
            .add_server(urls)?
            .with_max_pool_size(1)
            .with_connection_timeout(CLIENT_TIMEOUT)
            .with_read_timeout(CLIENT_TIMEOUT)
            .with_write_timeout(CLIENT_TIMEOUT)
            .build()?;
        Ok(Self(client))
    }
}

impl Cache for MemcacheCache {
    fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.0.get(key)?)
    }

    fn set(&mut self, key: &str, value: &[u8]) -> Result<(), Failure> {
        Ok(self.0.set(key, value, 0)?)
    }

    fn delete(&mut self, key: &str) -> Result<(), Failure> {
        Ok(self.0.delete(key).map(drop)?)
    }
}
