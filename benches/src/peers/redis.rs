//! Redis Cluster: three masters with a replica each, and the `redis` crate's cluster client,
//! the asynchronous one: the other never asks again who is master, but for a redirection.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use ::redis::AsyncCommands as _;
use ::redis::cluster::ClusterClient;
use ::redis::cluster_async::ClusterConnection;
use standin_loadgen::faults::Process;
use standin_loadgen::faults::kinds::Ground;
use standin_loadgen::faults::kinds::redis::{Shape, cli, start_cluster};
use standin_loadgen::rng::Random;
use tokio::runtime::{Handle, Runtime};

use super::aside::{Aside, Cache};
use super::database::Database;
use super::{CLIENT_TIMEOUT, Cluster, Failure, NODES, Servers, Subject, operation_timeout};

const UP_WITHIN: Duration = Duration::from_secs(30);
/// A replica of each.
const PROCESSES: usize = NODES * 2;

/// The processes.
pub struct Nodes {
    addresses: Vec<SocketAddr>,
    processes: Vec<Process>,
}

impl Nodes {
    /// Starts the nodes and joins them. What `redis-cli` makes masters are the first three.
    ///
    /// # Errors
    /// A node does not start, or they do not agree.
    pub fn start(node_timeout_ms: u32, folder: &Path) -> Result<Self, Failure> {
        let mut random = Random::new(std::process::id().into());
        let mut ground = Ground { folder, random: &mut random, interrupt: None };
        let mut addresses = ground.addresses(PROCESSES * 2)?;
        let shape = Shape {
            masters: NODES as u16,
            replicas: 1,
            node_timeout: Duration::from_millis(node_timeout_ms.into()),
        };
        let processes = start_cluster(&ground, "redis", None, &[], shape, &addresses, UP_WITHIN)?;
        addresses.truncate(PROCESSES);
        Ok(Self { addresses, processes })
    }

    /// The address of each node.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.addresses.iter().map(SocketAddr::to_string).collect()
    }
}

impl Servers for Nodes {
    fn held_by_victim(&self, keys: &[Vec<u8>]) -> Result<BTreeSet<u32>, Failure> {
        let said = cli(self.addresses[0], &["keys", "*"])?;
        let held: BTreeSet<&[u8]> = said.lines().map(str::as_bytes).collect();
        Ok((0..).zip(keys).filter(|(_, key)| held.contains(&***key)).map(|(i, _)| i).collect())
    }

    fn victim(&mut self) -> &mut Process {
        &mut self.processes[0]
    }
}

/// A running cluster.
pub struct RedisCluster<'d> {
    database: &'d Database,
    nodes: Nodes,
    /// The clients' background tasks run here, also while nobody asks for anything.
    runtime: Runtime,
}

impl<'d> RedisCluster<'d> {
    /// Starts it, as [`Nodes::start`] does.
    ///
    /// # Errors
    /// As there.
    pub fn start(
        node_timeout_ms: u32,
        folder: &Path,
        database: &'d Database,
    ) -> Result<Self, Failure> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Self { database, nodes: Nodes::start(node_timeout_ms, folder)?, runtime })
    }
}

impl Cluster for RedisCluster<'_> {
    fn client(&self) -> Result<Box<dyn Subject>, Failure> {
        let addresses = self.nodes.addresses();
        let urls = addresses.iter().map(|address| format!("redis://{address}/"));
        let client = ClusterClient::builder(urls)
            .connection_timeout(CLIENT_TIMEOUT)
            .response_timeout(CLIENT_TIMEOUT)
            // The former is of one attempt; the library's own retries come on top, for as long
            // as Standin's client tries. Without any bound, requests are lost in it for ever.
            .overall_response_timeout(Some(operation_timeout()))
            .build()?;
        let connection = self.runtime.block_on(client.get_async_connection())?;
        let cache = RedisCache { handle: self.runtime.handle().clone(), connection };
        Ok(Box::new(Aside::new(cache, self.database.connect()?)))
    }

    fn servers(&mut self) -> &mut dyn Servers {
        &mut self.nodes
    }
}

struct RedisCache {
    handle: Handle,
    connection: ClusterConnection,
}

impl Cache for RedisCache {
    fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.handle.block_on(self.connection.get(key))?)
    }

    fn set(&mut self, key: &str, value: &[u8]) -> Result<(), Failure> {
        Ok(self.handle.block_on(self.connection.set::<_, _, ()>(key, value))?)
    }

    fn delete(&mut self, key: &str) -> Result<(), Failure> {
        Ok(self.handle.block_on(self.connection.del::<_, ()>(key))?)
    }
}
