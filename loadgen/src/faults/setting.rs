//! Everything that a run has started, and where it is. It ends when this is dropped.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs as _, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use standin_config::OriginConfig;
use standin_protocol::map::ServerState;
use standin_protocol::time::Micros;
use tempfile::TempDir;

use super::database::Lasting;
use super::foreign::Foreign;
use super::holds::Act;
use super::kinds::{Asked, Ground, Site, StartError, memcached, postgres, redis, standin};
use super::lan::Lan;
use super::links::NetworkFault;
use super::process::Process;
use super::proxy::{Conduct, DatagramProxy, Proxy};
use super::script::{Backing, ClusterSpec, Deed, Kind, PidSource, ProcessSpec, Script, Trouble};
use crate::interrupt::Interrupt;
use crate::net::NetError;
use crate::observer::EventTail;
use crate::origin::{OriginError, Rows, RunOrigin};
use crate::rng::Random;

/// The longest wait of twemproxy for one of its servers.
const POOL_TIMEOUT: Duration = Duration::from_millis(100);
/// The longest wait for PostgreSQL's end.
const SHUTDOWN_WITHIN: Duration = Duration::from_secs(5);

/// Why the run has no processes.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    /// A process.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The path of this program, which is Standin's too.
    #[error("the path of this program: {0}; write `program` for processes of kind \"standin\"")]
    Program(io::Error),
    /// A table for Standin.
    #[error(transparent)]
    Table(OriginError),
    /// The network.
    #[error(
        "a network of namespaces for the scenario: {0}; without it, leave out `namespace`, \"cut\" and \"lose\", and put \
         processes of kind \"proxy\" between"
    )]
    Network(#[from] NetError),
    /// What happens to a process or a unit of somebody else.
    #[error("the fault in line {line} of the scenario: {why}")]
    Foreign {
        /// The line.
        line: usize,
        /// What is wrong.
        why: String,
    },
}

impl From<OriginError> for SettingError {
    fn from(error: OriginError) -> Self {
        match error {
            OriginError::Interrupted => Self::Start(StartError::Interrupted),
            error => Self::Table(error),
        }
    }
}

/// Where the processes of a run are.
#[derive(Debug, Default)]
pub struct Places {
    addresses: BTreeMap<String, Vec<SocketAddr>>,
    files: BTreeMap<String, PathBuf>,
}

impl Places {
    /// The addresses at which clients reach a process or all of its members.
    #[must_use]
    pub fn addresses(&self, name: &str) -> Option<&[SocketAddr]> {
        self.addresses.get(name).map(Vec::as_slice)
    }

    /// The cluster file of a Standin cluster.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&Path> {
        self.files.get(name).map(PathBuf::as_path)
    }

    /// The file of events of its master.
    #[must_use]
    pub fn events(&self, name: &str) -> Option<PathBuf> {
        Some(self.file(name)?.with_file_name(standin::EVENT_FILE))
    }
}

/// A proxy.
#[derive(Debug)]
pub(super) enum Between {
    Connections(Proxy),
    Datagrams(DatagramProxy),
}

impl Between {
    fn start(
        is_udp: bool,
        address: SocketAddr,
        upstream: SocketAddr,
        seed: u64,
        is_database: bool,
    ) -> io::Result<Self> {
        Ok(if is_udp {
            let socket = UdpSocket::bind(address)?;
            Self::Datagrams(DatagramProxy::start(socket, upstream, seed)?)
        } else {
            let listener = TcpListener::bind(address)?;
            Self::Connections(match is_database {
                true => Proxy::counting(listener, upstream, seed)?,
                false => Proxy::plain(listener, upstream, seed)?,
            })
        })
    }

    /// Sets the treatment from now on.
    pub(super) fn set(&self, conduct: Conduct) {
        match self {
            Self::Connections(proxy) => proxy.set(conduct),
            Self::Datagrams(proxy) => proxy.set(conduct),
        }
    }

    /// Resets the connections; datagrams have none.
    pub(super) fn reset(&self) {
        if let Self::Connections(proxy) = self {
            proxy.reset();
        }
    }
}

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Setting {
    /// Dropped before the database ends.
    tables: BTreeMap<String, RunOrigin>,
    processes: BTreeMap<String, Process>,
    proxies: BTreeMap<String, Between>,
    foreign: BTreeMap<PidSource, Foreign>,
    troubles: BTreeMap<String, Lasting>,
    /// Where databases can be reached directly.
    databases: BTreeMap<String, String>,
    /// The events of the master of each Standin cluster, by the cluster's name.
    masters: BTreeMap<String, EventTail>,
    /// What is behind each proxy, by the proxy's name.
    behind: BTreeMap<String, String>,
    folders: Vec<TempDir>,
    pub(super) places: Places,
    pub(super) folder: PathBuf,
    /// Dropped after everything that is in it.
    lan: Option<Lan>,
}

impl Drop for Setting {
    fn drop(&mut self) {
        self.tables.clear();
        for name in self.databases.keys() {
            // PostgreSQL's fast shutdown. Killed, it would leave shared memory behind, and processes that still write.
            if let Some(process) = self.processes.get_mut(name) {
                process.end_by(Signal::INT, SHUTDOWN_WITHIN);
            }
        }
    }
}

impl Setting {
    /// Starts everything, one after the other, and finds the processes of others.
    pub(super) fn start(
        script: &Script,
        folder: &Path,
        seed: u64,
        interrupt: Option<&Interrupt>,
    ) -> Result<Self, SettingError> {
        // Runs of the same scenario at the same time must not look for ports in the same order.
        let mut random = Random::new(getrandom::u64().unwrap_or(std::process::id().into()));
        let mut setting = Self {
            tables: BTreeMap::new(),
            processes: BTreeMap::new(),
            proxies: BTreeMap::new(),
            foreign: BTreeMap::new(),
            troubles: BTreeMap::new(),
            databases: BTreeMap::new(),
            masters: BTreeMap::new(),
            behind: BTreeMap::new(),
            folders: Vec::new(),
            places: Places::default(),
            folder: folder.to_owned(),
            lan: Lan::of(script)?,
        };
        for spec in &script.faults {
            if let Deed::Pid(source) = &spec.deed {
                let line = spec.line;
                let found = Foreign::find(source);
                let found = found.map_err(|why| SettingError::Foreign { line, why })?;
                setting.foreign.insert(source.clone(), found);
            }
        }
        for (number, spec) in (0..).zip(&script.processes) {
            let lan = setting.lan.take();
            let mut ground = Ground { folder, random: &mut random, interrupt, lan: lan.as_ref() };
            let added = setting.add(spec, Random::stream(seed, number).bits(), &mut ground);
            setting.lan = lan;
            added?;
        }
        Ok(setting)
    }

    /// Acts on a process of the run.
    pub(super) fn act(&mut self, name: &str, act: Act) -> Result<(), String> {
        let process = self.processes.get_mut(name).expect("scenarios are checked for names");
        match act {
            Act::Kill => process.kill(),
            Act::Terminate => process.ask_to_end(),
            Act::Stop => process.pause(),
            Act::Continue => process.resume(),
            Act::Start => process.restart().map_err(|error| error.to_string())?,
        }
        Ok(())
    }

    /// Stops a process of somebody else, or lets it continue.
    pub(super) fn pause(&self, source: &PidSource, is_pause: bool) -> Result<(), String> {
        let process = &self.foreign[source];
        let done = if is_pause { process.pause() } else { process.resume() };
        done.map_err(|error| format!("the signal could not be sent: {error}"))
    }

    /// Begins a fault of the network (`Some`), or ends it.
    pub(super) fn impair(&mut self, fault: usize, is: Option<&NetworkFault>) -> Result<(), String> {
        let lan = self.lan.as_mut().expect("scenarios are checked for a network");
        lan.set(fault, is).map_err(|error| error.to_string())
    }

    /// Begins or ends a trouble of a database's table.
    pub(super) fn trouble(
        &mut self,
        name: &str,
        trouble: Trouble,
        is_begin: bool,
    ) -> Result<(), String> {
        if is_begin {
            let begun = Lasting::begin(&self.databases[name], trouble)?;
            self.troubles.insert(name.to_owned(), begun);
            return Ok(());
        }
        // One that could not begin has no end.
        self.troubles.remove(name).map_or(Ok(()), |begun| begun.end())
    }

    /// A proxy of the run.
    pub(super) fn proxy(&self, name: &str) -> &Between {
        self.proxies.get(name).expect("scenarios are checked for names")
    }

    /// Counts the reads of PostgreSQL that pass through this proxy, if it is one.
    pub(super) fn reads_through(&self, name: &str) -> Option<impl Fn() -> u64 + Send + 'static> {
        match self.proxies.get(name)? {
            Between::Connections(proxy) => Some(proxy.reads()),
            Between::Datagrams(_) => None,
        }
    }

    /// The table of a Standin cluster, if it has one.
    pub(super) fn table(&self, cluster: &str) -> Option<&RunOrigin> {
        self.tables.get(cluster)
    }

    /// What masters have announced since the last call: when, which server, by its name in the scenario, and its state.
    pub(super) fn announcements(&mut self) -> Vec<(Micros, String, ServerState)> {
        let mut all = Vec::new();
        for (cluster, events) in &mut self.masters {
            let lines = events.take();
            all.extend(lines.iter().filter_map(|line| {
                let (server, state) = line.announced()?;
                Some((line.at(), format!("{cluster}-{server}"), state))
            }));
        }
        all
    }

    /// The number of a process.
    pub(super) fn pid(&self, name: &str) -> Option<u32> {
        self.processes.get(name).map(Process::pid)
    }

    /// The processes that have ended, each with its name and what it said last.
    pub(super) fn ended(&mut self) -> Vec<(String, String)> {
        let ended = self.processes.iter_mut().filter_map(|(name, process)| {
            process.exit_status()?;
            Some((name.clone(), process.last_output()))
        });
        ended.collect()
    }

    fn add(
        &mut self,
        spec: &ProcessSpec,
        seed: u64,
        ground: &mut Ground<'_>,
    ) -> Result<(), SettingError> {
        let ProcessSpec { name, kind, program, arguments, ready_within, .. } = spec;
        let more: Vec<OsString> = arguments.iter().map(Into::into).collect();
        let asked = Asked {
            name,
            program: program.as_deref(),
            arguments: &more,
            ready_within: *ready_within,
        };
        let Asked { name, program, .. } = asked;
        let (processes, addresses) = match kind {
            Kind::Command { ports } => {
                let site = ground.site(name, usize::from(*ports))?;
                let program = program.expect("scenarios are checked for a program");
                let all = arguments.iter().map(|text| self.filled(text, &site).into());
                let mut process = ground.spawn(name, program, all.collect(), &site)?;
                for address in &site.addresses {
                    ground.wait_until_open(&mut process, *address, asked.ready_within)?;
                }
                (vec![process], site.addresses)
            }
            Kind::Memcached => {
                let site = ground.site(name, 1)?;
                (vec![memcached::start(ground, asked, &site)?], site.addresses)
            }
            Kind::Nutcracker { servers, ejects } => {
                let site = ground.site(name, 2)?;
                let servers = self.addresses_of(servers);
                let pool =
                    memcached::Pool { servers: &servers, ejects: *ejects, timeout: POOL_TIMEOUT };
                let process = memcached::start_nutcracker(ground, asked, pool, &site)?;
                (vec![process], vec![site.address()])
            }
            Kind::Redis => {
                let site = ground.site(name, 1)?;
                (vec![redis::start(ground, asked, &site)?], site.addresses)
            }
            Kind::RedisCluster { masters, replicas, node_timeout } => {
                let (masters, replicas, node_timeout) = (*masters, *replicas, *node_timeout);
                let shape = redis::Shape { masters, replicas, node_timeout };
                let sites = ground.sites(&spec.members(), 2)?;
                let processes = redis::start_cluster(ground, asked, shape, &sites)?;
                (processes, sites.iter().map(Site::address).collect())
            }
            Kind::Proxy { to, is_udp } => {
                let upstream = self.upstream(to)?;
                let address = ground.site(name, 1)?.address();
                self.behind.insert(name.to_owned(), to.clone());
                let is_database = self.has_database_behind(to);
                let proxy = Between::start(*is_udp, address, upstream, seed, is_database)
                    .map_err(StartError::system(format!("the proxy {name}")))?;
                self.proxies.insert(name.to_owned(), proxy);
                (Vec::new(), vec![address])
            }
            Kind::Postgres => {
                let site = ground.site(name, 1)?;
                let server = postgres::start(ground, asked, &site)?;
                self.databases.insert(name.to_owned(), server.url);
                self.folders.push(server.folder);
                (vec![server.process], site.addresses)
            }
            Kind::Standin(cluster) => {
                let program = match program {
                    Some(program) => program.to_owned(),
                    None => std::env::current_exe().map_err(SettingError::Program)?,
                };
                let asked = Asked { program: Some(&program), ..asked };
                let origin = self.origin(name, cluster, ground.folder, ground.interrupt)?;
                let (cluster, addresses) =
                    standin::start(ground, asked, &spec.members(), cluster, origin)?;
                let standin::Cluster { servers, master, file, event_file, .. } = cluster;
                self.masters.insert(name.to_owned(), EventTail::new(event_file));
                self.places.files.insert(name.to_owned(), file);
                (servers.into_iter().chain([master]).collect(), addresses)
            }
        };
        let members = spec.members();
        assert_eq!(members.len(), processes.len(), "each process of {name} has its name");
        if addresses.len() > 1 {
            let each = members.iter().cloned().zip(addresses.iter().map(|one| vec![*one]));
            self.places.addresses.extend(each);
        }
        self.places.addresses.insert(name.to_owned(), addresses);
        self.processes.extend(members.into_iter().zip(processes));
        Ok(())
    }

    /// Makes the table of a cluster, if it has one, and says where its servers reach it.
    fn origin(
        &mut self,
        cluster: &str,
        spec: &ClusterSpec,
        folder: &Path,
        interrupt: Option<&Interrupt>,
    ) -> Result<Option<OriginConfig>, SettingError> {
        let (table, mut origin) = match &spec.database {
            None => return Ok(None),
            Some(Backing::Own { url, rows }) => {
                let table = RunOrigin::prepare(url.as_deref(), folder, *rows, interrupt)?;
                let origin = table.config();
                (table, origin)
            }
            Some(Backing::Process(database)) => {
                let direct = self.database_behind(database);
                let rows = Rows { count: 0, run: 0, value_bytes: 0 };
                let table = RunOrigin::prepare(Some(direct), folder, rows, interrupt)?;
                let address = self.places.addresses[database][0];
                (table, OriginConfig::postgres(&postgres::url(address)))
            }
        };
        self.tables.insert(cluster.to_owned(), table);
        origin.surge_reads = spec.surge_reads.unwrap_or(origin.surge_reads);
        Ok(Some(origin))
    }

    /// Whether this is the name of a database, or of a proxy before one.
    fn has_database_behind(&self, name: &str) -> bool {
        match self.behind.get(name) {
            Some(behind) => self.has_database_behind(behind),
            None => self.databases.contains_key(name),
        }
    }

    /// Where the database itself is, of which this is the name, or the name of a proxy before it.
    fn database_behind(&self, name: &str) -> &str {
        let mut name = name;
        loop {
            match (self.databases.get(name), self.behind.get(name)) {
                (Some(url), _) => return url,
                (None, Some(behind)) => name = behind,
                (None, None) => unreachable!("scenarios are checked for databases"),
            }
        }
    }

    /// The address before which a proxy is put.
    fn upstream(&self, to: &str) -> Result<SocketAddr, StartError> {
        if let Some(addresses) = self.places.addresses(to) {
            return Ok(addresses[0]);
        }
        let failed = StartError::system(to.to_owned());
        let found = match to.to_socket_addrs() {
            Ok(mut found) => found.next(),
            Err(error) => return Err(failed(error)),
        };
        found.ok_or_else(|| failed(io::ErrorKind::AddrNotAvailable.into()))
    }

    fn addresses_of(&self, names: &[String]) -> Vec<SocketAddr> {
        let addresses = names.iter().filter_map(|name| self.places.addresses(name));
        addresses.flatten().copied().collect()
    }

    /// An argument with its placeholders replaced.
    fn filled(&self, text: &str, own: &Site) -> String {
        let host = own.addresses.first().map_or(Ipv4Addr::LOCALHOST.into(), SocketAddr::ip);
        let mut text = text.replace("{folder}", &self.folder.display().to_string());
        text = text.replace("{host}", &host.to_string());
        for (number, address) in (1..).zip(&own.addresses) {
            let port = address.port().to_string();
            if number == 1 {
                text = text.replace("{port}", &port);
            }
            text = text.replace(&format!("{{port{number}}}"), &port);
        }
        for (name, addresses) in &self.places.addresses {
            let listed: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            text = text.replace(&format!("{{{name}}}"), &listed.join(","));
        }
        text
    }
}
