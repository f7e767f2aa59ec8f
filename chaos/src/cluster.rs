//! The cluster: a master and two groups of two servers as processes of the `standin` program, each in
//! its node of the network, and a proxy between the servers and the database.

use std::ffi::OsString;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use standin_chaos::proxy::Proxy;
use standin_chaos::signals::Signals;
use standin_client::blocking::Client;
use standin_client::{Bootstrap, ClientConfig, Target};
use standin_config::{CONFIG_FILE, ClusterConfig, Mode, OriginConfig, WriteError};
use standin_loadgen::faults::{Process, SpawnError};
use standin_loadgen::interrupt::Interrupt;
use standin_loadgen::origin::RunOrigin;
use standin_protocol::map::{MapError, Topology};
use standin_protocol::time::Micros;

use crate::catalogue::Action;
use crate::net::{Net, NetError, Node, SERVERS};
use crate::settings::Settings;

/// The run's keyspace.
pub(crate) const KEYSPACE: u8 = 1;
const EVENT_FILE: &str = "events.jsonl";
/// The time after which a cluster that is not up is considered failed.
const UP_WITHIN: Duration = Duration::from_secs(15);
/// A server that has not ended this long after SIGTERM is killed.
const STOP_WITHIN: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);
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
    Config(#[from] WriteError),
    #[error(transparent)]
    Map(#[from] MapError),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error("{name} {why} while the cluster was starting; its last output was:\n{output}")]
    NotUp { name: String, why: &'static str, output: String },
    #[error("interrupted")]
    Interrupted,
}

impl ClusterError {
    pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::System { what, error }
    }
}

/// A running cluster. Dropping it kills all its processes.
pub(crate) struct Cluster {
    pub(crate) config: ClusterConfig,
    pub(crate) topology: Arc<Topology>,
    pub(crate) event_file: PathBuf,
    pub(crate) proxy: Proxy,
    /// By server id.
    servers: Vec<Process>,
    master: Process,
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
        let mut config = cluster_config(folder, net, settings.mode)?;
        if let (Some(origin), Some(reads)) = (&mut config.origin, settings.surge_reads) {
            origin.surge_reads = reads;
        }
        config.write_into(folder)?;
        let topology = Arc::new(config.topology()?);
        let file: OsString = folder.join(CONFIG_FILE).into();
        let event_file = folder.join(EVENT_FILE);
        let start = |node: Node, role: &str, more: &[OsString]| {
            let arguments = [&[role.into(), "--config".into(), file.clone()][..], more].concat();
            let program = &settings.program;
            Process::start_in(net.network(node), node.name(), program, arguments, folder)
        };
        let events = ["--all-events".into(), "--events".into(), event_file.clone().into()];
        let master = start(Node::Master, "master", &events)?;
        let mut servers = Vec::new();
        for (id, name) in (0..).zip(SERVERS) {
            servers.push(start(Node::Server(id), "server", &["--name".into(), name.into()])?);
        }
        let mut cluster = Self { config, topology, event_file, proxy, servers, master };
        let waited = net.within(Node::Client, || cluster.wait_until_up(interrupt))?;
        waited.map(|()| cluster)
    }

    fn wait_until_up(&mut self, interrupt: &Interrupt) -> Result<(), ClusterError> {
        let bootstrap = Bootstrap::Config(Arc::clone(&self.topology));
        let mut client = Client::new(ClientConfig::from(&self.config), bootstrap)
            .map_err(ClusterError::system("making a client"))?;
        let deadline = Micros::boottime() + UP_WITHIN;
        let targets = (0..).zip(&mut self.servers).map(|(id, p)| (Target::Server(id), p));
        for (target, process) in targets.chain([(Target::Master, &mut self.master)]) {
            while client.ping(target, 0).is_err() {
                if interrupt.is_set() {
                    return Err(ClusterError::Interrupted);
                }
                let why = if process.exit_status().is_some() {
                    "has ended"
                } else if Micros::boottime() >= deadline {
                    "has not answered"
                } else {
                    std::thread::park_timeout(PAUSE);
                    continue;
                };
                let (name, output) = (process.name().to_owned(), process.last_output());
                return Err(ClusterError::NotUp { name, why, output });
            }
        }
        Ok(())
    }

    /// Carries out an action, and returns when it is done.
    pub(crate) fn apply(&mut self, action: &Action, net: &Net) -> Result<(), ClusterError> {
        match action {
            Action::Kill(node) => self.process(*node, Process::kill),
            Action::Stop(node) => self.process(*node, |process| {
                process.terminate(STOP_WITHIN);
            }),
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
            Node::Master => action(&mut self.master),
            Node::Server(id) => {
                if let Some(process) = self.servers.get_mut(usize::from(id)) {
                    action(process);
                }
            }
            // The clients and the proxy are threads of this process.
            Node::Client | Node::Origin => {}
        }
    }

    /// The processes that have ended, by name, with their last output.
    pub(crate) fn ended(&mut self) -> Vec<(String, String)> {
        let processes = self.servers.iter_mut().chain([&mut self.master]);
        processes
            .filter_map(|process| {
                process.exit_status()?;
                Some((process.name().to_owned(), process.last_output()))
            })
            .collect()
    }
}

fn cluster_config(folder: &Path, net: &Net, mode: Mode) -> Result<ClusterConfig, ClusterError> {
    let at = net.address(Node::Origin);
    let url = format!("postgres://standin@{at}/postgres");
    let mut config =
        ClusterConfig::new("chaos", net.address(Node::Master), OriginConfig::postgres(&url));
    config.mode = mode;
    for (group, pair) in (0u16..).zip(SERVERS.chunks(2)) {
        let servers =
            (group * 2..).zip(pair).map(|(id, name)| (*name, net.address(Node::Server(id))));
        config = config.with_group(&pair[0][..1], servers);
    }
    for server in &mut config.servers {
        server.memory_bytes = MEMORY_BYTES;
        server.huge_pages = false;
    }
    config.limits.value_bytes = VALUE_BYTES_MAX;
    if let Some(origin) = &mut config.origin {
        origin.concurrency = ORIGIN_CONCURRENCY;
    }
    config.master.state_file = folder.join("master.state");
    config.keyspaces.push(RunOrigin::keyspace(KEYSPACE));
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)
        .map_err(|error| ClusterError::system("a secret")(io::Error::other(error.to_string())))?;
    config.security.secret = Some(secret);
    Ok(config)
}

#[cfg(test)]
mod tests {
    use standin_loadgen::rng::Random;
    use standin_testkit::Scratch;

    use super::*;

    #[test]
    fn the_cluster_file_is_valid_in_both_modes_and_reads_back() {
        let scratch = Scratch::new("chaos-cluster");
        let net = Net::loopback(&mut Random::new(1)).unwrap();
        for mode in [Mode::Available, Mode::Strict] {
            let config = cluster_config(scratch.path(), &net, mode).unwrap();
            config.write_into(scratch.path()).unwrap();
            let read = ClusterConfig::load(&scratch.file(CONFIG_FILE)).unwrap();
            assert_eq!((read.mode, read.groups.len(), read.servers.len()), (mode, 2, 4));
        }
    }
}
