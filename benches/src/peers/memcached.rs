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
use super::{CLIENT_TIMEOUT, Cluster, Failure, NODES, Subject};

const UP_WITHIN: Duration = Duration::from_secs(10);
/// Keys that a node is asked for at once.
const BATCH_KEYS: usize = 200;

/// Running nodes, and the proxy if there is one.
pub struct Memcacheds<'d> {
    database: &'d Database,
    nodes: Vec<Process>,
    ports: Vec<u16>,
    /// Kept while it is used.
    _proxy: Option<Process>,
    proxy_port: Option<u16>,
}

impl<'d> Memcacheds<'d> {
    /// Starts the nodes and, with `ejects`, twemproxy before them.
    ///
    /// # Errors
    /// One of them does not start.
    pub fn start(
        ejects: Option<bool>,
        folder: &Path,
        database: &'d Database,
    ) -> Result<Self, Failure> {
        let ports = free_ports(NODES + 2);
        let (ports, own) = ports.split_at(NODES);
        let mut nodes = Vec::new();
        for port in ports {
            let text = format!("-l 127.0.0.1 -p {port} -U 0 -m 64 -t 1 -u nobody");
            let arguments = text.split(' ').map(Into::into).collect();
            let name = format!("memcached-{port}");
            nodes.push(Process::start(&name, Path::new("memcached"), arguments, folder)?);
        }
        ports.iter().try_for_each(|port| up(*port))?;
        let mut cluster =
            Self { database, nodes, ports: ports.to_vec(), _proxy: None, proxy_port: None };
        if let Some(ejects) = ejects {
            cluster._proxy = Some(proxy(ejects, ports, own[0], own[1], folder)?);
            cluster.proxy_port = Some(own[0]);
        }
        Ok(cluster)
    }

    fn connect(&self, ports: &[u16]) -> Result<MemcacheCache, Failure> {
        let seconds = CLIENT_TIMEOUT.as_secs_f64();
        let url =
            |port: &u16| format!("memcache://127.0.0.1:{port}?protocol=ascii&timeout={seconds}");
        let urls: Vec<String> = ports.iter().map(url).collect();
        // The first connection takes its timeouts from here, later ones from the URL.
        let client = Client::builder()
            .add_server(urls)?
            .with_max_pool_size(1)
            .with_connection_timeout(CLIENT_TIMEOUT)
            .with_read_timeout(CLIENT_TIMEOUT)
            .with_write_timeout(CLIENT_TIMEOUT)
            .build()?;
        Ok(MemcacheCache(client))
    }
}

impl Cluster for Memcacheds<'_> {
    fn client(&self) -> Result<Box<dyn Subject>, Failure> {
        let ports = self.proxy_port.map_or_else(|| self.ports.clone(), |port| vec![port]);
        let cache = self.connect(&ports)?;
        Ok(Box::new(Aside::new(cache, self.database.connect()?)))
    }

    fn held_by_victim(&self, keys: &[Vec<u8>]) -> Result<BTreeSet<u32>, Failure> {
        let MemcacheCache(node) = self.connect(&self.ports[..1])?;
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
        &mut self.nodes[0]
    }
}

struct MemcacheCache(Client);

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
    let servers: String = nodes.iter().map(|node| format!("    - 127.0.0.1:{node}:1\n")).collect();
    let text = format!(
        "cache:\n  listen: 127.0.0.1:{port}\n  hash: fnv1a_64\n  distribution: ketama\n  \
         auto_eject_hosts: {ejects}\n  timeout: {}\n  preconnect: true\n  servers:\n{servers}",
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

fn up(port: u16) -> Result<(), Failure> {
    let connects = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok();
    poll_for(UP_WITHIN, connects)
        .map(drop)
        .ok_or_else(|| format!("nothing listens on {port}").into())
}
