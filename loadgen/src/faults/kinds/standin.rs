//! A Standin cluster: a master and servers as processes of the `standin` program.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use standin_client::blocking::Client;
use standin_client::{Bootstrap, ClientConfig, Target};
use standin_config::{ClusterConfig, KeyspaceConfig, OriginConfig};
use standin_protocol::map::Topology;

use super::super::process::Process;
use super::super::script::{ClusterSpec, standin_names};
use super::{Asked, Ground, Site, StartError, wait};
use crate::interrupt::Interrupt;
use crate::net::Network;
use crate::origin::RunOrigin;

/// The master's events, beside the cluster file.
pub(in crate::faults) const EVENT_FILE: &str = "events.jsonl";
/// The time after which a cluster that is not up is considered failed.
pub const UP_WITHIN: Duration = Duration::from_secs(15);

/// The name of a cluster that a script starts, and of its keyspace.
const NAME: &str = "load";
/// Its keyspace.
pub const KEYSPACE: u8 = 1;
/// The number of attempts to start one: another program may take a port before a server has it.
const ATTEMPTS: u32 = 3;

/// A new secret for a cluster.
///
/// # Errors
/// The system has no random bytes.
pub fn secret() -> io::Result<[u8; 32]> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(secret)
}

/// A cluster of these servers at these addresses, of which the first is the master's. The name of a group is the first
/// letter of its servers. It has no keyspace yet.
#[must_use]
pub fn layout(
    name: &str,
    groups: &[Vec<String>],
    addresses: &[SocketAddr],
    memory_bytes: u64,
    origin: Option<OriginConfig>,
) -> ClusterConfig {
    let mut config = ClusterConfig::new(name, addresses[0], origin);
    let mut rest = addresses[1..].iter().copied();
    for group in groups {
        let servers = group.iter().map(String::as_str).zip(rest.by_ref());
        config = config.with_group(&group[0][..1], servers);
    }
    for server in &mut config.servers {
        server.memory_bytes = memory_bytes;
        server.huge_pages = false;
    }
    config
}

/// Starts the cluster of a script, in a folder of its own, and waits until all of it answers. `members` are the names of its
/// places, the master's last. Returns the servers' addresses, too.
///
/// # Errors
/// [`StartError`].
pub(in crate::faults) fn start(
    ground: &mut Ground<'_>,
    asked: Asked<'_>,
    members: &[String],
    spec: &ClusterSpec,
    origin: Option<OriginConfig>,
) -> Result<(Cluster, Vec<SocketAddr>), StartError> {
    let folder = ground.own_folder(asked.name)?;
    let mut attempt = 1;
    loop {
        let sites = ground.sites(members, 1)?;
        let (master, servers) = sites.split_last().expect("a cluster has a master");
        let config = config(spec, origin.clone(), (master, servers))?;
        let network = |id: Option<u16>| {
            let site = id.map_or(Some(master), |id| servers.get(usize::from(id)));
            site.and_then(|site| site.network.clone())
        };
        let mut cluster = Cluster::spawn(asked.program("standin"), &folder, config, network)?;
        match cluster.wait_until_up(asked.ready_within, ground.interrupt) {
            Ok(()) => return Ok((cluster, servers.iter().map(Site::address).collect())),
            Err(StartError::Ended { .. }) if attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

fn config(
    spec: &ClusterSpec,
    origin: Option<OriginConfig>,
    (master, servers): (&Site, &[Site]),
) -> Result<ClusterConfig, StartError> {
    let names = standin_names(spec.groups, spec.servers);
    let addresses: Vec<SocketAddr> =
        [master].into_iter().chain(servers).map(Site::address).collect();
    let mut config = layout(NAME, &names, &addresses, spec.memory_bytes, origin);
    config.mode = spec.mode;
    config.limits.value_bytes = spec.value_bytes_max.unwrap_or(config.limits.value_bytes);
    config.keyspaces.push(match &config.origin {
        Some(_) => RunOrigin::keyspace(KEYSPACE),
        None => KeyspaceConfig::cache(KEYSPACE, NAME),
    });
    if !master.address().ip().is_loopback() {
        // Others could reach it, for all that it knows.
        config.security.secret = Some(secret().map_err(StartError::system("a secret"))?);
    }
    Ok(config)
}

/// A running cluster. Dropping it kills all its processes.
#[derive(Debug)]
pub struct Cluster {
    /// Its file, as it was written.
    pub config: ClusterConfig,
    /// Its members.
    pub topology: Arc<Topology>,
    /// By server id.
    pub servers: Vec<Process>,
    /// The master.
    pub master: Process,
    /// The cluster file.
    pub file: PathBuf,
    /// All events of the master.
    pub event_file: PathBuf,
}

impl Cluster {
    /// Starts it in a folder, and waits until all of it answers. Call this on a thread that lives as long as the run,
    /// because the processes die with it.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(
        program: &Path,
        folder: &Path,
        config: ClusterConfig,
        within: Duration,
        interrupt: Option<&Interrupt>,
    ) -> Result<Self, StartError> {
        let mut cluster = Self::spawn(program, folder, config, |_| None)?;
        cluster.wait_until_up(within, interrupt)?;
        Ok(cluster)
    }

    /// Starts the processes in the networks that `network` gives for each server's id, and for the master (`None`).
    ///
    /// # Errors
    /// [`StartError`].
    pub fn spawn(
        program: &Path,
        folder: &Path,
        config: ClusterConfig,
        network: impl Fn(Option<u16>) -> Option<Network>,
    ) -> Result<Self, StartError> {
        let file = config.write_into(folder)?;
        let topology = Arc::new(config.topology()?);
        let event_file = folder.join(EVENT_FILE);
        // Of an earlier attempt.
        let _ = std::fs::remove_file(&event_file);
        let _ = std::fs::remove_file(folder.join(&config.master.state_file));
        let start = |id, name: &str, role: &str, more: &[OsString]| {
            let role = [role.into(), "--config".into(), file.clone().into()];
            Process::start_in(network(id), name, program, [&role[..], more].concat(), folder)
        };
        let events = ["--all-events".into(), "--events".into(), event_file.clone().into()];
        let master = start(None, "master", "master", &events)?;
        let mut servers = Vec::new();
        for (id, server) in (0..).zip(&config.servers) {
            let name = ["--name".into(), (&server.name).into()];
            servers.push(start(Some(id), &server.name, "server", &name)?);
        }
        Ok(Self { config, topology, servers, master, file, event_file })
    }

    /// Waits until each process answers a client on this thread.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn wait_until_up(
        &mut self,
        within: Duration,
        interrupt: Option<&Interrupt>,
    ) -> Result<(), StartError> {
        let bootstrap = Bootstrap::Config(Arc::clone(&self.topology));
        let mut client = Client::new(ClientConfig::from(&self.config), bootstrap)
            .map_err(StartError::system("making a client"))?;
        let targets = (0..).zip(&mut self.servers).map(|(id, p)| (Target::Server(id), p));
        for (target, process) in targets.chain([(Target::Master, &mut self.master)]) {
            wait(process, within, interrupt, || client.ping(target, 0).is_ok())?;
        }
        Ok(())
    }

    /// The processes that have ended, each with its name and what it said last.
    pub fn ended(&mut self) -> Vec<(String, String)> {
        let processes = self.servers.iter_mut().chain([&mut self.master]);
        processes
            .filter_map(|process| {
                process.exit_status()?;
                Some((process.name().to_owned(), process.last_output()))
            })
            .collect()
    }
}
