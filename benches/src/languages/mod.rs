//! Client libraries of other languages through the fault and the return of a server: on Standin, and on what they are
//! used with otherwise.
//!
//! ```text
//! bin/languages ─► run.rs       checks, load, fault, return; every request logged and judged
//!          │         ├─► testkit: languages/   a script for each library
//!          │         └─► servers.rs         processes, and where the scripts find them
//!          │               └─► standin.rs, redis.rs, memcached.rs
//!          └─► row.rs           one row of the table; pure
//! ```

pub mod memcached;
pub mod redis;
pub mod row;
pub mod run;
pub mod servers;
pub mod standin;

use std::collections::BTreeSet;
use std::fmt;

use standin_loadgen::faults::Process;
use standin_testkit::languages::{LIBRARIES, Library, Service};

use crate::Failure;

/// The library that speaks memcached's meta protocol, which twemproxy does not know.
const META: &str = "Dalli";

/// The number of nodes of a rival's cluster, over which the keys are spread.
pub const NODES: usize = 3;

/// The servers of a measured system, one of which is the victim.
pub trait Servers {
    /// Returns those of these keys that the victim has.
    ///
    /// # Errors
    /// It can't be asked.
    fn held_by_victim(&self, keys: &[Vec<u8>]) -> Result<BTreeSet<u32>, Failure>;

    /// Returns the process that the fault will affect.
    fn victim(&mut self) -> &mut Process;
}

/// The fault of one server, which ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL, and a new process.
    Kill,
    /// SIGSTOP, and SIGCONT after some seconds.
    Pause {
        /// Seconds.
        seconds: u32,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill => f.write_str("kill -9"),
            Self::Pause { seconds } => write!(f, "SIGSTOP {seconds} s"),
        }
    }
}

/// The servers behind a client library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// A master, and two groups of two servers; all of their addresses are known to the client.
    Standin,
    /// The same cluster behind Standin's proxy, whose address is all that the client knows.
    StandinProxy,
    /// Three masters with a replica each.
    RedisCluster {
        /// Milliseconds until a node counts as failed.
        node_timeout_ms: u32,
    },
    /// twemproxy in front of three memcached. It ejects a node that fails.
    Twemproxy,
    /// Three memcached, the keys spread by the client.
    Memcached,
}

impl System {
    /// Whether it is Standin, with or without its proxy.
    #[must_use]
    pub fn is_standin(self) -> bool {
        matches!(self, Self::Standin | Self::StandinProxy)
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standin => f.write_str("Standin"),
            Self::StandinProxy => f.write_str("Standin's proxy"),
            Self::RedisCluster { node_timeout_ms: 15_000 } => f.write_str("Redis Cluster, default"),
            Self::RedisCluster { node_timeout_ms } => {
                write!(f, "Redis Cluster, node timeout {node_timeout_ms} ms")
            }
            Self::Twemproxy => f.write_str("memcached ×3 behind nutcracker"),
            Self::Memcached => f.write_str("memcached ×3"),
        }
    }
}

/// What is measured in a run.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// The client.
    pub library: &'static Library,
    /// The protocol that it speaks.
    pub service: Service,
    /// The servers.
    pub system: System,
}

impl Case {
    /// Returns all cases, those of one library and protocol next to each other. `is_beside` includes the servers
    /// that are not Standin's.
    #[must_use]
    pub fn all(is_beside: bool) -> Vec<Self> {
        let of = |library: &'static Library, service: Service| {
            let is_wanted = move |system: &&System| {
                let is_spoken = **system != System::Twemproxy || library.name != META;
                is_spoken && (is_beside || system.is_standin())
            };
            let systems = systems(service).iter().filter(is_wanted);
            systems.map(move |system| Self { library, service, system: *system })
        };
        let pairs = LIBRARIES
            .iter()
            .flat_map(|library| library.services.iter().map(move |service| (library, *service)));
        pairs.flat_map(|(library, service)| of(library, service)).collect()
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, {}", self.library.name, self.service.word(), self.system)
    }
}

/// Returns the servers that clients of a protocol are measured with. Those of a single Redis have no others: nothing
/// takes over from one without help.
fn systems(service: Service) -> &'static [System] {
    match service {
        Service::Memcached => {
            &[System::Standin, System::StandinProxy, System::Twemproxy, System::Memcached]
        }
        Service::Redis => &[System::Standin, System::StandinProxy],
        Service::RedisCluster => &[
            System::Standin,
            System::RedisCluster { node_timeout_ms: 15_000 },
            System::RedisCluster { node_timeout_ms: 500 },
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_library_is_measured_with_every_protocol_that_it_speaks() {
        let alone = Case::all(false);
        let pairs: usize = LIBRARIES.iter().map(|library| library.services.len()).sum();
        assert_eq!(alone.iter().filter(|case| case.system == System::Standin).count(), pairs);
        assert!(alone.iter().all(|case| case.system.is_standin()));
        let beside = Case::all(true);
        let names: std::collections::BTreeSet<String> =
            beside.iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), beside.len(), "each once");
        assert!(alone.iter().all(|case| names.contains(&case.to_string())));
    }
}
