//! Three memcached servers, behind twemproxy or with the keys spread by the client. Both use the client
//! of the `memcache` crate.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::Duration;

use memcache::Client;
use standin_loadgen::faults::Process;
use standin_testkit::free_ports;
use standin_testkit::wait::poll_for;

use super::aside::{Aside, Cache};
use super::database::Database;
use super::{CLIENT_TIMEOUT, Cluster, Failure, NODES, Servers, Subject};

const UP_WITHIN: Duration = Duration::from_secs(10);
/// Keys that a node is asked for at once.
const BATCH_KEYS: usize = 200;

/// Running nodes, and the proxy if there is one.
pub struct Nodes {
    processes: Vec<Process>,
    ports: Vec<u16>,
    /// Kept while it is used.
    _proxy: Option<Process>,
    proxy_port: Option<u16>,
}

impl Nodes {
    /// Starts the nodes and, with `ejects`, twemproxy before them.
    ///
    /// # Errors
    /// One of them does not start.
    pub fn start(ejects: Option<bool>, folder: &Path) -> Result<Self, Failure> {
        let ports = free_ports(NODES + 2);
        let (ports, own) = ports.split_at(NODES);
        let mut processes = Vec::new();
        for port in ports {
            let text = format!("-l 127.0.0.1 -p {port} -U 0 -m 64 -t 1 -u nobody");
            let arguments = text.split(' ').map(Into::into).collect();
            let name = format!("memcached-{port}");
            processes.push(Process::start(&name, Path::new("memcached"), arguments, folder)?);
        }
        ports.iter().try_for_each(|port| up(*port))?;
        let mut nodes = Self { processes, ports: ports.to_vec(), _proxy: None, proxy_port: None };
        if let Some(ejects) = ejects {
            nodes._proxy = Some(proxy(ejects, ports, own[0], own[1], folder)?);
            nodes.proxy_port = Some(own[0]);
        }
        Ok(nodes)
    }

    /// The addresses that clients are given: the proxy's, or those of all nodes.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let ports = self.proxy_port.map_or_else(|| self.ports.clone(), |port| vec![port]);
        ports.into_iter().map(at).collect()
    }
}

impl Servers for Nodes {
    fn held_by_victim(&self, keys: &[Vec<u8>]) -> Result<BTreeSet<u32>, Failure> {
        let MemcacheCache(node) = MemcacheCache::connect(&[at(self.ports[0])])?;
        let mut held = BTreeSet::new();
        let names: Vec<&str> =
            keys.iter().filter_map(|key| std::str::from_utf8(key).ok()).collect();
        for (batch, first) in names.chunks(BATCH_KEYS).zip((0u32..).step_by(BATCH_KEYS)) {
            let found = node.gets::<Vec<u8>>(batch)?;
            let indices = (first..).zip(batch).filter(|(_, key)| found.contains_key(**key));
            held.extend(indices.map(|(index, _)| index));
        }
        Ok(held)
    }

    fn victim(&mut self) -> &mut Process {
        &mut self.processes[0]
    }
}

/// Running nodes and the database.
pub struct Memcacheds<'d> {
    database: &'d Database,
    nodes: Nodes,
}

impl<'d> Memcacheds<'d> {
    /// Starts them, as [`Nodes::start`] does.
    ///
    /// # Errors
    /// As there.
    pub fn start(
        ejects: Option<bool>,
        folder: &Path,
        database: &'d Database,
    ) -> Result<Self, Failure> {
        Ok(Self { database, nodes: Nodes::start(ejects, folder)? })
    }
}

impl Cluster for Memcacheds<'_> {
    fn client(&self) -> Result<Box<dyn Subject>, Failure> {
        let cache = MemcacheCache::connect(&self.nodes.addresses())?;
        Ok(Box::new(Aside::new(cache, self.database.connect()?)))
    }

    fn servers(&mut self) -> &mut dyn Servers {
        &mut self.nodes
    }
}

struct MemcacheCache(Client);

impl MemcacheCache {
    fn connect(addresses: &[String]) -> Result<Self, Failure> {
        let seconds = CLIENT_TIMEOUT.as_secs_f64();
        let url =
            |address: &String| format!("memcache://{address}?protocol=ascii&timeout={seconds}");
        let urls: Vec<String> = addresses.iter().map(url).collect();
        // The first connection takes its timeouts from here, later ones from the URL.
        let client = Client::builder()
            .add_server(urls)?
            .with_max_pool_size(1)
            .with_connection_timeout(CLIENT_TIMEOUT)
            .with_read_timeout(CLIENT_TIMEOUT)
            .with_write_timeout(CLIENT_TIMEOUT)
            .build()?;
        Ok(Self(client))
    }
}

impl Cache for MemcacheCache {
    fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.0.get(key)?)
    }

    fn set(&mut self, key: &str, value: &[u8]) -> Result<(), Failure> {
        Ok(self.0.set(key, value, 0)?)
    }

    fn delete(&mut self, key: &str) -> Result<(), Failure> {
        Ok(self.0.delete(key).map(drop)?)
    }
}

/// twemproxy with its own defaults, except for the options given here and a timeout: by default it waits
/// forever.
fn proxy(
    ejects: bool,
    nodes: &[u16],
    port: u16,
    stats: u16,
    folder: &Path,
) -> Result<Process, Failure> {
    let servers: String = nodes.iter().map(|node| format!("    - {}:1\n", at(*node))).collect();
    let text = format!(
        "cache:\n  listen: {}\n  hash: fnv1a_64\n  distribution: ketama\n  auto_eject_hosts: {ejects}\n  timeout: {}\n  preconnect: true\n  servers:\n{servers}",
        at(port),
        CLIENT_TIMEOUT.as_millis()
    );
    let file = folder.join("nutcracker.yml");
    std::fs::write(&file, text)?;
    let arguments = vec![
        "-c".into(),
        file.into(),
        "-s".into(),
        stats.to_string().into(),
        "-p".into(),
        folder.join("nutcracker.pid").into(),
    ];
    let process = Process::start("nutcracker", Path::new("nutcracker"), arguments, folder)?;
    up(port)?;
    Ok(process)
}

fn at(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn up(port: u16) -> Result<(), Failure> {
    let connects = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok();
    poll_for(UP_WITHIN, connects)
        .map(drop)
        .ok_or_else(|| format!("nothing listens on {port}").into())
}
