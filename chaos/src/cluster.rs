//! The cluster: a master and two groups of two servers as processes of the `standin` program, each in
//! its node of the network, and a proxy between the servers and the database.

use std::io;
use std::net::TcpListener;
use std::path::Path;

use standin_config::{ClusterConfig, Mode, OriginConfig};
use standin_loadgen::faults::kinds::StartError;
use standin_loadgen::faults::kinds::standin::{Cluster as Processes, UP_WITHIN, layout, secret};
use standin_loadgen::faults::proxy::Proxy;
use standin_loadgen::faults::script::standin_names;
use standin_loadgen::faults::{Process, SpawnError};
use standin_loadgen::interrupt::Interrupt;
use standin_loadgen::origin::RunOrigin;

use crate::catalogue::Action;
use crate::net::{Net, NetError, Node, SERVERS};
use crate::settings::Settings;

/// The run's keyspace.
pub(crate) const KEYSPACE: u8 = 1;
/// More memory than the hot keys need, so that only keys that were never read before miss.
const MEMORY_BYTES: u64 = 16 << 20;
const VALUE_BYTES_MAX: u32 = 4_096;

/// Enough for the whole load of the database when each call takes 200 ms longer.
const ORIGIN_CONCURRENCY: u32 = 64;

/// The reason why the cluster is not up, or an action on it failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    #[error("{what}: {error}")]
    System { what: &'static str, error: io::Error },
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

impl ClusterError {
    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::System { what, error }
    }
}

/// A running cluster. Dropping it kills all its processes.
pub(crate) struct Cluster {
    pub(crate) processes: Processes,
    pub(crate) proxy: Proxy,
}

impl Cluster {
    /// Starts it in a folder, and waits until all of it answers. Call this on the thread that lives as
    /// long as the program, because the processes die with it.
    pub(crate) fn start(
        settings: &Settings,
        folder: &Path,
        net: &Net,
        interrupt: &Interrupt,
    ) -> Result<Self, ClusterError> {
        let at = net.address(Node::Origin);
        let listener = net
            .within(Node::Origin, || TcpListener::bind(at))?
            .map_err(ClusterError::system("listening before the database"))?;
        let proxy = Proxy::start(listener, settings.database)
            .map_err(ClusterError::system("starting the proxy"))?;
        let mut config = cluster_config(net, settings.mode)?;
        if let (Some(origin), Some(reads)) = (&mut config.origin, settings.surge_reads) {
            origin.surge_reads = reads;
        }
        let network = |id: Option<u16>| net.network(id.map_or(Node::Master, Node::Server));
        let processes = Processes::spawn(&settings.program, folder, config, network)?;
        let mut cluster = Self { processes, proxy };
        let waited = net
            .within(Node::Client, || cluster.processes.wait_until_up(UP_WITHIN, Some(interrupt)))?;
        Ok(waited.map(|()| cluster)?)
    }

    /// Carries out an action, and returns when it is done.
    pub(crate) fn apply(&mut self, action: &Action, net: &Net) -> Result<(), ClusterError> {
        match action {
            Action::Kill(node) => self.process(*node, Process::kill),
            Action::Start(node) => {
                let mut started = Ok(());
                self.process(*node, |process| started = process.restart());
                started?;
            }
            Action::Pause(node) => self.process(*node, Process::pause),
            Action::Continue(node) => self.process(*node, Process::resume),
            Action::Impair(impairments) => net.impair(impairments)?,
            Action::Origin(conduct) => self.proxy.set(*conduct),
        }
        Ok(())
    }

    fn process(&mut self, node: Node, action: impl FnOnce(&mut Process)) {
        match node {
            Node::Master => action(&mut self.processes.master),
            Node::Server(id) => {
                if let Some(process) = self.processes.servers.get_mut(usize::from(id)) {
                    action(process);
                }
            }
            // The clients and the proxy are threads of this process.
            Node::Client | Node::Origin => {}
        }
    }
}

fn cluster_config(net: &Net, mode: Mode) -> Result<ClusterConfig, ClusterError> {
    let at = net.address(Node::Origin);
    let url = format!("postgres://standin@{at}/postgres");
    let addresses: Vec<_> = [Node::Master]
        .into_iter()
        .chain((0..).map(Node::Server).take(SERVERS.len()))
        .map(|node| net.address(node))
        .collect();
    let origin = Some(OriginConfig::postgres(&url));
    let mut config = layout("chaos", &standin_names(2, 2), &addresses, MEMORY_BYTES, origin);
    config.mode = mode;
    config.limits.value_bytes = VALUE_BYTES_MAX;
    if let Some(origin) = &mut config.origin {
        origin.concurrency = ORIGIN_CONCURRENCY;
    }
    config.keyspaces.push(RunOrigin::keyspace(KEYSPACE));
    config.security.secret = Some(secret().map_err(ClusterError::system("a secret"))?);
    Ok(config)
}

#[cfg(test)]
mod tests {
    use standin_config::CONFIG_FILE;
    use standin_loadgen::rng::Random;
    use standin_testkit::Scratch;

    use super::*;

    #[test]
    fn the_cluster_file_is_valid_in_both_modes_and_reads_back() {
        let scratch = Scratch::new("chaos-cluster");
        let net = Net::loopback(&mut Random::new(1)).unwrap();
        for mode in [Mode::Available, Mode::Strict] {
            let config = cluster_config(&net, mode).unwrap();
            config.write_into(scratch.path()).unwrap();
            let read = ClusterConfig::load(&scratch.file(CONFIG_FILE)).unwrap();
            assert_eq!((read.mode, read.groups.len(), read.servers.len()), (mode, 2, 4));
        }
    }
}
