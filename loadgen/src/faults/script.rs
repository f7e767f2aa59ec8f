//! What a scenario starts and breaks, as plain values.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};
use standin_config::Mode;
use standin_protocol::map::ServerState;

use super::links::NetworkFault;
use super::proxy::Conduct;
use crate::origin::Rows;

/// The node that is the generator itself, with all processes without a namespace of their own.
pub const CLIENT: &str = "client";

/// The processes and faults of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Script {
    /// In the order in which they are started.
    pub processes: Vec<ProcessSpec>,
    /// In the order of the file.
    pub faults: Vec<FaultSpec>,
}

/// A process, or several of one kind, that the run starts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProcessSpec {
    /// Faults, URLs and other processes refer to it by this name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Whether it has a network namespace of its own; of several processes, each.
    pub namespace: bool,
    /// The program, if it is not the kind's usual one.
    pub program: Option<PathBuf>,
    /// Further arguments.
    pub arguments: Vec<String>,
    /// The time within which its ports must accept connections.
    pub ready_within: Duration,
}

/// What is started.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Any program. Its arguments may have `{port}`, `{folder}` and the names of processes before it.
    Command {
        /// The number of its ports.
        ports: u16,
    },
    /// memcached.
    Memcached,
    /// twemproxy.
    Nutcracker {
        /// The processes over which it spreads the keys.
        servers: Vec<String>,
        /// Whether it leaves out servers that fail.
        ejects: bool,
    },
    /// PostgreSQL.
    Postgres,
    /// A single Redis.
    Redis,
    /// A Redis Cluster.
    RedisCluster {
        /// Nodes that have slots.
        masters: u16,
        /// Replicas of each.
        replicas: u16,
        /// The silence after which a node counts as failed.
        node_timeout: Duration,
    },
    /// A proxy in front of something, as a thread of this program.
    Proxy {
        /// The name of a process before it, or `host:port`.
        to: String,
        /// Whether it passes datagrams on; otherwise connections.
        is_udp: bool,
    },
    /// A master and servers of Standin, with one keyspace.
    Standin(ClusterSpec),
}

/// The form of a Standin cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClusterSpec {
    /// Failover groups.
    pub groups: u16,
    /// Servers of each.
    pub servers: u16,
    /// Memory of each server.
    pub memory_bytes: u64,
    /// What takes precedence when a server or the master can't be reached.
    #[serde(serialize_with = "word_of")]
    pub mode: Mode,
    /// What has the keyspace's table; `None`: the keyspace is in memory only.
    pub database: Option<Backing>,
    /// `surge_reads` of the cluster file, if it is set.
    pub surge_reads: Option<u32>,
    /// `limits.value_bytes` of the cluster file, if it is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_bytes_max: Option<u32>,
}

/// The database of a Standin cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Backing {
    /// The name of a PostgreSQL, or of a proxy before one. Its table has no rows at first.
    Process(String),
    /// A file of the run, or a database of the user's, with these rows at first. Scenarios have none.
    #[serde(skip)]
    Own {
        /// Of a PostgreSQL; `None`: SQLite.
        url: Option<String>,
        /// The rows.
        rows: Rows,
    },
}

/// The word of a cluster file.
fn word_of<S: Serializer>(mode: &Mode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(mode.name())
}

impl ProcessSpec {
    /// The names of the processes: the name itself, or of several ones `<name>-<which>`. A proxy has none.
    #[must_use]
    pub fn members(&self) -> Vec<String> {
        match self.kind {
            Kind::Command { .. }
            | Kind::Postgres
            | Kind::Memcached
            | Kind::Nutcracker { .. }
            | Kind::Redis => {
                vec![self.name.clone()]
            }
            Kind::Proxy { .. } => Vec::new(),
            Kind::RedisCluster { masters, replicas, .. } => {
                let nodes = masters * (replicas + 1);
                (1..=nodes).map(|node| format!("{}-{node}", self.name)).collect()
            }
            Kind::Standin(ClusterSpec { groups, servers, .. }) => {
                let names = standin_names(groups, servers).into_iter().flatten();
                let names = names.chain(["master".to_owned()]);
                names.map(|server| format!("{}-{server}", self.name)).collect()
            }
        }
    }

    /// Whether this is its name, or that of a member.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        self.name == name || self.members().iter().any(|member| member == name)
    }

    /// Whether it has a file by which Standin's clients find it.
    #[must_use]
    pub fn has_cluster_file(&self) -> bool {
        matches!(self.kind, Kind::Standin(_))
    }
}

/// `a1`, `a2`, …; `b1`, …: the servers of each group.
#[must_use]
pub fn standin_names(groups: u16, servers: u16) -> Vec<Vec<String>> {
    let letters = ('a'..='z').take(usize::from(groups));
    letters.map(|group| (1..=servers).map(|number| format!("{group}{number}")).collect()).collect()
}

/// A fault of the timeline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FaultSpec {
    /// As reports have it.
    pub name: String,
    /// The line of the file in which it begins.
    pub line: usize,
    /// When it begins: from the first request of the run, or from the event that it waits for.
    pub at: Duration,
    /// The event.
    pub after: Option<Awaited>,
    /// How long it lasts; `None`: until another fault ends it, or the run ends.
    pub lasts: Option<Duration>,
    /// What happens.
    pub deed: Deed,
}

/// An event that a fault waits for, from the beginning of the fault before it on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Awaited {
    /// The name of a server of a Standin cluster.
    pub server: String,
    /// The state in which its master announces it.
    #[serde(serialize_with = "state_word")]
    pub state: ServerState,
    /// The longest wait. The fault does not happen then, which is a mistake of the run.
    pub within: Duration,
}

fn state_word<S: Serializer>(state: &ServerState, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(state.name())
}

/// What happens to whom.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    /// A process of the run.
    Process {
        /// Its name.
        name: String,
        /// What happens.
        what: What,
    },
    /// A process that somebody else has started: SIGSTOP, then SIGCONT.
    Pid(PidSource),
    /// What passes through a proxy.
    Proxy {
        /// Its name.
        name: String,
        /// The treatment.
        conduct: Conduct,
    },
    /// What passes between nodes of the scenario's network.
    Network(NetworkFault),
    /// A unit of systemd. When the run begins, it becomes a command.
    Unit {
        /// Its name.
        unit: String,
        /// What happens.
        what: What,
    },
    /// The table in a PostgreSQL.
    Database {
        /// Its name.
        name: String,
        /// What is wrong with the table.
        trouble: Trouble,
    },
    /// The connections of a proxy, once.
    Reset(String),
    /// Nothing: a moment, from which on requests are told apart. Scenarios have none.
    Mark,
    /// A command of the user's, and the one that undoes it.
    Command {
        /// The program and its arguments.
        begin: Vec<String>,
        /// Those of the undoing; empty: nothing is to be undone.
        undo: Vec<String>,
    },
}

/// Where the number of a process is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PidSource {
    /// In the scenario.
    Number(u32),
    /// In a file.
    File(PathBuf),
}

/// What is wrong with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// Another session has locked it.
    Lock,
    /// There is no room: writes fail.
    Full,
}

/// What happens to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// SIGKILL; to undo it is to start the process again.
    Kill,
    /// SIGTERM; likewise.
    Terminate,
    /// SIGSTOP; SIGCONT undoes it.
    Pause,
    /// SIGCONT, which ends an earlier pause.
    Resume,
    /// SIGKILL if it runs, and a new process.
    Restart,
}

impl Deed {
    /// Whether it concerns the network, which several processes change, one after the other. Until the last has ended, an
    /// answer proves nothing, so what is behind such a moment begins when it is done.
    #[must_use]
    pub fn is_of_network(&self) -> bool {
        matches!(self, Self::Network(_))
    }

    /// In words, for a fault without a name.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Process { name, what } => format!("{} {name}", what.word()),
            Self::Pid(PidSource::Number(number)) => format!("pause process {number}"),
            Self::Pid(PidSource::File(path)) => format!("pause the process of {}", path.display()),
            Self::Proxy { name, conduct } => {
                let word = match conduct {
                    Conduct::Slow(_) => "slow",
                    Conduct::Stall(_) => "stall",
                    Conduct::Refuse => "refuse",
                    Conduct::Pass | Conduct::End => "pass",
                };
                format!("{word} {name}")
            }
            Self::Reset(name) => format!("reset {name}"),
            Self::Mark => "mark".to_owned(),
            Self::Network(fault) => {
                format!("{} {}", fault.harm.word(), fault.on.join(" "))
            }
            Self::Unit { unit, what } => unit_commands(*what, unit).0.join(" "),
            Self::Database { name, trouble: Trouble::Lock } => format!("lock {name}"),
            Self::Database { name, trouble: Trouble::Full } => format!("full {name}"),
            Self::Command { begin, .. } => begin.join(" "),
        }
    }

    /// The process that is concerned, if it is one of the scenario: by its own, or by its network.
    #[must_use]
    pub fn server(&self) -> Option<&str> {
        match self {
            Self::Process { name, .. } => Some(name),
            Self::Network(NetworkFault { on, .. }) => match &on[..] {
                [one] => Some(one),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether it leaves something that can be undone.
    #[must_use]
    pub fn can_last(&self) -> bool {
        match self {
            Self::Process { what, .. } | Self::Unit { what, .. } => {
                matches!(what, What::Kill | What::Terminate | What::Pause)
            }
            Self::Pid(_) | Self::Proxy { .. } | Self::Network(_) | Self::Database { .. } => true,
            Self::Reset(_) | Self::Mark => false,
            Self::Command { undo, .. } => !undo.is_empty(),
        }
    }
}

/// The commands for a unit of systemd that is active: what happens, and what undoes it.
pub(super) fn unit_commands(what: What, unit: &str) -> (Vec<String>, Vec<String>) {
    let systemctl = |words: &[&str]| -> Vec<String> {
        ["systemctl"].iter().chain(words).chain(&[unit]).map(|word| (*word).to_owned()).collect()
    };
    match what {
        What::Kill => (systemctl(&["kill", "--signal=SIGKILL"]), systemctl(&["start"])),
        What::Terminate => (systemctl(&["stop"]), systemctl(&["start"])),
        What::Pause => {
            (systemctl(&["kill", "--signal=SIGSTOP"]), systemctl(&["kill", "--signal=SIGCONT"]))
        }
        What::Resume | What::Restart => (systemctl(&["restart"]), Vec::new()),
    }
}

impl What {
    /// As scenarios and reports have it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Terminate => "terminate",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Restart => "restart",
        }
    }
}

impl Script {
    /// The process, or all those of a cluster, of this name.
    #[must_use]
    pub fn process(&self, name: &str) -> Option<&ProcessSpec> {
        self.processes.iter().find(|one| one.name == name)
    }

    /// Whether a process has this name, also one of a cluster.
    #[must_use]
    pub fn has_process(&self, name: &str) -> bool {
        self.processes.iter().any(|one| one.is_named(name))
    }

    /// The servers of Standin clusters, whose masters announce their states.
    #[must_use]
    pub fn servers(&self) -> Vec<String> {
        let of = |spec: &ProcessSpec| match spec.kind {
            Kind::Standin(ClusterSpec { groups, servers, .. }) => {
                let names = standin_names(groups, servers).into_iter().flatten();
                names.map(|server| format!("{}-{server}", spec.name)).collect()
            }
            _ => Vec::new(),
        };
        self.processes.iter().flat_map(of).collect()
    }

    /// The nodes of its network beside the client; none: it has no network of its own.
    #[must_use]
    pub fn nodes(&self) -> Vec<String> {
        let apart = self.processes.iter().filter(|one| one.namespace);
        apart.flat_map(ProcessSpec::members).collect()
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// A fault of a process.
    pub(in crate::faults) fn fault(
        name: &str,
        at_s: u64,
        lasts_s: Option<u64>,
        what: What,
    ) -> FaultSpec {
        FaultSpec {
            name: what.word().to_owned(),
            line: 1,
            at: Duration::from_secs(at_s),
            after: None,
            lasts: lasts_s.map(Duration::from_secs),
            deed: Deed::Process { name: name.to_owned(), what },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_names() {
        let spec = |kind| ProcessSpec {
            name: "x".to_owned(),
            kind,
            namespace: false,
            program: None,
            arguments: Vec::new(),
            ready_within: Duration::from_secs(1),
        };
        assert_eq!(spec(Kind::Memcached).members(), ["x"]);
        let node_timeout = Duration::from_secs(1);
        let cluster = Kind::RedisCluster { masters: 3, replicas: 1, node_timeout };
        assert_eq!(spec(cluster).members().len(), 6);
        let (groups, servers, mode) = (2, 2, Mode::Available);
        let (memory_bytes, database, surge_reads) = (1, None, None);
        let standin = Kind::Standin(ClusterSpec {
            groups,
            servers,
            memory_bytes,
            mode,
            database,
            surge_reads,
            value_bytes_max: None,
        });
        assert_eq!(spec(standin).members(), ["x-a1", "x-a2", "x-b1", "x-b2", "x-master"]);
    }
}
