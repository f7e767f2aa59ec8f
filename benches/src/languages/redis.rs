//! Redis Cluster: three masters with a replica each.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use standin_loadgen::faults::Process;
use standin_loadgen::faults::kinds::redis::{Shape, cli, start_cluster};
use standin_loadgen::faults::kinds::{Asked, Ground, Site};
use standin_loadgen::rng::Random;

use super::{NODES, Servers};
use crate::Failure;

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
        let mut ground = Ground { folder, random: &mut random, interrupt: None, lan: None };
        let nodes: Vec<String> = (1..=PROCESSES).map(|node| format!("redis-{node}")).collect();
        let sites = ground.sites(&nodes, 2)?;
        let shape = Shape {
            masters: NODES as u16,
            replicas: 1,
            node_timeout: Duration::from_millis(node_timeout_ms.into()),
        };
        let asked = Asked { name: "redis", program: None, arguments: &[], ready_within: UP_WITHIN };
        let processes = start_cluster(&ground, asked, shape, &sites)?;
        Ok(Self { addresses: sites.iter().map(Site::address).collect(), processes })
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
