//! Three memcached servers, behind twemproxy or with the keys spread by the client.

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use standin_loadgen::faults::Process;
use standin_loadgen::faults::kinds::memcached::Pool;
use standin_loadgen::faults::kinds::{self, Asked, Ground, Site};
use standin_loadgen::rng::Random;

use super::{NODES, Servers};
use crate::Failure;

const UP_WITHIN: Duration = Duration::from_secs(10);
/// twemproxy's longest wait for a node.
const POOL_TIMEOUT: Duration = Duration::from_millis(100);
/// The longest wait for a node's answer about its keys.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Keys that a node is asked for at once.
const BATCH_KEYS: usize = 200;

/// Running nodes, and the proxy if there is one.
pub struct Nodes {
    processes: Vec<Process>,
    nodes: Vec<SocketAddr>,
    /// Kept while it is used.
    _proxy: Option<Process>,
    proxy: Option<SocketAddr>,
}

impl Nodes {
    /// Starts the nodes and, with `ejects`, twemproxy before them.
    ///
    /// # Errors
    /// One of them does not start.
    pub fn start(ejects: Option<bool>, folder: &Path) -> Result<Self, Failure> {
        let mut random = Random::new(std::process::id().into());
        let mut ground = Ground { folder, random: &mut random, interrupt: None, lan: None };
        let names: Vec<String> = (1..=NODES).map(|node| format!("memcached-{node}")).collect();
        let sites = ground.sites(&names, 1)?;
        let mut processes = Vec::new();
        for (name, site) in names.iter().zip(&sites) {
            processes.push(kinds::memcached::start(&ground, asked(name), site)?);
        }
        let nodes = sites.iter().map(Site::address).collect();
        let mut all = Self { processes, nodes, _proxy: None, proxy: None };
        if let Some(ejects) = ejects {
            let pool = Pool { servers: &all.nodes, ejects, timeout: POOL_TIMEOUT };
            let name = "nutcracker";
            let site = ground.site(name, 2)?;
            let proxy = kinds::memcached::start_nutcracker(&ground, asked(name), pool, &site)?;
            all._proxy = Some(proxy);
            all.proxy = Some(site.address());
        }
        Ok(all)
    }

    /// The addresses that clients are given: the proxy's, or those of all nodes.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let addresses = self.proxy.map_or_else(|| self.nodes.clone(), |proxy| vec![proxy]);
        addresses.iter().map(SocketAddr::to_string).collect()
    }
}

impl Servers for Nodes {
    fn held_by_victim(&self, keys: &[Vec<u8>]) -> Result<BTreeSet<u32>, Failure> {
        let stream = TcpStream::connect_timeout(&self.nodes[0], ANSWER_WITHIN)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        let mut node = BufReader::new(stream);
        let mut held = BTreeSet::new();
        for (batch, first) in keys.chunks(BATCH_KEYS).zip((0u32..).step_by(BATCH_KEYS)) {
            let found = found(&mut node, batch)?;
            let indices = (first..).zip(batch).filter(|(_, key)| found.contains(*key));
            held.extend(indices.map(|(index, _)| index));
        }
        Ok(held)
    }

    fn victim(&mut self) -> &mut Process {
        &mut self.processes[0]
    }
}

/// Asks a node for these keys, and returns those that it has.
fn found(node: &mut BufReader<TcpStream>, keys: &[Vec<u8>]) -> io::Result<BTreeSet<Vec<u8>>> {
    let command = [b"get ", &*keys.join(&b' '), b"\r\n"].concat();
    node.get_mut().write_all(&command)?;
    let mut found = BTreeSet::new();
    loop {
        let mut line = String::new();
        node.read_line(&mut line)?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["END"] => return Ok(found),
            ["VALUE", key, _, bytes] => {
                let bytes: u64 = bytes.parse().map_err(io::Error::other)?;
                // With the end of the line behind it.
                io::copy(&mut node.by_ref().take(bytes + 2), &mut io::sink())?;
                found.insert(key.as_bytes().to_vec());
            }
            _ => return Err(io::Error::other(format!("memcached answered {line:?}"))),
        }
    }
}

/// A program as it is, with no arguments of its own.
fn asked(name: &str) -> Asked<'_> {
    Asked { name, program: None, arguments: &[], ready_within: UP_WITHIN }
}
