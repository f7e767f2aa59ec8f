//! The cluster: PostgreSQL, a master and two groups of two servers on loopback, and clients that read and write.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use standin_client::ClientConfig;
use standin_config::{ClusterConfig, HttpConfig, OriginConfig, ServiceConfig, ServiceProtocol};
use standin_loadgen::drive::{self, Pacing, Plan, Running};
use standin_loadgen::faults::Process;
use standin_loadgen::faults::kinds::standin::{Cluster as Processes, UP_WITHIN, layout};
use standin_loadgen::faults::script::standin_names;
use standin_loadgen::interrupt::Interrupt;
use standin_loadgen::live::Live;
use standin_loadgen::origin::{Rows, RunOrigin};
use standin_loadgen::popularity::Popularity;
use standin_loadgen::request::ValueSizes;
use standin_loadgen::schedule::Arrivals;
use standin_loadgen::targets::{Standin, Target};
use standin_loadgen::workload::{Cold, Mix, Others, Supply};
use standin_testkit::{Postgres, free_ports};
use tempfile::TempDir;

/// Requests per second of all clients together: enough that every second has some of each kind.
pub(crate) const RATE_PER_S: u32 = 200;
/// Connections of clients that a server may have. Fewer than the default, so that a leak reaches it soon.
pub(crate) const CONNECTIONS: u32 = 100;
const KEYSPACE: u8 = 1;
const WORKERS: u32 = 4;
const SEED: u64 = 1;
const VALUE_BYTES: u32 = 100;
/// Keys that the caches hold, and keys that are read from the database.
const KEYS: u32 = 1_000;
const COLD_KEYS: u32 = 100_000;
const MEMORY_BYTES: u64 = 16 << 20;

/// A running cluster under load. Dropping it kills all its processes.
pub(crate) struct Cluster {
    pub(crate) processes: Processes,
    pub(crate) database: String,
    live: Arc<Live>,
    load: Running,
    _origin: RunOrigin,
    _folder: TempDir,
}

impl Cluster {
    pub(crate) fn start(
        program: &Path,
        postgres: &Postgres,
        interrupt: &Interrupt,
    ) -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::Builder::new().prefix("standin-incidents-").tempdir()?;
        let run = 0;
        let rows = Rows { count: KEYS + COLD_KEYS, run, value_bytes: VALUE_BYTES };
        let url = postgres.url();
        let origin = RunOrigin::prepare(Some(&url), folder.path(), rows, Some(interrupt))?;
        let config = config(&url);
        let processes =
            Processes::start(program, folder.path(), config, UP_WITHIN, Some(interrupt))?;
        let target = Target::Standin(Box::new(Standin {
            topology: Arc::clone(&processes.topology),
            client: ClientConfig::from(&processes.config),
            keyspace: KEYSPACE,
        }));
        let pacing = Pacing::Open { rates: RATE_PER_S.into(), arrivals: Arrivals::Constant };
        let plan = Plan::new(target, pacing, SEED, run);
        let live = Arc::new(Live::new(WORKERS));
        let supplies =
            (0..WORKERS).map(|worker| Supply::mixed(mix(), SEED, worker, WORKERS)).collect();
        let load = drive::start(&plan, supplies, &live)?;
        let database = postgres.url();
        Ok(Self { processes, database, live, load, _origin: origin, _folder: folder })
    }

    /// The ports that Prometheus reads.
    pub(crate) fn metrics(&self) -> Vec<SocketAddr> {
        let of_servers = self.processes.config.servers.iter().map(|server| &server.metrics);
        let all = [&self.processes.config.master.metrics].into_iter().chain(of_servers);
        all.flatten().map(|port| port.address).collect()
    }

    pub(crate) fn dashboard(&self) -> SocketAddr {
        self.processes.config.master.dashboard.as_ref().expect("it has one").address
    }

    /// The address of a server for Redis' protocol.
    pub(crate) fn redis(&self, server: usize) -> SocketAddr {
        self.processes.config.servers[server].services[0].address
    }

    /// The process of a server.
    pub(crate) fn server(&mut self, server: usize) -> &mut Process {
        &mut self.processes.servers[server]
    }

    /// The lines that each process has logged: the master, then the servers.
    pub(crate) fn logs(&self) -> Vec<Vec<String>> {
        // Nobody else takes them.
        self.load.notables.try_iter().for_each(drop);
        let all = [&self.processes.master].into_iter().chain(&self.processes.servers);
        all.map(|process| process.output().lines().map(str::to_owned).collect()).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.live.stop();
    }
}

fn mix() -> Mix {
    Mix {
        keys: KEYS,
        popularity: Popularity::ranked(0.99),
        reads_percent: 80.0,
        reads_first: false,
        others: Others::NONE,
        sizes: ValueSizes::fixed(VALUE_BYTES),
        cold: Cold { keys: COLD_KEYS, percent: 20.0 },
    }
}

fn config(database: &str) -> ClusterConfig {
    let names = standin_names(2, 2);
    let servers = names.concat().len();
    let addresses: Vec<SocketAddr> = free_ports(2 + servers * 3 + 1)
        .into_iter()
        .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
        .collect();
    let (members, rest) = addresses.split_at(1 + servers);
    let origin = Some(OriginConfig::postgres(database));
    let mut config = layout("incidents", &names, members, MEMORY_BYTES, origin);
    let mut rest = rest.iter().copied();
    let mut next = || rest.next().expect("there is an address for each port");
    let http = |address| Some(HttpConfig { address, passwords: None });
    config.master.metrics = http(next());
    config.master.dashboard = http(next());
    for server in &mut config.servers {
        server.metrics = http(next());
        let (protocol, address) = (ServiceProtocol::Redis, next());
        server.services = vec![ServiceConfig { protocol, address, passwords: None }];
    }
    config.limits.connections = CONNECTIONS;
    config.keyspaces.push(RunOrigin::keyspace(KEYSPACE));
    config
}
