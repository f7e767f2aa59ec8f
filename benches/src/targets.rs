//! The processes under test. Each is started for one set of keys, loaded, pinned to the
//! serving core, and killed when it is dropped or when this process ends.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;
use standin_config::{KernelUse, TlsAuthorities, TlsCalls, TlsConfig, TlsPort};
use standin_loadgen::rng::Random;
use standin_testkit::{Authority, Child, free_ports, wait_until};
use standin_tls::{Connector, TlsError};

use crate::cpu::{self, Meter};
use crate::driver::{DriveError, Driver, Keys, Run};
use crate::exchange::{
    EchoGet, MemcachedMeta, MemcachedMulti, MemcachedText, Redis, RedisMulti, StandinCache,
    StandinFill, StandinGet,
};
use crate::fixture::READY;

/// The program that runs.
pub const SELF: &str = "/proc/self/exe";
/// Connections of every measurement.
pub const CONNECTIONS: usize = 64;
const START_MAX: Duration = Duration::from_secs(20);
const LOAD_MAX: Duration = Duration::from_secs(900);
const LOAD_DEPTH: usize = 32;

/// The share of writes in [`Load::Mix`].
const MIX_WRITES_PERCENT: u8 = 10;

/// The requests that a target is driven with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Load {
    /// Reads of single keys.
    Gets,
    /// Nine reads of single keys to one write.
    Mix,
    /// Multi-gets: each batch is one request for all of its keys.
    Multi,
}

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
    /// Standin's ring loop, by Redis' protocol.
    StandinResp,
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
    pub const ALL: [Self; 10] = [
        Self::Echo,
        Self::StandinUring,
        Self::StandinEpoll,
        Self::StandinMeta,
        Self::StandinText,
        Self::StandinResp,
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
            Self::StandinResp => "standin-resp",
            Self::Memcached => "memcached",
            Self::MemcachedText => "memcached-text",
            Self::Redis => "redis",
            Self::Valkey => "valkey",
        }
    }

    /// The target of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.name() == name)
    }

    /// The other program to compare it with: the one that speaks the same protocol, and memcached for
    /// Standin's own.
    #[must_use]
    pub fn peer(self) -> Option<Self> {
        match self {
            Self::StandinUring | Self::StandinEpoll | Self::StandinMeta => Some(Self::Memcached),
            Self::StandinText => Some(Self::MemcachedText),
            Self::StandinResp => Some(Self::Redis),
            Self::Echo | Self::Memcached | Self::MemcachedText | Self::Redis | Self::Valkey => None,
        }
    }

    /// Whether it can be driven so.
    #[must_use]
    pub fn takes(self, load: Load) -> bool {
        match load {
            Load::Gets => true,
            Load::Mix => self != Self::Echo,
            // The other protocols have none: they have pipelines.
            Load::Multi => match self {
                Self::StandinText | Self::StandinResp => true,
                Self::MemcachedText | Self::Redis | Self::Valkey => true,
                Self::Echo | Self::StandinUring | Self::StandinEpoll => false,
                Self::StandinMeta | Self::Memcached => false,
            },
        }
    }

    /// The program to install for it; `None`: it is part of this one.
    #[must_use]
    pub fn program(self) -> Option<&'static str> {
        match self {
            Self::Memcached | Self::MemcachedText => Some("memcached"),
            Self::Redis => Some("redis-server"),
            Self::Valkey => Some("valkey-server"),
            _ => None,
        }
    }

    /// Whether it is Standin, on any loop and by any protocol.
    #[must_use]
    pub fn is_standin(self) -> bool {
        let others = [Self::StandinMeta, Self::StandinText, Self::StandinResp];
        self.is_native() || others.contains(&self)
    }

    /// Whether it speaks Standin's own protocol.
    #[must_use]
    pub fn is_native(self) -> bool {
        matches!(self, Self::StandinUring | Self::StandinEpoll)
    }

    /// The program's version; `None` if it is not installed.
    #[must_use]
    pub fn version(self) -> Option<String> {
        let Some(program) = self.program() else { return Some(env!("CARGO_PKG_VERSION").into()) };
        let output = Command::new(program).arg("--version").output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Whether it can have TLS.
    #[must_use]
    pub fn has_tls(self) -> bool {
        self != Self::Echo
    }

    /// The arguments by which it has TLS on its port.
    fn tls_arguments(self, certificates: &Certificates, port: &str) -> Vec<String> {
        let TlsConfig { cert_file, key_file, .. } = Certificates::ports(&certificates.folder);
        let (cert, key) = (cert_file.display().to_string(), key_file.display().to_string());
        let text = |arguments: &[&str]| -> Vec<String> {
            arguments.iter().map(|&one| one.to_owned()).collect()
        };
        match self {
            Self::Memcached | Self::MemcachedText => {
                text(&["-Z", "-o", &format!("ssl_chain_cert={cert},ssl_key={key}")])
            }
            Self::Redis | Self::Valkey => text(&[
                "--tls-port",
                port,
                "--port",
                "0",
                "--tls-cert-file",
                &cert,
                "--tls-key-file",
                &key,
                "--tls-ca-cert-file",
                &cert,
                "--tls-auth-clients",
                "no",
            ]),
            _ => {
                let folder = certificates.folder.display().to_string();
                let in_kernel = certificates.is_for_kernel.then(|| "--kernel-tls".to_owned());
                text(&["--tls", &folder]).into_iter().chain(in_kernel).collect()
            }
        }
    }

    /// The command that serves; `own` is the program that serves what has no other.
    fn command(self, own: &Path, directory: &Path, port: u16, keys: u32, core: usize) -> Command {
        // Room for every peer's overhead per item, rounded up generously.
        let memory_mib = 256 + u64::from(keys) * 320 / (1 << 20);
        let (memory, port) = (memory_mib.to_string(), port.to_string());
        let mut command = match self.program() {
            Some(program) => Command::new(program),
            None => Command::new(own),
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

/// The certificates of targets with TLS, and the driver that trusts them.
pub struct Certificates {
    folder: PathBuf,
    connector: Connector,
    is_for_kernel: bool,
}

impl Certificates {
    /// Makes them in a folder.
    ///
    /// # Errors
    /// They can't be used.
    ///
    /// # Panics
    /// `openssl` is missing.
    pub fn new(folder: &Path) -> Result<Self, TlsError> {
        let authority = Authority::new(folder, "root");
        let _ = authority.issue("server", "IP:127.0.0.1");
        let calls = TlsCalls {
            authorities: TlsAuthorities::File(authority.root.certificate),
            name: None,
            own: None,
        };
        let connector = Connector::new(&calls)?;
        Ok(Self { folder: folder.to_owned(), connector, is_for_kernel: false })
    }

    /// The certificates of Standin's servers whose connections the kernel encrypts.
    #[must_use]
    pub fn for_kernel(self) -> Self {
        Self { is_for_kernel: true, ..self }
    }

    /// The TLS of ports with the certificates of this folder.
    #[must_use]
    pub fn ports(folder: &Path) -> TlsConfig {
        TlsConfig {
            ports: vec![TlsPort::Standin, TlsPort::Memcached, TlsPort::Redis],
            cert_file: folder.join("server.crt"),
            key_file: folder.join("server.key"),
            client_ca_file: None,
            kernel: KernelUse::default(),
            is_certificate_enough: false,
            ca_file: Some(folder.join("root.crt")),
            name: None,
        }
    }
}

/// A running target without any key.
pub struct Serving {
    /// Which.
    pub target: Target,
    /// Where it listens.
    pub address: SocketAddr,
    meter: Meter,
    _child: Child,
}

impl Serving {
    /// Starts a target on `core`, with room for this number of keys, and possibly with TLS. `own` is the
    /// benchmark's program, which serves the echo and Standin in a process of its own: [`SELF`] or another
    /// build.
    ///
    /// # Errors
    /// It does not answer as it should.
    ///
    /// # Panics
    /// It can't be started.
    pub fn start(
        target: Target,
        own: &Path,
        directory: &Path,
        keys: u32,
        core: usize,
        tls: Option<&Certificates>,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let port = free_ports(1)[0];
        let mut command = target.command(own, directory, port, keys, core);
        if let Some(certificates) = tls {
            command.args(target.tls_arguments(certificates, &port.to_string()));
        }
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
        let meter = Meter::new(child.pid(), if target.is_standin() { "shard-" } else { "" })?;
        Ok(Self { target, address, meter, _child: child })
    }

    /// The CPU time of the serving threads so far.
    ///
    /// # Errors
    /// It has ended.
    pub fn cpu(&self) -> std::io::Result<Duration> {
        self.meter.read()
    }
}

/// A running target with its keys loaded, and the connections to it.
pub struct Running {
    driver: Driver,
    load: Load,
    // Last: a driver whose target dies first would be right to complain.
    serving: Serving,
}

impl Running {
    /// Starts a target on `core` and loads the first `keys` keys. For `own` see [`Serving::start`].
    ///
    /// # Errors
    /// It does not answer as it should.
    ///
    /// # Panics
    /// It can't be started.
    pub fn start(
        target: Target,
        load: Load,
        own: &Path,
        directory: &Path,
        keys: u32,
        core: usize,
        tls: Option<&Certificates>,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let serving = Serving::start(target, own, directory, keys, core, tls)?;
        let connector = tls.map(|certificates| &certificates.connector);
        let hello = target.is_native();
        let driver = Driver::connect(serving.address, CONNECTIONS, hello, connector)?;
        let mut running = Self { driver, load, serving };
        let in_order = |are_writes| Keys::InOrder { next: 0, end: keys, are_writes };
        match target {
            Target::Echo => return Ok(running),
            _ if target.is_native() && load == Load::Gets => {
                running.driver.run::<StandinFill>(in_order(false), LOAD_DEPTH, LOAD_MAX)?
            }
            _ => running.drive(Load::Mix, in_order(true), LOAD_DEPTH, LOAD_MAX)?,
        };
        // Every key once, so that a target that evicted or lost some is found out now.
        running.drive(load, in_order(false), LOAD_DEPTH, LOAD_MAX)?;
        Ok(running)
    }

    /// Drives it with its load. Returns the result, and the CPU time of the serving threads.
    ///
    /// # Errors
    /// A reply was wrong or missing.
    pub fn measure(
        &mut self,
        random: Random,
        count: u32,
        depth: usize,
        duration: Duration,
    ) -> Result<(Run, Duration), Box<dyn std::error::Error>> {
        let writes_percent = if self.load == Load::Mix { MIX_WRITES_PERCENT } else { 0 };
        let keys = Keys::Random { count, random, writes_percent };
        let before = self.serving.cpu()?;
        let run = self.drive(self.load, keys, depth, duration)?;
        Ok((run, self.serving.cpu()?.saturating_sub(before)))
    }

    fn drive(
        &mut self,
        load: Load,
        keys: Keys,
        depth: usize,
        duration: Duration,
    ) -> Result<Run, DriveError> {
        let driver = &mut self.driver;
        match (self.serving.target, load) {
            (Target::Echo, _) => driver.run::<EchoGet>(keys, depth, duration),
            (Target::StandinUring | Target::StandinEpoll, Load::Mix) => {
                driver.run::<StandinCache>(keys, depth, duration)
            }
            (Target::StandinUring | Target::StandinEpoll, _) => {
                driver.run::<StandinGet>(keys, depth, duration)
            }
            (Target::StandinMeta | Target::Memcached, _) => {
                driver.run::<MemcachedMeta>(keys, depth, duration)
            }
            (Target::StandinText | Target::MemcachedText, Load::Multi) => {
                driver.run::<MemcachedMulti>(keys, depth, duration)
            }
            (Target::StandinText | Target::MemcachedText, _) => {
                driver.run::<MemcachedText>(keys, depth, duration)
            }
            (Target::StandinResp | Target::Redis | Target::Valkey, Load::Multi) => {
                driver.run::<RedisMulti>(keys, depth, duration)
            }
            (Target::StandinResp | Target::Redis | Target::Valkey, _) => {
                driver.run::<Redis>(keys, depth, duration)
            }
        }
    }
}
