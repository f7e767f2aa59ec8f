//! Starts processes of each kind that a scenario can name. The benchmarks start theirs here too.

pub mod memcached;
pub mod postgres;
pub mod redis;
pub mod standin;

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use standin_config::WriteError;
use standin_protocol::map::MapError;
use standin_protocol::time::Micros;

use super::child::User;
use super::lan::Lan;
use super::process::{Process, SpawnError};
pub use super::site::Site;
use super::tool::ToolError;
use crate::interrupt::Interrupt;
use crate::ports::free_addresses;
use crate::rng::Random;

/// The time between two checks whether a process is up.
const PAUSE: Duration = Duration::from_millis(10);
/// The longest wait for one connection on loopback.
const CONNECT_WITHIN: Duration = Duration::from_millis(250);

/// Why a process is not up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Ports, files, a client.
    #[error("{what}: {error}")]
    System {
        /// The action that failed.
        what: String,
        /// The error.
        error: io::Error,
    },
    /// A cluster file.
    #[error(transparent)]
    Config(#[from] WriteError),
    /// A topology.
    #[error(transparent)]
    Map(#[from] MapError),
    /// A process did not start.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// A process ended at once.
    #[error("{name} ended while it was starting; its last output was:\n{output}")]
    Ended {
        /// Which.
        name: String,
        /// Its last lines.
        output: String,
    },
    /// A process does not answer.
    #[error("{name} was not ready within {within:?}; its last output was:\n{output}")]
    Silent {
        /// Which.
        name: String,
        /// The limit.
        within: Duration,
        /// Its last lines.
        output: String,
    },
    /// Something about it can't be prepared.
    #[error("{name}: {why}")]
    Refused {
        /// Which.
        name: String,
        /// The obstacle.
        why: String,
    },
    /// The user has interrupted it.
    #[error("interrupted; what was started has ended")]
    Interrupted,
}

impl StartError {
    /// Adds the action that failed.
    pub fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Self::System { what, error }
    }

    /// Adds the process for which a program was to prepare something.
    fn tool(name: &str) -> impl FnOnce(ToolError) -> Self {
        let name = name.to_owned();
        move |error| match error {
            ToolError::Interrupted => Self::Interrupted,
            _ => Self::Refused { name, why: error.to_string() },
        }
    }
}

/// What is asked for of a process, whatever its kind.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Its name, and that of its log.
    pub name: &'a str,
    /// The program, if it is not the usual one.
    pub program: Option<&'a Path>,
    /// Arguments behind the kind's own.
    pub arguments: &'a [OsString],
    /// The time within which it must be ready.
    pub ready_within: Duration,
}

impl Asked<'_> {
    fn program(&self, usual: &'static str) -> &Path {
        self.program.unwrap_or(Path::new(usual))
    }
}

/// Where processes are started: on loopback, or in a network that joins namespaces, with their files in a folder.
#[derive(Debug)]
pub struct Ground<'g> {
    /// For logs, configurations and data.
    pub folder: &'g Path,
    /// Chooses ports.
    pub random: &'g mut Random,
    /// Ends a wait.
    pub interrupt: Option<&'g Interrupt>,
    /// The network of namespaces, if there is one.
    pub lan: Option<&'g Lan>,
}

impl Ground<'_> {
    /// Places for these processes, with so many addresses each: in their own namespaces, where they have them, and
    /// otherwise with free ports where this thread is.
    ///
    /// # Errors
    /// There are not that many free ports.
    pub fn sites(&mut self, names: &[String], addresses: usize) -> Result<Vec<Site>, StartError> {
        let own = names.iter().map(|name| self.lan.and_then(|lan| lan.site(name, addresses)));
        let own: Vec<Option<Site>> = own.collect();
        let missing = own.iter().filter(|site| site.is_none()).count() * addresses;
        let host = self.lan.map_or(Ipv4Addr::LOCALHOST, |_| Lan::host());
        // All at once, or one of them would be found twice.
        let free = free_addresses(host, missing, self.random)
            .map_err(StartError::system("looking for free ports"))?;
        let mut free = free.into_iter();
        let shared = |free: &mut dyn Iterator<Item = SocketAddr>| Site {
            addresses: free.take(addresses).collect(),
            network: None,
        };
        Ok(own.into_iter().map(|site| site.unwrap_or_else(|| shared(&mut free))).collect())
    }

    /// A place for one process.
    ///
    /// # Errors
    /// As [`Self::sites`].
    pub fn site(&mut self, name: &str, addresses: usize) -> Result<Site, StartError> {
        let mut sites = self.sites(&[name.to_owned()], addresses)?;
        Ok(sites.remove(0))
    }

    /// Starts a program on this thread, with which it dies.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub fn spawn(
        &self,
        name: &str,
        program: &Path,
        arguments: Vec<OsString>,
        site: &Site,
    ) -> Result<Process, StartError> {
        let network = site.network.clone();
        Ok(Process::start_in(network, name, program, arguments, self.folder)?)
    }

    /// Waits until a process accepts connections.
    ///
    /// # Errors
    /// It has ended, or does not within this time.
    pub fn wait_until_open(
        &self,
        process: &mut Process,
        address: SocketAddr,
        within: Duration,
    ) -> Result<(), StartError> {
        wait(process, within, self.interrupt, || {
            TcpStream::connect_timeout(&address, CONNECT_WITHIN).is_ok()
        })
    }

    /// A new folder in this one.
    ///
    /// # Errors
    /// It can't be made.
    pub fn own_folder(&self, name: &str) -> Result<PathBuf, StartError> {
        let folder = self.folder.join(name);
        std::fs::create_dir_all(&folder)
            .map_err(StartError::system(folder.display().to_string()))?;
        Ok(folder)
    }
}

/// Waits until a process is ready.
fn wait(
    process: &mut Process,
    within: Duration,
    interrupt: Option<&Interrupt>,
    mut is_ready: impl FnMut() -> bool,
) -> Result<(), StartError> {
    let deadline = Micros::boottime() + within;
    while !is_ready() {
        if interrupt.is_some_and(Interrupt::is_set) {
            return Err(StartError::Interrupted);
        }
        let (name, output) = (process.name().to_owned(), process.last_output());
        if process.exit_status().is_some() {
            return Err(StartError::Ended { name, output });
        }
        if Micros::boottime() >= deadline {
            return Err(StartError::Silent { name, within, output });
        }
        std::thread::park_timeout(PAUSE);
    }
    Ok(())
}

/// Arguments from text with spaces between them.
fn words(text: &str) -> Vec<OsString> {
    text.split(' ').map(Into::into).collect()
}

/// The user for a program that refuses to run as root: the first of these that there is. `None`: the one of this program.
fn user(name: &str, users: &[&str]) -> Result<Option<User>, StartError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let found = unprivileged(users).ok_or_else(|| StartError::Refused {
        name: name.to_owned(),
        why: format!("it does not run as root, and there is no user {}", users.join(" or ")),
    });
    found.map(Some)
}

/// The first of these users that there is.
fn unprivileged(names: &[&str]) -> Option<User> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let of = |name: &&str| {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            if fields.next()? != *name {
                return None;
            }
            let uid = fields.nth(1)?.parse().ok()?;
            Some(User { uid, gid: fields.next()?.parse().ok()? })
        })
    };
    names.iter().find_map(of)
}
