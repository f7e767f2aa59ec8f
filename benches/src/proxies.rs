//! The proxies under test, each with the server behind it: twemproxy before memcached, and Standin's proxy
//! before Standin. Both proxies have one thread, which has a core to itself, and are asked by memcached's
//! classic commands.

use std::error::Error;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use standin_config::ProxyConfig;
use standin_proxy::Proxy;
use standin_testkit::{Child, free_ports, wait_until};

use crate::cpu::{self, Meter};
use crate::driver::{DriveError, Driver, Keys, Run};
use crate::exchange::{CACHE, MemcachedText};
use crate::fixture::READY;

/// Connections of a measurement of CPU time.
pub const CONNECTIONS: usize = 64;
/// Connections of a measurement of latency: few enough that they do not wait for each other.
pub const FEW_CONNECTIONS: usize = 2;
const START_MAX: Duration = Duration::from_secs(20);
const LOAD_MAX: Duration = Duration::from_secs(300);
const LOAD_DEPTH: usize = 16;

/// A proxy to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// twemproxy.
    Nutcracker,
    /// Standin's on io_uring.
    Standin,
    /// Standin's on epoll.
    StandinEpoll,
}

impl Subject {
    /// All, in the order of the table.
    pub const ALL: [Self; 3] = [Self::Nutcracker, Self::Standin, Self::StandinEpoll];

    /// Its name in tables and options.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nutcracker => "nutcracker",
            Self::Standin => "standin",
            Self::StandinEpoll => "standin-epoll",
        }
    }

    /// Whether its programs can be run.
    #[must_use]
    pub fn is_there(self) -> bool {
        let runs = |program: &str, argument| Command::new(program).arg(argument).output().is_ok();
        self != Self::Nutcracker || (runs("nutcracker", "--version") && runs("memcached", "-V"))
    }
}

/// A running proxy, its server, and the connections to it.
pub struct Running {
    /// Which.
    pub subject: Subject,
    many: Driver,
    few: Driver,
    direct: Driver,
    meter: Meter,
    // Last: a driver whose proxy dies first would be right to complain.
    _processes: Vec<Child>,
}

impl Running {
    /// Starts a proxy on `core` and its server on `other_core`, and stores the keys through the proxy.
    ///
    /// # Errors
    /// It does not answer as it should.
    ///
    /// # Panics
    /// It can't be started.
    pub fn start(
        subject: Subject,
        directory: &Path,
        keys: u32,
        core: usize,
        other_core: usize,
    ) -> Result<Self, Box<dyn Error>> {
        let ports = free_ports(3);
        let address = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (server, proxy) = (address(ports[0]), address(ports[1]));
        let (processes, direct) = match subject {
            Subject::Nutcracker => {
                let processes = nutcracker(server, proxy, ports[2], directory, core, other_core)?;
                (processes, server)
            }
            _ => standin(subject, proxy, directory, core, other_core)?,
        };
        wait_until(START_MAX, subject.name(), || TcpStream::connect(proxy).is_ok());
        let prefix = if subject == Subject::Nutcracker { "" } else { "shard-" };
        let meter = Meter::new(processes[0].pid(), prefix)?;
        let mut running = Self {
            subject,
            many: Driver::connect(proxy, CONNECTIONS, false, None)?,
            few: Driver::connect(proxy, FEW_CONNECTIONS, false, None)?,
            direct: Driver::connect(direct, FEW_CONNECTIONS, false, None)?,
            meter,
            _processes: processes,
        };
        let all = |are_writes| Keys::InOrder { next: 0, end: keys, are_writes };
        running.many.run::<MemcachedText>(all(true), LOAD_DEPTH, LOAD_MAX)?;
        running.many.run::<MemcachedText>(all(false), LOAD_DEPTH, LOAD_MAX)?;
        running.direct.run::<MemcachedText>(all(false), LOAD_DEPTH, LOAD_MAX)?;
        Ok(running)
    }

    /// Drives GETs over many connections. Returns the result, and the CPU time of the proxy.
    ///
    /// # Errors
    /// A reply was wrong or missing.
    pub fn cost(
        &mut self,
        keys: Keys,
        depth: usize,
        duration: Duration,
    ) -> Result<(Run, Duration), Box<dyn Error>> {
        let before = self.meter.read()?;
        let run = self.many.run::<MemcachedText>(keys, depth, duration)?;
        Ok((run, self.meter.read()?.saturating_sub(before)))
    }

    /// Drives single GETs over few connections: through the proxy, and then to the server itself.
    ///
    /// # Errors
    /// A reply was wrong or missing.
    pub fn latencies(&mut self, keys: &Keys, duration: Duration) -> Result<[Run; 2], DriveError> {
        let through = self.few.run::<MemcachedText>(keys.clone(), 1, duration)?;
        let direct = self.direct.run::<MemcachedText>(keys.clone(), 1, duration)?;
        Ok([through, direct])
    }
}

/// twemproxy with its own defaults, and memcached with one worker; the proxy first.
fn nutcracker(
    server: SocketAddr,
    proxy: SocketAddr,
    stats: u16,
    directory: &Path,
    core: usize,
    other_core: usize,
) -> Result<Vec<Child>, Box<dyn Error>> {
    let mut command = Command::new("memcached");
    command.args(["-t", "1", "-l", "127.0.0.1", "-U", "0", "-c", "1024", "-u", "root"]);
    command.args(["-m", "256", "-p", &server.port().to_string()]);
    let memcached = Child::spawn("memcached", command, directory);
    wait_until(START_MAX, "memcached", || TcpStream::connect(server).is_ok());
    cpu::pin_process(memcached.pid(), other_core)?;
    let text = format!(
        "cache:\n  listen: {proxy}\n  hash: fnv1a_64\n  distribution: ketama\n  preconnect: true\n  \
         servers:\n    - {server}:1\n"
    );
    let file = directory.join("nutcracker.yml");
    fs::write(&file, text)?;
    let mut command = Command::new("nutcracker");
    command.arg("-c").arg(&file).args(["-s", &stats.to_string()]);
    command.arg("-p").arg(directory.join("nutcracker.pid"));
    let nutcracker = Child::spawn("nutcracker", command, directory);
    wait_until(START_MAX, "nutcracker", || TcpStream::connect(proxy).is_ok());
    cpu::pin_process(nutcracker.pid(), core)?;
    Ok(vec![nutcracker, memcached])
}

/// Standin's proxy and a server with one shard; the proxy first. The server's port of memcached's
/// protocol is what it is compared with.
fn standin(
    subject: Subject,
    proxy: SocketAddr,
    directory: &Path,
    core: usize,
    other_core: usize,
) -> Result<(Vec<Child>, SocketAddr), Box<dyn Error>> {
    let mut command = Command::new("/proc/self/exe");
    command.arg("serve").arg(directory).args(["--core", &other_core.to_string()]);
    let server = Child::spawn("server", command, directory);
    let line = server.wait_for_line(READY, START_MAX);
    let addresses: Vec<&str> = line.trim_start_matches(READY).split(' ').collect();
    let [own, memcached] = addresses[..] else { return Err(format!("{line:?}").into()) };
    let io = if subject == Subject::Standin { "uring" } else { "epoll" };
    let text = format!(
        "[proxy]\nservers = [\"{own}\"]\nmemcached = \"{proxy}\"\ncores = [{core}]\nio = \"{io}\"\n\
         default_keyspace = \"cache\"\n[[keyspace]]\nid = {CACHE}\nname = \"cache\"\n"
    );
    let file = directory.join("proxy.toml");
    fs::write(&file, text)?;
    let mut command = Command::new("/proc/self/exe");
    command.arg("proxy").arg(&file);
    let proxy = Child::spawn("proxy", command, directory);
    proxy.wait_for_line(READY, START_MAX);
    Ok((vec![proxy, server], memcached.parse()?))
}

/// Runs Standin's proxy until the process ends.
///
/// # Errors
/// It can't start, or a thread of it has ended.
pub fn serve(file: &Path) -> Result<(), Box<dyn Error>> {
    let config = ProxyConfig::check_file(file).config?;
    let proxy = Proxy::start(&config, Arc::default())?;
    println!("{READY}{}", config.services[0].at);
    loop {
        if let Some(thread) = proxy.failed_thread() {
            return Err(format!("{thread} has ended").into());
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
}
