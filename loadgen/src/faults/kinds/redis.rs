//! Redis: a single server, and a Redis Cluster.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use standin_protocol::time::Micros;

use super::super::process::Process;
use super::super::tool;
use super::{Ground, StartError};
use crate::interrupt::Interrupt;

/// The longest wait for the answer to one question: a node that is paused gives none.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The time between two questions, each of which starts a `redis-cli`.
const PAUSE: Duration = Duration::from_millis(50);

/// Starts one that saves nothing, and waits until it accepts connections.
///
/// # Errors
/// [`StartError`].
pub fn start(
    ground: &Ground<'_>,
    name: &str,
    program: Option<&Path>,
    arguments: &[OsString],
    address: SocketAddr,
    ready_within: Duration,
) -> Result<Process, StartError> {
    let mut process = spawn(ground, name, program, arguments, address, "")?;
    ground.wait_until_open(&mut process, address, ready_within)?;
    Ok(process)
}

fn spawn(
    ground: &Ground<'_>,
    name: &str,
    program: Option<&Path>,
    arguments: &[OsString],
    address: SocketAddr,
    more: &str,
) -> Result<Process, StartError> {
    let home = ground.own_folder(name)?;
    let (host, port) = (address.ip(), address.port());
    let text = format!(
        "bind {host}\nport {port}\ndir {}\nsave \"\"\nappendonly no\n{more}",
        home.display()
    );
    let file = home.join("redis.conf");
    std::fs::write(&file, text).map_err(StartError::system(file.display().to_string()))?;
    let all = [&[file.into()], arguments].concat();
    ground.spawn(name, program.unwrap_or(Path::new("redis-server")), all)
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
/// on the cluster, and the replicas have copied their masters. `addresses` are those of the nodes, then those of their
/// buses.
///
/// # Errors
/// [`StartError`].
pub fn start_cluster(
    ground: &Ground<'_>,
    name: &str,
    program: Option<&Path>,
    arguments: &[OsString],
    shape: Shape,
    addresses: &[SocketAddr],
    ready_within: Duration,
) -> Result<Vec<Process>, StartError> {
    let (nodes, buses) = addresses.split_at(shape.nodes());
    let mut processes = Vec::new();
    for (number, (node, bus)) in (1u32..).zip(nodes.iter().zip(buses)) {
        let more = format!(
            "cluster-enabled yes\ncluster-config-file nodes.conf\ncluster-port {}\n\
             cluster-node-timeout {}\n",
            bus.port(),
            shape.node_timeout.as_millis()
        );
        let name = format!("{name}-{number}");
        processes.push(spawn(ground, &name, program, arguments, *node, &more)?);
    }
    for (process, node) in processes.iter_mut().zip(nodes) {
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
        while let Err(why) = agrees(*node) {
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
