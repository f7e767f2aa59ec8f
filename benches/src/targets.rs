//! The processes under test. Each is started for one set of keys, loaded, pinned to the
//! serving core, and killed when it is dropped or when this process ends.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use standin_testkit::{Child, free_ports, wait_until};

use crate::cpu::{self, Meter};
use crate::driver::{DriveError, Driver, Keys, Run};
use crate::exchange::{
    EchoGet, MemcachedGet, MemcachedSet, MemcachedTextGet, RedisGet, RedisSet, StandinFill,
    StandinGet,
};
use crate::fixture::READY;

/// Connections of every measurement.
pub const CONNECTIONS: usize = 64;
const START_MAX: Duration = Duration::from_secs(20);
const LOAD_MAX: Duration = Duration::from_secs(900);
const LOAD_DEPTH: usize = 32;

/// A target of the measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The limit: see [`crate::echo`].
    Echo,
    /// Standin's ring loop.
    StandinUring,
    /// Standin's portable loop.
    StandinEpoll,
    /// Standin's ring loop, by memcached's meta commands.
    StandinMeta,
    /// Standin's ring loop, by memcached's classic commands.
    StandinText,
    /// memcached with one worker, by its meta commands.
    Memcached,
    /// memcached with one worker, by its classic commands.
    MemcachedText,
    /// Redis without I/O threads.
    Redis,
    /// Valkey without I/O threads.
    Valkey,
}

impl Target {
    /// All, in the order of the table.
    pub const ALL: [Self; 9] = [
        Self::Echo,
        Self::StandinUring,
        Self::StandinEpoll,
        Self::StandinMeta,
        Self::StandinText,
        Self::Memcached,
        Self::MemcachedText,
        Self::Redis,
        Self::Valkey,
    ];

    /// Its name in tables and options.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::StandinUring => "standin-uring",
            Self::StandinEpoll => "standin-epoll",
            Self::StandinMeta => "standin-meta",
            Self::StandinText => "standin-text",
            Self::Memcached => "memcached",
            Self::MemcachedText => "memcached-text",
            Self::Redis => "redis",
            Self::Valkey => "valkey",
        }
    }

    /// The program to install for it; `None`: it is part of this one.
    #[must_use]
    pub fn program(self) -> Option<&'static str> {
        match self {
            Self::Echo => None,
            _ if self.is_standin() => None,
            Self::Memcached | Self::MemcachedText => Some("memcached"),
            Self::Redis => Some("redis-server"),
            Self::Valkey => Some("valkey-server"),
            _ => None,
        }
    }

    /// Whether it is Standin, on any loop and by any protocol.
    fn is_standin(self) -> bool {
        self.is_native() || matches!(self, Self::StandinMeta | Self::StandinText)
    }

    /// Whether it speaks Standin's own protocol.
    fn is_native(self) -> bool {
        matches!(self, Self::StandinUring | Self::StandinEpoll)
    }

    /// The program's version; `None` if it is not installed.
    #[must_use]
    pub fn version(self) -> Option<String> {
        let Some(program) = self.program() else { return Some(env!("CARGO_PKG_VERSION").into()) };
        let output = Command::new(program).arg("--version").output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// The command that serves.
    fn command(self, directory: &Path, port: u16, keys: u32, core: usize) -> Command {
        // Room for every peer's overhead per item, rounded up generously.
        let memory_mib = 256 + u64::from(keys) * 320 / (1 << 20);
        let (memory, port) = (memory_mib.to_string(), port.to_string());
        let mut command = match self.program() {
            Some(program) => Command::new(program),
            // The bench serves echo and Standin itself, in a process of its own.
            None => Command::new("/proc/self/exe"),
        };
        match self {
            Self::Memcached | Self::MemcachedText => {
                command.args(["-t", "1", "-l", "127.0.0.1", "-U", "0", "-c", "1024", "-u", "root"]);
                command.args(["-m", &memory, "-p", &port]);
            }
            Self::Redis | Self::Valkey => {
                command.args(["--io-threads", "1", "--save", "", "--appendonly", "no"]);
                command.args(["--bind", "127.0.0.1", "--port", &port]);
                command.arg("--dir").arg(directory);
            }
            _ => {
                command.args(["serve", self.name(), "--memory-mib", &memory]);
                command.arg("--directory").arg(directory);
                command.arg("--core").arg(core.to_string());
            }
        }
        command
    }
}

/// A running target with its keys loaded, and the connections to it.
pub struct Running {
    /// Which.
    pub target: Target,
    driver: Driver,
    meter: Meter,
    // Last: a driver whose target dies first would be right to complain.
    _child: Child,
}

impl Running {
    /// Starts a target on `core` and loads the first `keys` keys.
    ///
    /// # Errors
    /// It does not answer as it should.
    ///
    /// # Panics
    /// It can't be started.
    pub fn start(
        target: Target,
        directory: &Path,
        keys: u32,
        core: usize,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let port = free_ports(1)[0];
        let command = target.command(directory, port, keys, core);
        let child = Child::spawn(target.name(), command, directory);
        let address = match target.program() {
            None => {
                let line = child.wait_for_line(READY, START_MAX);
                line.trim_start_matches(READY).parse()?
            }
            Some(_) => {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                wait_until(START_MAX, target.name(), || TcpStream::connect(address).is_ok());
                cpu::pin_process(child.pid(), core)?;
                address
            }
        };
        let mut driver = Driver::connect(address, CONNECTIONS, target.is_native())?;
        let in_order = || Keys::InOrder { next: 0, end: keys };
        match target {
            Target::Echo => {}
            Target::StandinUring | Target::StandinEpoll => {
                driver.run::<StandinFill>(in_order(), LOAD_DEPTH, LOAD_MAX)?;
            }
            Target::StandinMeta
            | Target::StandinText
            | Target::Memcached
            | Target::MemcachedText => {
                driver.run::<MemcachedSet>(in_order(), LOAD_DEPTH, LOAD_MAX)?;
            }
            Target::Redis | Target::Valkey => {
                driver.run::<RedisSet>(in_order(), LOAD_DEPTH, LOAD_MAX)?;
            }
        }
        let meter = Meter::new(child.pid(), if target.is_standin() { "shard-" } else { "" })?;
        let mut running = Self { target, driver, meter, _child: child };
        if target != Target::Echo {
            // Every key once, so that a target that evicted or lost some is found out now.
            running.gets(in_order(), LOAD_DEPTH, LOAD_MAX)?;
        }
        Ok(running)
    }

    /// Drives GETs. Returns the result, and the CPU time of the serving threads.
    ///
    /// # Errors
    /// A reply was wrong or missing.
    pub fn measure(
        &mut self,
        keys: Keys,
        depth: usize,
        duration: Duration,
    ) -> Result<(Run, Duration), Box<dyn std::error::Error>> {
        let before = self.meter.read()?;
        let run = self.gets(keys, depth, duration)?;
        Ok((run, self.meter.read()?.saturating_sub(before)))
    }

    fn gets(&mut self, keys: Keys, depth: usize, duration: Duration) -> Result<Run, DriveError> {
        match self.target {
            Target::Echo => self.driver.run::<EchoGet>(keys, depth, duration),
            Target::StandinUring | Target::StandinEpoll => {
                self.driver.run::<StandinGet>(keys, depth, duration)
            }
            Target::StandinMeta | Target::Memcached => {
                self.driver.run::<MemcachedGet>(keys, depth, duration)
            }
            Target::StandinText | Target::MemcachedText => {
                self.driver.run::<MemcachedTextGet>(keys, depth, duration)
            }
            Target::Redis | Target::Valkey => self.driver.run::<RedisGet>(keys, depth, duration),
        }
    }
}
