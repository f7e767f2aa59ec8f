//! The cluster: PostgreSQL, a master and two groups of two servers on loopback, and clients that read and write.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use standin_client::ClientConfig;
use standin_config::{ClusterConfig, HttpConfig, OriginConfig, ServiceConfig, ServiceProtocol};
use standin_loadgen::drive::{self, Pacing, Plan, Running};
use standin_loadgen::live::Live;
use standin_loadgen::origin::{Rows, RunOrigin};
use standin_loadgen::popularity::Popularity;
use standin_loadgen::request::ValueSizes;
use standin_loadgen::schedule::Arrivals;
use standin_loadgen::targets::{Standin, Target};
use standin_loadgen::workload::{Cold, Keys, Mix, Others, Supply};
use standin_testkit::{Child, Postgres, Scratch, free_ports};

/// Requests per second of all clients together: enough that every second has some of each kind.
pub(crate) const RATE_PER_S: u32 = 200;
/// Connections of clients that a server may have. Fewer than the default, so that a leak reaches it soon.
pub(crate) const CONNECTIONS: u32 = 100;
const SERVERS: [&str; 4] = ["a1", "a2", "b1", "b2"];
const KEYSPACE: u8 = 1;
const WORKERS: u32 = 4;
const SEED: u64 = 1;
const VALUE_BYTES: u32 = 100;
/// Keys that the caches hold, and keys that are read from the database.
const KEYS: u32 = 1_000;
const COLD_KEYS: u32 = 100_000;
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A running cluster under load. Dropping it kills all its processes.
pub(crate) struct Cluster {
    pub(crate) config: ClusterConfig,
    pub(crate) database: String,
    /// The master, then the servers.
    pub(crate) processes: Vec<Child>,
    live: Arc<Live>,
    load: Running,
    _origin: RunOrigin,
    _scratch: Scratch,
}

impl Cluster {
    pub(crate) fn start(program: &Path, postgres: &Postgres) -> Result<Self, Box<dyn Error>> {
        let scratch = Scratch::new("incidents");
        let run = 0;
        let rows = Rows { count: KEYS + COLD_KEYS, run, value_bytes: VALUE_BYTES };
        let origin = RunOrigin::prepare(Some(&postgres.url()), scratch.path(), rows)?;
        let config = config(&postgres.url());
        let file = config.write_into(scratch.path())?;
        let start = |name: &str, role: &str, more: &[&str]| {
            let mut command = Command::new(program);
            command.arg(role).arg("--config").arg(&file).args(more).current_dir(scratch.path());
            let child = Child::spawn(name, command, scratch.path());
            child.wait_for_line("is ready", READY_WITHIN);
            child
        };
        let mut processes = vec![start("master", "master", &[])];
        processes.extend(SERVERS.map(|name| start(name, "server", &["--name", name])));
        let target = Target::Standin(Box::new(Standin {
            topology: Arc::new(config.topology()?),
            client: ClientConfig::from(&config),
            keyspace: KEYSPACE,
        }));
        let plan = Plan {
            target,
            keys: Keys::Numbered,
            pacing: Pacing::Open { rates: RATE_PER_S.into(), arrivals: Arrivals::Constant },
            duration: None,
            seed: SEED,
            run,
            fills: None,
            checker: None,
            phases: 1,
            slot: Duration::from_secs(1),
            moments: Arc::new([]),
            is_logged: false,
        };
        let live = Arc::new(Live::new(WORKERS));
        let supplies =
            (0..WORKERS).map(|worker| Supply::mixed(mix(), SEED, worker, WORKERS)).collect();
        let load = drive::start(&plan, supplies, &live)?;
        let database = postgres.url();
        Ok(Self { config, database, processes, live, load, _origin: origin, _scratch: scratch })
    }

    /// The ports that Prometheus reads.
    pub(crate) fn metrics(&self) -> Vec<SocketAddr> {
        let of_servers = self.config.servers.iter().map(|server| &server.metrics);
        let all = [&self.config.master.metrics].into_iter().chain(of_servers);
        all.flatten().map(|port| port.address).collect()
    }

    pub(crate) fn dashboard(&self) -> SocketAddr {
        self.config.master.dashboard.as_ref().expect("it has one").address
    }

    /// The address of a server for Redis' protocol.
    pub(crate) fn redis(&self, server: usize) -> SocketAddr {
        self.config.servers[server].services[0].address
    }

    /// The process of a server.
    pub(crate) fn server(&mut self, server: usize) -> &mut Child {
        &mut self.processes[1 + server]
    }

    /// The number of lines that each process has logged.
    pub(crate) fn log_lengths(&self) -> Vec<usize> {
        // Nobody else takes them.
        self.load.notables.try_iter().for_each(drop);
        self.processes.iter().map(|process| process.lines().len()).collect()
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
    let mut addresses = free_ports(2 + SERVERS.len() * 3 + 1)
        .into_iter()
        .map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let mut next = || addresses.next().expect("there is an address for each port");
    let mut config = ClusterConfig::new("incidents", next(), OriginConfig::postgres(database));
    for pair in SERVERS.chunks(2) {
        let servers: Vec<_> = pair.iter().map(|name| (*name, next())).collect();
        config = config.with_group(&pair[0][..1], servers);
    }
    let mut http = || Some(HttpConfig { address: next(), passwords: None });
    config.master.metrics = http();
    config.master.dashboard = http();
    for server in &mut config.servers {
        server.memory_bytes = 16 << 20;
        server.huge_pages = false;
        server.metrics = http();
    }
    for server in &mut config.servers {
        let (protocol, address) = (ServiceProtocol::Redis, next());
        server.services = vec![ServiceConfig { protocol, address, passwords: None }];
    }
    config.limits.connections = CONNECTIONS;
    config.keyspaces.push(RunOrigin::keyspace(KEYSPACE));
    config
}
