//! The demo's cluster: this very program as a master and a few servers, on free ports.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use standin_client::blocking::Client;
use standin_client::{Bootstrap, ClientConfig, Target};
use standin_config::{CONFIG_FILE, ClusterConfig, KeyspaceConfig, WriteError};
use standin_protocol::map::{MapError, Topology};
use standin_protocol::time::Micros;

use crate::faults::{Process, SpawnError};
use crate::interrupt::Interrupt;
use crate::origin::RunOrigin;
use crate::ports::free_addresses;
use crate::rng::Random;

/// The demo's keyspace.
pub(super) const KEYSPACE: u8 = 1;
/// The master's events.
const EVENT_FILE: &str = "events.jsonl";
/// The time after which a cluster that is not up is considered failed.
const UP_WITHIN: Duration = Duration::from_secs(15);
/// The time between two checks whether it is up.
const PAUSE: Duration = Duration::from_millis(10);
/// The number of attempts: another program may take a port before the server starts.
const ATTEMPTS: u32 = 3;
/// Cache of one server. The rows of a server do not all fit, so that the steady state has
/// misses, as in real use.
const MEMORY_BYTES: u64 = 6 << 20;
/// Largest value: far above the demo's; a small bound keeps the cache's segments small.
const VALUE_BYTES_MAX: u32 = 4_096;

/// The reason why the cluster is not up.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No ports, no event file, no client.
    #[error("the demo's cluster can't be set up: {0}")]
    System(#[from] std::io::Error),
    /// The cluster file.
    #[error(transparent)]
    Config(#[from] WriteError),
    /// The topology.
    #[error(transparent)]
    Map(#[from] MapError),
    /// A process did not start.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// A process ended at once.
    #[error("{name} ended while the cluster was starting; its last output was:\n{output}")]
    Ended {
        /// Which.
        name: String,
        /// Its last lines.
        output: String,
    },
    /// A process does not answer.
    #[error("{name} did not answer within {UP_WITHIN:?}; its last output was:\n{output}")]
    Silent {
        /// Which.
        name: String,
        /// Its last lines.
        output: String,
    },
    /// The user has interrupted the demo.
    #[error("interrupted")]
    Interrupted,
}

/// A running cluster. Dropping it kills all its processes.
pub(super) struct DemoCluster {
    pub(super) config: ClusterConfig,
    pub(super) topology: Arc<Topology>,
    /// By server id.
    pub(super) servers: Vec<Process>,
    pub(super) master: Process,
    pub(super) event_file: PathBuf,
}

impl DemoCluster {
    /// Starts a cluster with this many groups of two servers, and waits until all of it answers.
    pub(super) fn start(
        program: &Path,
        folder: &Path,
        groups: u16,
        origin: Option<&RunOrigin>,
        random: &mut Random,
        interrupt: &Interrupt,
    ) -> Result<Self, ClusterError> {
        let mut attempt = 1;
        loop {
            let names = server_names(groups);
            let addresses = free_addresses(names.len() + 1, random)?;
            let config = cluster_config(folder, &names, &addresses, origin);
            match Self::try_start(program, folder, config, interrupt) {
                Err(ClusterError::Ended { .. }) if attempt < ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    fn try_start(
        program: &Path,
        folder: &Path,
        config: ClusterConfig,
        interrupt: &Interrupt,
    ) -> Result<Self, ClusterError> {
        config.write_into(folder)?;
        let topology = Arc::new(config.topology()?);
        let file: OsString = folder.join(CONFIG_FILE).into();
        let event_file = folder.join(EVENT_FILE);
        // Of an earlier attempt.
        let _ = std::fs::remove_file(&event_file);
        let _ = std::fs::remove_file(&config.master.state_file);
        let arguments = |role: &str, more: &[OsString]| {
            [&[role.into(), "--config".into(), file.clone()][..], more].concat()
        };
        let events = ["--all-events".into(), "--events".into(), event_file.clone().into()];
        let master = Process::start("master", program, arguments("master", &events), folder)?;
        let mut servers = Vec::new();
        for server in &config.servers {
            let name = ["--name".into(), (&server.name).into()];
            servers.push(Process::start(
                &server.name,
                program,
                arguments("server", &name),
                folder,
            )?);
        }
        let mut cluster = Self { config, topology, servers, master, event_file };
        cluster.wait_until_up(interrupt)?;
        Ok(cluster)
    }

    fn wait_until_up(&mut self, interrupt: &Interrupt) -> Result<(), ClusterError> {
        let bootstrap = Bootstrap::Config(Arc::clone(&self.topology));
        let mut client = Client::new(ClientConfig::from(&self.config), bootstrap)?;
        let deadline = Micros::boottime() + UP_WITHIN;
        let targets = (0..).zip(&mut self.servers).map(|(id, p)| (Target::Server(id), p));
        for (target, process) in targets.chain([(Target::Master, &mut self.master)]) {
            while client.ping(target, 0).is_err() {
                if interrupt.is_set() {
                    return Err(ClusterError::Interrupted);
                }
                let (name, output) = (process.name().to_owned(), process.last_output());
                if process.exit_status().is_some() {
                    return Err(ClusterError::Ended { name, output });
                }
                if Micros::boottime() >= deadline {
                    return Err(ClusterError::Silent { name, output });
                }
                std::thread::park_timeout(PAUSE);
            }
        }
        Ok(())
    }

    /// The names of processes that ended unexpectedly.
    pub(super) fn unexpected_ends(&mut self) -> Vec<String> {
        let processes = self.servers.iter_mut().chain([&mut self.master]);
        processes
            .filter_map(|process| {
                let status = process.exit_status()?;
                let output = process.last_output();
                Some(format!("{} ended unexpectedly ({status}):\n{output}", process.name()))
            })
            .collect()
    }
}

/// `a1`, `a2`, `b1`, `b2`, …
fn server_names(groups: u16) -> Vec<String> {
    let letters = ('a'..='z').take(usize::from(groups));
    letters.flat_map(|group| [format!("{group}1"), format!("{group}2")]).collect()
}

fn cluster_config(
    folder: &Path,
    names: &[String],
    addresses: &[SocketAddr],
    origin: Option<&RunOrigin>,
) -> ClusterConfig {
    let mut config = ClusterConfig::new("demo", addresses[0], origin.map(RunOrigin::config));
    for (pair, at) in names.chunks(2).zip(addresses[1..].chunks(2)) {
        let servers = pair.iter().map(String::as_str).zip(at.iter().copied());
        config = config.with_group(&pair[0][..1], servers);
    }
    for server in &mut config.servers {
        server.memory_bytes = MEMORY_BYTES;
        server.huge_pages = false;
    }
    config.limits.value_bytes = VALUE_BYTES_MAX;
    config.master.state_file = folder.join("master.state");
    config.keyspaces.push(match origin {
        Some(_) => RunOrigin::keyspace(KEYSPACE),
        None => KeyspaceConfig::cache(KEYSPACE, "demo"),
    });
    config
}

#[cfg(test)]
mod tests {
    use standin_testkit::Scratch;

    use super::*;

    #[test]
    fn the_cluster_file_is_valid_and_reads_back() {
        let scratch = Scratch::new("demo-cluster");
        let names = server_names(2);
        assert_eq!(names, ["a1", "a2", "b1", "b2"]);
        let addresses = free_addresses(5, &mut Random::new(1)).unwrap();
        let origin = RunOrigin::Sqlite { path: scratch.file("origin.sqlite") };
        for origin in [Some(&origin), None] {
            let config = cluster_config(scratch.path(), &names, &addresses, origin);
            config.write_into(scratch.path()).unwrap();
            assert_eq!(ClusterConfig::load(&scratch.file(CONFIG_FILE)).unwrap(), config);
            assert_eq!(config.groups, ["a", "b"]);
        }
    }
}
