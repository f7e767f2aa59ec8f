//! A Standin cluster.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use standin_client::blocking::Client;
use standin_client::{Bootstrap, ClientConfig, Target};
use standin_config::ClusterConfig;
use standin_loadgen::faults::Process;
use standin_loadgen::faults::kinds::standin as kinds;
use standin_protocol::map::ServerState;
use standin_testkit::wait::poll_for;

use super::Servers;
use crate::Failure;

/// The keyspace of a run.
pub const KEYSPACE: u8 = 1;
const UP_WITHIN: Duration = Duration::from_secs(15);

/// A running cluster.
pub struct StandinCluster(kinds::Cluster);

impl StandinCluster {
    /// Starts the master and the servers of a cluster, and waits until each knows that all are online. Its keys are
    /// those of keyspace [`KEYSPACE`].
    ///
    /// # Errors
    /// A process does not start or does not answer.
    pub fn start(program: &Path, folder: &Path, config: ClusterConfig) -> Result<Self, Failure> {
        let cluster = Self(kinds::Cluster::start(program, folder, config, UP_WITHIN, None)?);
        cluster.wait_until_online()?;
        Ok(cluster)
    }

    /// Waits until the master and each server know that all servers are online.
    ///
    /// # Errors
    /// They do not within some seconds.
    pub fn wait_until_online(&self) -> Result<(), Failure> {
        let mut client = self.connect()?;
        let ids = || (0..).take(self.0.servers.len());
        let targets: Vec<Target> = ids().map(Target::Server).chain([Target::Master]).collect();
        let mut knows = |target: &Target| {
            client
                .map(*target)
                .is_ok_and(|map| ids().all(|id| map.state(id) == ServerState::Online))
        };
        poll_for(UP_WITHIN, || targets.iter().all(&mut knows).then_some(()))
            .ok_or_else(|| "Standin's servers are not online".into())
    }

    fn connect(&self) -> Result<Client, Failure> {
        let bootstrap = Bootstrap::Config(Arc::clone(&self.0.topology));
        Ok(Client::new(ClientConfig::from(&self.0.config), bootstrap)?)
    }
}

impl Servers for StandinCluster {
    fn held_by_victim(&self, keys: &[Vec<u8>]) -> Result<BTreeSet<u32>, Failure> {
        let home = |key: &[u8]| self.0.topology.home(self.0.topology.partition(KEYSPACE, key));
        Ok((0..).zip(keys).filter(|(_, key)| home(key) == 0).map(|(index, _)| index).collect())
    }

    fn victim(&mut self) -> &mut Process {
        &mut self.0.servers[0]
    }
}
