//! Redis Cluster: three masters with a replica each, and the `redis` crate's cluster client,
//! the asynchronous one: the other never asks again who is master, but for a redirection.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ::redis::AsyncCommands as _;
use ::redis::cluster::ClusterClient;
use ::redis::cluster_async::ClusterConnection;
use standin_loadgen::faults::Process;
use standin_testkit::free_ports;
use standin_testkit::wait::poll_for;
use tokio::runtime::{Handle, Runtime};

use super::aside::{Aside, Cache};
use super::database::Database;
use super::{CLIENT_TIMEOUT, Cluster, Failure, NODES, Servers, Subject, operation_timeout};

const UP_WITHIN: Duration = Duration::from_secs(30);
/// A replica of each.
const PROCESSES: usize = NODES * 2;

/// The processes.
pub struct Nodes {
    ports: Vec<u16>,
    processes: Vec<Process>,
}

impl Nodes {
    /// Starts the nodes and joins them. What `redis-cli` makes masters are the first three.
    ///
    /// # Errors
    /// A node does not start, or they do not agree.
    pub fn start(node_timeout_ms: u32, folder: &Path) -> Result<Self, Failure> {
        let ports = free_ports(PROCESSES * 2);
        let (ports, buses) = ports.split_at(PROCESSES);
        let mut processes = Vec::new();
        for (port, bus) in ports.iter().zip(buses) {
            let name = format!("redis-{port}");
            let home = folder.join(&name);
            std::fs::create_dir_all(&home)?;
            let text = format!(
                "bind 127.0.0.1\nport {port}\ncluster-port {bus}\ncluster-enabled yes\n\
                 cluster-config-file nodes.conf\ncluster-node-timeout {node_timeout_ms}\n\
                 dir {}\nsave \"\"\nappendonly no\n",
                home.display()
            );
            let file = home.join("redis.conf");
            std::fs::write(&file, text)?;
            processes.push(Process::start(
                &name,
                Path::new("redis-server"),
                vec![file.into()],
                folder,
            )?);
        }
        let nodes = Self { ports: ports.to_vec(), processes };
        let is_up = |port: &u16| cli(*port, &["ping"]).is_ok_and(|said| said.contains("PONG"));
        poll_for(UP_WITHIN, || nodes.ports.iter().all(is_up).then_some(()))
            .ok_or("a redis-server does not answer")?;
        let addresses = nodes.addresses();
        let mut create = vec!["--cluster", "create"];
        create.extend(addresses.iter().map(String::as_str));
        create.extend(["--cluster-replicas", "1", "--cluster-yes"]);
        cli(nodes.ports[0], &create)?;
        let agrees = |port: &u16| {
            cli(*port, &["cluster", "info"]).is_ok_and(|said| said.contains("cluster_state:ok"))
        };
        // Failover needs replicas that have copied their masters.
        let replicates = |port: &u16| {
            cli(*port, &["info", "replication"]).is_ok_and(|said| {
                said.contains("role:master") || said.contains("master_link_status:up")
            })
        };
        poll_for(UP_WITHIN, || {
            nodes.ports.iter().all(|port| agrees(port) && replicates(port)).then_some(())
        })
        .ok_or("the Redis nodes do not agree on a cluster")?;
        Ok(nodes)
    }

    /// The address of each node.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect()
    }
}

impl Servers for Nodes {
    fn held_by_victim(&self, keys: &[Vec<u8>]) -> Result<BTreeSet<u32>, Failure> {
        let said = cli(self.ports[0], &["keys", "*"])?;
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

/// Returns the output of `redis-cli`.
fn cli(port: u16, arguments: &[&str]) -> Result<String, Failure> {
    let output =
        Command::new("redis-cli").args(["-p", &port.to_string()]).args(arguments).output()?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if output.status.success() { Ok(said) } else { Err(format!("redis-cli: {said}").into()) }
}
