//! Redis: a single server, and a Redis Cluster.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use standin_protocol::time::Micros;

use super::super::process::Process;
use super::super::tool;
use super::{Asked, Ground, Site, StartError};
use crate::interrupt::Interrupt;

/// The longest wait for the answer to one question: a node that is paused gives none.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The time between two questions, each of which starts a `redis-cli`.
const PAUSE: Duration = Duration::from_millis(50);

/// Starts one that saves nothing, and waits until it accepts connections.
///
/// # Errors
/// [`StartError`].
pub fn start(ground: &Ground<'_>, asked: Asked<'_>, site: &Site) -> Result<Process, StartError> {
    let mut process = spawn(ground, asked, site, "")?;
    ground.wait_until_open(&mut process, site.address(), asked.ready_within)?;
    Ok(process)
}

fn spawn(
    ground: &Ground<'_>,
    asked: Asked<'_>,
    site: &Site,
    more: &str,
) -> Result<Process, StartError> {
    let home = ground.own_folder(asked.name)?;
    let (host, port) = (site.address().ip(), site.address().port());
    // In its protected mode, it would refuse who is not on loopback.
    let text = format!(
        "bind {host}\nprotected-mode no\nport {port}\ndir {}\nsave \"\"\nappendonly no\n{more}",
        home.display()
    );
    let file = home.join("redis.conf");
    std::fs::write(&file, text).map_err(StartError::system(file.display().to_string()))?;
    let all = [&[file.into()], asked.arguments].concat();
    ground.spawn(asked.name, asked.program("redis-server"), all, site)
}

/// The shape of a cluster.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Nodes that have slots.
    pub masters: u16,
    /// Replicas of each.
    pub replicas: u16,
    /// The silence after which a node counts as failed.
    pub node_timeout: Duration,
}

impl Shape {
    /// The number of nodes.
    #[must_use]
    pub fn nodes(&self) -> usize {
        usize::from(self.masters) * (usize::from(self.replicas) + 1)
    }
}

/// Starts the nodes `<name>-1`, …, and joins them. `redis-cli` makes the first ones masters. Returns when all agree
/// on the cluster, and the replicas have copied their masters. Each has two addresses; the second is that of its bus.
///
/// # Errors
/// [`StartError`].
pub fn start_cluster(
    ground: &Ground<'_>,
    asked: Asked<'_>,
    shape: Shape,
    sites: &[Site],
) -> Result<Vec<Process>, StartError> {
    let Asked { name, ready_within, .. } = asked;
    let nodes: Vec<SocketAddr> = sites.iter().map(Site::address).collect();
    let mut processes = Vec::new();
    for (number, site) in (1u32..).zip(sites) {
        let more = format!(
            "cluster-enabled yes\ncluster-config-file nodes.conf\ncluster-port {}\n\
             cluster-node-timeout {}\n",
            site.addresses[1].port(),
            shape.node_timeout.as_millis()
        );
        let name = format!("{name}-{number}");
        processes.push(spawn(ground, Asked { name: &name, ..asked }, site, &more)?);
    }
    for (process, node) in processes.iter_mut().zip(&nodes) {
        ground.wait_until_open(process, *node, ready_within)?;
    }
    let texts: Vec<String> = nodes.iter().map(SocketAddr::to_string).collect();
    let replicas = shape.replicas.to_string();
    let mut create = vec!["--cluster", "create"];
    create.extend(texts.iter().map(String::as_str));
    create.extend(["--cluster-replicas", &replicas, "--cluster-yes"]);
    let failed = |why| StartError::Refused { name: name.to_owned(), why };
    let deadline = Micros::boottime() + ready_within;
    let created = tool::run(redis_cli(nodes[0], &create), ready_within, ground.interrupt);
    created.map_err(StartError::tool(name))?;
    for node in nodes {
        while let Err(why) = agrees(node) {
            if ground.interrupt.is_some_and(Interrupt::is_set) {
                return Err(StartError::Interrupted);
            }
            if Micros::boottime() >= deadline {
                return Err(failed(format!("{node} is not ready after {ready_within:?}: {why}")));
            }
            std::thread::park_timeout(PAUSE);
        }
    }
    Ok(processes)
}

/// Whether the node takes part, and has copied its master if it is a replica. The error says what is missing.
fn agrees(node: SocketAddr) -> Result<(), String> {
    let said = cli(node, &["cluster", "info"])?;
    if !said.contains("cluster_state:ok") {
        return Err("the state of the cluster is not ok".to_owned());
    }
    let said = cli(node, &["info", "replication"])?;
    // Failover needs replicas that have copied their masters.
    if said.contains("role:master") || said.contains("master_link_status:up") {
        Ok(())
    } else {
        Err("it has not copied its master".to_owned())
    }
}

/// Returns the output of `redis-cli`.
///
/// # Errors
/// What it said, if it has failed.
pub fn cli(node: SocketAddr, arguments: &[&str]) -> Result<String, String> {
    let said = tool::run(redis_cli(node, arguments), ANSWER_WITHIN, None);
    said.map_err(|error| error.to_string())
}

fn redis_cli(node: SocketAddr, arguments: &[&str]) -> Command {
    let mut command = Command::new("redis-cli");
    command.args(["-h", &node.ip().to_string(), "-p", &node.port().to_string()]).args(arguments);
    command
}
